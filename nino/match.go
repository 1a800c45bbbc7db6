package nino

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// ModelParameter is a parameter as a model has it.
type ModelParameter struct {
	Name  string
	Shape []int64
	Value *onnxgraph.Tensor // nil where it is not known
}

// How says what made an array of a checkpoint the array of a parameter.
type How string

// Ways to match, the surest first.
const (
	ByName   How = "name"
	BySuffix How = "suffix" // one name ends in the other: transformer.h.0.ln_1.bias and h.0.ln_1.bias
	ByValue  How = "value"  // the model holds the numbers of one of the states
	ByFold   How = "folded" // those of a state after a normalization was multiplied into them
)

// Match is a parameter of the model with its array in the checkpoints.
type Match struct {
	Parameter  string `json:"parameter"`
	Array      string `json:"array"`
	How        How    `json:"how"`
	Transposed bool   `json:"transposed,omitempty"`
}

// Tie is an array that holds the numbers of another one in every state.
type Tie struct {
	Array string `json:"array"`
	Of    string `json:"of"`
}

// fold is the scale of a normalization that the model no longer has: it acted
// where a bias of the model acts now.
type fold struct{ scale, bias string }

// Matching says which array of the checkpoints each parameter of a model is.
type Matching struct {
	Matches []Match
	Missing []string // parameters that the states lack
	Tied    []Tie    // arrays that follow another one
	Rest    []string // arrays that are no parameters of the model
	folds   []fold
	shapes  map[string][]int64 // of the model's parameters
}

// Checkpoint is a state of a model's parameters, in memory (weights.Set) or in
// mapped files (weights.File).
type Checkpoint interface {
	Arrays
	Names() []string
}

// MatchStates finds the parameters of a model in states of it, oldest first,
// that any framework may have written: by name, then by the end of the name,
// then by shape and value, for which the model has to hold the numbers of one of
// the states, as they are, transposed, or with a batch normalization folded in.
// What fits in more than one way is refused; every fault is reported. Arrays
// are read in place.
func MatchStates[S Checkpoint](parameters []ModelParameter, states []S) (*Matching, error) {
	m := newMatcher(parameters, states)
	for _, how := range []func(){m.byName, m.bySuffix, m.byValue, m.byFold, m.turnSquares} {
		how()
	}
	return m.result()
}

// matcher is a matching under way.
type matcher struct {
	parameters []ModelParameter
	states     []Checkpoint
	arrays     []string           // of numbers
	taken      map[string]int     // arrays, by parameter
	found      []*Match           // by parameter
	rounding   map[string]float64 // of arrays
	unsure     map[int]bool       // parameters, whether their square matrix is transposed
	folds      []fold
	faults     []error
}

func newMatcher[S Checkpoint](parameters []ModelParameter, states []S) *matcher {
	m := &matcher{parameters: parameters, taken: map[string]int{}, found: make([]*Match, len(parameters)), rounding: map[string]float64{}, unsure: map[int]bool{}}
	for _, s := range states {
		m.states = append(m.states, s)
	}
	for _, name := range m.newest().Names() {
		if _, err := columnOf(m.newest().Tensor(name), name); err == nil {
			m.arrays = append(m.arrays, name)
		}
	}
	return m
}

func (m *matcher) newest() Checkpoint { return m.states[len(m.states)-1] }

// dims is the shape of an array.
func (m *matcher) dims(array string) []int64 { return m.newest().Tensor(array).Dims }

func (m *matcher) match(i int, array string, how How, transposed bool) {
	m.found[i] = &Match{m.parameters[i].Name, array, how, transposed}
	m.taken[array] = i
}

// open calls visit for the parameters that have no array yet.
func (m *matcher) open(visit func(i int, p *ModelParameter)) {
	for i := range m.parameters {
		if m.found[i] == nil {
			visit(i, &m.parameters[i])
		}
	}
}

// free lists the arrays that no parameter has.
func (m *matcher) free() []string {
	var out []string
	for _, a := range m.arrays {
		if _, ok := m.taken[a]; !ok {
			out = append(out, a)
		}
	}
	return out
}

// without1 drops the axes of one element: they hold no order.
func without1(dims []int64) []int64 {
	return slices.DeleteFunc(slices.Clone(dims), func(d int64) bool { return d == 1 })
}

// fits says whether an array can hold a parameter as it is, or transposed.
func (m *matcher) fits(p *ModelParameter, array string) (same, transposed bool) {
	dims := m.dims(array)
	same = slices.Equal(without1(dims), without1(p.Shape))
	transposed = len(dims) == 2 && len(p.Shape) == 2 && dims[0] == p.Shape[1] && dims[1] == p.Shape[0] && dims[0] > 1 && dims[1] > 1
	return same, transposed
}

