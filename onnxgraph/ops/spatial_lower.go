package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// viaLowering gives an operator a decomposition, through which gradients flow.
func viaLowering(d *op.Def, rule func(k lowCalc) error) *op.Def {
	d.Grad, d.Lower = op.FromLowering, lowers(rule)
	return d
}

// maxGrid caps the points of a grid that becomes a constant.
const maxGrid = 1 << 22

// lowerAffineGrid is a product of theta [N,d,d+1] with the points of the plain
// grid, which are constants.
func lowerAffineGrid(k lowCalc) error {
	size, ok := intsOf(k.Fact(k.I(1)))
	if !ok || len(size) < 4 {
		return k.Errorf("the size is not known")
	}
	spatial, d := size[2:], len(size)-2
	align := k.Node().Int("align_corners", 0) != 0
	if align && slices.Contains(spatial, 1) {
		return k.Errorf("size %v: where the corners of a single element lie is not defined", size)
	}
	points := int64(1)
	for _, n := range spatial {
		if n < 1 || n > maxGrid/points {
			return k.Errorf("size %v: expected between 1 and %d points", size, maxGrid)
		}
		points *= n
	}
	base := make([]float64, 0, points*int64(d+1))
	for p := range points {
		row := make([]float64, d+1)
		row[d] = 1
		for a, rest := d-1, p; a >= 0; a-- {
			row[d-1-a] = gridCoordinate(rest%spatial[a], spatial[a], align) // the last axis comes first
			rest /= spatial[a]
		}
		base = append(base, row...)
	}
	grid := k.two("MatMul", k.realsLike(k.I(0), []int64{points, int64(d + 1)}, base), k.transpose(k.I(0), 0, 2, 1))
	k.SetO(0, k.reshape(grid, append(append([]int64{-1}, spatial...), int64(d))...))
	return nil
}

// gridCoordinate is the place of element i of n in [-1, 1].
func gridCoordinate(i, n int64, align bool) float64 {
	if !align {
		return (2*float64(i)+1)/float64(n) - 1
	}
	return 2*float64(i)/float64(n-1) - 1
}

// realsLike is a constant of the value's element type.
func (k calc) realsLike(like string, dims []int64, v []float64) string {
	if k.Fact(like).DType() == onnxgraph.Double {
		return k.Const(onnxgraph.Doubles("", dims, v))
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return k.cast(k.Const(onnxgraph.Floats("", dims, f)), k.Fact(like).DType())
}

// lowerCenterCropPad pads by negative and positive numbers; the odd element is
// cut or added at the end.
func lowerCenterCropPad(k lowCalc) error {
	x := k.Fact(k.I(0)).Shape()
	want, ok := intsOf(k.Fact(k.I(1)))
	axes := k.Node().Ints("axes")
	if axes == nil {
		axes = upTo(0, len(x))
	}
	if x == nil || !ok || len(want) != len(axes) {
		return k.Errorf("the shape is not known")
	}
	pads := make([]int64, 2*len(x))
	for i, a := range axes {
		if a < 0 {
			a += int64(len(x))
		}
		if !x[a].IsKnown() {
			return k.Errorf("extent %s of axis %d is not known", x[a], a)
		}
		more := want[i] - x[a].Value
		first := more / 2 // towards zero, as both cutting and padding begin
		pads[a], pads[int(a)+len(x)] = first, more-first
	}
	k.SetO(0, k.padZeros(k.I(0), pads))
	return nil
}

// lowerCol2Im adds up blocks by a transposed convolution whose kernel moves
// element b of a block to its place.
func lowerCol2Im(k lowCalc) error {
	image, ok1 := intsOf(k.Fact(k.I(1)))
	block, ok2 := intsOf(k.Fact(k.I(2)))
	if !ok1 || !ok2 || len(image) != len(block) {
		return k.Errorf("the extents of image and block are not known")
	}
	n := len(image)
	win, bad := windowOf(k.Node(), n, onnxgraph.StaticShape(block...))
	if bad != "" {
		return k.Errorf("%s does not fit", bad)
	}
	size := int64(1)
	blocks, rest := make([]int64, n), make([]int64, n) // number along each axis, elements that none reaches
	for i := range image {
		size *= block[i]
		room := image[i] + win.pads[i] + win.pads[i+n] - win.reach(i)
		blocks[i], rest[i] = room/win.strides[i]+1, room%win.strides[i]
	}
	eye := make([]float64, size*size)
	for i := range size {
		eye[i*size+i] = 1
	}
	kernel := k.realsLike(k.I(0), append([]int64{size, 1}, block...), eye)
	columns := k.reshape(k.I(0), append([]int64{-1, size}, blocks...)...)
	as := append(win.attributes(), onnxgraph.IntsAttr("output_padding", rest...))
	y := k.Emit("ConvTranspose", []string{columns, kernel}, as...)
	channels := k.two("Div", k.dimOf(k.I(0), 1), k.vector(size))
	k.SetO(0, k.two("Reshape", y, k.Emit("Concat", []string{k.dimOf(k.I(0), 0), channels, k.vector(image...)}, onnxgraph.IntAttr("axis", 0))))
	return nil
}

// gradCompress puts dY back to the places that the condition chose.
func gradCompress(c op.GradCtx) error {
	k := calc{c}
	places := k.reshape(k.one("NonZero", c.I(1)), -1)
	x := c.Fact(c.I(0))
	if c.Node().Attr("axis") == nil {
		flat := k.scatterAxis(c.GO(0), places, 0, k.reshape(k.one("Size", c.I(0)), 1), false)
		c.SetGI(0, k.likeShape(flat, c.I(0)))
		return nil
	}
	if x.Rank() < 1 {
		return c.Errorf("the rank of %q is not known", c.I(0))
	}
	axis := nodeAxis(c.Node(), 0, x.Rank())
	c.SetGI(0, k.scatterAxis(c.GO(0), places, axis, k.dimOf(c.I(0), axis), false))
	return nil
}
