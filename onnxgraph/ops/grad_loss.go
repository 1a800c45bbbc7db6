package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// lossGrads is the backward operator of SoftmaxCrossEntropyLoss:
// dL, log p, labels, class weights → gradient of the scores.
var lossGrads = []*op.Def{
	training("SoftmaxCrossEntropyLossGrad", op.Between(3, 5), op.Exactly(1), crossEntropyAttrs, likeInput(1), func(k lowCalc) error {
		if k.Fact(k.I(1)).Rank() < 2 {
			return k.Errorf("the rank of the scores is not known")
		}
		k.SetO(0, crossEntropyGrad(k.calc))
		return nil
	}),
}

// crossEntropyGrad is (p − onehot(label))·r, where r is the share of a label
// in the loss: w·dL/Σw for the mean, w·dL otherwise. Only the elements at the
// labels are rewritten, which is far cheaper than a one-hot tensor.
func crossEntropyGrad(k calc) string {
	dl, logp, labels := k.I(0), k.I(1), k.I(2)
	j := judge(k, logp, labels, k.I(3))
	r := dl
	switch reduction := k.Node().Str("reduction", "mean"); {
	case reduction == "mean" && j.weights == "":
		r = k.div(r, k.cast(k.one("Size", labels), k.Fact(logp).DType()))
	case reduction == "mean":
		r = k.div(r, k.Emit("ReduceSum", []string{j.weights}, onnxgraph.IntAttr("keepdims", 0)))
	case reduction == "none":
		r = k.unsqueeze(r, 1)
	}
	if j.weights != "" {
		r = k.mul(k.unsqueeze(j.weights, 1), r)
	}
	axis := onnxgraph.IntAttr("axis", 1)
	p := k.mul(k.one("Exp", logp), r)
	atLabel := k.sub(k.Emit("GatherElements", []string{p, j.at}, axis), r)
	return k.Emit("ScatterElements", []string{p, j.at, atLabel}, axis)
}
