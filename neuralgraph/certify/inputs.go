package certify

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// trial is a set of inputs on which the model runs, and the outputs of its
// unpermuted weights.
type trial struct {
	inputs map[string]*ort.Value
	want   map[string]*ort.Value
}

var errInputs = errors.New("no input that was tried makes the model run")

// Bounds of the search for inputs.
const (
	maxTrials   = 4       // sets of inputs that take the model different ways
	maxAttempts = 600     // runs
	maxLength   = 1 << 15 // of an axis whose extent is open
)

// lengths are tried for axes whose extent the model leaves open, and then the
// integers that it computes with.
var lengths = []int64{16, 32, 64, 8, 128, 4, 224, 1, 256, 512, 1024, 2048, 4096, 16000, 2}

// usual is how many of the lengths are tried with every role of the axes before
// the others are.
const usual = 10

// search looks for inputs: sizes of open axes, and values of the inputs that
// choose between ways through the model.
type search struct {
	r         *run
	m         *onnxgraph.Model
	inputs    []*onnxgraph.Value
	open      []openAxis
	lengths   []int64
	selectors []selector
	attempts  int
}

// openAxis is the axes of one symbol, or one axis without.
type openAxis struct {
	symbol string
	input  string
	axis   int
	batch  bool // the first axis of several
}

// selector is an input of one element that the model compares with constants;
// each of its values may take another way.
type selector struct {
	input  string
	values []float64
}

// findInputs finds one trial for every combination of the selectors' values, as
// far as the model runs with it, and at least one.
func (r *run) findInputs(m *onnxgraph.Model) error {
	s := newSearch(r, m)
	var last error
	for _, choice := range s.choices() {
		t, err := s.find(choice)
		switch {
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case err != nil:
			last = err
			continue
		}
		if r.trials = append(r.trials, t); len(r.trials) == maxTrials {
			break
		}
	}
	if len(r.trials) == 0 {
		return fmt.Errorf("%w: %v", errInputs, last)
	}
	return nil
}

func newSearch(r *run, m *onnxgraph.Model) *search {
	s := &search{r: r, m: m}
	fed := map[string]bool{}
	for _, t := range m.Graph.Initializers {
		fed[t.Name] = true
	}
	for _, t := range r.weights {
		fed[t.Name] = true
	}
	seen := map[string]bool{}
	for _, v := range m.Graph.Inputs {
		if fed[v.Name] {
			continue
		}
		s.inputs = append(s.inputs, v)
		for a, d := range v.Type.Shape {
			if d.IsKnown() || d.Symbol != "" && seen[d.Symbol] {
				continue
			}
			seen[d.Symbol] = true
			s.open = append(s.open, openAxis{d.Symbol, v.Name, a, a == 0 && len(v.Type.Shape) > 1})
		}
	}
	s.lengths = slices.Clone(lengths)
	integers := modelIntegers(m)
	for _, beyond := range []int64{0, 1} { // what picks element n needs n+1 of them
		for _, n := range integers {
			if n += beyond; n > 2 && n <= maxLength && !slices.Contains(s.lengths, n) {
				s.lengths = append(s.lengths, n)
			}
		}
	}
	for _, v := range s.inputs {
		if values := comparands(m, v); len(values) > 0 {
			s.selectors = append(s.selectors, selector{v.Name, values})
		}
	}
	return s
}

// modelIntegers are the integers in small constants and attributes of the
// model, the products of such constants and the extents of its weights,
// ascending: among them are windows, strides and sizes to reshape to.
func modelIntegers(m *onnxgraph.Model) []int64 {
	found := map[int64]bool{}
	note := func(list []int64) {
		for _, n := range list {
			found[n] = true
		}
	}
	m.EachTensor(func(t *onnxgraph.Tensor) {
		if !t.DType.IsInteger() || t.Len() > 8 {
			note(t.Dims)
			return
		}
		if v, err := t.AsInts(); err == nil {
			note(append(v, positiveProduct(v)))
		}
	})
	for _, v := range m.Graph.Inputs { // the weights
		dims, _ := v.Type.Shape.Static()
		note(dims)
	}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			for _, a := range n.Attrs {
				note(a.Ints)
			}
		}
	})
	out := make([]int64, 0, len(found))
	for n := range found {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// positiveProduct is the product of the positive numbers of a list, as far as it
// stays within maxLength.
func positiveProduct(list []int64) int64 {
	n := int64(1)
	for _, k := range list {
		if k > 0 && n <= maxLength {
			n *= min(k, maxLength)
		}
	}
	return n
}

// comparisons lists the operators whose result on an input and a constant may
// choose a way through the model.
var comparisons = map[string]bool{"Equal": true, "Less": true, "Greater": true, "LessOrEqual": true, "GreaterOrEqual": true}

// unchanged lists the operators behind which an input has the same elements.
var unchanged = map[string]bool{"Identity": true, "Cast": true, "Reshape": true, "Squeeze": true, "Unsqueeze": true, "Gather": true, "Slice": true, "Flatten": true}

// comparands are the values of an input of one element that are worth trying:
// the constants that it is compared with, and their successors, which lie on
// the other side. For other inputs there are none.
func comparands(m *onnxgraph.Model, v *onnxgraph.Value) []float64 {
	dims, ok := v.Type.Shape.Static()
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	if !ok || n != 1 || v.Type.DType == onnxgraph.String {
		return nil
	}
	if v.Type.DType == onnxgraph.Bool {
		return []float64{1, 0}
	}
	var nodes []*onnxgraph.Node
	constants := map[string]*onnxgraph.Tensor{}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		nodes = append(nodes, g.Nodes...)
		for _, t := range g.Initializers {
			constants[t.Name] = t
		}
	})
	same := map[string]bool{v.Name: true}
	for grown := true; grown; {
		grown = false
		for _, n := range nodes {
			if unchanged[n.OpType] && same[n.Input(0)] && !same[n.Output(0)] {
				same[n.Output(0)], grown = true, true
			}
		}
	}
	var out []float64
	for _, n := range nodes {
		if !comparisons[n.OpType] || !same[n.Input(0)] && !same[n.Input(1)] {
			continue
		}
		for _, in := range n.Inputs {
			t := constants[in]
			if t == nil || t.Len() > 8 {
				continue
			}
			list, _ := t.AsDoubles()
			for _, c := range list {
				for _, x := range []float64{c, c + 1} {
					if !slices.Contains(out, x) && !math.IsInf(x, 0) {
						out = append(out, x)
					}
				}
			}
		}
	}
	return out
}

