package nino

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"ninox/onnxgraph"
)

// nextSuffix makes the name of a predicted parameter from its own.
const nextSuffix = ".next"

// maxCells bounds the elements of all edges that a model of the whole step
// lists one by one; beyond it its file would pass 2 GiB.
const maxCells = 400 << 20

// wholeStep writes a model of the step for one graph. Inputs: each parameter in
// its past states, float [Context, dims...], oldest first, under its own name,
// and the horizon k int64 []. Outputs: each predicted parameter, float [dims...],
// NAME.next. Scaling, the graph, positions and tokens are part of the model.
func (e emitter) wholeStep(w *Weights, o ExportOptions) error {
	taps := w.Taps
	if w.Variant == VariantMLP {
		taps = mlpTaps
	}
	p, err := newPlan(o.Graph, taps, w.EdgeTypes)
	if err != nil {
		return err
	}
	s := &stepEmitter{emitter: e, w: w, p: p}
	if err := s.declare(o.Shapes); err != nil {
		return err
	}
	k := e.Input(inHorizon, onnxgraph.Int64, onnxgraph.Shape{})
	row := e.horizon(k, w.Horizons)
	t := &tiling{side: 1}
	if o.Form == FormTiles {
		t = newTiling(p, bestSide(p))
	} else {
		for edge := range p.edges {
			t.list = append(t.list, edge)
		}
	}
	if cells := (len(t.cells) + len(t.list)) * p.widest; cells > maxCells {
		return fmt.Errorf("the graph has %d numbers on its edges, a model of the whole step may have %d: use 'ninox nino step'", cells, maxCells)
	}
	values := s.scaled()
	var preds []string
	features := s.features(values, t.list, []int64{int64(len(t.list))})
	list := listInputs{features: features, types: s.listTypes(t.list)}
	count := e.axes(int64(p.widest))
	if w.Variant == VariantMLP {
		s.results([]string{e.mlpPred(w, list, count, row)}, t)
		return nil
	}
	list.index = s.listIndex(t.list)
	columns := e.axes(int64(p.widest * w.Context))
	x, err := s.placed(o)
	if err != nil {
		return err
	}
	switch {
	case o.Form == FormTiles && len(t.kinds) > 0:
		tiles, rest := e.tiles(w.network(), s.tileInputs(values, t), list, x, columns, count, row)
		preds = []string{tiles, rest}
	default:
		preds = []string{e.messages(w.network(), list, x, columns, count, row)}
	}
	s.results(preds, t)
	return nil
}

// stepEmitter writes what surrounds the network in a model of the whole step.
type stepEmitter struct {
	emitter
	w        *Weights
	p        *plan
	shapes   [][]int64 // by parameter
	first    []int     // where each parameter starts in the vector of all
	total    int       // numbers of all parameters
	scales   []scaleValues
	elements []int32 // what each edge's taps carry: places in the vector of all, total + a constant else
}

// scaleValues are the scales of a parameter, double [1, 1] or [1, n].
type scaleValues struct{ mean, std string }

// declare declares the parameters as inputs.
func (s *stepEmitter) declare(shapes map[string][]int64) error {
	var errs []error
	for n, name := range s.p.parameters {
		dims, ok := shapes[name]
		if !ok {
			return fmt.Errorf("the shape of parameter %q is missing", name)
		}
		size := 1
		for _, d := range dims {
			size *= int(d)
		}
		if err := s.p.check(n, size); err != nil {
			errs = append(errs, fmt.Errorf("parameter %q: %w", name, err))
		}
		if name == inHorizon || strings.HasSuffix(name, nextSuffix) {
			errs = append(errs, fmt.Errorf("parameter %q: the name is taken", name))
		}
		s.Input(name, onnxgraph.Float, onnxgraph.StaticShape(append([]int64{int64(s.w.Context)}, dims...)...))
		s.Reserve(name + nextSuffix)
		s.shapes, s.first = append(s.shapes, dims), append(s.first, s.total)
		s.total += size
	}
	s.place()
	return errors.Join(errs...)
}

// Constants behind the vector of all parameters.
const (
	nothing   = 0 // of taps that an edge lacks
	auxiliary = featureAuxiliary
	selfLoop  = featureSelfLoop
)

