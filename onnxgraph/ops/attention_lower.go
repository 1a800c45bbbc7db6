package ops

import (
	"math"

	"ninox/onnxgraph"
)

// attending is what a lowering of attention works with: queries [B,H,S,D],
// keys [B,G,T,D] and values [B,G,T,V], of which the cache is part already.
type attending struct {
	q, k, v  string
	repeat   int64 // H/G, heads of queries for each of keys
	scale    float64
	softcap  float64
	mask     string // bool or to be added, broadcast to [B,H,S,T]; "" for none
	causal   bool
	past     string // number of keys before the first query [1] or [B,1,1,1]; "" for none
	filled   string // number of keys that count [B,1,1,1]; "" for all
	left     int64  // keys before and after a query's own that it sees, -1 for all
	right    int64
	sink     string          // one more score [1,H,1,1], whose probability is dropped; "" for none
	softmaxT onnxgraph.DType // type in which softmax is computed, Undefined for that of the scores
}

// attended are the values between the products: scores before and after the
// cap, with the masks, and as probabilities.
type attended struct{ raw, capped, masked, probabilities, y string }

// attend is softmax(scale·QKᵀ + bias)·V. A query that may attend to nothing
// gets zeros.
func (k calc) attend(a attending) attended {
	a.k, a.v = k.repeatHeads(a.k, a.repeat), k.repeatHeads(a.v, a.repeat)
	out := attended{raw: k.scale(k.two("MatMul", a.q, k.transpose(a.k, 0, 1, 3, 2)), a.scale)}
	out.capped = out.raw
	if a.softcap > 0 {
		out.capped = k.scale(k.one("Tanh", k.scale(out.raw, 1/a.softcap)), a.softcap)
	}
	d := k.Fact(out.raw).DType()
	bias, mayBeEmpty := k.attentionBias(a, out.raw)
	out.masked = out.capped
	logits, dead := out.capped, ""
	if bias != "" {
		out.masked = k.add(out.capped, bias)
		logits = out.masked
	}
	if mayBeEmpty {
		// Softmax of nothing but −∞ is no number: such rows are computed without the
		// bias, so that gradients stay finite, and then dropped.
		never := k.ScalarLike(bias, math.Inf(-1))
		dead = k.two("Equal", k.reduce("ReduceMax", bias, true, -1), never)
		logits = k.add(out.capped, k.where(dead, k.ScalarLike(bias, 0), bias))
	}
	if a.softmaxT != onnxgraph.Undefined {
		logits = k.cast(logits, a.softmaxT)
	}
	if a.sink != "" {
		rows := k.zeros(k.Emit("Concat", []string{k.dimOf(a.q, 0), k.dimOf(a.q, 1), k.dimOf(a.q, 2), k.vector(1)}, onnxgraph.IntAttr("axis", 0)), k.Fact(logits).DType())
		logits = k.Emit("Concat", []string{logits, k.add(rows, a.sink)}, onnxgraph.IntAttr("axis", 3))
	}
	p := k.cast(k.Emit("Softmax", []string{logits}, onnxgraph.IntAttr("axis", -1)), d)
	if a.sink != "" {
		p = k.slice(p, 3, 0, -1)
	}
	if dead != "" {
		p = k.where(dead, k.ScalarLike(p, 0), p)
	}
	out.probabilities, out.y = p, k.two("MatMul", p, a.v)
	return out
}

// attentionBias is what masks add to scores of the type of like, "" for
// nothing, and whether they may leave a query no key at all.
func (k calc) attentionBias(a attending, like string) (bias string, mayBeEmpty bool) {
	var allowed []string
	if a.mask != "" && k.Fact(a.mask).DType() == onnxgraph.Bool {
		allowed = append(allowed, a.mask)
		mayBeEmpty = true
	} else if a.mask != "" {
		bias, mayBeEmpty = a.mask, true
	}
	if a.causal || a.left >= 0 || a.right >= 0 {
		distance := k.sub(k.unsqueeze(k.count(a.q, 2), 1), k.count(a.k, 2))
		if a.past != "" {
			distance = k.add(distance, a.past)
		}
		within := func(opType string, bound int64) {
			allowed = append(allowed, k.two(opType, distance, k.int(bound)))
		}
		if a.causal {
			within("GreaterOrEqual", 0)
		}
		if a.left >= 0 {
			within("LessOrEqual", a.left)
			mayBeEmpty = true
		}
		if a.right >= 0 {
			within("GreaterOrEqual", -a.right)
		}
	}
	if a.filled != "" {
		allowed = append(allowed, k.two("Less", k.count(a.k, 2), a.filled))
		mayBeEmpty = true
	}
	if len(allowed) == 0 {
		return bias, mayBeEmpty
	}
	all := allowed[0]
	for _, x := range allowed[1:] {
		all = k.two("And", all, x)
	}
	if bias == "" {
		bias = k.ScalarLike(like, 0)
	}
	return k.where(all, bias, k.ScalarLike(like, math.Inf(-1))), mayBeEmpty
}

