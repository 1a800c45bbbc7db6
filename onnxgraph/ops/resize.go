// https://onnx.ai/onnx/operators/onnx__Resize.html
// https://onnx.ai/onnx/operators/onnx__Upsample.html

package ops

import (
	"math"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// resizes interpolate along each axis by itself, which is a matrix per axis.
var resizes = []*op.Def{
	{
		Name: "Resize", Versions: since(10, 11, 13, 18, 19), In: op.Between(1, 4), Out: op.Exactly(1),
		Attrs: attrs(aInt("antialias"), aInts("axes"), aStr("coordinate_transformation_mode"), aFloat("cubic_coeff_a"), aInt("exclude_outside"),
			aFloat("extrapolation_value"), aStr("keep_aspect_ratio_policy"), aStr("mode"), aStr("nearest_mode")),
		Infer: inferResize, Flow: op.Flows(flowResize), Grad: op.Gradient(gradResize), Lower: lowers(lowerResize),
	},
	{
		Name: "Upsample", Versions: since(1, 7, 9, 10), Attrs: attrs(aFloat("height_scale"), aStr("mode"), aFloats("scales"), aFloat("width_scale")), In: op.Between(1, 2), Out: op.Exactly(1),
		Infer: inferResize, Flow: op.Flows(flowResize), Grad: op.Gradient(gradResize), Lower: lowers(lowerResize),
	},
}

// resizeArgs are the inputs and attributes of a resize, as far as known.
type resizeArgs struct {
	scales []float64 // per axis of the list, nil where not given
	sizes  []onnxgraph.Dim
	axes   []int
	known  bool // whether what is given is known
}

// resizeOf reads a node; in gives the facts of its inputs.
func resizeOf(n *onnxgraph.Node, rank int, in func(i int) *op.Fact) resizeArgs {
	r := resizeArgs{known: true}
	for _, a := range n.Ints("axes") {
		if a < 0 {
			a += int64(rank)
		}
		if a < 0 || a >= int64(rank) {
			return resizeArgs{}
		}
		r.axes = append(r.axes, int(a))
	}
	if r.axes == nil {
		for a := range rank {
			r.axes = append(r.axes, a)
		}
	}
	scales, sizes := in(1), (*op.Fact)(nil)
	if n.OpType == "Resize" && len(n.Inputs) > 2 {
		scales, sizes = in(2), in(3)
	}
	switch {
	case n.Attr("scales") != nil:
		for _, s := range n.Attr("scales").Floats {
			r.scales = append(r.scales, float64(s))
		}
	case n.Attr("height_scale") != nil:
		r.scales = []float64{1, 1, float64(n.Float("height_scale", 1)), float64(n.Float("width_scale", 1))}
	case sizes != nil:
		r.sizes, r.known = elemsOf(sizes)
	default:
		r.scales, r.known = floatsOf(scales)
	}
	if len(r.scales)+len(r.sizes) != len(r.axes) {
		r.known = false
	}
	return r
}

func inferResize(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if s == nil {
		c.Set(0, c.I(0).DType(), nil)
		return nil
	}
	r := resizeOf(c.Node, len(s), c.I)
	if policy := c.Node.Str("keep_aspect_ratio_policy", "stretch"); policy != "stretch" {
		r.keepAspect(s, policy)
	}
	if !r.known {
		out := unknowns(len(s))
		for a := range s {
			if c.Node.Attr("axes") != nil && !slices.Contains(r.axes, a) {
				out[a] = s[a]
			}
		}
		c.Set(0, c.I(0).DType(), out)
		return nil
	}
	for i, a := range r.axes {
		switch {
		case r.sizes != nil:
			s[a] = r.sizes[i]
		case r.scales[i] == 1:
		case s[a].IsKnown():
			// Scales are stored as float32, and so is the product.
			s[a] = onnxgraph.Known(int64(math.Floor(float64(float32(s[a].Value) * float32(r.scales[i])))))
		case r.scales[i] == math.Trunc(r.scales[i]):
			s[a] = mulDims(s[a], onnxgraph.Known(int64(r.scales[i])))
		default:
			s[a] = onnxgraph.UnknownDim()
		}
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// keepAspect replaces sizes by those that scale all axes alike: as large as
// fits into the sizes, or as small as covers them.
func (r *resizeArgs) keepAspect(s onnxgraph.Shape, policy string) {
	if !r.known || r.sizes == nil {
		return
	}
	scale := 0.0
	for i, a := range r.axes {
		if !s[a].IsKnown() || s[a].Value == 0 || !r.sizes[i].IsKnown() {
			r.known = false
			return
		}
		x := float64(r.sizes[i].Value) / float64(s[a].Value)
		if i == 0 || policy == "not_larger" && x < scale || policy == "not_smaller" && x > scale {
			scale = x
		}
	}
	sizes := make([]onnxgraph.Dim, len(r.axes))
	for i, a := range r.axes {
		sizes[i] = onnxgraph.Known(int64(math.Floor(scale*float64(s[a].Value) + 0.5)))
	}
	r.sizes = sizes
}

// flowResize: axes that keep their extent are untouched.
func flowResize(c op.FlowCtx) error {
	in, out := c.InFact(0).Shape(), c.OutFact(0).Shape()
	if in == nil || out == nil {
		return opaque(c, "the rank is not known")
	}
	for a := range in {
		if in[a].Same(out[a]) {
			c.Link(c.In(0, a), c.Out(0, a))
			continue
		}
		c.Fix(c.In(0, a), "is interpolated along")
		c.Fix(c.Out(0, a), "is interpolated along")
	}
	for i := 1; i < len(c.Node().Inputs); i++ {
		fixAll(c, "holds sizes", i)
	}
	return nil
}

// resizing is the matrix of one axis.
type resizing struct {
	axis    int
	in, out int64
	m       []float64 // [out, in]
}

// resizings are the matrices of the axes that change.
func resizings(k calc, x, y onnxgraph.Shape) ([]resizing, error) {
	n := k.Node()
	fact := func(i int) *op.Fact { return k.Fact(k.I(i)) }
	r := resizeOf(n, len(x), fact)
	switch {
	case n.Int("antialias", 0) != 0 || n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" || n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize":
		return nil, k.Errorf("antialiasing, cropping and kept aspect ratios have no form as matrices here")
	case !r.known || x == nil || y == nil:
		return nil, k.Errorf("sizes and scales must be known")
	}
	var list []resizing
	for i, a := range r.axes {
		if x[a].Same(y[a]) && (r.scales == nil || r.scales[i] == 1) {
			continue
		}
		if !x[a].IsKnown() || !y[a].IsKnown() {
			return nil, k.Errorf("axis %d is resized from %s to %s, expected known extents", a, x[a], y[a])
		}
		z := resizing{axis: a, in: x[a].Value, out: y[a].Value}
		scale := float64(z.out) / float64(z.in)
		if r.scales != nil {
			scale = r.scales[i]
		}
		z.m = make([]float64, z.in*z.out)
		for o := range z.out {
			z.row(n, o, scale, z.m[o*z.in:(o+1)*z.in])
		}
		list = append(list, z)
	}
	return list, nil
}

// row fills the weights of output place o.
func (z resizing) row(n *onnxgraph.Node, o int64, scale float64, w []float64) {
	at := z.source(n, float64(o), scale)
	clamp := func(i float64) int { return int(min(max(i, 0), float64(z.in-1))) }
	switch n.Str("mode", "nearest") {
	case "linear", "bilinear", "trilinear":
		at = min(max(at, 0), float64(z.in-1))
		lo := math.Floor(at)
		w[clamp(lo)] += 1 - (at - lo)
		w[clamp(lo+1)] += at - lo
	case "cubic":
		cubicRow(n, at, w, clamp)
	default:
		w[clamp(nearest(n, at))] = 1
	}
}

// source is the place in the input that output place o stems from.
func (z resizing) source(n *onnxgraph.Node, o, scale float64) float64 {
	mode := n.Str("coordinate_transformation_mode", "half_pixel")
	if n.OpType == "Upsample" || n.Attr("coordinate_transformation_mode") == nil && len(n.Inputs) == 2 {
		mode = "asymmetric" // what Resize-10 and Upsample do
	}
	half := (o+0.5)/scale - 0.5
	switch mode {
	case "asymmetric":
		return o / scale
	case "align_corners":
		if z.out == 1 {
			return 0
		}
		return o * float64(z.in-1) / float64(z.out-1)
	case "pytorch_half_pixel":
		if z.out == 1 {
			return 0
		}
	case "half_pixel_symmetric":
		share := float64(z.out) / (scale * float64(z.in))
		return float64(z.in)/2*(1-share) + half
	}
	return half
}

func nearest(n *onnxgraph.Node, at float64) float64 {
	mode := n.Str("nearest_mode", "round_prefer_floor")
	if n.OpType == "Upsample" || n.Attr("nearest_mode") == nil && len(n.Inputs) == 2 {
		mode = "floor"
	}
	switch mode {
	case "floor":
		return math.Floor(at)
	case "ceil":
		return math.Ceil(at)
	case "round_prefer_ceil":
		return math.Floor(at + 0.5)
	}
	return math.Ceil(at - 0.5)
}

// cubicRow weights the four neighbours by Keys' kernel; outside neighbours
// count as the border, or are left out.
func cubicRow(n *onnxgraph.Node, at float64, w []float64, clamp func(float64) int) {
	a := float64(n.Float("cubic_coeff_a", -0.75))
	kernel := func(x float64) float64 {
		x = math.Abs(x)
		switch {
		case x <= 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return ((a*x-5*a)*x+8*a)*x - 4*a
		}
		return 0
	}
	lo, sum := math.Floor(at), 0.0
	for i := lo - 1; i <= lo+2; i++ {
		outside := i < 0 || i > float64(len(w)-1)
		if outside && n.Int("exclude_outside", 0) != 0 {
			continue
		}
		w[clamp(i)] += kernel(at - i)
		sum += kernel(at - i)
	}
	if n.Int("exclude_outside", 0) != 0 {
		for i := range w {
			w[i] /= sum
		}
	}
}

// resized multiplies x by the matrices; back goes from the output to the
// input, by the transposed ones.
func resized(k calc, x string, list []resizing, back bool) string {
	rank := k.Fact(x).Rank()
	for _, z := range list {
		rows, cols, m := z.in, z.out, make([]float64, len(z.m)) // what the last axis is multiplied by
		if back {
			rows, cols = z.out, z.in
		}
		for o := range z.out {
			for i := range z.in {
				at := i*z.out + o
				if back {
					at = o*z.in + i
				}
				m[at] = z.m[o*z.in+i]
			}
		}
		f := &op.Fact{Type: onnxgraph.TensorOf(k.Fact(x).DType(), onnxgraph.StaticShape(rows, cols))}
		t := tensorOf(f, nil, m)
		if t == nil {
			return ""
		}
		matrix := k.Const(t)
		if z.axis == rank-1 {
			x = k.two("MatMul", x, matrix)
			continue
		}
		perm := upTo(0, rank)
		perm[z.axis], perm[rank-1] = perm[rank-1], perm[z.axis]
		x = k.transpose(k.two("MatMul", k.transpose(x, perm...), matrix), perm...)
	}
	return x
}

func lowerResize(k lowCalc) error {
	list, err := resizings(k.calc, k.Fact(k.I(0)).Shape(), k.Fact(k.Node().Output(0)).Shape())
	if err != nil {
		return err
	}
	y := resized(k.calc, k.I(0), list, false)
	if y == "" {
		return k.Errorf("type %s has no matrices", k.Fact(k.I(0)).DType())
	}
	k.SetO(0, y)
	return nil
}

func gradResize(c op.GradCtx) error {
	k := calc{c}
	list, err := resizings(k, k.Fact(c.I(0)).Shape(), k.Fact(c.O(0)).Shape())
	if err != nil {
		return err
	}
	g := resized(k, c.GO(0), list, true)
	if g == "" {
		return c.Errorf("type %s has no matrices", k.Fact(c.I(0)).DType())
	}
	c.SetGI(0, g)
	return nil
}
