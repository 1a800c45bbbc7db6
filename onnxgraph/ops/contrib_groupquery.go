package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Inputs of GroupQueryAttention behind query, key and value.
const (
	gqaPastKey = iota + 3
	gqaPastValue
	gqaLastPlaces // number of keys of each sample, less one
	gqaTotal      // largest number of keys
	gqaCos
	gqaSin
	gqaPositions
	gqaBias
	gqaSink
	gqaKeyScale
)

// groupQueryHeads are the numbers of heads of queries and of keys, and the
// size of one.
func groupQueryHeads(n *onnxgraph.Node, query onnxgraph.Shape, packed bool) (q, kv int64, size onnxgraph.Dim) {
	q, kv = n.Int("num_heads", 0), n.Int("kv_num_heads", 0)
	all := q
	if packed {
		all += 2 * kv
	}
	if len(query) != 3 || all < 1 {
		return q, kv, onnxgraph.UnknownDim()
	}
	return q, kv, divDims(query[2], onnxgraph.Known(all))
}

func inferGroupQuery(c *op.InferCtx) error {
	query := c.I(0).Shape()
	n, kv, size := groupQueryHeads(c.Node, query, c.I(1) == nil)
	if n < 1 || kv < 1 || n%kv != 0 {
		return c.Errorf("kv_num_heads", "%d, expected a divisor of %d heads", kv, n)
	}
	if err := required(c, gqaLastPlaces, gqaTotal); err != nil {
		return err
	}
	y, cache := unknowns(3), unknowns(4)
	cache[1], cache[3] = onnxgraph.Known(kv), size
	if len(query) == 3 {
		y = onnxgraph.Shape{query[0], query[1], mulDims(size, onnxgraph.Known(n))}
		cache[0] = query[0]
		if c.I(gqaPastKey) == nil {
			cache[2] = query[1]
		}
	}
	c.Set(0, c.I(0).DType(), y)
	for o := 1; o < 4; o++ {
		c.Set(o, c.I(0).DType(), cache.Clone())
	}
	return nil
}

// required checks inputs that stand behind optional ones.
func required(c *op.InferCtx, inputs ...int) error {
	for _, i := range inputs {
		if c.I(i) == nil {
			return c.Errorf("", "input %d is required", i)
		}
	}
	return nil
}

// lowerGroupQuery: each sample's new keys follow those of the cache that
// count.
func lowerGroupQuery(k lowCalc) error {
	n := k.Node()
	count, kv, size := groupQueryHeads(n, k.Fact(k.I(0)).Shape(), k.I(1) == "")
	switch {
	case !size.IsKnown():
		return k.Errorf("the size of a head is not known")
	case len(n.Inputs) > gqaKeyScale && slices.ContainsFunc(n.Inputs[gqaKeyScale:], func(s string) bool { return s != "" }):
		return k.Errorf("a quantized cache, normalized heads and padded queries have no lowering")
	case n.Int("sliding_window_cache", 0) != 0 || k.HasO(3):
		return k.Errorf("a cache of the window and the scores as an output have no lowering")
	}
	x := []string{k.I(0), k.I(1), k.I(2)}
	if k.I(1) == "" {
		x = k.EmitN("Split", []string{k.I(0), k.vector(count*size.Value, kv*size.Value, kv*size.Value)}, 3, onnxgraph.IntAttr("axis", 2))
	}
	a := k.contribAttending(size.Value)
	a.repeat, a.causal, a.softcap = count/kv, n.Int("causal", 1) != 0, float64(n.Float("softcap", 0))
	a.q, a.k, a.v = k.unpack(x[0], count), k.unpack(x[1], kv), k.unpack(x[2], kv)
	if w := n.Int("local_window_size", -1); w > 0 {
		a.left = w - 1
	}
	total := k.add(k.column(k.I(gqaLastPlaces)), k.int(1))
	cached := k.I(gqaPastKey) != "" && !k.emptyCache()
	if cached {
		zero := k.int(0)
		a.past = k.Emit("Max", []string{k.sub(total, k.dimOf(a.q, 2)), zero})
	}
	if cached || !a.causal {
		a.filled = total
	}
	if n.Int("do_rotary", 0) != 0 {
		cos, sin := k.angles(k.I(gqaCos), a), k.angles(k.I(gqaSin), a)
		interleaved := n.Int("rotary_interleaved", 0) != 0
		a.q, a.k = k.rotated(a.q, cos, sin, interleaved), k.rotated(a.k, cos, sin, interleaved)
	}
	if cached {
		places, counts := k.cachePlaces(a, total)
		a.k, a.v = k.appended(k.I(gqaPastKey), a.k, places, counts), k.appended(k.I(gqaPastValue), a.v, places, counts)
	}
	for o, cache := range []string{a.k, a.v} {
		if k.HasO(o + 1) {
			k.SetO(o+1, cache)
		}
	}
	if a.mask = k.I(gqaBias); a.mask != "" {
		a.mask = k.wideMask(a.mask, a.k)
	}
	switch {
	case k.I(gqaSink) != "":
		a.sink = k.reshape(k.I(gqaSink), 1, -1, 1, 1)
	case n.Int("smooth_softmax", 0) > 0:
		a.sink = k.ScalarLike(a.q, 0)
	}
	k.SetO(0, k.pack(k.attend(a).y))
	return nil
}

