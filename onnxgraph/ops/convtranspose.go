// https://onnx.ai/onnx/operators/onnx__ConvTranspose.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var convTranspose = &op.Def{
	Name: "ConvTranspose", Versions: since(1, 11, 22), In: op.Between(2, 3), Out: op.Exactly(1),
	Attrs: append(attrs(aInt("group"), aInts("output_padding"), aInts("output_shape")), windowAttrs...),
	Infer: inferConvTranspose, Flow: op.Flows(func(c op.FlowCtx) error { return flowConv(c, true) }),
	Grad: op.Gradient(gradConvTranspose), Lower: op.Primitive,
}

// transposedWindow reads the attributes, with pads as they follow from
// output_shape or auto_pad; extra is output_padding. ok is false where the
// pads are not known.
func transposedWindow(n *onnxgraph.Node, in, kernel onnxgraph.Shape) (win window, extra []int64, bad string, ok bool) {
	spatial := len(in)
	if win, bad = windowOf(n, spatial, kernel); bad != "" {
		return win, nil, bad, false
	}
	if extra = n.Ints("output_padding"); extra == nil {
		extra = make([]int64, spatial)
	}
	shape := n.Ints("output_shape")
	switch {
	case len(extra) != spatial:
		return win, nil, "output_padding", false
	case shape != nil && len(shape) != spatial:
		return win, nil, "output_shape", false
	case shape == nil && win.auto == "":
		return win, extra, "", true
	case !win.known():
		return win, extra, "", false
	}
	pads := make([]int64, 2*spatial)
	for i, d := range in {
		var want int64
		switch {
		case !d.IsKnown():
			return win, extra, "", false
		case shape != nil:
			want = shape[i]
		default:
			want = d.Value * win.strides[i]
		}
		total := max(0, (d.Value-1)*win.strides[i]+extra[i]+win.reach(i)-want)
		pads[i], pads[i+spatial] = total-total/2, total/2
		if win.auto == "SAME_UPPER" {
			pads[i], pads[i+spatial] = pads[i+spatial], pads[i]
		}
	}
	win.pads, win.auto = pads, ""
	return win, extra, "", true
}

func inferConvTranspose(c *op.InferCtx) error {
	x, w := c.I(0).Shape(), c.I(1).Shape()
	rank := max(c.I(0).Rank(), c.I(1).Rank())
	if rank < 0 {
		c.Set(0, c.I(0).DType(), nil)
		return nil
	}
	if x == nil {
		x = unknowns(rank)
	}
	if w == nil {
		w = unknowns(rank)
	}
	if rank < 3 || len(x) != rank || len(w) != rank {
		return c.Errorf("", "input %s and weight %s, expected equal ranks of 3 or more", x, w)
	}
	if x[1].IsKnown() && w[0].IsKnown() && x[1] != w[0] {
		return c.Errorf("", "input %s has %s channels, the weight %s expects %s", x, x[1], w, w[0])
	}
	group := c.Node.Int("group", 1)
	if group < 1 || w[0].IsKnown() && w[0].Value%group != 0 {
		return c.Errorf("group", "%d does not divide %s channels", group, w[0])
	}
	win, extra, bad, ok := transposedWindow(c.Node, x[2:], w[2:])
	if bad != "" {
		return c.Errorf(bad, "does not fit the weight %s", w)
	}
	out := onnxgraph.Shape{x[0], mulDims(w[1], onnxgraph.Known(group))}
	for i, d := range x[2:] {
		switch {
		case c.Node.Ints("output_shape") != nil:
			out = append(out, onnxgraph.Known(c.Node.Ints("output_shape")[i]))
		case win.auto != "" || !ok:
			out = append(out, mulDims(d, onnxgraph.Known(win.strides[i])))
		case !win.known():
			out = append(out, onnxgraph.UnknownDim())
		default:
			steps := subDims(mulDims(d, onnxgraph.Known(win.strides[i])), onnxgraph.Known(win.strides[i]))
			out = append(out, moved(steps, win.reach(i)+extra[i]-win.pads[i]-win.pads[i+len(x)-2]))
		}
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

// gradConvTranspose: the operator is the adjoint of a convolution, so its
// input gradient is that convolution of dY, and for the weight X and dY change
// places.
func gradConvTranspose(c op.GradCtx) error {
	k := calc{c}
	x, w := c.Fact(c.I(0)), c.Fact(c.I(1))
	if x.Rank() < 3 || w.Rank() != x.Rank() {
		return c.Errorf("the rank of an input is unknown")
	}
	win, _, bad, ok := transposedWindow(c.Node(), x.Shape()[2:], w.Shape()[2:])
	if bad != "" || !ok || !win.known() {
		return c.Errorf("the extents of the kernel or the pads are unknown")
	}
	group := c.Node().Int("group", 1)
	if c.Needs(0) {
		a := append(win.attributes(), onnxgraph.IntAttr("group", group))
		dx := c.Emit("Conv", []string{c.GO(0), c.I(1)}, a...)
		// Output padding may have room for more windows than there were inputs.
		if have := c.Fact(dx).Shape(); !sameDims(have[2:], x.Shape()[2:]) && len(c.Node().Ints("output_padding")) > 0 {
			n := x.Rank() - 2
			ends := k.slice(k.ShapeOf(c.I(0)), 0, 2, int64(n)+2)
			dx = k.Emit("Slice", []string{dx, k.vector(make([]int64, n)...), ends, k.vector(upTo(2, n+2)...)})
		}
		c.SetGI(0, dx)
	}
	if c.Needs(1) {
		c.SetGI(1, k.convWeightGrad(c.GO(0), c.I(0), win, group))
	}
	if c.Needs(2) {
		c.SetGI(2, k.channelSum(c.GO(0)))
	}
	return nil
}

func sameDims(a, b onnxgraph.Shape) bool {
	for i := range a {
		if !a[i].Same(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}
