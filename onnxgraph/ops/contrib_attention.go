// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"math"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// contribAttention are com.microsoft's forms of attention.
var contribAttention = []*op.Def{
	{
		Domain: microsoft, Name: "Attention", Versions: since(1), In: op.Between(2, 7), Out: op.Between(1, 2),
		Attrs: append(attrs(aInt("do_rotary"), aInt("past_present_share_buffer"), aInts("qkv_hidden_sizes"), aInt("rotary_embedding_dim"), aInt("unidirectional")), contribHeads...),
		Infer: inferPacked, Flow: op.FlowOfLowering, Grad: op.FromLowering, Lower: lowers(lowerPacked),
	},
	{
		Domain: microsoft, Name: "QAttention", Versions: since(1), In: op.Between(5, 9), Out: op.Between(1, 2),
		Attrs: append(attrs(aInt("do_rotary"), aInt("past_present_share_buffer"), aInt("unidirectional")), contribHeads...),
		Infer: func(c *op.InferCtx) error {
			plain := *c
			plain.In = []*op.Fact{{Type: onnxgraph.TensorOf(onnxgraph.Float, c.I(0).Shape())}, c.I(1), c.I(2), nil, c.I(8)}
			return inferPacked(&plain)
		},
		Flow: op.FlowOfLowering, Grad: integerOnly, Lower: lowers(lowerQuantizedAttention),
	},
	{
		Domain: microsoft, Name: "MultiHeadAttention", Versions: since(1), In: op.Between(1, 10), Out: op.Between(1, 4),
		Attrs: append(attrs(aInt("unidirectional")), contribHeads...),
		Infer: inferMultiHead, Flow: op.Flows(flowMultiHead), Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			return lowerMultiHead(k, multiHeadInputs{bias: 3, mask: 4, added: 5, past: 6, refused: []int{8, 9}})
		}),
	},
	{
		Domain: microsoft, Name: "DecoderMaskedMultiHeadAttention", Versions: since(1), In: op.Between(1, 11), Out: op.Between(1, 4),
		Attrs: append(attrs(aInt("output_qk"), aInt("past_present_share_buffer")), contribHeads...),
		Infer: inferMultiHead, Flow: op.FlowOfLowering, Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			if k.Node().Int("past_present_share_buffer", 0) != 0 {
				return k.Errorf("a cache in a shared buffer has no lowering")
			}
			return lowerMultiHead(k, multiHeadInputs{bias: 10, mask: 3, added: 4, past: 5, refused: []int{7, 8, 9}})
		}),
	},
	{
		Domain: microsoft, Name: "GroupQueryAttention", Versions: since(1), In: op.Between(1, 17), Out: op.Between(1, 4),
		Attrs: attrs(aInt("causal"), aInt("do_rotary"), aFloat("k_norm_epsilon"), aStr("k_quant_type"), aInt("kv_cache_bit_width"), need(aInt("kv_num_heads")), aInt("local_window_size"), need(aInt("num_heads")), aFloat("q_norm_epsilon"),
			aFloat("qk_norm_epsilon"), aInt("qk_output"), aInt("rotary_interleaved"), aFloat("scale"), aInt("sliding_window_cache"), aInt("smooth_softmax"), aFloat("softcap"), aStr("v_quant_type")),
		Infer: inferGroupQuery, Flow: op.FlowOfLowering, Grad: op.FromLowering, Lower: lowers(lowerGroupQuery),
	},
}

var contribHeads = attrs(aFloat("mask_filter_value"), need(aInt("num_heads")), aFloat("scale"))

// packedSizes are the widths of queries, keys and values, which stand side by
// side in an axis of the given extent.
func packedSizes(n *onnxgraph.Node, width onnxgraph.Dim) ([]int64, bool) {
	heads := n.Int("num_heads", 0)
	sizes := n.Ints("qkv_hidden_sizes")
	if len(sizes) == 0 && width.IsKnown() && width.Value%3 == 0 {
		sizes = []int64{width.Value / 3, width.Value / 3, width.Value / 3}
	}
	ok := len(sizes) == 3 && heads > 0 && sizes[0] == sizes[1]
	for _, s := range sizes {
		ok = ok && s > 0 && s%heads == 0
	}
	return sizes, ok
}

