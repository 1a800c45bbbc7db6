package ops

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// maxElems is the number of elements up to which inference computes values.
const maxElems = 4096

// inferLike gives output 0 the type of input 0.
func inferLike(c *op.InferCtx) error {
	in := c.I(0)
	c.Set(0, in.DType(), in.Shape().Clone())
	return nil
}

// merged refines a by b where both describe the same tensor; nil where they
// contradict each other.
func merged(a, b onnxgraph.Shape) onnxgraph.Shape {
	switch {
	case a == nil:
		return b.Clone()
	case b == nil:
		return a.Clone()
	case len(a) != len(b):
		return nil
	}
	out := a.Clone()
	for i, d := range b {
		switch {
		case out[i].IsKnown() && d.IsKnown() && out[i] != d:
			return nil
		case !out[i].IsKnown() && (d.IsKnown() || out[i].Symbol == ""):
			out[i] = d
		}
	}
	return out
}

// broadcastDim is the extent of an axis on which a and b are broadcast; false
// where they do not fit. A number above 1 wins over a symbol, which must then
// be that number or 1.
func broadcastDim(a, b onnxgraph.Dim) (onnxgraph.Dim, bool) {
	one := onnxgraph.Known(1)
	switch {
	case a == one || a.Same(b):
		return b, true
	case b == one:
		return a, true
	case a.IsKnown() && b.IsKnown():
		return a, false
	case a.IsKnown():
		return a, true
	case b.IsKnown():
		return b, true
	case a.Symbol == "" || b.Symbol == "":
		return onnxgraph.UnknownDim(), true
	}
	return eitherDim(a.Symbol, b.Symbol), true
}

// eitherDim is the extent on which two symbols are broadcast, a symbol again:
// "either(m, n)" is the one of m and n that is not 1.
func eitherDim(symbols ...string) onnxgraph.Dim {
	var all []string
	for _, s := range symbols {
		if inner, ok := strings.CutPrefix(s, "either("); ok && strings.HasSuffix(inner, ")") && !strings.ContainsAny(inner[:len(inner)-1], "()") {
			all = append(all, strings.Split(inner[:len(inner)-1], ", ")...)
		} else {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return bounded("either(" + strings.Join(slices.Compact(all), ", ") + ")")
}

// broadcast is the multidirectional broadcast of the shapes, nil where a rank
// is unknown.
func broadcast(c *op.InferCtx, shapes ...onnxgraph.Shape) (onnxgraph.Shape, error) {
	out := onnxgraph.Shape{}
	for _, s := range shapes {
		if s == nil {
			return nil, nil
		}
		long, short := out.Clone(), s
		if len(s) > len(out) {
			long, short = s.Clone(), out
		}
		for i := range short {
			at := len(long) - len(short) + i
			d, ok := broadcastDim(long[at], short[i])
			if !ok {
				return nil, c.Errorf("", "shapes %s and %s do not broadcast", out, s)
			}
			long[at] = d
		}
		out = long
	}
	return out, nil
}

// axesOf are the axes given by an attribute or, from some version on, by an
// input: known is false where the input's value is not known, given where
// neither is present.
func axesOf(c *op.InferCtx, attr string, input int) (axes []int64, given, known bool) {
	if a := c.Node.Attr(attr); a != nil {
		return a.Ints, true, true
	}
	f := c.I(input)
	if f == nil {
		return nil, false, true
	}
	v, ok := intsOf(f)
	return v, true, ok
}

// normalized maps axes to 0 … rank-1, and rejects doubles.
func normalized(c *op.InferCtx, attr string, axes []int64, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		n, err := c.Axis(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], n) {
			return nil, c.Errorf(attr, "axis %d is given twice", a)
		}
		out[i] = n
	}
	return out, nil
}

// small says whether a fact's value may be computed with.
func small(f *op.Fact) bool {
	n, known := int64(1), f.Shape() != nil
	for _, d := range f.Shape() {
		switch {
		case d.Value == 0:
			return true
		case !d.IsKnown():
			known = false
		case n <= maxElems:
			n *= min(d.Value, maxElems+1)
		}
	}
	return known && n <= maxElems
}

// intsOf are the elements of an integer or bool value, where each is known.
func intsOf(f *op.Fact) ([]int64, bool) {
	if f == nil || !f.DType().IsInteger() && f.DType() != onnxgraph.Bool || !small(f) {
		return nil, false
	}
	return f.Ints()
}