// place finds what each edge's taps carry.
func (s *stepEmitter) place() {
	s.elements = make([]int32, s.p.edges*s.p.widest)
	for i := range s.elements {
		s.elements[i] = int32(s.total + nothing)
	}
	s.p.each(func(e int, x *piece, i, j int) {
		at := s.elements[e*s.p.widest : (e+1)*s.p.widest]
		if x.parameter < 0 {
			at[0] = int32(s.total + int(x.constant))
			return
		}
		for f, tap := range x.taps {
			at[f] = int32(s.first[x.parameter] + int(x.element(i, j)+tap))
		}
	})
}

// scaled is the vector of all parameters, scaled, and of the constants
// [Context, total + 3].
func (s *stepEmitter) scaled() string {
	var parts []string
	for n, name := range s.p.parameters {
		flat := s.Op("Reshape", []string{name, s.axes(int64(s.w.Context), -1)})
		wide := s.Op("Cast", []string{flat}, onnxgraph.IntAttr("to", int64(onnxgraph.Double)))
		sc := s.scale(wide, s.w.Scaling, s.shapes[n])
		s.scales = append(s.scales, sc)
		v := s.Op("Div", []string{s.Op("Sub", []string{wide, sc.mean}), s.add(sc.std, s.double(scaleEpsilon))})
		parts = append(parts, s.Op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(onnxgraph.Float))))
	}
	constants := make([]float32, 0, 3*s.w.Context)
	for range s.w.Context {
		constants = append(constants, nothing, auxiliary, selfLoop)
	}
	parts = append(parts, s.Const(onnxgraph.Floats("constants", []int64{int64(s.w.Context), 3}, constants)))
	return s.Op("Concat", parts, onnxgraph.IntAttr("axis", 1))
}

// double is a constant [1, 1].
func (s *stepEmitter) double(v float64) string {
	return s.Const(onnxgraph.Doubles("number", []int64{1, 1}, []float64{v}))
}

// scale writes newScaler: the scales of a parameter from its states, double
// [Context, n]. Sums are made in double: over many numbers float would lose digits.
func (s *stepEmitter) scale(x string, method Scaling, dims []int64) scaleValues {
	numbers := int64(s.w.Context)
	axes := []int64{0}
	if method == ScaleLayerwise || method == ScaleMinMax {
		axes = []int64{0, 1}
		for _, d := range dims {
			numbers *= d
		}
	}
	switch method {
	case ScaleNone:
		return scaleValues{s.double(0), s.double(1 - scaleEpsilon)}
	case ScaleMinMax, ScaleMinMaxParameter:
		extent := s.Op("Sub", []string{s.reduce("ReduceMax", x, axes), s.reduce("ReduceMin", x, axes)})
		return scaleValues{s.double(0), s.Op("Max", []string{extent, s.double(scaleFloor)})}
	}
	keep := onnxgraph.IntAttr("keepdims", 1)
	sum := func(x string) string { return s.Op("ReduceSum", []string{x, s.axes(axes...)}, keep) }
	mean := s.Op("Div", []string{sum(x), s.double(float64(numbers))})
	d := s.Op("Sub", []string{x, mean})
	std := s.Op("Sqrt", []string{s.Op("Div", []string{sum(s.mul(d, d)), s.double(math.Max(1, float64(numbers-1)))})})
	if method == ScaleParameter {
		std = s.Op("Max", []string{std, s.double(scaleFloor)})
	}
	return scaleValues{mean, std}
}

// reduce keeps the axes; they became an input in operator set 18.
func (s *stepEmitter) reduce(op, x string, axes []int64) string {
	if s.opset < 18 {
		return s.Op(op, []string{x}, onnxgraph.IntsAttr("axes", axes...), onnxgraph.IntAttr("keepdims", 1))
	}
	return s.Op(op, []string{x, s.axes(axes...)}, onnxgraph.IntAttr("keepdims", 1))
}