// inferPacked: input [B,S,I], weights [I,Q+K+V], bias, mask, past
// [2,B,N,P,D].
func inferPacked(c *op.InferCtx) error {
	x, w, n := c.I(0).Shape(), c.I(1).Shape(), c.Node.Int("num_heads", 0)
	if n < 1 {
		return c.Errorf("num_heads", "%d, expected at least 1", n)
	}
	if x != nil && len(x) != 3 || w != nil && len(w) != 2 {
		return c.Errorf("", "input %s and weights %s, expected three and two axes", x, w)
	}
	y, present := unknowns(3), unknowns(5)
	present[0], present[2] = onnxgraph.Known(2), onnxgraph.Known(n)
	if x != nil {
		y[0], y[1], present[1], present[3] = x[0], x[1], x[0], x[1]
	}
	if w != nil {
		sizes, ok := packedSizes(c.Node, w[1])
		if !ok && w[1].IsKnown() {
			return c.Errorf("qkv_hidden_sizes", "weights %s do not hold queries, keys and values of %d heads", w, n)
		}
		if ok {
			y[2], present[4] = onnxgraph.Known(sizes[2]), onnxgraph.Known(sizes[0]/n)
		}
	}
	if past := c.I(4).Shape(); len(past) == 5 {
		present[3] = addDims(present[3], past[3])
	} else if c.I(4) != nil {
		present[3] = onnxgraph.UnknownDim()
	}
	c.Set(0, c.I(0).DType(), y)
	c.Set(1, c.I(0).DType(), present)
	return nil
}

func lowerPacked(k lowCalc) error {
	w := k.Fact(k.I(1)).Shape()
	if len(w) != 2 {
		return k.Errorf("the shape of the weights is not known")
	}
	x := k.plus(k.two("MatMul", k.I(0), k.I(1)), k.I(2))
	return lowerProjected(k, x, w[1], packedInputs{mask: k.I(3), past: k.I(4), added: k.I(5)})
}

func lowerQuantizedAttention(k lowCalc) error {
	w := k.Fact(k.I(1)).Shape()
	if len(w) != 2 {
		return k.Errorf("the shape of the weights is not known")
	}
	x := k.two("MatMul", k.centred(k.I(0), k.I(6), 2), k.centred(k.I(1), k.I(7), 1))
	x = k.mul(x, k.mul(k.scalar(k.I(3)), k.scalar(k.I(4))))
	return lowerProjected(k, k.plus(x, k.I(2)), w[1], packedInputs{mask: k.I(5), past: k.I(8)})
}

type packedInputs struct{ mask, past, added string }

// lowerProjected attends with queries, keys and values side by side in x.
func lowerProjected(k lowCalc, x string, width onnxgraph.Dim, in packedInputs) error {
	n := k.Node()
	sizes, ok := packedSizes(n, width)
	switch {
	case !ok:
		return k.Errorf("the widths of queries, keys and values are not known")
	case n.Int("do_rotary", 0) != 0 || n.Int("past_present_share_buffer", 0) != 0:
		return k.Errorf("rotary embeddings and a cache in a shared buffer have no lowering")
	}
	count := n.Int("num_heads", 1)
	parts := k.EmitN("Split", []string{x, k.vector(sizes...)}, 3, onnxgraph.IntAttr("axis", 2))
	a := k.contribAttending(sizes[0] / count)
	a.q, a.k, a.v = k.unpack(parts[0], count), k.unpack(parts[1], count), k.unpack(parts[2], count)
	if in.past != "" {
		half := func(i int64) string { return k.squeeze(k.slice(in.past, 0, i, i+1), 0) }
		a.past = k.dimOf(in.past, 3)
		a.k, a.v = k.join(2, half(0), a.k), k.join(2, half(1), a.v)
	}
	if k.HasO(1) {
		k.SetO(1, k.join(0, k.unsqueeze(a.k, 0), k.unsqueeze(a.v, 0)))
	}
	var err error
	if a.mask, err = k.paddingBias(in.mask, a.q, a.k); err != nil {
		return err
	}
	a.mask = k.bothBiases(a.mask, in.added)
	k.SetO(0, k.pack(k.attend(a).y))
	return nil
}

