package neuralgraph

import (
	"fmt"
	"math/rand/v2"

	"ninox/onnxgraph"
)

// Model is the model in the standard form that was analysed. It computes what
// the original computes, and its initializers include the original's
// parameters. It must not be edited.
func (g *Graph) Model() *onnxgraph.Model { return g.standard }

// Permutations assigns orders to groups, by id: the neuron at place i of the
// permuted model is the one at place p[i] of the original.
type Permutations map[string][]int

// RandomPermutations draws an order, other than the given one, for each of the
// groups (nil: all) that can be permuted.
func (g *Graph) RandomPermutations(rng *rand.Rand, ids ...string) Permutations {
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	out := Permutations{}
	for i := range g.Groups {
		if gr := &g.Groups[i]; gr.Permutable && (len(ids) == 0 || wanted[gr.ID]) {
			out[gr.ID] = derangement(rng, int(gr.Size))
		}
	}
	return out
}

// RandomOrder draws an order for one group, other than the given one, whether
// or not it may be permuted. Groups of one neuron have no other order.
func (g *Graph) RandomOrder(rng *rand.Rand, id string) Permutations {
	out := Permutations{}
	for i := range g.Groups {
		if gr := &g.Groups[i]; gr.ID == id && gr.Size > 1 {
			out[id] = derangement(rng, int(gr.Size))
		}
	}
	return out
}

// derangement is a random order of n >= 2 things that is not the identity.
func derangement(rng *rand.Rand, n int) []int {
	for {
		p := rng.Perm(n)
		for i, k := range p {
			if i != k {
				return p
			}
		}
	}
}

// Permute returns an initializer, or another constant, of the model with its axes in the order that
// the permutations give their groups, or the same tensor where they give none.
func (g *Graph) Permute(t *onnxgraph.Tensor, p Permutations) (*onnxgraph.Tensor, error) {
	axes := g.analysis.env.lookup(t.Name)
	if len(axes) != len(t.Dims) {
		return nil, fmt.Errorf("permute: %q is no initializer of the model", t.Name)
	}
	orders := make([][]int, len(axes))
	changed := false
	for a, c := range axes {
		order, moved := g.order(c, p)
		orders[a], changed = order, changed || moved
	}
	if !changed {
		return t, nil
	}
	return reordered(t, orders)
}

// PermuteAxis is Permute for one axis only, which breaks the correspondence
// with other parameters. It returns nil where the axis does not move.
func (g *Graph) PermuteAxis(t *onnxgraph.Tensor, axis int, p Permutations) (*onnxgraph.Tensor, error) {
	axes := g.analysis.env.lookup(t.Name)
	if axis < 0 || axis >= len(axes) || len(axes) != len(t.Dims) {
		return nil, fmt.Errorf("permute: %q is no initializer of the model with axis %d", t.Name, axis)
	}
	orders := make([][]int, len(axes))
	moved := false
	for a := range axes {
		orders[a] = identity(int(t.Dims[a]))
	}
	if orders[axis], moved = g.order(axes[axis], p); !moved {
		return nil, nil
	}
	return reordered(t, orders)
}

func identity(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// order is the order of an axis, composed of those of its atoms, and whether
// any atom moves.
func (g *Graph) order(c *class, p Permutations) (out []int, moved bool) {
	c = find(c)
	switch c.kind {
	case product:
		out = []int{0}
		for _, part := range c.parts {
			sub, m := g.order(part, p)
			moved = moved || m
			next := make([]int, 0, len(out)*len(sub))
			for _, i := range out {
				for _, j := range sub {
					next = append(next, i*len(sub)+j)
				}
			}
			out = next
		}
		return out, moved
	case concat:
		for _, part := range c.parts {
			sub, m := g.order(part, p)
			moved = moved || m
			at := len(out)
			for _, j := range sub {
				out = append(out, at+j)
			}
		}
		return out, moved
	}
	if i, ok := g.groupOf[c]; ok {
		if o := p[g.Groups[i].ID]; o != nil {
			return o, true
		}
	}
	return identity(int(max(c.dim.Value, 0))), false
}

// reordered gathers a tensor along every axis.
func reordered(t *onnxgraph.Tensor, orders [][]int) (*onnxgraph.Tensor, error) {
	width := t.DType.Bits() / 8
	n := 1
	for a, d := range t.Dims {
		if len(orders[a]) != int(d) {
			return nil, fmt.Errorf("permute: axis %d of %q has %d indices, its order %d", a, t.Name, d, len(orders[a]))
		}
		n *= int(d)
	}
	if width == 0 || len(t.Data) != n*width {
		return nil, fmt.Errorf("permute: %q has %d bytes of %s%v", t.Name, len(t.Data), t.DType, t.Dims)
	}
	out := *t
	out.External, out.Data = nil, make([]byte, len(t.Data))
	if n > 0 {
		gather(out.Data, t.Data, orders, width)
	}
	return &out, nil
}

// gather copies elements of the given width in a new order along every axis;
// last axes that keep theirs are copied in one piece.
func gather(to, from []byte, orders [][]int, width int) {
	for len(orders) > 0 && ascending(orders[len(orders)-1]) {
		width *= len(orders[len(orders)-1])
		orders = orders[:len(orders)-1]
	}
	if len(orders) == 0 {
		copy(to, from)
		return
	}
	strides := make([]int, len(orders))
	for a, s := len(orders)-1, width; a >= 0; a-- {
		strides[a] = s
		s *= len(orders[a])
	}
	last, next := len(orders)-1, 0
	var walk func(a, at int)
	walk = func(a, at int) {
		for _, i := range orders[a] {
			if a < last {
				walk(a+1, at+i*strides[a])
				continue
			}
			next += copy(to[next:next+width], from[at+i*width:])
		}
	}
	walk(0, 0)
}

func ascending(order []int) bool {
	for i, k := range order {
		if i != k {
			return false
		}
	}
	return true
}