// features are the features of edges, or of cells without an edge (-1), in an array
// of the given dims: float [dims..., widest·Context].
func (s *stepEmitter) features(values string, edges []int, dims []int64) string {
	width := s.p.widest
	index := make([]int32, 0, len(edges)*width)
	for _, e := range edges {
		if e < 0 {
			for range width {
				index = append(index, int32(s.total+nothing))
			}
			continue
		}
		index = append(index, s.elements[e*width:(e+1)*width]...)
	}
	taken := s.Op("Gather", []string{values, s.Const(int32s("elements", []int64{int64(len(index))}, index))}, onnxgraph.IntAttr("axis", 1))
	byEdge := s.Op("Transpose", []string{taken}, onnxgraph.IntsAttr("perm", 1, 0)) // [edges·widest, Context]
	return s.Op("Reshape", []string{byEdge, s.axes(append(dims, int64(width*s.w.Context))...)})
}

// int32s makes a tensor of places: half as large as one of int64.
func int32s(name string, dims []int64, v []int32) *onnxgraph.Tensor {
	t := &onnxgraph.Tensor{Name: name, DType: onnxgraph.Int32, Dims: dims, Data: make([]byte, 0, 4*len(v))}
	for _, x := range v {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(x))
	}
	return t
}

// listTypes are the types of listed edges [E].
func (s *stepEmitter) listTypes(edges []int) string {
	_, types := s.p.lists()
	out := make([]int64, len(edges))
	for i, e := range edges {
		out[i] = types[e]
	}
	return s.axes(out...)
}

// listIndex are their ends [2, E].
func (s *stepEmitter) listIndex(edges []int) string {
	index, _ := s.p.lists()
	out := make([]int64, 2*len(edges))
	for i, e := range edges {
		out[i], out[len(edges)+i] = index[e], index[s.p.edges+e]
	}
	return s.Const(onnxgraph.Int64s("ends", []int64{2, int64(len(edges))}, out))
}

func (s *stepEmitter) tileInputs(values string, t *tiling) tileInputs {
	count, side := int64(len(t.kinds)), int64(t.side)
	return tileInputs{
		features: s.features(values, t.cells, []int64{count, side, side}),
		types:    s.axes(t.kinds...),
		sources:  s.Const(onnxgraph.Int64s("sources", []int64{count, side}, t.sources)),
		targets:  s.Const(onnxgraph.Int64s("targets", []int64{count, side}, t.targets)),
	}
}

// placed are the nodes' first values, from their positions and tokens.
func (s *stepEmitter) placed(o ExportOptions) (string, error) {
	pos, err := positionsOf(s.w, o.Graph, Options{Positions: o.Positions})
	if err != nil {
		return "", err
	}
	n := s.w.network()
	x := s.linear(s.Const(onnxgraph.Floats("positions", []int64{int64(s.p.nodes), int64(n.Positions)}, pos)), "node", n.node)
	if n.words == nil {
		return x, nil
	}
	tokens, err := s.p.tokens(n.Words)
	if err != nil {
		return "", err
	}
	return s.add(x, s.words(n, s.axes(tokens...))), nil
}

// results takes each parameter's numbers from the predictions of tiles and list,
// unscales and names them.
func (s *stepEmitter) results(preds []string, t *tiling) {
	var flat []string
	for _, p := range preds {
		flat = append(flat, s.Op("Reshape", []string{p, s.axes(-1)}))
	}
	all := flat[0]
	if len(flat) > 1 {
		all = s.Op("Concat", flat, onnxgraph.IntAttr("axis", 0))
	}
	width := s.p.widest
	from := make([]int32, s.total)
	for cell, e := range append(append([]int{}, t.cells...), t.list...) {
		if e < 0 {
			continue
		}
		for f, at := range s.elements[e*width : (e+1)*width] {
			if int(at) < s.total {
				from[at] = int32(cell*width + f)
			}
		}
	}
	for n, name := range s.p.parameters {
		size := len(from[s.first[n]:])
		if n+1 < len(s.first) {
			size = s.first[n+1] - s.first[n]
		}
		places := int32s("places", []int64{1, int64(size)}, from[s.first[n]:s.first[n]+size])
		v := s.Op("Gather", []string{all, s.Const(places)})
		v = s.Op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(onnxgraph.Double)))
		v = s.add(s.mul(v, s.scales[n].std), s.scales[n].mean)
		v = s.Op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(onnxgraph.Float)))
		out := s.Node("", "Reshape", []string{v, s.axes(s.shapes[n]...)}, []string{name + nextSuffix})[0]
		s.Output(out, onnxgraph.Float, onnxgraph.StaticShape(s.shapes[n]...))
	}
}