// contribAttending is what the attributes say, for heads of a size.
func (k lowCalc) contribAttending(size int64) attending {
	a := attending{repeat: 1, scale: 1 / math.Sqrt(float64(size)), causal: k.Node().Int("unidirectional", 0) != 0, left: -1, right: -1}
	if s := k.Node().Attr("scale"); s != nil && s.F != 0 {
		a.scale = float64(s.F)
	}
	return a
}

func (k calc) join(axis int64, parts ...string) string {
	return k.Emit("Concat", parts, onnxgraph.IntAttr("axis", axis))
}

func (k lowCalc) bothBiases(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return k.add(a, b)
}

// paddingBias is what a padding mask adds to scores: lengths [B], ends and
// starts [2·B], or marks [B,T] or [B,S,T] that are 0 for what does not count;
// "" for no mask.
func (k lowCalc) paddingBias(mask, queries, keys string) (string, error) {
	if mask == "" {
		return "", nil
	}
	s, batch := k.Fact(mask).Shape(), k.Fact(queries).Shape()[0]
	var allowed string
	switch {
	case len(s) == 1 && s[0].Same(batch):
		allowed = k.two("Less", k.count(keys, 2), k.column(mask))
	case len(s) == 1 && s[0].Same(mulDims(batch, onnxgraph.Known(2))):
		halves := k.reshape(mask, 2, -1)
		end, start := k.squeeze(k.slice(halves, 0, 0, 1), 0), k.squeeze(k.slice(halves, 0, 1, 2), 0)
		places := k.count(keys, 2)
		allowed = k.two("And", k.two("Less", places, k.column(end)), k.two("GreaterOrEqual", places, k.column(start)))
	case len(s) == 2:
		allowed = k.unsqueeze(k.cast(mask, onnxgraph.Bool), 1, 2)
	case len(s) == 3:
		allowed = k.unsqueeze(k.cast(mask, onnxgraph.Bool), 1)
	default:
		return "", k.Errorf("mask of shape %s has no lowering", s)
	}
	filter := k.ScalarLike(queries, float64(k.Node().Float("mask_filter_value", -10000)))
	return k.where(allowed, k.ScalarLike(queries, 0), filter), nil
}

// column makes a vector [B] of integers int64 [B,1,1,1].
func (k calc) column(x string) string {
	return k.unsqueeze(k.cast(x, onnxgraph.Int64), 1, 2, 3)
}

// inferMultiHead: query, key and value [B,S,H], keys and values as a cache
// [B,N,S,D], or all or the last two packed [B,S,N,3,D] and [B,S,N,2,D].
func inferMultiHead(c *op.InferCtx) error {
	q, v := c.I(0).Shape(), c.I(2).Shape()
	n := c.Node.Int("num_heads", 0)
	if n < 1 {
		return c.Errorf("num_heads", "%d, expected at least 1", n)
	}
	if len(q) == 3 && q[2].IsKnown() && q[2].Value%n != 0 {
		return c.Errorf("num_heads", "%d does not divide the width of %s", n, q)
	}
	y := unknowns(3)
	heads := onnxgraph.Known(n)
	if len(q) >= 3 {
		y[0], y[1] = q[0], q[1]
	}
	switch {
	case len(q) == 5:
		y[2] = mulDims(heads, q[4])
	case len(v) == 3:
		y[2] = v[2]
	case len(v) == 4:
		y[2] = mulDims(heads, v[3])
	case len(c.I(1).Shape()) == 5:
		y[2] = mulDims(heads, c.I(1).Shape()[4])
	}
	c.Set(0, c.I(0).DType(), y)
	for o := 1; o < 4; o++ {
		cache := unknowns(4)
		cache[0], cache[1] = y[0], heads
		c.Set(o, c.I(0).DType(), cache)
	}
	return nil
}

// plainMultiHead says whether a node has separate queries, keys and values of
// three axes, and neither cache nor padding mask.
func plainMultiHead(n *onnxgraph.Node, fact func(i int) *op.Fact) bool {
	for i := range 3 {
		if s := fact(i).Shape(); len(s) != 3 || !s[2].IsKnown() {
			return false
		}
	}
	for _, i := range []int{4, 6, 7, 8, 9} {
		if n.Input(i) != "" {
			return false
		}
	}
	return n.Output(1) == "" && n.Output(2) == "" && n.Output(3) == ""
}

