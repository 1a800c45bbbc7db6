package training

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
)

// crossEntropy emits −Σ w·log p(label) / Σ w over the positions whose label is
// not ignored; w is the weight of the label's class, 1 without weights. Label
// smoothing ε mixes in the mean over the classes, as PyTorch does:
// (1−ε)·w[label]·(−log p(label)) + ε/C·Σc w[c]·(−log p(c)).
//
// LogSoftmax and GatherElements are four times as fast as
// SoftmaxCrossEntropyLoss at a vocabulary of 50,257 on ONNX Runtime.
func (s lossSpec) crossEntropy(w *grower) error {
	axis, err := s.class()
	if err != nil {
		return err
	}
	classes := s.shape[axis]
	if n := int64(len(s.ClassWeights)); n > 0 && classes.IsKnown() && classes.Value != n {
		return fmt.Errorf("loss: %d class weights for output %q of shape %s, expected %d", n, s.value, s.shape, classes.Value)
	}
	w.input(s.labels, onnxgraph.Int64, slices.Delete(s.shape.Clone(), axis, axis+1))
	c := crossEntropy{lossSpec: s, w: w, axis: int64(axis), labels: s.labels}
	c.skipIgnored()
	c.logp = w.op("LogSoftmax", []string{s.value}, c.onAxis())
	c.weightLabels()
	each := c.ofLabels()
	if s.LabelSmoothing > 0 {
		each = c.smooth(each)
	}
	if c.weight == "" {
		s.reduce(w, each)
		return nil
	}
	keep := onnxgraph.IntAttr("keepdims", 0)
	if s.Reduction == Sum {
		w.named(s.name, "ReduceSum", []string{each}, keep)
		return nil
	}
	w.named(s.name, "Div", []string{w.op("ReduceSum", []string{each}, keep), w.op("ReduceSum", []string{c.weight}, keep)})
	return nil
}

// crossEntropy carries the parts of the loss. Its values have the shape of the
// labels unless said otherwise.
type crossEntropy struct {
	lossSpec
	w      *grower
	axis   int64
	logp   string // log-probabilities, of the shape of the logits
	labels string // with 0 in place of ignored ones
	kept   string // 1 where the label counts, 0 where it is ignored; "" where all count
	weight string // of each position; "" where all weigh 1
}

func (c *crossEntropy) onAxis() *onnxgraph.Attribute { return onnxgraph.IntAttr("axis", c.axis) }

// skipIgnored finds the ignored positions and puts class 0 there, since the
// ignored label need not be a class.
func (c *crossEntropy) skipIgnored() {
	if c.IgnoreIndex == nil {
		return
	}
	ignored := c.w.op("Equal", []string{c.labels, c.w.constant(onnxgraph.Int64s("ignore_index", []int64{}, []int64{*c.IgnoreIndex}))})
	c.labels = c.w.op("Where", []string{ignored, c.w.constant(onnxgraph.Int64s("class", []int64{}, []int64{0})), c.labels})
	c.kept = c.w.op("Where", []string{ignored, c.w.scalar(0), c.w.scalar(1)})
	c.weight = c.kept
}

// weightLabels gives each position the weight of its class.
func (c *crossEntropy) weightLabels() {
	if c.ClassWeights == nil {
		return
	}
	c.weight = c.w.op("Gather", []string{c.classWeights(nil), c.labels})
	if c.kept != "" {
		c.weight = c.w.op("Mul", []string{c.weight, c.kept})
	}
}

func (c *crossEntropy) classWeights(dims []int64) string {
	if dims == nil {
		dims = []int64{int64(len(c.ClassWeights))}
	}
	return c.w.constant(onnxgraph.Floats("class_weights", dims, c.ClassWeights))
}

// ofLabels is −w·log p at the labels.
func (c *crossEntropy) ofLabels() string {
	index := c.w.op("Unsqueeze", []string{c.labels, c.axes()})
	nll := c.w.op("Neg", []string{c.w.op("GatherElements", []string{c.logp, index}, c.onAxis())})
	if c.weight == "" {
		return nll
	}
	return c.w.op("Mul", []string{c.w.op("Squeeze", []string{nll, c.axes()}), c.weight})
}

func (c *crossEntropy) axes() string { return c.w.constant(onnxgraph.Vector("axis", c.axis)) }

// count is the number of classes as a float.
func (c *crossEntropy) count() string {
	if d := c.shape[c.axis]; d.IsKnown() {
		return c.w.scalar(float64(d.Value))
	}
	at := c.w.constant(onnxgraph.Int64s("axis", []int64{}, []int64{c.axis}))
	n := c.w.op("Gather", []string{c.w.op("Shape", []string{c.value}), at})
	return c.w.op("Cast", []string{n}, onnxgraph.IntAttr("to", int64(onnxgraph.Float)))
}

// smooth mixes the loss of each position with the mean of −w·log p over all
// classes.
func (c *crossEntropy) smooth(each string) string {
	logp, keep := c.logp, int64(1)
	if c.ClassWeights != nil {
		dims := make([]int64, len(c.shape)-int(c.axis))
		for i := range dims {
			dims[i] = 1
		}
		dims[0] = int64(len(c.ClassWeights))
		logp = c.w.op("Mul", []string{logp, c.classWeights(dims)})
	}
	if c.weight != "" {
		keep = 0
	}
	// ReduceSum takes its axes as an input in every opset that is trained,
	// ReduceMean only from 18 on.
	sum := c.w.op("ReduceSum", []string{logp, c.axes()}, onnxgraph.IntAttr("keepdims", keep))
	all := c.w.op("Div", []string{c.w.op("Neg", []string{sum}), c.count()})
	if c.kept != "" {
		all = c.w.op("Mul", []string{all, c.kept})
	}
	return c.w.op("Add", []string{
		c.w.op("Mul", []string{each, c.w.scalar(1 - c.LabelSmoothing)}), c.w.op("Mul", []string{all, c.w.scalar(c.LabelSmoothing)}),
	})
}
