package ops

import "ninox/onnxgraph"

// maxSamples caps the cells, samples and taps that become constants.
const maxSamples = 1 << 12

// lowerRoiAlign: bilinear weights are a product of weights along rows and
// columns, and so is their mean over the samples of a cell. Each region is
// thus a product of three matrices, rows·image·columnsᵀ, through which gradients
// reach the image and the corners of the region.
func lowerRoiAlign(k lowCalc) error {
	n := k.Node()
	if mode := n.Str("mode", "avg"); mode != "avg" {
		return k.Errorf("mode %q, expected avg", mode)
	}
	if x, rois := k.Fact(k.I(0)), k.Fact(k.I(1)); x.Rank() != 4 || rois.Rank() != 2 {
		return k.Errorf("images of shape %s and regions of shape %s, expected ranks 4 and 2", x.Shape(), rois.Shape())
	}
	for _, attr := range []string{"output_height", "output_width", "sampling_ratio"} {
		if v := n.Int(attr, 1); v > maxSamples || v < 1 && attr != "sampling_ratio" {
			return k.Errorf("attribute %q: %d, expected 1 to %d", attr, v, maxSamples)
		}
	}
	images := k.Emit("Gather", []string{k.I(0), k.I(2)}, onnxgraph.IntAttr("axis", 0)) // [R,C,H,W]
	rows := k.unsqueeze(k.alignWeights(1, n.Int("output_height", 1), 2), 1)
	columns := k.unsqueeze(k.alignWeights(0, n.Int("output_width", 1), 3), 1)
	k.SetO(0, k.two("MatMul", k.two("MatMul", rows, images), k.transpose(columns, 0, 1, 3, 2)))
	return nil
}

// alignWeights are the weights [R, cells, extent] of the elements along one
// axis of the images. side is 0 for x and 1 for y in the corners x1 y1 x2 y2.
func (k lowCalc) alignWeights(side, cells int64, axis int) string {
	n, rois := k.Node(), k.I(1)
	number := func(v float64) string { return k.ScalarLike(rois, v) }
	half := k.Opset() >= 16 && n.Str("coordinate_transformation_mode", "half_pixel") == "half_pixel"
	corner := func(at int64) string { // [R,1]
		v := k.mul(k.slice(rois, 1, at, at+1), number(float64(n.Float("spatial_scale", 1))))
		if half {
			v = k.sub(v, number(0.5))
		}
		return v
	}
	low := corner(side)
	size := k.sub(corner(side+2), low)
	if !half {
		size = k.two("Max", size, number(1))
	}
	cell := k.div(size, number(float64(cells)))
	count := number(float64(n.Int("sampling_ratio", 0))) // of samples in a cell
	most := n.Int("sampling_ratio", 0)
	sample := ""
	if most > 0 {
		sample = k.cast(k.vector(upTo(0, int(most))...), k.Fact(rois).DType())
	} else { // one for each element that a cell covers
		count = k.two("Max", k.one("Ceil", cell), number(1))
		end := k.cast(k.Emit("ReduceMax", []string{count}, onnxgraph.IntAttr("keepdims", 0)), onnxgraph.Int64)
		sample = k.cast(k.Emit("Range", []string{k.int(0), end, k.int(1)}), k.Fact(rois).DType())
		count = k.unsqueeze(count, 2)
	}
	// Places [R, cells, samples].
	cellOf := k.unsqueeze(k.cast(k.vector(upTo(0, int(cells))...), k.Fact(rois).DType()), 1)
	within := k.add(cellOf, k.div(k.add(sample, number(0.5)), count))
	at := k.add(k.unsqueeze(low, 2), k.mul(within, k.unsqueeze(cell, 2)))
	extent := k.cast(k.squeeze(k.dimOf(k.I(0), axis), 0), k.Fact(rois).DType())
	inside := k.two("And", k.two("LessOrEqual", at, extent), k.two("LessOrEqual", number(-1), at))
	if most <= 0 {
		inside = k.two("And", inside, k.two("Less", sample, count))
	}
	share := k.div(k.mask(inside, rois), count)
	at = k.two("Max", k.two("Min", at, k.sub(extent, number(1))), number(0))
	distance := k.one("Abs", k.sub(k.unsqueeze(at, 3), k.cast(k.count(k.I(0), axis), k.Fact(rois).DType())))
	weights := k.one("Relu", k.sub(number(1), distance))
	return k.sum(k.mul(weights, k.unsqueeze(share, 3)), false, 2)
}

