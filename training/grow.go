package training

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
)

// grower appends nodes and constants to a graph that it may change.
type grower struct {
	g      *onnxgraph.Graph
	prefix string // of fresh names
	used   map[string]bool
}

func newGrower(g *onnxgraph.Graph, prefix string) *grower {
	w := &grower{g: g, prefix: prefix, used: map[string]bool{"": true}}
	for _, v := range g.Inputs {
		w.used[v.Name] = true
	}
	for _, t := range g.Initializers {
		w.used[t.Name] = true
	}
	for _, n := range g.Nodes {
		w.used[n.Name] = true
		for _, o := range n.Outputs {
			w.used[o] = true
		}
	}
	return w
}

func (w *grower) fresh(name string) string {
	out := w.prefix + name
	for i := 1; w.used[out]; i++ {
		out = fmt.Sprintf("%s%s_%d", w.prefix, name, i)
	}
	w.used[out] = true
	return out
}

// op appends a node with one output of a fresh name.
func (w *grower) op(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	return w.named(w.fresh(opType), opType, inputs, attrs...)
}

// named appends a node whose single output has the given name.
func (w *grower) named(output, opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	w.used[output] = true
	w.g.Nodes = append(w.g.Nodes, &onnxgraph.Node{Name: output, OpType: opType, Inputs: inputs, Outputs: []string{output}, Attrs: attrs})
	return output
}

// constant appends an initializer under a fresh name.
func (w *grower) constant(t *onnxgraph.Tensor) string {
	c := *t
	if c.Name == "" {
		c.Name = "const"
	}
	c.Name = w.fresh(c.Name)
	w.g.Initializers = append(w.g.Initializers, &c)
	return c.Name
}

func (w *grower) scalar(v float64) string { return w.constant(onnxgraph.Scalar("", float32(v))) }

func (w *grower) input(name string, d onnxgraph.DType, s onnxgraph.Shape) string {
	w.used[name] = true
	w.g.Inputs = append(w.g.Inputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, s)})
	return name
}

func (w *grower) output(name string, d onnxgraph.DType, s onnxgraph.Shape) {
	w.g.Outputs = append(w.g.Outputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, s)})
}

// copyModel copies a model so that the lists of its graph can be changed; the
// nodes, tensors and values themselves stay shared.
func copyModel(m *onnxgraph.Model) *onnxgraph.Model {
	g := *m.Graph
	g.Nodes = slices.Clone(g.Nodes)
	g.Inputs = slices.Clone(g.Inputs)
	g.Outputs = slices.Clone(g.Outputs)
	g.Initializers = slices.Clone(g.Initializers)
	g.ValueInfo = slices.Clone(g.ValueInfo)
	c := *m
	c.Graph = &g
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	return &c
}