func (k lowCalc) emptyCache() bool {
	s := k.Fact(k.I(gqaPastKey)).Shape()
	return len(s) == 4 && s[2] == onnxgraph.Known(0)
}

// angles are the rows of a cache [places, half] for the positions of the
// queries, as [B or 1,1,S,half].
func (k lowCalc) angles(cache string, a attending) string {
	row := func(positions string) string {
		return k.Emit("Gather", []string{cache, positions}, onnxgraph.IntAttr("axis", 0))
	}
	own := k.count(a.q, 2)
	switch {
	case k.I(gqaPositions) != "":
		return k.unsqueeze(row(k.I(gqaPositions)), 1)
	case a.past == "":
		return k.unsqueeze(row(own), 0, 1)
	}
	return k.unsqueeze(row(k.add(k.squeeze(a.past, 2, 3), own)), 1)
}

// rotated turns the first places of each head, as many as there are angles.
func (k lowCalc) rotated(x, cos, sin string, interleaved bool) string {
	size, half := k.Fact(x).Shape()[3], k.Fact(cos).Shape()[3]
	if !half.IsKnown() || 2*half.Value >= size.Value {
		return k.turn(x, cos, sin, size.Value, interleaved)
	}
	turned := 2 * half.Value
	return k.join(3, k.turn(k.slice(x, 3, 0, turned), cos, sin, turned, interleaved), k.slice(x, 3, turned, size.Value))
}

// cachePlaces says for each place of the new cache which one of the old cache,
// joined with the new keys, goes there, and whether it counts: [B,1,T,1].
func (k lowCalc) cachePlaces(a attending, total string) (places, counts string) {
	room, fresh := k.dimOf(k.I(gqaPastKey), 2), k.dimOf(a.k, 2)
	scalar := k.Const(onnxgraph.Vector(""))
	length := k.Emit("Max", []string{room, k.cast(k.reshape(k.I(gqaTotal), -1), onnxgraph.Int64)})
	t := k.Emit("Range", []string{k.int(0), k.two("Reshape", length, scalar), k.int(1)})
	t = k.unsqueeze(t, 0, 1, 3)
	joined := k.where(k.two("Less", t, a.past), t, k.add(k.sub(t, a.past), room))
	return k.Emit("Min", []string{joined, k.sub(k.add(room, fresh), k.vector(1))}), k.two("Less", t, total)
}

// appended is the new cache of old and new keys [B,G,·,D], zero where nothing
// counts.
func (k lowCalc) appended(old, fresh, places, counts string) string {
	joined := k.join(2, old, fresh)
	shape := k.join(0, k.dimOf(joined, 0), k.dimOf(joined, 1), k.vector(1), k.dimOf(joined, 3))
	cache := k.Emit("GatherElements", []string{joined, k.two("Expand", places, shape)}, onnxgraph.IntAttr("axis", 2))
	return k.where(counts, cache, k.ScalarLike(cache, 0))
}
