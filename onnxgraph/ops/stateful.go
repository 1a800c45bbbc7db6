// https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html
// https://onnx.ai/onnx/operators/onnx__LinearAttention.html
// https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html

package ops

import (
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// stateful are the layers of recurrent language models, which hand a state on
// from one call to the next, and attention with graphs of its own.
var stateful = []*op.Def{
	{
		Name: "CausalConvWithState", Versions: since(27), Attrs: attrs(aStr("activation")), In: op.Between(2, 4), Out: op.Exactly(2),
		Infer: inferCausalConv, Flow: op.Flows(flowCausalConv), Grad: op.FromLowering, Lower: lowers(lowerCausalConv),
	},
	{
		Name: "LinearAttention", Versions: since(27), Attrs: attrs(aInt("chunk_size"), need(aInt("kv_num_heads")), need(aInt("q_num_heads")), aFloat("scale"), aStr("update_rule")),
		In: op.Between(3, 6), Out: op.Exactly(2), Infer: inferLinearAttention,
		Flow: op.Opaque("a recurrence over positions"), Grad: op.NotDifferentiable("a recurrence over positions"), Lower: op.Primitive,
	},
	{
		Domain: "ai.onnx.preview", Name: "FlexAttention", Versions: since(1), Attrs: attrs(aGraph("prob_mod"), aFloat("scale"), aGraph("score_mod"), aInt("softmax_precision")),
		In: op.Exactly(3), Out: op.Exactly(1), Infer: inferFlexAttention,
		Flow: op.Opaque("scores go through graphs of its own"), Grad: noGradInBodies, Lower: op.Primitive,
	},
}

// inferCausalConv: x [B,C,L], weights [C,1,K], bias [C], state [B,C,K−1] → y
// like x and the next state.
func inferCausalConv(c *op.InferCtx) error {
	x, w := c.I(0).Shape(), c.I(1).Shape()
	for i, s := range []onnxgraph.Shape{x, w} {
		if s != nil && len(s) != 3 {
			return c.Errorf("", "input %d of shape %s, expected three axes", i, s)
		}
	}
	y, state := unknowns(3), unknowns(3)
	if x != nil {
		y = x.Clone()
		state[0], state[1] = x[0], x[1]
	}
	if w != nil {
		if x != nil && x[1].IsKnown() && w[0].IsKnown() && x[1] != w[0] {
			return c.Errorf("", "weights %s for an input of shape %s, expected one kernel for each channel", w, x)
		}
		state[2] = subDims(w[2], onnxgraph.Known(1))
	}
	c.Set(0, c.I(0).DType(), y)
	c.Set(1, c.I(0).DType(), merged(state, c.I(3).Shape()))
	return nil
}

// flowCausalConv: channels stay apart, positions are ordered.
func flowCausalConv(c op.FlowCtx) error {
	const batch, channel, position = 0, 1, 2
	tensors := []func(a int) op.Axis{
		func(a int) op.Axis { return c.In(0, a) },
		func(a int) op.Axis { return c.Out(0, a) },
		func(a int) op.Axis { return c.Out(1, a) },
	}
	if c.InFact(3) != nil {
		tensors = append(tensors, func(a int) op.Axis { return c.In(3, a) })
	}
	for _, at := range tensors {
		c.Link(at(batch), c.In(0, batch))
		c.Link(at(channel), c.In(1, 0))
		c.Fix(at(position), "positions are ordered")
	}
	c.Taps(c.In(1, 2))
	if c.InFact(2) != nil {
		c.Link(c.In(2, 0), c.In(1, 0))
	}
	return nil
}

// lowerCausalConv convolves the state and x in a row, and keeps the last K−1
// of them.
func lowerCausalConv(k lowCalc) error {
	w := k.Fact(k.I(1)).Shape()
	if len(w) != 3 || !w[0].IsKnown() || !w[2].IsKnown() {
		return k.Errorf("weights of shape %s, expected a known number of channels and kernel size", w)
	}
	x, kept := k.I(0), w[2].Value-1
	row := x
	if kept > 0 {
		past := k.I(3)
		if past == "" {
			past = k.zeros(k.Emit("Concat", []string{k.dimOf(x, 0), k.vector(w[0].Value, kept)}, onnxgraph.IntAttr("axis", 0)), k.Fact(x).DType())
		}
		row = k.Emit("Concat", []string{past, x}, onnxgraph.IntAttr("axis", 2))
	}
	in := []string{row, k.I(1)}
	if k.I(2) != "" {
		in = append(in, k.I(2))
	}
	y := k.Emit("Conv", in, onnxgraph.IntAttr("group", w[0].Value))
	switch name := k.Node().Str("activation", "none"); name {
	case "none":
	case "silu", "swish":
		y = k.mul(y, k.one("Sigmoid", y))
	default:
		return k.Errorf("activation %q, expected none, silu or swish", name)
	}
	k.SetO(0, y)
	if !k.HasO(1) {
		return nil
	}
	if kept == 0 {
		k.SetO(1, k.slice(row, 2, 0, 0))
		return nil
	}
	k.SetO(1, k.slice(row, 2, -kept, math.MaxInt64))
	return nil
}

// inferLinearAttention: queries [B,T,Hq·K], keys [B,T,H·K], values [B,T,H·V]
// → [B,T,Hq·V] and the state [B,H,K,V].
func inferLinearAttention(c *op.InferCtx) error {
	qHeads, kvHeads := c.Node.Int("q_num_heads", 0), c.Node.Int("kv_num_heads", 0)
	if qHeads < 1 || kvHeads < 1 || qHeads%kvHeads != 0 {
		return c.Errorf("kv_num_heads", "%d, expected a divisor of %d heads of queries", kvHeads, qHeads)
	}
	q, k, v := c.I(0).Shape(), c.I(1).Shape(), c.I(2).Shape()
	for i, s := range []onnxgraph.Shape{q, k, v} {
		if s != nil && len(s) != 3 {
			return c.Errorf("", "input %d of shape %s, expected three axes", i, s)
		}
	}
	y, state := unknowns(3), unknowns(4)
	state[1] = onnxgraph.Known(kvHeads)
	if q != nil {
		y[0], y[1], state[0] = q[0], q[1], q[0]
	}
	if k != nil {
		state[2] = divDims(k[2], onnxgraph.Known(kvHeads))
	}
	if v != nil {
		state[3] = divDims(v[2], onnxgraph.Known(kvHeads))
		y[2] = mulDims(onnxgraph.Known(qHeads), state[3])
	}
	d := c.I(0).DType()
	c.Set(0, d, y)
	if c.I(3) != nil {
		d = c.I(3).DType()
	}
	c.Set(1, d, merged(state, c.I(3).Shape()))
	return nil
}

// inferFlexAttention: queries [B,Hq,S,D], keys [B,H,T,D], values [B,H,T,V] →
// [B,Hq,S,V]. Both graphs map scores [B,Hq,S,T] to scores.
func inferFlexAttention(c *op.InferCtx) error {
	y, scores := unknowns(4), unknowns(4)
	for i := range 3 {
		s := c.I(i).Shape()
		switch {
		case s == nil:
		case len(s) != 4:
			return c.Errorf("", "input %d of shape %s, expected four axes", i, s)
		case i == 0:
			copy(y, s[:3])
			copy(scores, s[:3])
		case i == 1:
			scores[3] = s[2]
		default:
			y[3] = s[3]
		}
	}
	d := c.I(0).DType()
	precision := onnxgraph.Float
	if d == onnxgraph.Double {
		precision = d
	}
	fact := &op.Fact{Type: onnxgraph.TensorOf(onnxgraph.DType(c.Node.Int("softmax_precision", int64(precision))), scores)}
	for _, attr := range []string{"score_mod", "prob_mod"} {
		if g := bodyOf(c.Node, attr); g != nil {
			if len(g.Inputs) != 1 || len(g.Outputs) != 1 {
				return c.Errorf(attr, "%d inputs and %d outputs, expected one of each", len(g.Inputs), len(g.Outputs))
			}
			if _, err := c.Body(g, []*op.Fact{fact}); err != nil {
				return err
			}
		}
	}
	c.Set(0, d, y)
	return nil
}
