// https://onnx.ai/onnx/operators/onnx__GridSample.html

package ops

import (
	"ninox/onnxgraph"
)

// sampling is a GridSample under lowering: coordinates of every axis are
// turned into places of elements, which are gathered and weighted.
type sampling struct {
	calc
	x       string // [N,C,D1…Dd]
	flat    string // x as [N,C,D1·…·Dd]
	n       int    // number of spatial axes
	align   bool   // -1 and 1 are the centres of the outer elements, not their edges
	padding string // zeros, border or reflection
	points  string // shape [N,1,P] as far as P, the number of points of a sample, goes
}

// tap is one element per point along one axis.
type tap struct{ place, weight string } // weight "" for 1

// lowerGridSample writes the interpolation as arithmetic, so that gradients
// flow to the image through the gathering and to the grid through the weights.
func lowerGridSample(k lowCalc) error {
	n := k.Node()
	r := k.Fact(k.I(0)).Rank()
	if r < 3 || k.Fact(k.I(1)).Rank() != r {
		return k.Errorf("the rank of the image or of the grid is not known")
	}
	s := sampling{calc: k.calc, x: k.I(0), n: r - 2, align: n.Int("align_corners", 0) != 0, padding: n.Str("padding_mode", "zeros")}
	s.flat = k.two("Reshape", s.x, k.vector(0, 0, -1))
	var taps func(at, extent string) []tap
	switch mode := n.Str("mode", "linear"); mode {
	case "linear", "bilinear":
		taps = s.linear
	case "nearest":
		taps = s.nearest
	case "cubic", "bicubic":
		taps = s.cubic
	default:
		return k.Errorf("mode %q, expected linear, nearest or cubic", mode)
	}
	grid := k.I(1)
	all := []tap{{}} // of the axes so far, places counted over them together
	for a := range s.n {
		extent := k.cast(k.squeeze(k.dimOf(s.x, 2+a), 0), k.Fact(s.x).DType())
		coordinate := k.slice(grid, -1, int64(s.n-1-a), int64(s.n-a)) // the last axis comes first
		coordinate = k.two("Reshape", coordinate, k.vector(0, 1, -1))
		all = s.combine(all, taps(s.scaled(coordinate, extent), extent), extent)
	}
	var y string
	for _, t := range all {
		v := s.gather(t)
		if y == "" {
			y = v
		} else {
			y = k.add(y, v)
		}
	}
	shape := k.Emit("Concat", []string{k.slice(k.ShapeOf(s.x), 0, 0, 2), k.slice(k.ShapeOf(grid), 0, 1, int64(r-1))}, onnxgraph.IntAttr("axis", 0))
	k.SetO(0, k.two("Reshape", y, shape))
	return nil
}

// scaled takes a coordinate in [-1, 1] to places of elements, 0 for the first.
func (s sampling) scaled(c, extent string) string {
	one := s.ScalarLike(c, 1)
	if s.align {
		return s.mul(s.scale(s.add(c, one), 0.5), s.sub(extent, one))
	}
	return s.scale(s.sub(s.mul(s.add(c, one), extent), one), 0.5)
}

// combine makes the taps of one more axis part of those of the axes before.
func (s sampling) combine(before, axis []tap, extent string) []tap {
	var out []tap
	for _, b := range before {
		for _, t := range axis {
			c := t
			if b.place != "" {
				c.place = s.add(s.mul(b.place, extent), t.place)
			}
			switch {
			case c.weight == "":
				c.weight = b.weight
			case b.weight != "":
				c.weight = s.mul(b.weight, t.weight)
			}
			out = append(out, c)
		}
	}
	return out
}

// gather is the weighted element of every point and channel.
func (s sampling) gather(t tap) string {
	index := s.cast(t.place, onnxgraph.Int64)
	channels := s.Emit("Concat", []string{s.vector(1), s.dimOf(s.x, 1), s.vector(1)}, onnxgraph.IntAttr("axis", 0))
	v := s.Emit("GatherElements", []string{s.flat, s.two("Expand", index, channels)}, onnxgraph.IntAttr("axis", 2))
	if t.weight == "" {
		return v
	}
	return s.mul(v, t.weight)
}

// linear are the two neighbours of a place.
func (s sampling) linear(at, extent string) []tap {
	at = s.padded(at, extent)
	low := s.one("Floor", at)
	part := s.sub(at, low)
	return []tap{
		s.inside(low, s.sub(s.ScalarLike(at, 1), part), extent),
		s.inside(s.add(low, s.ScalarLike(at, 1)), part, extent),
	}
}

// nearest rounds, halves to the even place.
func (s sampling) nearest(at, extent string) []tap {
	return []tap{s.inside(s.one("Round", s.padded(at, extent)), "", extent)}
}

// cubic are four neighbours by the convolution of Keys with a = -0.75. Elements
// are padded, not the coordinate.
func (s sampling) cubic(at, extent string) []tap {
	const a = -0.75
	low := s.one("Floor", at)
	t := s.sub(at, low)
	poly := func(x string, c ...float64) string { // Horner, highest power first
		y := s.ScalarLike(x, c[0])
		for _, next := range c[1:] {
			y = s.add(s.mul(y, x), s.ScalarLike(x, next))
		}
		return y
	}
	near := func(x string) string { return poly(x, a+2, -(a + 3), 0, 1) }
	far := func(x string) string { return poly(x, a, -5*a, 8*a, -4*a) }
	one := s.ScalarLike(at, 1)
	rest := s.sub(one, t)
	weights := []string{far(s.add(t, one)), near(t), near(rest), far(s.add(rest, one))}
	var out []tap
	for i, w := range weights {
		place := s.add(low, s.ScalarLike(at, float64(i-1)))
		out = append(out, s.inside(s.padded(place, extent), w, extent))
	}
	return out
}

// padded moves a place into the image where the padding says so.
func (s sampling) padded(at, extent string) string {
	switch s.padding {
	case "border":
		return s.clamp(at, extent)
	case "reflection":
		return s.clamp(s.reflected(at, extent), extent)
	}
	return at
}

func (s sampling) clamp(at, extent string) string {
	return s.two("Max", s.two("Min", at, s.sub(extent, s.ScalarLike(at, 1))), s.ScalarLike(at, 0))
}

// reflected folds places at the outer centres or edges: distance from the lower
// one, modulo there and back.
func (s sampling) reflected(at, extent string) string {
	low, span := s.ScalarLike(at, 0), s.sub(extent, s.ScalarLike(at, 1))
	if !s.align {
		low, span = s.ScalarLike(at, -0.5), extent
	}
	way := s.Emit("Mod", []string{s.one("Abs", s.sub(at, low)), s.scale(span, 2)}, onnxgraph.IntAttr("fmod", 1))
	back := s.sub(s.scale(span, 2), way)
	return s.add(s.two("Min", way, back), low)
}

// inside gives places outside the image the weight 0 and some place within.
func (s sampling) inside(place, weight, extent string) tap {
	within := s.clamp(place, extent)
	if s.padding != "zeros" {
		return tap{within, weight}
	}
	in := s.mask(s.two("Equal", place, within), place)
	if weight == "" {
		return tap{within, in}
	}
	return tap{within, s.mul(weight, in)}
}