// elemsOf are the elements of a scalar or vector as extents: numbers, symbols,
// or unknown, which is also what -1 means to those who read extents.
func elemsOf(f *op.Fact) ([]onnxgraph.Dim, bool) {
	if f != nil && f.Elems == nil {
		if v, ok := intsOf(f); ok && f.Rank() <= 1 {
			return onnxgraph.StaticShape(v...), true
		}
	}
	list, ok := signedElems(f)
	for i, d := range list {
		if n, ok := numberOf(d); ok && n < 0 {
			list = slices.Clone(list)
			list[i] = onnxgraph.Dim{Value: n}
		}
	}
	return list, ok
}

// signedElems are the elements of a scalar or vector where negative numbers are
// told from unknown ones: they are symbols, too. Floating-point values take part
// where they are whole numbers, because exporters compute sizes in floating
// point.
func signedElems(f *op.Fact) ([]onnxgraph.Dim, bool) {
	if f == nil || f.Rank() < 0 || f.Rank() > 1 || !small(f) {
		return nil, false
	}
	if f.Elems != nil {
		return f.Elems, true
	}
	if v, ok := intsOf(f); ok {
		out := make([]onnxgraph.Dim, len(v))
		for i, n := range v {
			out[i] = signed(n)
		}
		return out, true
	}
	v, ok := floatsOf(f)
	if !ok {
		return nil, false
	}
	out := make([]onnxgraph.Dim, len(v))
	for i, x := range v {
		if x != math.Trunc(x) || math.Abs(x) > 1<<52 {
			return nil, false
		}
		out[i] = signed(int64(x))
	}
	return out, true
}

// signed is a number as an element: a negative one, which no extent can be, is
// its own text as a symbol.
func signed(n int64) onnxgraph.Dim {
	if n < 0 {
		return onnxgraph.Sym(strconv.FormatInt(n, 10))
	}
	return onnxgraph.Known(n)
}

// numberOf is the number that an element is, false where it is none.
func numberOf(d onnxgraph.Dim) (int64, bool) {
	if d.IsKnown() {
		return d.Value, true
	}
	if d.Symbol == "" || d.Symbol[0] > '9' { // a name; the error costs time
		return 0, false
	}
	n, err := strconv.ParseInt(d.Symbol, 10, 64)
	return n, err == nil
}

// floatsOf are the elements of a constant of floating-point type.
func floatsOf(f *op.Fact) ([]float64, bool) {
	if f == nil || f.Const == nil || !f.DType().IsFloat() || !small(f) {
		return nil, false
	}
	v, err := f.Const.AsDoubles()
	return v, err == nil
}

// setElems records the elements of output i, whose type is set: as a constant
// where all are numbers.
func setElems(c *op.InferCtx, i int, elems []onnxgraph.Dim) {
	if i >= len(c.Out) || len(elems) > maxElems {
		return
	}
	ints := make([]int64, len(elems))
	for k, d := range elems {
		n, ok := numberOf(d)
		if !ok {
			c.Out[i].Elems = elems
			return
		}
		ints[k] = n
	}
	setInts(c, i, ints)
}

// setInts records the value of output i, whose type and shape are set.
func setInts(c *op.InferCtx, i int, v []int64) {
	if i >= len(c.Out) || len(v) > maxElems {
		return
	}
	c.Out[i].Const = tensorOf(c.Out[i], v, nil)
}

// setFloats records the value of output i, whose type and shape are set.
func setFloats(c *op.InferCtx, i int, v []float64) {
	if i < len(c.Out) && len(v) <= maxElems && c.Out[i].DType().IsFloat() {
		c.Out[i].Const = tensorOf(c.Out[i], nil, v)
	}
}

// tensorOf makes the value of a fact from integers or numbers, of which the
// other may be nil; nil where the shape is not that of the elements or the type
// has no encoding here.
func tensorOf(f *op.Fact, ints []int64, floats []float64) *onnxgraph.Tensor {
	dims, ok := f.Shape().Static()
	n := max(len(ints), len(floats))
	if p := product(f.Shape()); !ok || p.Value != int64(n) {
		return nil
	}
	d := f.DType()
	data := make([]byte, 0, d.RawSize(int64(n)))
	le := binary.LittleEndian
	number := func(i int) float64 { return float64(ints[i]) }
	if floats != nil {
		number = func(i int) float64 { return floats[i] }
	}
	switch {
	case n == 0 && slices.Contains([]onnxgraph.DType{onnxgraph.Float, onnxgraph.Double, onnxgraph.Int64, onnxgraph.Int32, onnxgraph.Bool}, d):
	case d == onnxgraph.Float:
		for i := range n {
			data = le.AppendUint32(data, math.Float32bits(float32(number(i))))
		}
	case d == onnxgraph.Double:
		for i := range n {
			data = le.AppendUint64(data, math.Float64bits(number(i)))
		}
	case ints == nil:
		return nil
	case d == onnxgraph.Int64:
		for _, v := range ints {
			data = le.AppendUint64(data, uint64(v))
		}
	case d == onnxgraph.Int32:
		for _, v := range ints {
			data = le.AppendUint32(data, uint32(int32(v)))
		}
	case d == onnxgraph.Bool:
		for _, v := range ints {
			data = append(data, byte(min(1, max(v, -v))))
		}
	default:
		return nil
	}
	return &onnxgraph.Tensor{DType: d, Dims: dims, Data: data}
}

