package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// scattering is ScatterElements with a reduction, or ScatterND written as such.
type scattering struct {
	calc
	x, index, updates string
	y, dy             string // result and its gradient
	axis              int64
}

func (s scattering) scatter(data, updates, reduction string) string {
	return s.Emit("ScatterElements", []string{data, s.index, updates}, onnxgraph.IntAttr("axis", s.axis), onnxgraph.StringAttr("reduction", reduction))
}

func (s scattering) gather(v string) string {
	return s.Emit("GatherElements", []string{v, s.index}, onnxgraph.IntAttr("axis", s.axis))
}

// extreme: the gradient goes to the elements that equal the result, in equal
// parts where several do.
func (s scattering) extreme() (dx, du string) {
	mine := s.mask(s.two("Equal", s.x, s.y), s.x)
	theirs := s.mask(s.two("Equal", s.updates, s.gather(s.y)), s.x)
	share := s.div(s.dy, s.scatter(mine, theirs, "add"))
	return s.mul(share, mine), s.mul(s.gather(share), theirs)
}

// product: each factor gets the product of the others. With one factor of zero
// the others multiply to what the product is without it; with two, to zero.
func (s scattering) product(needX, needU bool) (dx, du string) {
	if needX {
		ones := s.filled(s.ShapeOf(s.x), s.Fact(s.x).DType(), 1)
		dx = s.mul(s.dy, s.scatter(ones, s.updates, "mul"))
	}
	if !needU {
		return dx, ""
	}
	zero, one := s.ScalarLike(s.x, 0), s.ScalarLike(s.x, 1)
	isZero := s.two("Equal", s.updates, zero)
	factors := s.where(isZero, one, s.updates)
	rest := s.gather(s.mul(s.dy, s.scatter(s.x, factors, "mul")))
	zeros := s.gather(s.scatter(s.zerosLike(s.x), s.mask(isZero, s.x), "add"))
	others := s.sub(zeros, s.mask(isZero, s.x)) // factors of zero besides this one
	return dx, s.where(s.two("Equal", others, zero), s.div(rest, factors), s.zerosLike(s.updates))
}

// gradReduced is the gradient of a reduction other than addition.
func (s scattering) gradReduced(c op.GradCtx, reduction string) (dx, du string, err error) {
	switch {
	case c.Opset() < 16:
		return "", "", c.Errorf("the gradient of reduction %q needs ScatterElements with addition, opset 16; convert the model", reduction)
	case reduction == "mul":
		dx, du = s.product(c.Needs(0), c.Needs(2))
	case c.Opset() < 18:
		return "", "", c.Errorf("reduction %q, expected one of opset %d", reduction, c.Opset())
	default:
		dx, du = s.extreme()
	}
	return dx, du, nil
}

// flatPoints are the coordinates [..., n] of x, behind b batch axes, as one
// number each, and the number of points that there are.
func (k calc) flatPoints(x, coordinates string, b, n int) (flat, points string) {
	idx := k.cast(coordinates, onnxgraph.Int64)
	for a := range n {
		extent := k.dimOf(x, b+a)
		at := k.reshape(k.slice(idx, -1, int64(a), int64(a)+1), -1)
		at = k.where(k.two("Less", at, k.vector(0)), k.add(at, extent), at)
		if a == 0 {
			flat, points = at, extent
			continue
		}
		flat, points = k.add(k.mul(flat, extent), at), k.mul(points, extent)
	}
	if b == 0 {
		return flat, points
	}
	batch := k.dimOf(x, 0)
	for a := 1; a < b; a++ {
		batch = k.mul(batch, k.dimOf(x, a))
	}
	first := k.mul(k.Emit("Range", []string{k.int(0), k.squeeze(batch, 0), k.int(1)}), points) // of each sample
	rows := k.two("Reshape", flat, k.Emit("Concat", []string{batch, k.vector(-1)}, onnxgraph.IntAttr("axis", 0)))
	return k.reshape(k.add(rows, k.unsqueeze(first, 1)), -1), k.mul(points, batch)
}

// scatterNDAsElements writes ScatterND over n coordinates as ScatterElements on
// matrices: a row for each point.
func scatterNDAsElements(c op.GradCtx, n int) scattering {
	k := calc{c}
	flat, points := k.flatPoints(c.I(0), c.I(1), 0, n)
	inner := k.vector(1)
	for a := n; a < c.Fact(c.I(0)).Rank(); a++ {
		inner = k.mul(inner, k.dimOf(c.I(0), a))
	}
	rows := func(v, count string) string {
		return k.two("Reshape", v, k.Emit("Concat", []string{count, inner}, onnxgraph.IntAttr("axis", 0)))
	}
	updates := rows(c.I(2), k.vector(-1))
	return scattering{
		calc: k, x: rows(c.I(0), points), y: rows(c.O(0), points), dy: rows(c.GO(0), points), updates: updates,
		index: k.two("Expand", k.unsqueeze(flat, 1), k.ShapeOf(updates)),
	}
}