// orient decides between the two ways in which a square matrix can be meant: by
// the model's values, where they tell.
func (m *matcher) orient(i int, array string) (transposed, ok bool) {
	p := &m.parameters[i]
	same, turned := m.fits(p, array)
	if same && turned {
		straight, crossed := m.distances(p, array)
		m.unsure[i] = math.Min(straight, crossed) > m.tolerance(array)
		return crossed <= m.tolerance(array) && crossed < straight, true
	}
	return turned, same || turned
}

// turnSquares takes square matrices whose values tell nothing the way in which
// all other matrices lie whose names end alike: a framework that stores kernels
// by input stores them all so.
func (m *matcher) turnSquares() {
	last := func(array string) string {
		w := words(array)
		return strings.Join(w[max(0, len(w)-1):], "")
	}
	straight, turned := map[string]bool{}, map[string]bool{}
	for i, f := range m.found {
		if f == nil || m.unsure[i] || f.Array == "" || len(m.dims(f.Array)) != 2 {
			continue
		}
		if f.Transposed {
			turned[last(f.Array)] = true
		} else {
			straight[last(f.Array)] = true
		}
	}
	for i, f := range m.found {
		if f != nil && m.unsure[i] && turned[last(f.Array)] && !straight[last(f.Array)] {
			f.Transposed = true
		}
	}
}

func (m *matcher) byName() {
	m.open(func(i int, p *ModelParameter) {
		if !slices.Contains(m.arrays, p.Name) {
			return
		}
		transposed, ok := m.orient(i, p.Name)
		if !ok {
			m.faults = append(m.faults, fmt.Errorf("parameter %q has shape %v in the model, %v in the states", p.Name, p.Shape, m.dims(p.Name)))
		}
		m.match(i, p.Name, ByName, transposed)
	})
}