// lowerDeformConv samples the image at the displaced place of every tap, and
// multiplies with the kernels: the matrix of a convolution, made by sampling.
func lowerDeformConv(k lowCalc) error {
	n := k.Node()
	x, w := k.Fact(k.I(0)).Shape(), k.Fact(k.I(1)).Shape()
	if len(x) != 4 || len(w) != 4 {
		return k.Errorf("images of shape %s and kernels of shape %s, expected two spatial axes", x, w)
	}
	win, bad := windowOf(n, 2, w[2:])
	if bad != "" || !win.known() || !x[1].IsKnown() || !w[0].IsKnown() || !w[1].IsKnown() {
		return k.Errorf("numbers of channels and the extents of the kernel must be known")
	}
	og, g, taps := n.Int("offset_group", 1), n.Int("group", 1), int64(win.taps())
	if offset := k.Fact(k.I(2)); offset.Rank() != 4 || taps < 1 || taps > maxSamples {
		return k.Errorf("offsets of shape %s for %d taps, expected rank 4 and 1 to %d taps", offset.Shape(), taps, maxSamples)
	}
	c, m := x[1].Value, w[0].Value
	if og < 1 || g < 1 || c%og != 0 || c%g != 0 || m%g != 0 {
		return k.Errorf("%d channels in %d groups of offsets, %d kernels in %d groups: they do not divide", c, og, m, g)
	}
	from := func(v string, axis int) []string { return []string{k.dimOf(v, axis), k.dimOf(v, axis+1)} }
	shape := func(lead []int64, tail ...string) string {
		return k.Emit("Concat", append([]string{k.vector(lead...)}, tail...), onnxgraph.IntAttr("axis", 0))
	}
	groups := k.two("Reshape", k.I(0), shape([]int64{-1, c / og}, from(k.I(0), 2)...)) // [N·og, C/og, H, W]
	offset := k.two("Reshape", k.I(2), shape([]int64{-1, taps, 2}, from(k.I(2), 2)...))
	s := sampling{calc: k.calc, x: groups, n: 2, padding: "zeros", flat: k.reshape(groups, 0, 0, -1)}
	all := []tap{{}}
	for a := range 2 {
		extent := k.cast(k.squeeze(k.dimOf(groups, 2+a), 0), k.Fact(k.I(0)).DType())
		moved := k.squeeze(k.slice(offset, 2, int64(a), int64(a)+1), 2) // [N·og, taps, oh, ow]
		at := k.reshape(k.add(moved, k.plainPlaces(win, a)), 0, 1, -1)
		all = s.combine(all, s.linear(at, extent), extent)
	}
	columns := s.gather(all[0])
	for _, t := range all[1:] {
		columns = k.add(columns, s.gather(t))
	}
	if k.I(4) != "" {
		columns = k.mul(columns, k.two("Reshape", k.I(4), k.ShapeOf(all[0].place)))
	}
	columns = k.two("Reshape", columns, shape([]int64{-1, g, c / g * taps}, k.mul(k.dimOf(k.I(2), 2), k.dimOf(k.I(2), 3))))
	y := k.two("MatMul", k.reshape(k.I(1), 1, g, m/g, c/g*taps), columns)
	y = k.two("Reshape", y, shape([]int64{-1, m}, from(k.I(2), 2)...))
	if k.I(3) != "" {
		y = k.add(y, k.unsqueeze(k.I(3), 1, 2))
	}
	k.SetO(0, y)
	return nil
}

// plainPlaces are the places [taps, oh, 1] or [taps, 1, ow] that the taps have
// along an axis without displacement.
func (k lowCalc) plainPlaces(win window, axis int) string {
	first := make([]float64, win.taps())
	for t := range first {
		from, _ := win.reached(t)
		first[t] = float64(from[axis] - win.pads[axis])
	}
	position := k.cast(k.count(k.I(2), 2+axis), k.Fact(k.I(0)).DType())
	position = k.scale(position, float64(win.strides[axis]))
	if axis == 0 {
		position = k.unsqueeze(position, 1)
	}
	return k.add(k.realsLike(k.I(0), []int64{int64(len(first)), 1, 1}, first), position)
}