// choices are the combinations of the selectors' values, the first ones first.
func (s *search) choices() []map[string]float64 {
	out := []map[string]float64{{}}
	for _, sel := range s.selectors {
		var next []map[string]float64
		for _, c := range out {
			for _, v := range sel.values {
				d := map[string]float64{sel.input: v}
				for k, x := range c {
					d[k] = x
				}
				if next = append(next, d); len(next) == 16 {
					break
				}
			}
		}
		out = next
	}
	return out
}

// find tries sizes, and then plainer values, until the model runs. Inputs on
// which some output is no number are only taken where there are no others.
func (s *search) find(choice map[string]float64) (trial, error) {
	var last error
	var poor *trial
	for _, fill := range []filling{drawn, ones, zeros} {
		for _, sizes := range s.sizes() {
			if err := s.r.ctx.Err(); err != nil {
				return trial{}, err
			}
			if s.attempts++; s.attempts > maxAttempts {
				break
			}
			t, err := s.attempt(sizes, choice, fill)
			switch {
			case err != nil:
				last = err
			case numbers(t.want):
				return t, nil
			case poor == nil:
				poor = &t
			}
		}
	}
	if poor != nil {
		return *poor, nil
	}
	return trial{}, last
}

// numbers says whether every output has numbers in it.
func numbers(values map[string]*ort.Value) bool {
	for _, v := range values {
		for _, x := range v.Floats() {
			if x != x {
				return false
			}
		}
	}
	return true
}

// sizes lists assignments of the open axes: the first axis of an input is a
// batch, others have some length; then some of these are as large as the batch,
// too (states of a recurrent network).
func (s *search) sizes() [][]int64 {
	if len(s.open) == 0 {
		return [][]int64{nil}
	}
	var long []int
	for i, o := range s.open {
		if !o.batch {
			long = append(long, i)
		}
	}
	subsets := 1 << min(len(long), 4)
	var out [][]int64
	add := func(like int, lengths []int64) {
		for _, batch := range []int64{2, 1} {
			for _, n := range lengths {
				sizes := make([]int64, len(s.open))
				for i := range sizes {
					sizes[i] = n
					if s.open[i].batch {
						sizes[i] = batch
					}
				}
				for k := range min(len(long), 4) {
					if like>>k&1 == 1 {
						sizes[long[len(long)-1-k]] = batch
					}
				}
				if out = append(out, sizes); len(long) == 0 || like == subsets-1 && len(long) <= 4 {
					break // no length left to vary
				}
			}
		}
	}
	for _, part := range [][]int64{s.lengths[:usual], s.lengths[usual:]} {
		for like := range subsets {
			add(like, part)
		}
	}
	return out
}

// attempt runs the model on inputs of the given sizes.
func (s *search) attempt(sizes []int64, choice map[string]float64, fill filling) (trial, error) {
	t := trial{inputs: map[string]*ort.Value{}}
	length := int64(1)
	for i, o := range s.open {
		if !o.batch {
			length = sizes[i]
			break
		}
	}
	for _, v := range s.inputs {
		d := drawing{name: strings.ToLower(v.Name), dtype: v.Type.DType, dims: s.dims(v, sizes), length: length, fill: fill}
		if x, ok := choice[v.Name]; ok {
			d.fill, d.chosen = chosen, x
		}
		var err error
		if t.inputs[v.Name], err = s.r.value(d, v.Type); err != nil {
			return t, fmt.Errorf("input %q: %w", v.Name, err)
		}
	}
	var err error
	t.want, err = s.r.execute(t, nil)
	return t, err
}

// dims is the shape of an input for the given sizes of the open axes.
func (s *search) dims(v *onnxgraph.Value, sizes []int64) []int64 {
	out := make([]int64, len(v.Type.Shape))
	for a, d := range v.Type.Shape {
		out[a] = d.Value
		for i, o := range s.open {
			if !d.IsKnown() && (o.symbol != "" && o.symbol == d.Symbol || o.input == v.Name && o.axis == a) {
				out[a] = sizes[i]
				break
			}
		}
	}
	return out
}