// words are the parts of a name, whatever separates them.
func words(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// endsIn says whether one of the names ends in the other, of at least two parts.
func endsIn(a, b []string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	return len(b) > 1 && slices.Equal(a[len(a)-len(b):], b)
}

func (m *matcher) bySuffix() {
	free := m.free()
	parts := map[string][]string{}
	for _, a := range free {
		parts[a] = words(a)
	}
	type claim struct {
		parameter  int
		transposed bool
	}
	claims := map[string][]claim{}
	m.open(func(i int, p *ModelParameter) {
		own := words(p.Name)
		array, fitting := "", 0
		var c claim
		for _, a := range free {
			if !endsIn(own, parts[a]) {
				continue
			}
			if transposed, ok := m.orient(i, a); ok {
				array, c = a, claim{i, transposed}
				fitting++
			}
		}
		if fitting == 1 && !m.contradicted(p, array) {
			claims[array] = append(claims[array], c)
		}
	})
	for a, by := range claims {
		if len(by) == 1 {
			m.match(by[0].parameter, a, BySuffix, by[0].transposed)
		}
	}
}

// contradicted says whether the model holds the numbers of another array.
func (m *matcher) contradicted(p *ModelParameter, array string) bool {
	c := m.closest(p, m.free())
	return len(c) > 0 && !slices.ContainsFunc(c, func(x candidate) bool { return x.array == array })
}

// candidate is an array that could be a parameter.
type candidate struct {
	array      string
	transposed bool
	distance   float64 // of the values, relative
}

// clearly is how many times further than the best array the next one has to be.
const clearly = 4

// closest are the arrays whose numbers in one of the states are those of the model
// up to rounding: one where the values decide, more where they do not.
func (m *matcher) closest(p *ModelParameter, arrays []string) []candidate {
	var near []candidate
	for _, a := range arrays {
		same, turned := m.fits(p, a)
		if !same && !turned {
			continue
		}
		straight, crossed := m.distances(p, a)
		c := candidate{a, crossed < straight, math.Min(straight, crossed)}
		if c.distance <= m.tolerance(a) {
			near = append(near, c)
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int {
		switch {
		case a.distance < b.distance:
			return -1
		case a.distance > b.distance:
			return 1
		}
		return 0
	})
	for i := 1; i < len(near); i++ {
		if near[i].distance > clearly*near[0].distance {
			return near[:i]
		}
	}
	return near
}

func (m *matcher) byValue() {
	free := m.free()
	claims := map[string][]int{}
	best := make([][]candidate, len(m.parameters))
	m.open(func(i int, p *ModelParameter) {
		best[i] = m.distinct(m.closest(p, free))
		for _, c := range best[i] {
			claims[c.array] = append(claims[c.array], i)
		}
	})
	for i, list := range best {
		switch {
		case len(list) == 1 && len(claims[list[0].array]) == 1:
			m.match(i, list[0].array, ByValue, list[0].transposed)
		case len(list) > 0:
			var names []string
			for _, c := range list {
				names = append(names, fmt.Sprintf("%q", c.array))
			}
			m.faults = append(m.faults, fmt.Errorf("parameter %q of the model could be %s of the states: their values do not tell, rename one", m.parameters[i].Name, strings.Join(names, " or ")))
			m.found[i] = &Match{Parameter: m.parameters[i].Name}
		}
	}
}

// distinct leaves one of arrays that are equal in every state: they are tied, and
// any of them will do.
func (m *matcher) distinct(list []candidate) []candidate {
	if len(list) < 2 {
		return list
	}
	for _, c := range list[1:] {
		if c.transposed != list[0].transposed || !m.tied(c.array, list[0].array) {
			return list
		}
	}
	return list[:1]
}

// tied says whether two arrays hold the same numbers in every state, and those
// change: untrained parts of a model may be equal by chance.
func (m *matcher) tied(a, b string) bool {
	moves := false
	var last *onnxgraph.Tensor
	for _, s := range m.states {
		x := s.Tensor(a)
		if !equalArrays(x, s.Tensor(b)) {
			return false
		}
		moves = moves || last != nil && !equalArrays(x, last)
		last = x
	}
	return moves
}

func equalArrays(a, b *onnxgraph.Tensor) bool {
	return a != nil && b != nil && a.DType == b.DType && slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Data, b.Data)
}

// tolerance is how far apart, relatively, equal numbers may lie: as far as the
// type in which the checkpoint holds them, or held them once, rounds.
func (m *matcher) tolerance(array string) float64 {
	t, ok := m.rounding[array]
	if !ok {
		t = rounding(m.newest().Tensor(array))
		m.rounding[array] = t
	}
	return t
}

// How far numbers of so many bits may lie from those that they were rounded from.
const (
	float32Rounds  = 1e-5
	float16Rounds  = 1.0 / 2048
	bfloat16Rounds = 1.0 / 256
)

func rounding(t *onnxgraph.Tensor) float64 {
	c, err := columnOf(t, t.Name)
	if err != nil {
		return float32Rounds
	}
	switch c.dtype {
	case onnxgraph.BFloat16:
		return bfloat16Rounds
	case onnxgraph.Float16:
		return float16Rounds
	}
	var used uint32
	for i := range int64(c.len()) {
		if used |= math.Float32bits(c.at(i)); used&0x1fff != 0 {
			return float32Rounds
		}
	}
	if used&0xffff == 0 {
		return bfloat16Rounds
	}
	return float16Rounds
}

// distances compare the model's values with an array, as it is and transposed, in
// the state that comes closest.
func (m *matcher) distances(p *ModelParameter, array string) (straight, crossed float64) {
	straight, crossed = math.Inf(1), math.Inf(1)
	if p.Value == nil {
		return straight, crossed
	}
	value, err := columnOf(p.Value, p.Name)
	if err != nil {
		return straight, crossed
	}
	same, turned := m.fits(p, array)
	for _, s := range slices.Backward(m.states) {
		v, err := columnOf(s.Tensor(array), array)
		if err != nil || v.len() != value.len() {
			continue
		}
		n := int64(v.len())
		if same {
			straight = math.Min(straight, relative(value.at, v.at, n))
		}
		if turned {
			rows, cols := p.Shape[0], p.Shape[1]
			crossed = math.Min(crossed, relative(value.at, func(i int64) float32 { return v.at(i%cols*rows + i/cols) }, n))
		}
	}
	return straight, crossed
}

// relative is the distance of n numbers b from a, as a share of a's norm. A
// sample that differs ends it early.
func relative(a, b func(i int64) float32, n int64) float64 {
	const samples = 256
	span := func(step int64) float64 {
		var off, norm float64
		for i := int64(0); i < n; i += step {
			x := float64(a(i))
			d := x - float64(b(i))
			off += d * d
			norm += x * x
		}
		if off == 0 {
			return 0
		}
		return math.Sqrt(off / math.Max(norm, math.SmallestNonzeroFloat64))
	}
	if n > 16*samples {
		if d := span(n / samples); d > 0.1 {
			return d
		}
	}
	return span(1)
}

// result finishes a matching.
func (m *matcher) result() (*Matching, error) {
	out := &Matching{folds: m.folds, shapes: map[string][]int64{}}
	for i, f := range m.found {
		p := &m.parameters[i]
		out.shapes[p.Name] = p.Shape
		if f == nil {
			out.Missing = append(out.Missing, p.Name)
		} else {
			out.Matches = append(out.Matches, *f)
		}
	}
	scales := map[string]bool{}
	for _, f := range m.folds {
		scales[f.scale] = true
	}
	for _, name := range m.newest().Names() {
		if _, ok := m.taken[name]; ok || scales[name] {
			continue
		}
		at := -1
		if slices.Contains(m.arrays, name) {
			at = slices.IndexFunc(out.Matches, func(x Match) bool { return x.Array != "" && m.tied(name, x.Array) })
		}
		if at >= 0 {
			out.Tied = append(out.Tied, Tie{name, out.Matches[at].Array})
		} else {
			out.Rest = append(out.Rest, name)
		}
	}
	if err := errors.Join(m.faults...); err != nil {
		return nil, err
	}
	if len(out.Matches) == 0 {
		var names []string
		for _, p := range m.parameters {
			names = append(names, p.Name)
		}
		return nil, fmt.Errorf("no array of the states is a parameter of the model, by name or by value; the states hold %s, the model's parameters are %s", few(m.newest().Names()), few(names))
	}
	return out, nil
}

// few names some of many.
func few(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Arrays are the arrays that a nowcast predicts.
func (m *Matching) Arrays() []string {
	var out []string
	for _, x := range m.Matches {
		out = append(out, x.Array)
	}
	for _, f := range m.folds {
		out = append(out, f.scale)
	}
	return out
}

// Parameters are the parameters of the model that the states hold.
func (m *Matching) Parameters() []string {
	var out []string
	for _, x := range m.Matches {
		out = append(out, x.Parameter)
	}
	return out
}

// Graph turns the graph of the model's parameters into one of the checkpoints'
// arrays: the same edges carry them as they lie there, so that a nowcast reads and
// writes checkpoints in their own layout.
func (m *Matching) Graph(g *neuralgraph.NiNo) (*neuralgraph.NiNo, error) {
	out := *g
	out.Layers, out.Blocks = slices.Clone(g.Layers), slices.Clone(g.Blocks)
	of := map[string]Match{}
	for _, x := range m.Matches {
		of[x.Parameter] = x
	}
	for i := range out.Blocks {
		b := &out.Blocks[i]
		x, ok := of[b.Parameter]
		if b.Parameter == "" {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("parameter %q of the graph has no array in the states", b.Parameter)
		}
		if x.Transposed {
			if err := transpose(b, m.shapes[x.Parameter]); err != nil {
				return nil, fmt.Errorf("parameter %q: %w", x.Parameter, err)
			}
		}
		b.Parameter = x.Array
	}
	for _, f := range m.folds {
		at := slices.IndexFunc(out.Blocks, func(b neuralgraph.Block) bool { return b.Parameter == f.bias })
		if at < 0 {
			return nil, fmt.Errorf("array %q: the graph has no bias %q beside it", f.scale, f.bias)
		}
		// A norm weight is one more node with an edge to every neuron of the layer.
		b := out.Blocks[at]
		b.Parameter, b.Type, b.Source = f.scale, neuralgraph.EdgeNorm, neuralgraph.Span{First: out.Nodes, Count: 1}
		out.Layers = append(out.Layers, neuralgraph.Layer{Name: f.scale, First: out.Nodes, Size: 1})
		out.Blocks = append(out.Blocks, b)
		out.Nodes++
	}
	return &out, nil
}

// transpose makes a block of a matrix [dims] one of its transposition.
func transpose(b *neuralgraph.Block, dims []int64) error {
	rows, cols := dims[0], dims[1]
	turn := func(at int64) int64 { return at%cols*rows + at/cols }
	old := *b
	offsets := b.TapOffsets
	if offsets == nil {
		for t := range b.Taps {
			offsets = append(offsets, int64(t))
		}
	}
	b.Offset = turn(old.Offset)
	b.TapOffsets = make([]int64, len(offsets))
	for i, t := range offsets {
		b.TapOffsets[i] = turn(old.Offset+t) - b.Offset
	}
	b.SourceStride, b.TargetStride = turn(old.SourceStride), turn(old.TargetStride)
	// Steps turn into steps as long as none wraps around a row.
	sources, targets := int64(old.Source.Count), int64(old.Target.Count)
	if old.Diagonal {
		targets = 1
	}
	for _, i := range []int64{0, sources - 1} {
		for _, j := range []int64{0, targets - 1} {
			for n, t := range offsets {
				if turn(old.Offset+i*old.SourceStride+j*old.TargetStride+t) != b.Offset+i*b.SourceStride+j*b.TargetStride+b.TapOffsets[n] {
					return fmt.Errorf("its edges do not lie along rows and columns, so its transposition cannot be read")
				}
			}
		}
	}
	return nil
}
