// https://onnx.ai/onnx/operators/onnx__LSTM.html
// https://onnx.ai/onnx/operators/onnx__GRU.html
// https://onnx.ai/onnx/operators/onnx__RNN.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// rnnOps are the recurrent layers. Inputs: X [T,B,I], W [D,G·H,I],
// R [D,G·H,H], B [D,2·G·H], lengths [B], initial h [D,B,H], and for LSTM
// initial c and the peepholes P [D,3·H]; G gates, D directions. With layout 1
// the batch stands first.
var rnnOps = []*op.Def{
	withGradient(recurrent("RNN", since(1, 7, 14, 22), 1, 6, 2, nil, lowerRNN), plainLayer, gradRNN),
	withGradient(recurrent("GRU", since(1, 3, 7, 14, 22), 3, 6, 2, attrs(aInt("linear_before_reset")), lowerGRU), plainLayer, gradGRU),
	withGradient(recurrent("LSTM", since(1, 7, 14, 22), 4, 8, 3, attrs(aInt("input_forget")), lowerLSTM), plainLSTM, gradLSTM),
}

// withGradient gives plain layers a gradient of their own, since their lowering
// has many small nodes.
func withGradient(d *op.Def, plain func(*onnxgraph.Node) bool, grad func(op.GradCtx) error) *op.Def {
	d.Grad = op.GradientWhere(plain, grad)
	return d
}

var rnnAttrs = attrs(aFloats("activation_alpha"), aFloats("activation_beta"), aStrs("activations"), aFloat("clip"), aStr("direction"),
	aInt("hidden_size"), aInt("layout"), aInt("output_sequence"))

func recurrent(name string, versions []int64, gates int64, maxIn, maxOut int, extra []op.AttrSpec, lower func(k lowCalc) error) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: append(extra, rnnAttrs...), In: op.Between(3, maxIn), Out: op.Between(0, maxOut),
		Infer: func(c *op.InferCtx) error { return inferRNN(c, gates) },
		Flow:  op.Flows(func(c op.FlowCtx) error { return flowRNN(c, gates) }),
		Grad:  op.FromLowering,
		Lower: lowers(lower),
	}
}

// directions is D, 0 where the attribute is not one of the three names.
func directions(n *onnxgraph.Node) int64 {
	switch n.Str("direction", "forward") {
	case "forward", "reverse":
		return 1
	case "bidirectional":
		return 2
	}
	return 0
}

// inferRNN: Y [T,D,B,H], and [D,B,H] for the last states.
func inferRNN(c *op.InferCtx, gates int64) error {
	d := directions(c.Node)
	if d == 0 {
		return c.Errorf("direction", "%q, expected forward, reverse or bidirectional", c.Node.Str("direction", ""))
	}
	x, w, r := c.I(0).Shape(), c.I(1).Shape(), c.I(2).Shape()
	for i, s := range []onnxgraph.Shape{x, w, r} {
		if s != nil && len(s) != 3 {
			return c.Errorf("", "input %d has shape %s, expected three axes", i, s)
		}
	}
	hidden := onnxgraph.UnknownDim()
	if r != nil {
		hidden = r[2]
	}
	if a := c.Node.Attr("hidden_size"); a != nil {
		if hidden.IsKnown() && hidden.Value != a.I {
			return c.Errorf("hidden_size", "%d, but R has shape %s", a.I, r)
		}
		hidden = onnxgraph.Known(a.I)
	}
	if w != nil && w[1].IsKnown() && hidden.IsKnown() && w[1].Value != gates*hidden.Value {
		return c.Errorf("hidden_size", "W has shape %s, expected %d·%s rows", w, gates, hidden)
	}
	time, batch := onnxgraph.UnknownDim(), onnxgraph.UnknownDim()
	layout := c.Node.Int("layout", 0)
	if x != nil {
		time, batch = x[0], x[1]
		if layout == 1 {
			time, batch = batch, time
		}
	}
	dirs := onnxgraph.Known(d)
	y, last := onnxgraph.Shape{time, dirs, batch, hidden}, onnxgraph.Shape{dirs, batch, hidden}
	if layout == 1 {
		y, last = onnxgraph.Shape{batch, time, dirs, hidden}, onnxgraph.Shape{batch, dirs, hidden}
	}
	c.Set(0, c.I(0).DType(), y)
	c.Set(1, c.I(0).DType(), last)
	c.Set(2, c.I(0).DType(), last.Clone())
	return nil
}

