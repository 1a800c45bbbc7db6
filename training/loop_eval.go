package training

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/training/data"
)

// By default an evaluation batch has this many samples, fewer where their
// outputs would have more than this many elements (of language models, with
// tens of thousands of classes for each token), but never fewer than a training
// batch, for which memory must do anyway.
const (
	defaultEvalBatch = 1000
	maxEvalOutputs   = 1 << 26
)

// evaluator computes loss and accuracy over the test data.
type evaluator struct {
	trainer Stepper
	data    data.Dataset
	batch   int    // samples
	whole   bool   // the model's batch size is fixed: the remainder is left out
	logits  string // "" to look for it
	labels  int    // column of the class labels, -1 where there is none
	ignored *int64 // label that is not judged
}

func newEvaluator(c *Config) (*evaluator, error) {
	d, err := data.Bind(c.Test, c.Inputs)
	if err != nil {
		return nil, err
	}
	e := &evaluator{trainer: c.Trainer, data: d, batch: c.EvalBatch, logits: c.Logits, labels: -1}
	if c.Artifacts != nil {
		e.ignored = c.Artifacts.IgnoreIndex
	}
	if e.batch == 0 {
		e.batch = min(defaultEvalBatch, max(c.Batch, maxEvalOutputs/outputsPerSample(c, d)))
	}
	e.batch = max(1, e.batch/data.Unit(d))
	for i, in := range c.Inputs {
		if s := in.Type.Shape; len(s) > 0 && s[0].IsKnown() {
			e.batch, e.whole = max(1, int(s[0].Value)/d.Columns()[i].RowsOf(1)), true
		}
	}
	e.batch = min(e.batch, d.Len())
	if e.batch == 0 {
		return nil, fmt.Errorf("data %s: no samples to test on", d.Name())
	}
	for i, col := range d.Columns() {
		if col.DType == onnxgraph.Int64 && len(col.Shape) == 0 {
			e.labels = i
		}
	}
	return e, nil
}

// outputsPerSample is the number of elements that the judged output has for one
// sample, as far as its declared shape and the labels tell; at least 1.
func outputsPerSample(c *Config, d data.Dataset) int {
	n := 1
	if c.Artifacts == nil {
		return n
	}
	for _, v := range c.Artifacts.Eval.Graph.Outputs {
		if s := v.Type.Shape; v.Name == c.Logits && len(s) > 1 && s[len(s)-1].IsKnown() {
			n = max(1, int(s[len(s)-1].Value))
		}
	}
	for _, dim := range d.Columns()[len(d.Columns())-1].Shape {
		n *= max(1, int(dim))
	}
	return n
}

func (e *evaluator) run(ctx context.Context) (Evaluation, error) {
	var loss float64
	var samples, correct, judged int
	for at := 0; at < e.data.Len(); at += e.batch {
		if err := ctx.Err(); err != nil {
			return Evaluation{}, err
		}
		n := min(e.batch, e.data.Len()-at)
		if n < e.batch && e.whole {
			break
		}
		l, hits, of, err := e.one(ctx, at, n)
		if err != nil {
			return Evaluation{}, err
		}
		loss += l * float64(n)
		samples += n
		correct += hits
		judged += of
	}
	out := Evaluation{Loss: loss / float64(samples)}
	if judged > 0 {
		acc := 100 * float64(correct) / float64(judged)
		out.Accuracy = &acc
	}
	return out, nil
}

// one evaluates n samples from at on; judged is 0 where the model does not
// classify.
func (e *evaluator) one(ctx context.Context, at, n int) (loss float64, correct, judged int, err error) {
	b := data.NewBatch(e.data.Columns(), n)
	indices := make([]int, n)
	for i := range indices {
		indices[i] = at + i
	}
	if err := e.data.Batch(indices, b.Buffers); err != nil {
		return 0, 0, 0, err
	}
	in, err := valuesOf(b, n)
	if err != nil {
		return 0, 0, 0, err
	}
	defer closeValues(in)
	loss, out, err := e.trainer.Eval(ctx, in)
	if err != nil {
		return 0, 0, 0, err
	}
	defer closeValues(out)
	if e.labels < 0 {
		return loss, 0, 0, nil
	}
	labels := b.Buffers[e.labels].Int64s
	logits := e.findLogits(out, len(labels))
	if logits == nil {
		return loss, 0, 0, nil
	}
	correct, judged = countCorrect(logits.Floats(), labels, e.ignored)
	return loss, correct, judged, nil
}

// findLogits is the output of shape [n, classes] for n labels, nil where there
// is none or where several could be meant.
func (e *evaluator) findLogits(out map[string]*ort.Value, n int) *ort.Value {
	isLogits := func(v *ort.Value) bool {
		d := v.Dims()
		return v.DType() == onnxgraph.Float && len(d) == 2 && d[0] == int64(n) && d[1] > 1
	}
	if v := out[e.logits]; v != nil && isLogits(v) {
		return v
	}
	if e.logits != "" {
		return nil
	}
	var found *ort.Value
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if isLogits(out[name]) {
			if found != nil {
				return nil
			}
			found = out[name]
		}
	}
	return found
}

// countCorrect counts the rows whose largest value is at the label, and those
// whose label is not ignored; the first of equal values counts as the largest.
func countCorrect(logits []float32, labels []int64, ignored *int64) (correct, judged int) {
	classes := len(logits) / len(labels)
	for i, label := range labels {
		if ignored != nil && label == *ignored {
			continue
		}
		judged++
		row := logits[i*classes : (i+1)*classes]
		best := 0
		for c, v := range row {
			if v > row[best] {
				best = c
			}
		}
		if int64(best) == label {
			correct++
		}
	}
	return correct, judged
}

// valuesOf wraps the buffers of a batch of n samples as runtime values, without
// a copy.
func valuesOf(b *data.Batch, n int) (map[string]*ort.Value, error) {
	out := make(map[string]*ort.Value, len(b.Columns))
	for i, c := range b.Columns {
		dims := append([]int64{int64(c.RowsOf(n))}, c.Shape...)
		var v *ort.Value
		var err error
		if c.DType == onnxgraph.Int64 {
			v, err = ort.Int64Value(dims, b.Buffers[i].Int64s)
		} else {
			v, err = ort.FloatValue(dims, b.Buffers[i].Floats)
		}
		if err != nil {
			closeValues(out)
			return nil, fmt.Errorf("batch column %s: %w", c, err)
		}
		out[c.Name] = v
	}
	return out, nil
}

func closeValues(m map[string]*ort.Value) {
	for _, v := range m {
		v.Close()
	}
}
