// https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// rotaries turn pairs of a head's places by an angle that depends on the
// position.
var rotaries = []*op.Def{
	rotary("", since(23), attrs(aInt("interleaved"), aInt("num_heads"), aInt("rotary_embedding_dim")), rotaryInputs{1, 2, 3}),
	rotary(microsoft, since(1), attrs(aInt("interleaved"), aInt("is_packed_batching"), aInt("num_heads"), aInt("rotary_embedding_dim"), aFloat("scale")), rotaryInputs{2, 3, 1}),
}

// rotaryInputs are the places of the inputs besides X: caches of cosines and
// sines [positions, half], and the positions.
type rotaryInputs struct{ cos, sin, positions int }

func rotary(domain string, versions []int64, a []op.AttrSpec, at rotaryInputs) *op.Def {
	in := op.Between(3, 4)
	if domain == microsoft {
		in = op.Exactly(4)
	}
	return &op.Def{
		Domain: domain, Name: "RotaryEmbedding", Versions: versions, Attrs: a, In: in, Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if r := c.I(0).Rank(); r >= 0 && r != 3 && r != 4 {
				return c.Errorf("", "input of shape %s, expected three or four axes", c.I(0).Shape())
			}
			return inferLike(c)
		},
		Flow:  op.Flows(func(c op.FlowCtx) error { return flowRotary(c, at) }),
		Grad:  op.FromLowering,
		Lower: lowers(func(k lowCalc) error { return lowerRotary(k, at) }),
	}
}

// rotaryHeads reads the layout of X; the number of heads of a packed X comes
// from the attribute or, where that is 0, from the width of the cache.
func rotaryHeads(n *onnxgraph.Node, x, cos onnxgraph.Shape) (heads, bool) {
	count := n.Int("num_heads", 0)
	if count == 0 && len(x) == 3 && len(cos) > 0 && n.Int("rotary_embedding_dim", 0) == 0 {
		if size := mulDims(cos[len(cos)-1], onnxgraph.Known(2)); size.IsKnown() && x[2].IsKnown() && size.Value > 0 {
			count = x[2].Value / size.Value
		}
	}
	h, ok := headsOf(x, count)
	return h, ok && h.heads.IsKnown() && h.size.IsKnown()
}

func flowRotary(c op.FlowCtx, at rotaryInputs) error {
	h, ok := rotaryHeads(c.Node(), c.InFact(0).Shape(), c.InFact(at.cos).Shape())
	if !ok {
		return opaque(c, "the number of heads is not known")
	}
	x := axesOfHeads(c, func(a int) op.Axis { return c.In(0, a) }, h, h.heads)
	y := axesOfHeads(c, func(a int) op.Axis { return c.Out(0, a) }, h, h.heads)
	link(c, x.batch, y.batch)
	link(c, x.group, y.group)
	link(c, x.position, y.position)
	link(c, x.size, y.size)
	if x.size != noAxis {
		c.Fix(x.size, "pairs of places turn at their own speed")
	}
	c.Fix(x.position, "angles depend on the position")
	for i := 1; i < len(c.Node().Inputs); i++ {
		fact := c.InFact(i)
		perSample := i == at.positions && fact.Rank() == 2 || fact.Rank() == 3
		for a := range max(fact.Rank(), 0) {
			if a == 0 && perSample {
				link(c, c.In(i, 0), x.batch)
				continue
			}
			c.Fix(c.In(i, a), "angles depend on the position")
		}
	}
	return nil
}

func lowerRotary(k lowCalc, at rotaryInputs) error {
	n, x := k.Node(), k.I(0)
	cos, sin := k.I(at.cos), k.I(at.sin)
	h, ok := rotaryHeads(n, k.Fact(x).Shape(), k.Fact(cos).Shape())
	positions := k.I(at.positions)
	switch {
	case !ok:
		return k.Errorf("the number of heads is not known")
	case n.Int("is_packed_batching", 0) != 0 || n.Float("scale", 1) != 1:
		return k.Errorf("packed batches and scaled positions have no lowering")
	case positions != "" && k.Fact(positions).Rank() != 2:
		return k.Errorf("positions of shape %s, expected one for each token", k.Fact(positions).Shape())
	}
	if h.packed {
		x = k.unpack(x, h.heads.Value)
	}
	if positions != "" { // [B,S,half]
		cos = k.Emit("Gather", []string{cos, positions}, onnxgraph.IntAttr("axis", 0))
		sin = k.Emit("Gather", []string{sin, positions}, onnxgraph.IntAttr("axis", 0))
	}
	cos, sin = k.unsqueeze(cos, 1), k.unsqueeze(sin, 1)
	turned, rest := n.Int("rotary_embedding_dim", 0), ""
	if turned == 0 || turned == h.size.Value {
		turned = h.size.Value
	} else {
		rest = k.slice(x, 3, turned, h.size.Value)
		x = k.slice(x, 3, 0, turned)
	}
	y := k.turn(x, cos, sin, turned, n.Int("interleaved", 0) != 0)
	if rest != "" {
		y = k.Emit("Concat", []string{y, rest}, onnxgraph.IntAttr("axis", 3))
	}
	if h.packed {
		y = k.pack(y)
	}
	k.SetO(0, y)
	return nil
}

// turn rotates the pairs (i, i+half) or, interleaved, (2i, 2i+1) of the last
// axis, of extent n.
func (k calc) turn(x, cos, sin string, n int64, interleaved bool) string {
	var a, b string
	if interleaved {
		pairs := k.reshape(x, 0, 0, 0, n/2, 2)
		a, b = k.squeeze(k.slice(pairs, 4, 0, 1), 4), k.squeeze(k.slice(pairs, 4, 1, 2), 4)
	} else {
		a, b = k.slice(x, 3, 0, n/2), k.slice(x, 3, n/2, n)
	}
	re := k.sub(k.mul(a, cos), k.mul(b, sin))
	im := k.add(k.mul(a, sin), k.mul(b, cos))
	if !interleaved {
		return k.Emit("Concat", []string{re, im}, onnxgraph.IntAttr("axis", 3))
	}
	return k.reshape(k.Emit("Concat", []string{k.unsqueeze(re, 4), k.unsqueeze(im, 4)}, onnxgraph.IntAttr("axis", 4)), 0, 0, 0, n)
}