func flowMultiHead(c op.FlowCtx) error {
	n := c.Node()
	if !plainMultiHead(n, c.InFact) {
		return opaque(c, "attention with a cache, a padding mask or packed inputs")
	}
	count := n.Int("num_heads", 1)
	var in [3]headAxes
	var h [3]heads
	for i := range in {
		h[i], _ = headsOf(c.InFact(i).Shape(), count)
		in[i] = axesOfHeads(c, func(a int) op.Axis { return c.In(i, a) }, h[i], h[i].heads)
	}
	h[0].size = h[2].size
	y := axesOfHeads(c, func(a int) op.Axis { return c.Out(0, a) }, h[0], h[0].heads)
	flowHeads(c, in[0], in[1], in[2], y, n.Int("unidirectional", 0) != 0)
	flowMask(c, 5, in[0], in[1])
	if c.InFact(3) != nil {
		parts := c.Segment(c.In(3, 0), c.InFact(0).Shape()[2], c.InFact(1).Shape()[2], c.InFact(2).Shape()[2])
		for i, p := range parts {
			c.Link(p, c.In(i, 2))
		}
	}
	return nil
}

// multiHeadInputs are the places of optional inputs; past is followed by that
// of the values.
type multiHeadInputs struct {
	bias, mask, added, past int
	refused                 []int
}

func lowerMultiHead(k lowCalc, at multiHeadInputs) error {
	if slices.ContainsFunc(at.refused, func(i int) bool { return k.I(i) != "" }) || k.HasO(3) {
		return k.Errorf("a cache in a shared buffer, beams and the scores as an output have no lowering")
	}
	q, kv, v, err := k.multiHeads(k.I(at.bias))
	if err != nil {
		return err
	}
	size := k.Fact(q).Shape()[3]
	if !size.IsKnown() {
		return k.Errorf("the size of a head is not known")
	}
	a := k.contribAttending(size.Value)
	a.q, a.k, a.v = q, kv, v
	if past := k.I(at.past); past != "" {
		a.past = k.dimOf(past, 2)
		a.k, a.v = k.join(2, past, a.k), k.join(2, k.I(at.past+1), a.v)
	}
	if a.mask, err = k.paddingBias(k.I(at.mask), a.q, a.k); err != nil {
		return err
	}
	a.mask = k.bothBiases(a.mask, k.I(at.added))
	for o, cache := range []string{a.k, a.v} {
		if k.HasO(o + 1) {
			k.SetO(o+1, cache)
		}
	}
	k.SetO(0, k.pack(k.attend(a).y))
	return nil
}

// multiHeads are queries, keys and values [B,N,S,D], with the bias of their
// projections.
func (k lowCalc) multiHeads(bias string) (q, keys, v string, err error) {
	count := k.Node().Int("num_heads", 1)
	var out [3]string
	taken := map[int]bool{} // given as a cache, to which no bias is added
	switch {
	case k.Fact(k.I(0)).Rank() == 5:
		copy(out[:], k.takenApart(k.I(0), 3))
	case k.Fact(k.I(1)).Rank() == 5:
		out[0] = k.unpack(k.I(0), count)
		copy(out[1:], k.takenApart(k.I(1), 2))
	default:
		for i := range out {
			switch x := k.I(i); k.Fact(x).Rank() {
			case 3:
				out[i] = k.unpack(x, count)
			case 4:
				out[i], taken[i] = x, true
			default:
				return "", "", "", k.Errorf("input %d of shape %s has no lowering", i, k.Fact(x).Shape())
			}
		}
	}
	if bias == "" {
		return out[0], out[1], out[2], nil
	}
	at := int64(0)
	for i, x := range out {
		size := k.Fact(x).Shape()[3]
		if !size.IsKnown() {
			return "", "", "", k.Errorf("the size of a head is not known")
		}
		if width := count * size.Value; !taken[i] {
			out[i] = k.add(x, k.reshape(k.slice(bias, 0, at, at+width), 1, count, 1, size.Value))
			at += width
		}
	}
	return out[0], out[1], out[2], nil
}

// takenApart splits [B,S,N,n,D] into n of [B,N,S,D].
func (k calc) takenApart(x string, n int64) []string {
	var out []string
	for i := range n {
		out = append(out, k.transpose(k.squeeze(k.slice(x, 3, i, i+1), 3), 0, 2, 1, 3))
	}
	return out
}
