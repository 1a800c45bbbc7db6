package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// convGrads are backward operators of convolutions: dY, X, W → dX, dW, dB.
var convGrads = []*op.Def{
	training("ConvGrad", op.Exactly(3), op.Between(1, 3), convGradAttrs, inferConvGrad, func(k lowCalc) error { return lowerConvGrad(k, conv) }),
	training("ConvTransposeGrad", op.Exactly(3), op.Between(1, 3), append(attrs(aInts("output_padding"), aInts("output_shape")), convGradAttrs...), inferConvGrad,
		func(k lowCalc) error { return lowerConvGrad(k, convTranspose) }),
}

var convGradAttrs = attrs(aStr("auto_pad"), aInts("dilations"), aInt("group"), aInts("kernel_shape"), aInts("pads"), aInts("strides"))

func inferConvGrad(c *op.InferCtx) error {
	dy, x, w := c.I(0), c.I(1), c.I(2)
	c.Set(0, x.DType(), x.Shape().Clone())
	c.Set(1, w.DType(), w.Shape().Clone())
	if s := dy.Shape(); len(s) > 1 {
		c.Set(2, w.DType(), onnxgraph.Shape{s[1]})
	} else {
		c.Set(2, w.DType(), unknowns(1))
	}
	return nil
}

// lowerConvGrad applies the gradient rule of the forward operator.
func lowerConvGrad(k lowCalc, forward *op.Def) error {
	node := &onnxgraph.Node{Name: k.Node().Name, OpType: forward.Name, Inputs: []string{k.I(1), k.I(2)}, Outputs: []string{k.I(0)}, Attrs: k.Node().Attrs}
	var needs []int
	for i := range 2 {
		if k.HasO(i) {
			needs = append(needs, i)
		}
	}
	g, err := gradients(k, forward, node, []string{k.I(0)}, needs...)
	if err != nil {
		return err
	}
	for i, v := range g {
		k.SetO(i, v)
	}
	if k.HasO(2) {
		r := k.Fact(k.I(0)).Rank()
		if r < 3 {
			return k.Errorf("the rank of dY is not known")
		}
		k.SetO(2, k.sum(k.I(0), false, append([]int64{0}, upTo(2, r)...)...))
	}
	return nil
}
