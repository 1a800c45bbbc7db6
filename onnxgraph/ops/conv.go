// https://onnx.ai/onnx/operators/onnx__Conv.html

package ops

import (
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var conv = &op.Def{
	Name: "Conv", Versions: since(1, 11, 22), Attrs: append(attrs(aInt("group")), windowAttrs...), In: op.Between(2, 3), Out: op.Exactly(1),
	Infer: inferConv, Flow: op.Flows(func(c op.FlowCtx) error { return flowConv(c, false) }), Grad: op.Gradient(gradConv), Lower: op.Primitive,
}

func inferConv(c *op.InferCtx) error {
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
	if err := checkChannels(c, "weight axis 1", x[1], w[1]); err != nil {
		return err
	}
	group := c.Node.Int("group", 1)
	if w[0].IsKnown() && w[0].Value%group != 0 {
		return c.Errorf("group", "%d does not divide %s output channels", group, w[0])
	}
	win, bad := windowOf(c.Node, rank-2, w[2:])
	if bad != "" {
		return c.Errorf(bad, "does not fit the weight %s", w)
	}
	if b := c.I(2).Shape(); b != nil && (len(b) != 1 || b[0].IsKnown() && w[0].IsKnown() && b[0] != w[0]) {
		return c.Errorf("", "bias %s, expected [%s]", b, w[0])
	}
	out, err := win.slide(c, onnxgraph.Shape{x[0], w[0]}, x[2:])
	if err != nil {
		return err
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

// checkChannels checks that group divides the channels, and that each group
// has as many as the weight says.
func checkChannels(c *op.InferCtx, what string, channels, per onnxgraph.Dim) error {
	group := c.Node.Int("group", 1)
	if group < 1 {
		return c.Errorf("group", "%d, expected 1 or more", group)
	}
	if !channels.IsKnown() {
		return nil
	}
	if channels.Value%group != 0 {
		return c.Errorf("group", "%d does not divide %s channels", group, channels)
	}
	if per.IsKnown() && per.Value*group != channels.Value {
		return c.Errorf("", "%s is %s, expected %s channels / %d groups", what, per, channels, group)
	}
	return nil
}

// flowConv ties channels: those of the input are [group, member], and each
// group is contracted with its own kernels. The weight of a transposed
// convolution has the input channels first.
func flowConv(c op.FlowCtx, transposed bool) error {
	x, w, y := c.InFact(0), c.InFact(1), c.OutFact(0)
	if x.Rank() < 3 || w.Rank() != x.Rank() || y.Rank() != x.Rank() {
		return opaque(c, "the rank is unknown")
	}
	flowSpatial(c, "a kernel slides along it")
	for a := 2; a < w.Rank(); a++ {
		c.Taps(c.In(1, a))
	}
	g := onnxgraph.Known(c.Node().Int("group", 1))
	xGroup, xMember := grouped(c, c.In(0, 1), g, divDims(x.Shape()[1], g))
	yGroup, yMember := grouped(c, c.Out(0, 1), g, divDims(y.Shape()[1], g))
	wGroup, wMember := grouped(c, c.In(1, 0), g, divDims(w.Shape()[0], g))
	link(c, xGroup, wGroup)
	link(c, wGroup, yGroup)
	wIn, wOut := c.In(1, 1), wMember
	if transposed {
		wIn, wOut = wMember, c.In(1, 1)
	}
	contract(c, xMember, wIn)
	link(c, wOut, yMember)
	if c.InFact(2) != nil {
		c.Link(c.In(2, 0), c.Out(0, 1))
	}
	return nil
}

func gradConv(c op.GradCtx) error {
	k := calc{c}
	x, w := c.Fact(c.I(0)), c.Fact(c.I(1))
	if x.Rank() < 3 || w.Rank() != x.Rank() {
		return c.Errorf("the rank of an input is unknown")
	}
	win, bad := windowOf(c.Node(), x.Rank()-2, w.Shape()[2:])
	win, ok := win.resolved(x.Shape()[2:])
	if bad != "" || !ok || !win.known() {
		return c.Errorf("the extents of the kernel or the pads are unknown")
	}
	g := c.Node().Int("group", 1)
	if c.Needs(0) {
		c.SetGI(0, k.convInputGrad(c.GO(0), c.I(1), c.I(0), win, g))
	}
	if c.Needs(1) {
		c.SetGI(1, k.convWeightGrad(c.I(0), c.GO(0), win, g))
	}
	if c.Needs(2) {
		c.SetGI(2, k.channelSum(c.GO(0)))
	}
	return nil
}

// channelSum sums over all axes but the channels: the gradient of a bias.
func (k calc) channelSum(dy string) string {
	return k.sum(dy, false, append([]int64{0}, upTo(2, k.Fact(dy).Rank())...)...)
}

// convInputGrad is the transposed convolution of dY. Strides make it shorter
// than the input by the positions that no window reached.
func (k calc) convInputGrad(dy, w, x string, win window, group int64) string {
	in, out := k.Fact(x).Shape()[2:], k.Fact(dy).Shape()[2:]
	n := len(win.kernel)
	if m := k.Fact(dy).Shape()[1]; group == 1 && win.dense() && (win.points() || m.IsKnown() && m.Value <= mostChannelsFlipped) {
		if pads, ok := win.full(); ok {
			return k.convFlipped(dy, w, win, pads)
		}
	}
	extra, exact := make([]int64, n), true
	for i := range n {
		switch {
		case win.strides[i] == 1:
		case in[i].IsKnown() && out[i].IsKnown():
			extra[i] = in[i].Value - ((out[i].Value-1)*win.strides[i] + win.reach(i) - win.pads[i] - win.pads[i+n])
		default: // as long as it can be, and cut
			extra[i], exact = win.strides[i]-1, false
		}
	}
	a := append(win.attributes(), onnxgraph.IntAttr("group", group), onnxgraph.IntsAttr("output_padding", extra...), onnxgraph.IntsAttr("kernel_shape", win.kernel...))
	dx := k.Emit("ConvTranspose", []string{dy, w}, a...)
	if exact {
		return dx
	}
	ends := k.slice(k.ShapeOf(x), 0, 2, int64(n)+2)
	return k.Emit("Slice", []string{dx, k.vector(make([]int64, n)...), ends, k.vector(upTo(2, n+2)...)})
}

// mostChannelsFlipped is the number of output channels up to which the
// convolution with the flipped kernel is faster than the transposed one, whose
// matrix products then are thin: by 15 % with 16 channels of 7×7 to 56×56, 3 %
// with 32, but slower with 64 and by a quarter with 128 (3×3, ONNX Runtime 1.31.1,
// two threads).
const mostChannelsFlipped = 16

// convFlipped is the input gradient with stride 1 as a convolution of dY.
func (k calc) convFlipped(dy, w string, win window, pads []int64) string {
	n := len(win.kernel)
	if win.taps() > 1 {
		from, to := make([]int64, n), make([]int64, n)
		for i := range from {
			from[i], to[i] = -1, math.MinInt64
		}
		w = k.Emit("Slice", []string{w, k.vector(from...), k.vector(to...), k.vector(upTo(2, n+2)...), k.vector(from...)})
	}
	w = k.transpose(w, append([]int64{1, 0}, upTo(2, n+2)...)...)
	return k.Emit("Conv", []string{dy, w}, window{strides: win.strides, dilations: win.dilations, pads: pads}.attributes()...)
}

// full are the pads with which a window of stride 1 reaches back to every
// position that it read; not ok where it was padded beyond its own extent.
func (w window) full() (pads []int64, ok bool) {
	n := len(w.kernel)
	for i, p := range w.pads {
		pads = append(pads, w.reach(i%n)-1-p)
		if pads[i] < 0 {
			return nil, false
		}
	}
	return pads, true
}
