package training

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// Losses that BuildArtifacts can put behind a model.
const (
	CrossEntropy = "cross-entropy" // of logits and int64 class labels
	MSE          = "mse"           // squared difference
	L1           = "l1"            // absolute difference
	BCELogits    = "bce-logits"    // binary cross-entropy of logits and targets in [0, 1]
	// OutputLoss, followed by the name of an output with one element, takes that
	// output itself as the loss: no labels are added.
	OutputLoss = "output:"
)

// Reductions of a loss over its elements (cross-entropy: labelled positions).
const (
	Mean = "mean" // with weights: the weighted mean
	Sum  = "sum"
)

// Losses lists the losses by name.
func Losses() []string { return []string{CrossEntropy, MSE, L1, BCELogits} }

// IsLoss says whether a loss of that name exists, OutputLoss included.
func IsLoss(kind string) bool {
	name, ok := strings.CutPrefix(kind, OutputLoss)
	return ok && name != "" || slices.Contains(Losses(), kind)
}

// LossOptions refine a loss; the zero value is the plain mean. The meaning of
// all of them is that of PyTorch's losses of the same options.
type LossOptions struct {
	Reduction string `json:"reduction,omitempty"` // Mean (default) or Sum
	// IgnoreIndex is a label of cross-entropy whose positions count nothing, nil
	// for none. A batch with no other labels has the mean 0/0.
	IgnoreIndex *int64 `json:"ignore_index,omitempty"`
	// ClassWeights of cross-entropy, one for each class. The mean is divided by
	// the sum of the weights of the labels.
	ClassWeights []float32 `json:"class_weights,omitempty"`
	// LabelSmoothing of cross-entropy, in [0, 1]: the part of the target that is
	// spread evenly over all classes.
	LabelSmoothing float64 `json:"label_smoothing,omitempty"`
	// PosWeight of bce-logits multiplies the term of positive targets: one number,
	// or one for each place of the last axis.
	PosWeight []float32 `json:"pos_weight,omitempty"`
}

// validate names every option that makes no sense for the loss.
func (o LossOptions) validate(kind string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("loss: "+format, args...)) }
	if !IsLoss(kind) {
		bad("unknown loss %q, expected one of %s or %sNAME", kind, strings.Join(Losses(), ", "), OutputLoss)
	}
	if o.Reduction != "" && o.Reduction != Mean && o.Reduction != Sum {
		bad("unknown reduction %q, expected %s or %s", o.Reduction, Mean, Sum)
	}
	if o.Reduction != "" && strings.HasPrefix(kind, OutputLoss) {
		bad("a reduction is no option of %s, which is a single number already", kind)
	}
	for _, only := range []struct {
		given  bool
		option string
		kind   string
	}{
		{o.IgnoreIndex != nil, "ignored label", CrossEntropy},
		{o.ClassWeights != nil, "class weights", CrossEntropy},
		{o.LabelSmoothing != 0, "label smoothing", CrossEntropy},
		{o.PosWeight != nil, "weight of positives", BCELogits},
	} {
		if only.given && kind != only.kind {
			bad("%s: an option of %s, not of %s", only.option, only.kind, kind)
		}
	}
	if !(o.LabelSmoothing >= 0 && o.LabelSmoothing <= 1) {
		bad("label smoothing %v is not in [0, 1]", o.LabelSmoothing)
	}
	for _, w := range slices.Concat(o.ClassWeights, o.PosWeight) {
		if !(w >= 0 && w <= math.MaxFloat32) {
			bad("weight %v is no number of at least 0", w)
		}
	}
	return errors.Join(errs...)
}

// encode writes the options as JSON, the form in which artifacts keep them.
func (o LossOptions) encode() string {
	text, _ := json.Marshal(o) // validated numbers always have a form
	return string(text)
}

func decodeLossOptions(text string) (LossOptions, error) {
	var o LossOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return o, fmt.Errorf("loss options %q: %w", text, err)
	}
	return o, nil
}

// perSample says whether the loss of a batch is the mean of the losses of its
// equal parts whatever the labels are.
func (o LossOptions) perSample(kind string) bool {
	return slices.Contains(Losses(), kind) && o.Reduction != Sum && o.IgnoreIndex == nil && o.ClassWeights == nil
}

// lossPrefix begins the names of everything that a loss adds to a model.
const lossPrefix = "loss/"

// lossSpec is a loss at a value of a model.
type lossSpec struct {
	kind string
	LossOptions
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
	if strings.HasPrefix(s.kind, OutputLoss) {
		return s.ownOutput(w)
	}
	if w.used[s.labels] {
		return fmt.Errorf("loss: the model already has a value named %q; choose another name for the labels", s.labels)
	}
	if s.kind == CrossEntropy {
		return s.crossEntropy(w)
	}
	y := w.input(s.labels, s.dtype, s.shape)
	var each string
	switch s.kind {
	case MSE:
		d := w.op("Sub", []string{s.value, y})
		each = w.op("Mul", []string{d, d})
	case L1:
		each = w.op("Abs", []string{w.op("Sub", []string{s.value, y})})
	case BCELogits:
		var err error
		if each, err = s.bceLogits(w, y); err != nil {
			return err
		}
	}
	s.reduce(w, each)
	return nil
}

// lossName is a free name for the loss.
func lossName(g *onnxgraph.Graph) string {
	w := newGrower(g, "")
	if !w.used["loss"] {
		return "loss"
	}
	return w.fresh("training_loss")
}

// reduce gives the loss its name: the mean or sum of every element.
func (s lossSpec) reduce(w *grower, each string) {
	opType := "ReduceMean"
	if s.Reduction == Sum {
		opType = "ReduceSum"
	}
	w.named(s.name, opType, []string{each}, onnxgraph.IntAttr("keepdims", 0))
}

// ownOutput makes an output with one element the loss.
func (s lossSpec) ownOutput(w *grower) error {
	for _, d := range s.shape {
		if d.IsKnown() && d.Value != 1 {
			return fmt.Errorf("loss: output %q has shape %s, expected one element", s.value, s.shape)
		}
	}
	w.named(s.name, "Reshape", []string{s.value, w.constant(onnxgraph.Int64s("scalar", []int64{0}, nil))})
	return nil
}

// bceLogits is softplus(x) − x·y: stable for every x, and its gradient
// sigmoid(x) − y is exact at 0 too, where heads with zero weights start. With a
// weight p of positives it is p·y·softplus(−x) + (1−y)·softplus(x).
func (s lossSpec) bceLogits(w *grower, y string) (string, error) {
	plain := w.op("Softplus", []string{s.value})
	if s.PosWeight == nil {
		return w.op("Sub", []string{plain, w.op("Mul", []string{s.value, y})}), nil
	}
	n := int64(len(s.PosWeight))
	if last := len(s.shape) - 1; n > 1 && (last < 0 || s.shape[last].IsKnown() && s.shape[last].Value != n) {
		return "", fmt.Errorf("loss: %d weights of positives for output %q of shape %s, expected 1 or one for each place of the last axis", n, s.value, s.shape)
	}
	weight := onnxgraph.Floats("pos_weight", []int64{n}, s.PosWeight)
	if n == 1 {
		weight.Dims = []int64{}
	}
	positive := w.op("Mul", []string{w.op("Mul", []string{y, w.constant(weight)}), w.op("Softplus", []string{w.op("Neg", []string{s.value})})})
	negative := w.op("Mul", []string{w.op("Sub", []string{w.scalar(1), y}), plain})
	return w.op("Add", []string{positive, negative}), nil
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