// count is 0, 1 … up to the extent of an axis of x.
func (k calc) count(x string, axis int) string {
	if s := k.Fact(x).Shape(); s != nil && s[axis].IsKnown() {
		return k.vector(upTo(0, int(s[axis].Value))...)
	}
	end := k.Emit("Reshape", []string{k.dimOf(x, axis), k.Const(onnxgraph.Vector(""))})
	return k.Emit("Range", []string{k.int(0), end, k.int(1)})
}

// repeatHeads repeats each head n times.
func (k calc) repeatHeads(x string, n int64) string {
	if n == 1 {
		return x
	}
	wide := k.two("Expand", k.unsqueeze(x, 2), k.vector(1, 1, n, 1, 1))
	shape := k.Emit("Concat", []string{k.dimOf(x, 0), k.mul(k.dimOf(x, 1), k.vector(n)), k.dimOf(x, 2), k.dimOf(x, 3)}, onnxgraph.IntAttr("axis", 0))
	return k.two("Reshape", wide, shape)
}

// unpack makes [B,S,n·D] to [B,n,S,D]; pack is its inverse.
func (k calc) unpack(x string, n int64) string {
	return k.transpose(k.reshape(x, 0, 0, n, -1), 0, 2, 1, 3)
}

func (k calc) pack(x string) string {
	return k.reshape(k.transpose(x, 0, 2, 1, 3), 0, 0, -1)
}

func lowerAttention(k lowCalc) error {
	n := k.Node()
	q, kv, _, ok := attentionHeads(n, func(i int) onnxgraph.Shape { return k.Fact(k.I(i)).Shape() })
	if !ok || !q.heads.IsKnown() || !kv.heads.IsKnown() || !q.size.IsKnown() {
		return k.Errorf("numbers of heads and their size must be known")
	}
	a := attending{
		q: k.I(0), k: k.I(1), v: k.I(2), repeat: q.heads.Value / kv.heads.Value, mask: k.I(3),
		causal: n.Int("is_causal", 0) != 0, left: n.Int("left_window_size", -1), right: n.Int("right_window_size", -1),
		softcap: float64(n.Float("softcap", 0)), scale: 1 / math.Sqrt(float64(q.size.Value)), softmaxT: onnxgraph.DType(n.Int("softmax_precision", 0)),
	}
	if s := n.Attr("scale"); s != nil && s.F != 0 {
		a.scale = float64(s.F)
	}
	if q.packed {
		a.q, a.k, a.v = k.unpack(a.q, q.heads.Value), k.unpack(a.k, kv.heads.Value), k.unpack(a.v, kv.heads.Value)
	}
	if filled := k.I(6); filled != "" {
		a.filled = k.reshape(filled, -1, 1, 1, 1)
		a.past = k.sub(a.filled, k.dimOf(a.q, 2))
	}
	if past := k.I(4); past != "" {
		a.past = k.dimOf(past, 2)
		a.k = k.Emit("Concat", []string{past, a.k}, onnxgraph.IntAttr("axis", 2))
		a.v = k.Emit("Concat", []string{k.I(5), a.v}, onnxgraph.IntAttr("axis", 2))
	}
	if a.mask != "" {
		a.mask = k.wideMask(a.mask, a.k)
	}
	out := k.attend(a)
	if q.packed {
		out.y = k.pack(out.y)
	}
	scores := []string{out.raw, out.capped, out.masked, out.probabilities}
	mode := n.Int("qk_matmul_output_mode", 0)
	if mode < 0 || mode >= int64(len(scores)) {
		return k.Errorf("qk_matmul_output_mode %d, expected 0 to 3", mode)
	}
	for o, v := range []string{out.y, a.k, a.v, scores[mode]} {
		if k.HasO(o) {
			k.SetO(o, v)
		}
	}
	return nil
}

// wideMask pads a mask that ends before the last key, with keys that are not
// attended to.
func (k lowCalc) wideMask(mask, keys string) string {
	m, t := k.Fact(mask), k.Fact(keys).Shape()
	r := m.Rank()
	if r < 1 || len(t) != 4 || m.Shape()[r-1].Same(t[2]) || m.Shape()[r-1] == onnxgraph.Known(1) {
		return mask
	}
	missing := k.sub(k.dimOf(keys, 2), k.dimOf(mask, r-1))
	pads := k.Emit("Concat", []string{k.vector(make([]int64, 2*r-1)...), missing}, onnxgraph.IntAttr("axis", 0))
	if m.DType() != onnxgraph.Bool {
		return k.Emit("Pad", []string{mask, pads, k.ScalarLike(mask, math.Inf(-1))})
	}
	wide := k.Emit("Pad", []string{k.cast(mask, onnxgraph.Float), pads})
	return k.cast(wide, onnxgraph.Bool)
}
