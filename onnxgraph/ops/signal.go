// https://onnx.ai/onnx/operators/onnx__DFT.html, STFT, HannWindow,
// HammingWindow, BlackmanWindow, MelWeightMatrix

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// signals are inferred; spectra are ordered, so nothing may be permuted
// through them.
var signals = []*op.Def{
	spectrum("HannWindow", since(17), windowFunctionAttrs, op.Exactly(1), inferWindowFunction),
	spectrum("HammingWindow", since(17), windowFunctionAttrs, op.Exactly(1), inferWindowFunction),
	spectrum("BlackmanWindow", since(17), windowFunctionAttrs, op.Exactly(1), inferWindowFunction),
	spectrum("MelWeightMatrix", since(17), attrs(aInt("output_datatype")), op.Exactly(5), func(c *op.InferCtx) error {
		bins := addDims(floorDims(sizeOf(c.I(1)), onnxgraph.Known(2)), onnxgraph.Known(1))
		c.Set(0, windowType(c), onnxgraph.Shape{bins, sizeOf(c.I(0))})
		return nil
	}),
	viaLowering(spectrum("DFT", since(17, 20), attrs(aInt("axis"), aInt("inverse"), aInt("onesided")), op.Between(1, 3), inferDFT), lowerDFT),
	viaLowering(spectrum("STFT", since(17), attrs(aInt("onesided")), op.Between(2, 4), inferSTFT), lowerSTFT),
}

func spectrum(name string, versions []int64, a []op.AttrSpec, in op.Arity, infer op.InferFunc) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: a, In: in, Out: op.Exactly(1), Infer: infer,
		// Windows depend on integers, and the bands of mel frequencies on rounded ones.
		Flow: op.Opaque("frequencies and times are ordered"), Grad: op.ZeroGrad, Lower: op.Primitive,
	}
}

var windowFunctionAttrs = attrs(aInt("output_datatype"), aInt("periodic"))

func windowType(c *op.InferCtx) onnxgraph.DType {
	return onnxgraph.DType(c.Node.Int("output_datatype", int64(onnxgraph.Float)))
}

func inferWindowFunction(c *op.InferCtx) error {
	c.Set(0, windowType(c), onnxgraph.Shape{sizeOf(c.I(0))})
	return nil
}

// oneSided is the number of frequencies of a real signal of n samples.
func oneSided(n onnxgraph.Dim) onnxgraph.Dim {
	return addDims(floorDims(n, onnxgraph.Known(2)), onnxgraph.Known(1))
}

// inferDFT: the last axis holds real and imaginary part, or one number each
// where the inverse of half a spectrum is real.
func inferDFT(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if s == nil {
		c.Set(0, c.I(0).DType(), nil)
		return nil
	}
	if len(s) < 2 {
		return c.Errorf("", "input of shape %s, expected at least two axes", s)
	}
	half, inverse := c.Node.Int("onesided", 0) != 0, c.Node.Int("inverse", 0) != 0
	axis, known := dftAxis(c)
	if !known && (half || c.I(1) != nil) { // any of the axes has another extent
		s = unknowns(len(s))
	} else if known {
		at, err := c.Axis(axis, len(s))
		if err != nil {
			return err
		}
		length := c.I(1) != nil
		if length {
			s[at] = sizeOf(c.I(1))
		}
		switch {
		case half && !inverse:
			s[at] = oneSided(s[at])
		case half && !length: // as if of an even number of samples
			s[at] = mulDims(onnxgraph.Known(2), subDims(s[at], onnxgraph.Known(1)))
		}
	}
	s[len(s)-1] = onnxgraph.Known(2)
	if half && inverse {
		s[len(s)-1] = onnxgraph.Known(1)
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// dftAxis is the transformed axis: an attribute, and an input since opset 20.
func dftAxis(c *op.InferCtx) (axis int64, known bool) {
	if c.Opset < 20 {
		return c.Node.Int("axis", 1), true
	}
	if c.I(2) == nil {
		return -2, true
	}
	v, ok := intsOf(c.I(2))
	if !ok || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// inferSTFT: signal [B,samples,1 or 2], step, window, frame length →
// [B,frames,frequencies,2].
func inferSTFT(c *op.InferCtx) error {
	out := unknowns(4)
	out[3] = onnxgraph.Known(2)
	frame := sizeOf(c.I(3))
	if w := c.I(2).Shape(); c.I(3) == nil && len(w) == 1 {
		frame = w[0]
	}
	if c.Node.Int("onesided", 1) != 0 {
		out[2] = oneSided(frame)
	} else {
		out[2] = frame
	}
	if s := c.I(0).Shape(); len(s) > 1 {
		out[0] = s[0]
		out[1] = addDims(floorDims(subDims(s[1], frame), sizeOf(c.I(1))), onnxgraph.Known(1))
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}
