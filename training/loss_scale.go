package training

import (
	"fmt"

	"ninox/onnxgraph"
)

// LossScale multiplies the loss before the backward pass, so that gradients do
// not vanish in half precision, and divides the gradients again. Updates from
// gradients that overflowed are left out.
type LossScale struct {
	// Factor by which the loss is multiplied; 0 does not scale. A power of two is
	// exact.
	Factor float64
	// Dynamic halves the factor after an overflow and doubles it after
	// scaleInterval batches without one. The factor is then part of the training
	// state, like running statistics.
	Dynamic bool
}

// Of dynamic scaling, as PyTorch's GradScaler has them.
const (
	scaleStart    = 65536
	scaleInterval = 2000
)

// Frozen tensors of the checkpoint that dynamic scaling updates, of shape [1].
const (
	scaleName = "loss_scale"
	scaleRun  = "loss_scale.batches" // since the last overflow
)

// scaled emits the loss times the factor and returns its name.
func (s LossScale) scaled(m *onnxgraph.Model, loss string, buffers map[string]string) (string, error) {
	w := newGrower(m.Graph, lossPrefix)
	factor := ""
	if s.Dynamic {
		if w.used[scaleName] || w.used[scaleRun] {
			return "", fmt.Errorf("loss scale: the model already has a value named %q or %q", scaleName, scaleRun)
		}
		for _, t := range []*onnxgraph.Tensor{onnxgraph.Floats(scaleName, []int64{1}, []float32{float32(s.Factor)}), onnxgraph.Floats(scaleRun, []int64{1}, []float32{0})} {
			m.Graph.Initializers = append(m.Graph.Initializers, t)
			buffers[t.Name] = t.Name + updatedSuffix
		}
		factor = w.op("Squeeze", []string{scaleName})
	} else {
		factor = w.scalar(s.Factor)
	}
	return w.op("Mul", []string{loss, factor}), nil
}

// unscale divides the gradients by the factor, keeping their names, and emits
// the next factor of dynamic scaling.
func (s LossScale) unscale(m *onnxgraph.Model, grads []string) {
	w := newGrower(m.Graph, "unscale/")
	inverse := ""
	if s.Dynamic {
		inverse = w.op("Reciprocal", []string{w.op("Squeeze", []string{scaleName})})
	} else {
		inverse = w.scalar(1 / s.Factor)
	}
	for _, grad := range grads {
		scaled := w.fresh(grad)
		rename(m.Graph, grad, scaled)
		w.named(grad, "Mul", []string{scaled, inverse})
	}
	if !s.Dynamic {
		return
	}
	finite := allFinite(w, grads)
	run := w.op("Add", []string{scaleRun, w.scalar(1)})
	long := w.op("GreaterOrEqual", []string{run, w.scalar(scaleInterval)})
	grown := w.op("Where", []string{long, w.op("Mul", []string{scaleName, w.scalar(2)}), scaleName})
	w.named(scaleName+updatedSuffix, "Where", []string{finite, grown, w.op("Mul", []string{scaleName, w.scalar(0.5)})})
	counted := w.op("Where", []string{long, w.scalar(0), run})
	w.named(scaleRun+updatedSuffix, "Where", []string{finite, counted, w.scalar(0)})
}

// allFinite is a bool scalar that tells whether every element of the values is
// a finite number: any other times 0 is NaN, and so is the sum.
func allFinite(w *grower, values []string) string {
	zero := w.scalar(0)
	sums := make([]string, len(values))
	for i, v := range values {
		sums[i] = w.op("ReduceSum", []string{w.op("Mul", []string{v, zero})}, onnxgraph.IntAttr("keepdims", 0))
	}
	total := sums[0]
	if len(sums) > 1 {
		total = w.op("Sum", sums)
	}
	return w.op("Not", []string{w.op("IsNaN", []string{total})})
}

// rename gives a value another name in the graph and its subgraphs.
func rename(g *onnxgraph.Graph, from, to string) {
	swap := func(names []string) []string {
		out := append([]string{}, names...)
		for i, n := range out {
			if n == from {
				out[i] = to
			}
		}
		return out
	}
	for i, n := range g.Nodes {
		c := *n
		c.Inputs, c.Outputs = swap(n.Inputs), swap(n.Outputs)
		for _, inner := range c.Subgraphs() {
			rename(inner, from, to)
		}
		g.Nodes[i] = &c
	}
	for _, out := range g.Outputs {
		if out.Name == from {
			out.Name = to
		}
	}
}
