package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// noAxis stands for an axis that does not exist.
const noAxis op.Axis = -1

// fixAll fixes every axis of the given inputs: shapes, axes, sizes and other
// vectors whose elements have a place each.
func fixAll(c op.FlowCtx, reason string, inputs ...int) {
	for _, i := range inputs {
		for a := range max(c.InFact(i).Rank(), 0) {
			c.Fix(c.In(i, a), reason)
		}
	}
}

// fixOut fixes every axis of output i.
func fixOut(c op.FlowCtx, i int, reason string) {
	for a := range max(c.OutFact(i).Rank(), 0) {
		c.Fix(c.Out(i, a), reason)
	}
}

// opaque fixes every axis of inputs and outputs, where a value that the rule
// needs is not known.
func opaque(c op.FlowCtx, reason string) error { return op.Opaque(reason).Apply(c) }

// align links the axes of input i and output o from the right, from input
// axis lo on, as broadcasting does.
func align(c op.FlowCtx, i, o int) {
	in, out := c.InFact(i), c.OutFact(o)
	for a := 1; a <= min(in.Rank(), out.Rank()); a++ {
		c.Link(c.In(i, -a), c.Out(o, -a))
	}
}

// link links two axes unless one does not exist.
func link(c op.FlowCtx, a, b op.Axis) {
	if a != noAxis && b != noAxis {
		c.Link(a, b)
	}
}

// contract contracts two axes unless one does not exist.
func contract(c op.FlowCtx, a, b op.Axis) {
	if a != noAxis && b != noAxis {
		c.Contract(a, b)
	}
}

// grouped views an axis as groups of members, in this order. A part of extent
// 1 is noAxis, and then the other part is the axis itself.
func grouped(c op.FlowCtx, a op.Axis, groups, members onnxgraph.Dim) (group, member op.Axis) {
	one := onnxgraph.Known(1)
	switch {
	case groups == one:
		return noAxis, a
	case members == one:
		return a, noAxis
	}
	f := c.Factor(a, groups, members)
	return f[0], f[1]
}

// regroup says that the row-major products of two lists of axes are equal,
// splitting them into independent pieces: axes of extent 1 drop out, single
// axes link, and equal axes at either end link.
func regroup(c op.FlowCtx, from, to []extent) {
	from, to = wide(from), wide(to)
	for len(from) > 0 && len(to) > 0 && from[0].dim.Same(to[0].dim) {
		c.Link(from[0].axis, to[0].axis)
		from, to = from[1:], to[1:]
	}
	for len(from) > 0 && len(to) > 0 && from[len(from)-1].dim.Same(to[len(to)-1].dim) {
		c.Link(from[len(from)-1].axis, to[len(to)-1].axis)
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	i, j := leastGroup(from, to)
	switch {
	case len(from) == 0 || len(to) == 0: // the rest has extent 1 at run time
	case i == 1 && j == 1:
		c.Link(from[0].axis, to[0].axis)
	default:
		c.Regroup(axesOnly(from[:i]), axesOnly(to[:j]))
	}
	if i < len(from) && j < len(to) {
		regroup(c, from[i:], to[j:])
	}
}

// extent is an axis and its size.
type extent struct {
	axis op.Axis
	dim  onnxgraph.Dim
}

func inExtents(c op.FlowCtx, i int) []extent {
	return extents(c.InFact(i).Shape(), func(a int) op.Axis { return c.In(i, a) })
}

func outExtents(c op.FlowCtx, i int) []extent {
	return extents(c.OutFact(i).Shape(), func(a int) op.Axis { return c.Out(i, a) })
}

func extents(s onnxgraph.Shape, axis func(a int) op.Axis) []extent {
	out := make([]extent, len(s))
	for a, d := range s {
		out[a] = extent{axis(a), d}
	}
	return out
}

// wide drops the axes of extent 1.
func wide(e []extent) []extent {
	var out []extent
	for _, x := range e {
		if x.dim != onnxgraph.Known(1) {
			out = append(out, x)
		}
	}
	return out
}

// leastGroup finds the shortest prefixes of equal product; the whole lists
// where none is certain.
func leastGroup(from, to []extent) (i, j int) {
	one := onnxgraph.Known(1)
	p, q := one, one
	for i < len(from) || j < len(to) {
		// Extend the side that is certainly smaller, else the shorter list.
		left := i < len(from) && (j == len(to) || i <= j)
		if p.IsKnown() && q.IsKnown() && p != q {
			left = p.Value < q.Value && i < len(from) || j == len(to)
		}
		if left {
			p = mulDims(p, from[i].dim)
			i++
		} else {
			q = mulDims(q, to[j].dim)
			j++
		}
		if i > 0 && j > 0 && p.Same(q) {
			return i, j
		}
	}
	return len(from), len(to)
}

func axesOnly(e []extent) []op.Axis {
	out := make([]op.Axis, len(e))
	for i, x := range e {
		out[i] = x.axis
	}
	return out
}
