package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// Losses that BuildArtifacts can put behind a model. All are means over every
// element (cross-entropy: over every labelled position).
const (
	CrossEntropy = "cross-entropy" // of logits and int64 class labels
	MSE          = "mse"           // squared difference
	L1           = "l1"            // absolute difference
	BCELogits    = "bce-logits"    // binary cross-entropy of logits and targets in [0, 1]
)

// Losses lists the losses by name.
func Losses() []string { return []string{CrossEntropy, MSE, L1, BCELogits} }

// lossPrefix begins the names of everything that a loss adds to a model.
const lossPrefix = "loss/"

// lossSpec is a loss at a value of a model.
type lossSpec struct {
	kind      string
	value     string          // the model output that it judges
	shape     onnxgraph.Shape // of that value
	dtype     onnxgraph.DType
	labels    string // name of the labels or targets to add as an input
	classAxis int    // of cross-entropy; 0 chooses
	name      string // of the loss
}

// appendLoss adds the labels as an input and the loss as a scalar value.
func appendLoss(g *onnxgraph.Graph, s lossSpec) error {
	if s.shape == nil {
		return fmt.Errorf("loss: the rank of output %q is unknown", s.value)
	}
	if s.dtype != onnxgraph.Float {
		return fmt.Errorf("loss: output %q is %s, expected float", s.value, s.dtype)
	}
	w := newGrower(g, lossPrefix)
	if w.used[s.labels] || w.used[s.name] {
		return fmt.Errorf("loss: the model already has a value named %q or %q; choose another name for the labels", s.labels, s.name)
	}
	var each string
	switch s.kind {
	case CrossEntropy:
		axis, err := s.class()
		if err != nil {
			return err
		}
		rest := slices.Delete(s.shape.Clone(), axis, axis+1)
		w.input(s.labels, onnxgraph.Int64, rest)
		// LogSoftmax + GatherElements is four times as fast as
		// SoftmaxCrossEntropyLoss at a vocabulary of 50,257 on ONNX Runtime.
		at := onnxgraph.IntAttr("axis", int64(axis))
		logp := w.op("LogSoftmax", []string{s.value}, at)
		index := w.op("Unsqueeze", []string{s.labels, w.constant(onnxgraph.Vector("axis", int64(axis)))})
		each = w.op("Neg", []string{w.op("GatherElements", []string{logp, index}, at)})
	case MSE:
		d := w.op("Sub", []string{s.value, w.input(s.labels, s.dtype, s.shape)})
		each = w.op("Mul", []string{d, d})
	case L1:
		each = w.op("Abs", []string{w.op("Sub", []string{s.value, w.input(s.labels, s.dtype, s.shape)})})
	case BCELogits:
		// softplus(x) − x·y: stable for every x, and its gradient sigmoid(x) − y
		// is exact at 0 too, where heads with zero weights start.
		y := w.input(s.labels, s.dtype, s.shape)
		each = w.op("Sub", []string{w.op("Softplus", []string{s.value}), w.op("Mul", []string{s.value, y})})
	default:
		return fmt.Errorf("loss: unknown loss %q, expected one of %s", s.kind, strings.Join(Losses(), ", "))
	}
	w.named(s.name, "ReduceMean", []string{each}, onnxgraph.IntAttr("keepdims", 0))
	return nil
}

// class is the class axis: the one asked for, or axis 1 of [N, C] and images
// [N, C, H, W], and the last of language models [N, T, V].
func (s lossSpec) class() (int, error) {
	rank := len(s.shape)
	axis := s.classAxis
	if axis == 0 {
		axis = 1
		if rank == 3 {
			axis = 2
		}
	}
	if axis < 0 {
		axis += rank
	}
	if axis < 1 || axis >= rank {
		return 0, fmt.Errorf("loss: output %q has shape %s, cross-entropy expects a batch axis and class axis %d", s.value, s.shape, axis)
	}
	return axis, nil
}
