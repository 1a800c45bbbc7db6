package training

import (
	"context"
	"fmt"
	"math"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// minPart is the number of samples below which a part is not worth a worker.
const minPart = 8

// splitTolerance is how far loss and gradients of a split batch may be from
// those of the whole batch, relative to the gradient's norm: rounding stays
// far below, statistics over the batch (batch normalization) far above.
const splitTolerance = 1e-4

// chooseWorkers decides over how many workers a batch is split. The first
// batch is run both ways, since only models whose samples do not meet may be
// split; a batch too small for the workers runs whole.
func (e *Executor) chooseWorkers(ctx context.Context, batch map[string]*ort.Value) (int, error) {
	if e.split == 0 {
		n, err := e.probe(ctx, batch)
		if err != nil {
			return 0, err
		}
		e.split = n
		e.log.Debug("batches are split", "workers", n)
	}
	if e.split > 1 && samples(batch) < int64(e.split*minPart) {
		return 1, nil
	}
	return e.split, nil
}

func (e *Executor) probe(ctx context.Context, batch map[string]*ort.Value) (int, error) {
	n := e.opts.Workers
	if n == 0 {
		n = e.opts.Threads
	}
	n = min(n, int(samples(batch)/minPart))
	if n <= 1 || !e.art.perSample(e.art.LossKind) || len(e.art.Buffers) > 0 || !e.splittable(batch) {
		return 1, nil
	}
	same, err := e.sameGradients(ctx, n, batch)
	if err != nil {
		return 0, err
	}
	if !same {
		e.log.Warn("the loss of a batch is not the mean over its samples; batches run whole")
		return 1, nil
	}
	return n, nil
}

// splittable says whether every batch input has a symbolic first axis, all of
// the same symbol, and a type that can be cut without a copy.
func (e *Executor) splittable(batch map[string]*ort.Value) bool {
	symbol := ""
	for _, v := range e.art.Training.Graph.Inputs {
		b := batch[v.Name]
		if b == nil {
			continue
		}
		s := v.Type.Shape
		if len(s) == 0 || s[0].Symbol == "" || symbol != "" && s[0].Symbol != symbol {
			return false
		}
		symbol = s[0].Symbol
		if d := b.DType(); d != onnxgraph.Float && d != onnxgraph.Int64 {
			return false
		}
	}
	return symbol != ""
}

// sameGradients compares the gradients of a whole and a split batch.
func (e *Executor) sameGradients(ctx context.Context, n int, batch map[string]*ort.Value) (bool, error) {
	whole, err := e.runner(1)
	if err != nil {
		return false, err
	}
	parts, err := e.runner(n)
	if err != nil {
		return false, err
	}
	e.still = true
	defer func() { e.still = false }()
	a, err := whole.gradients(ctx, batch)
	if err != nil {
		return false, err
	}
	b, err := parts.gradients(ctx, batch)
	if err != nil {
		return false, fmt.Errorf("batch in %d parts: %w", n, err)
	}
	if math.IsNaN(a) && math.IsNaN(b) {
		return true, nil // nothing to compare; the loop reports the loss
	}
	var diff, norm float64
	for _, sl := range e.models.slots {
		sum := make([]float64, sl.len())
		for _, w := range parts.workers {
			for i, g := range w.grads[sl.name].Floats() {
				sum[i] += float64(g) * float64(w.share[0])
			}
		}
		for i, g := range whole.workers[0].grads[sl.name].Floats() {
			d := sum[i] - float64(g)
			diff += d * d
			norm += float64(g) * float64(g)
		}
	}
	return math.Abs(a-b) <= splitTolerance*math.Max(1, math.Abs(a)) && math.Sqrt(diff) <= splitTolerance*math.Sqrt(norm), nil
}

// samples is the extent of the first axis, which all arrays of a batch share;
// 0 where they do not.
func samples(batch map[string]*ort.Value) int64 {
	n := int64(-1)
	for _, v := range batch {
		d := v.Dims()
		if len(d) == 0 || n >= 0 && d[0] != n {
			return 0
		}
		n = d[0]
	}
	return max(n, 0)
}

// splitBatch cuts a batch into n parts of nearly equal size that alias it.
func splitBatch(batch map[string]*ort.Value, n int) (parts []map[string]*ort.Value, sizes []int64, err error) {
	total := samples(batch)
	at := int64(0)
	for k := range n {
		end := total * int64(k+1) / int64(n)
		part := map[string]*ort.Value{}
		parts = append(parts, part)
		sizes = append(sizes, end-at)
		for name, v := range batch {
			if part[name], err = rows(v, at, end); err != nil {
				closeParts(parts)
				return nil, nil, fmt.Errorf("input %q: %w", name, err)
			}
		}
		at = end
	}
	return parts, sizes, nil
}

func closeParts(parts []map[string]*ort.Value) {
	for _, p := range parts {
		for _, v := range p {
			if v != nil {
				v.Close()
			}
		}
	}
}

// rows is a value for samples from to end of v, without a copy.
func rows(v *ort.Value, from, end int64) (*ort.Value, error) {
	dims := append([]int64{}, v.Dims()...)
	row := int64(1)
	for _, d := range dims[1:] {
		row *= d
	}
	dims[0] = end - from
	switch v.DType() {
	case onnxgraph.Float:
		return ort.FloatValue(dims, v.Floats()[from*row:end*row])
	case onnxgraph.Int64:
		return ort.Int64Value(dims, v.Int64s()[from*row:end*row])
	}
	return nil, fmt.Errorf("%s cannot be split", v.DType())
}