// gateSizes are the extents of gates stacked on one axis.
func gateSizes(gates int64, hidden onnxgraph.Dim) []onnxgraph.Dim {
	out := make([]onnxgraph.Dim, gates)
	for i := range out {
		out[i] = hidden
	}
	return out
}

// recurrentState is the unit axis of an output, which the recurrence reads
// again; noAxis where no output is used.
func recurrentState(c op.FlowCtx) op.Axis {
	for o := range c.Node().Outputs {
		if f := c.OutFact(o); f != nil && f.Rank() > 0 {
			return c.Out(o, -1)
		}
	}
	return noAxis
}

// flowRNN: hidden units may be permuted if the same is done in every gate, in
// the recurrent weights and in the states; time, gates and directions have a
// place each.
func flowRNN(c op.FlowCtx, gates int64) error {
	for i, rank := range []int{3, 3, 3, 2, 1, 3, 3, 2} {
		if f := c.InFact(i); f != nil && f.Rank() != rank {
			return opaque(c, "the rank of an input is not known")
		}
	}
	hidden := c.InFact(2).Shape()[2]
	time, batch := 0, 1
	if c.Node().Int("layout", 0) == 1 {
		time, batch = 1, 0
	}
	dirs := c.In(1, 0)
	c.Fix(dirs, "directions have a place each")
	unit := c.Segment(c.In(2, 1), gateSizes(gates, hidden)...)[0]
	rows := func(i, axis int, parts int64) {
		for _, gate := range c.Segment(c.In(i, axis), gateSizes(parts, hidden)...) {
			c.Link(unit, gate)
		}
	}
	direction := func(a op.Axis) { c.Link(dirs, a) }
	c.Fix(c.In(0, time), "recurrence is ordered in time")
	c.Contract(c.In(0, 2), c.In(1, 2))
	if state := recurrentState(c); state != noAxis {
		c.Contract(c.In(2, 2), state)
	} else {
		c.Link(c.In(2, 2), unit)
	}
	for i := 1; i <= 2; i++ {
		direction(c.In(i, 0))
		rows(i, 1, gates)
	}
	if c.InFact(3) != nil {
		direction(c.In(3, 0))
		rows(3, 1, 2*gates)
	}
	if c.InFact(4) != nil {
		c.Link(c.In(0, batch), c.In(4, 0))
	}
	// states have the axes direction, batch, unit, with layout 1 batch first
	state := func(axis func(a int) op.Axis) {
		d, b := axis(0), axis(1)
		if batch == 0 {
			d, b = b, d
		}
		direction(d)
		c.Link(c.In(0, batch), b)
		c.Link(unit, axis(2))
	}
	for _, i := range []int{5, 6} {
		if c.InFact(i) != nil {
			state(func(a int) op.Axis { return c.In(i, a) })
		}
	}
	if c.InFact(7) != nil {
		direction(c.In(7, 0))
		rows(7, 1, 3)
	}
	for _, o := range []int{1, 2} {
		if c.OutFact(o) != nil {
			state(func(a int) op.Axis { return c.Out(o, a) })
		}
	}
	if c.OutFact(0) != nil {
		at := []int{0, 1, 2} // time, direction, batch
		if batch == 0 {
			at = []int{1, 2, 0}
		}
		c.Link(c.In(0, time), c.Out(0, at[0]))
		direction(c.Out(0, at[1]))
		c.Link(c.In(0, batch), c.Out(0, at[2]))
		c.Link(unit, c.Out(0, 3))
	}
	return nil
}
