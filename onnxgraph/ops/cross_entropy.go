// https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html
// https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// crossEntropyOps are the two losses of classification; scores have the
// classes on axis 1.
var crossEntropyOps = []*op.Def{
	{
		Name: "SoftmaxCrossEntropyLoss", Versions: since(12, 13), Attrs: crossEntropyAttrs,
		In: op.Between(2, 3), Out: op.Between(1, 2),
		Infer: func(c *op.InferCtx) error {
			c.Set(1, c.I(0).DType(), c.I(0).Shape().Clone())
			return inferLoss(c)
		},
		Flow: op.Flows(flowLoss),
		Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			logp := k.Emit("LogSoftmax", []string{k.I(0)}, onnxgraph.IntAttr("axis", 1))
			loss, err := likelihoodLoss(k.calc, logp)
			k.SetO(0, loss)
			k.SetO(1, logp)
			return err
		}),
	},
	{
		Name: "NegativeLogLikelihoodLoss", Versions: since(12, 13, 22), Attrs: crossEntropyAttrs,
		In: op.Between(2, 3), Out: op.Exactly(1),
		Infer: inferLoss,
		Flow:  op.Flows(flowLoss),
		Grad:  op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			loss, err := likelihoodLoss(k.calc, k.I(0))
			k.SetO(0, loss)
			return err
		}),
	},
}

var crossEntropyAttrs = attrs(aInt("ignore_index"), aStr("reduction"))

func inferLoss(c *op.InferCtx) error {
	scores, labels := c.I(0), c.I(1)
	if r := scores.Rank(); r >= 0 && (r < 2 || labels.Rank() >= 0 && labels.Rank() != r-1) {
		return c.Errorf("", "scores of shape %s and labels of shape %s, expected one axis more in the scores", scores.Shape(), labels.Shape())
	}
	switch r := c.Node.Str("reduction", "mean"); r {
	case "none":
		c.Set(0, scores.DType(), labels.Shape().Clone())
	case "mean", "sum":
		c.Set(0, scores.DType(), onnxgraph.Shape{})
	default:
		return c.Errorf("reduction", "%q, expected none, mean or sum", r)
	}
	return nil
}

// flowLoss: batch and positions are shared by scores and labels; the classes
// have a place each, because labels name them.
func flowLoss(c op.FlowCtx) error {
	r := c.InFact(0).Rank()
	if r < 2 || c.InFact(1).Rank() != r-1 {
		return opaque(c, "the rank of the scores is not known")
	}
	c.Fix(c.In(0, 1), "labels number the classes")
	for a := range r - 1 {
		at := a
		if a > 0 {
			at++
		}
		c.Link(c.In(0, at), c.In(1, a))
		if c.OutFact(0).Rank() == r-1 {
			c.Link(c.In(1, a), c.Out(0, a))
		}
	}
	fixAll(c, "labels number the classes", 2)
	if c.OutFact(1) != nil {
		for a := range r {
			c.Link(c.In(0, a), c.Out(1, a))
		}
	}
	return nil
}

// judged is what a loss knows about its labels.
type judged struct {
	at      string // labels with a class axis of extent 1, ignored ones replaced by class 0
	weights string // of each label, "" where all are 1
}

// judge reads labels (input 1), class weights (input 2) and ignore_index.
func judge(k calc, logp, labels, classWeights string) judged {
	var j judged
	mask := ""
	if a := k.Node().Attr("ignore_index"); a != nil {
		ignored := k.two("Equal", labels, k.ScalarLike(labels, float64(a.I)))
		labels = k.where(ignored, k.ScalarLike(labels, 0), labels)
		mask = k.mask(k.one("Not", ignored), logp)
	}
	j.at = k.unsqueeze(labels, 1)
	j.weights = mask
	if classWeights != "" {
		j.weights = k.Emit("Gather", []string{classWeights, labels}, onnxgraph.IntAttr("axis", 0))
		if mask != "" {
			j.weights = k.mul(j.weights, mask)
		}
	}
	return j
}

// likelihoodLoss is the weighted loss −logp[label], reduced as the node says.
func likelihoodLoss(k calc, logp string) (string, error) {
	if k.Fact(logp).Rank() < 2 {
		return "", k.Errorf("the rank of the scores is not known")
	}
	j := judge(k, logp, k.I(1), k.I(2))
	loss := k.neg(k.squeeze(k.Emit("GatherElements", []string{logp, j.at}, onnxgraph.IntAttr("axis", 1)), 1))
	if j.weights != "" {
		loss = k.mul(loss, j.weights)
	}
	all := func(opType, x string) string { return k.Emit(opType, []string{x}, onnxgraph.IntAttr("keepdims", 0)) }
	switch k.Node().Str("reduction", "mean") {
	case "none":
		return loss, nil
	case "sum":
		return all("ReduceSum", loss), nil
	}
	if j.weights == "" {
		return all("ReduceMean", loss), nil
	}
	return k.div(all("ReduceSum", loss), all("ReduceSum", j.weights)), nil
}