// folder computes one element of an elementwise operator from those of its
// inputs. A nil function, or false, leaves the value unknown.
type folder struct {
	ints func(x []int64) (int64, bool)
	dims func(x []onnxgraph.Dim) onnxgraph.Dim
	// intDims stands in for dims where the elements are integers, if it differs.
	intDims func(x []onnxgraph.Dim) onnxgraph.Dim
	floats  func(x []float64) float64
}

// fold computes output 0, whose type and shape are set, where the inputs are
// known well enough.
func (f folder) fold(c *op.InferCtx) {
	dims, static := c.Out[0].Shape().Static()
	if len(c.Out) == 0 || !small(c.Out[0]) || !static {
		return
	}
	if f.ints != nil && foldAll(c, dims, intsOf, f.ints, setInts) {
		return
	}
	if f.floats != nil && derived(c) && foldAll(c, dims, floatsOf, func(x []float64) (float64, bool) { return f.floats(x), true }, setFloats) {
		return
	}
	symbolic := f.dims
	if f.intDims != nil && c.Out[0].DType().IsInteger() {
		symbolic = f.intDims
	}
	if symbolic != nil && len(dims) <= 1 && derived(c) {
		foldAll(c, dims, signedElems, func(x []onnxgraph.Dim) (onnxgraph.Dim, bool) { return symbolic(x), true }, setElems)
	}
}

// derived says whether some input is a value that inference found, not a
// parameter: what parameters alone make is left for the runtime, since it may
// change in training.
func derived(c *op.InferCtx) bool {
	for _, in := range c.In {
		if in != nil && !in.Param && (in.Const != nil || in.Elems != nil) {
			return true
		}
	}
	return false
}

// foldAll applies f to each element of the broadcast inputs.
func foldAll[T any](c *op.InferCtx, dims []int64, read func(*op.Fact) ([]T, bool), f func([]T) (T, bool), set func(*op.InferCtx, int, []T)) bool {
	values := make([][]T, len(c.In))
	for i, in := range c.In {
		v, ok := read(in)
		if !ok {
			return false
		}
		values[i] = v
	}
	n := product(onnxgraph.StaticShape(dims...)).Value
	out := make([]T, n)
	for i, v := range values {
		if len(v) == len(out) || len(v) == 1 {
			continue // nothing is broadcast, or one element everywhere
		}
		spread := make([]T, len(out))
		for k, at := range broadcastIndices(dims, c.In[i].Shape()) {
			if at >= int64(len(v)) {
				return false
			}
			spread[k] = v[at]
		}
		values[i] = spread
	}
	args := make([]T, len(values))
	for k := range out {
		for i, v := range values {
			if args[i] = v[0]; len(v) > 1 {
				args[i] = v[k]
			}
		}
		x, ok := f(args)
		if !ok {
			return false
		}
		out[k] = x
	}
	set(c, 0, out)
	return true
}

// broadcastIndices lists, for each element of a tensor of the given extents, the
// element of an input of shape s that broadcasting puts there.
func broadcastIndices(dims []int64, s onnxgraph.Shape) []int64 {
	strides := make([]int64, len(dims)) // 0 along axes that are broadcast
	stride := int64(1)
	for i := len(s) - 1; i >= 0; i-- {
		if a := i + len(dims) - len(s); a >= 0 && s[i].Value > 1 {
			strides[a] = stride
		}
		stride *= max(s[i].Value, 1)
	}
	out := []int64{0}
	for a, n := range dims {
		next := make([]int64, 0, int64(len(out))*n)
		for _, at := range out {
			for range n {
				next = append(next, at)
				at += strides[a]
			}
		}
		out = next
	}
	return out
}

// sizeOf is the number that element 0 of an input is, as a dim.
func sizeOf(f *op.Fact) onnxgraph.Dim {
	if v, ok := elemsOf(f); ok && len(v) > 0 {
		return v[0]
	}
	return onnxgraph.UnknownDim()
}
