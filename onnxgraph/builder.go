package onnxgraph

import (
	"errors"
	"fmt"
)

// Builder writes a graph node by node. Methods that emit return the name of
// the new value, so that graphs read like expressions. Errors are collected
// and returned by Model.
type Builder struct {
	graph   *Graph
	opsets  []Opset
	used    map[string]bool
	counter map[string]int
	errs    []error
}

// NewBuilder starts an empty graph of the given name and default-domain opset.
func NewBuilder(name string, opset int64) *Builder {
	return &Builder{
		graph:   &Graph{Name: name},
		opsets:  []Opset{{"", opset}},
		used:    map[string]bool{},
		counter: map[string]int{},
	}
}

// Import adds another operator set to the model.
func (b *Builder) Import(domain string, version int64) {
	b.opsets = append(b.opsets, Opset{domain, version})
}

// Input declares a graph input and returns its name.
func (b *Builder) Input(name string, d DType, s Shape) string {
	b.claim(name)
	b.graph.Inputs = append(b.graph.Inputs, &Value{Name: name, Type: TensorOf(d, s)})
	return name
}

// Init adds an initializer under its own name and returns that name. Two
// initializers of one name are an error.
func (b *Builder) Init(t *Tensor) string {
	b.claim(t.Name)
	b.graph.Initializers = append(b.graph.Initializers, t)
	return t.Name
}

// Const adds an initializer under a fresh name that starts with the tensor's
// own name (or "const") and returns it.
func (b *Builder) Const(t *Tensor) string {
	c := *t
	if c.Name == "" {
		c.Name = "const"
	}
	c.Name = b.Fresh(c.Name)
	b.graph.Initializers = append(b.graph.Initializers, &c)
	return c.Name
}

// Op emits a node of the default domain with one output.
func (b *Builder) Op(opType string, inputs []string, attrs ...*Attribute) string {
	return b.Node("", opType, inputs, []string{b.Fresh(opType)}, attrs...)[0]
}

// OpN emits a node of the default domain with n outputs.
func (b *Builder) OpN(opType string, inputs []string, n int, attrs ...*Attribute) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = b.Fresh(opType)
	}
	return b.Node("", opType, inputs, out, attrs...)
}

// Named emits a node of the default domain whose single output, and the node
// itself, have the given name.
func (b *Builder) Named(name, opType string, inputs []string, attrs ...*Attribute) string {
	b.claim(name)
	return b.Node("", opType, inputs, []string{name}, attrs...)[0]
}

// Node emits a node with the outputs named by the caller; the names must come
// from Fresh or be new. It returns outputs.
func (b *Builder) Node(domain, opType string, inputs, outputs []string, attrs ...*Attribute) []string {
	name := opType
	if len(outputs) > 0 {
		name = outputs[0]
	}
	for _, o := range outputs {
		b.used[o] = true
	}
	b.graph.Nodes = append(b.graph.Nodes, &Node{
		Name: name, OpType: opType, Domain: domain, Inputs: inputs, Outputs: outputs, Attrs: attrs,
	})
	return outputs
}

// Output declares value as a graph output.
func (b *Builder) Output(value string, d DType, s Shape) {
	b.graph.Outputs = append(b.graph.Outputs, &Value{Name: value, Type: TensorOf(d, s)})
}

// Fresh returns an unused value name that starts with prefix.
func (b *Builder) Fresh(prefix string) string {
	for {
		name := prefix
		if n := b.counter[prefix]; n > 0 {
			name = fmt.Sprintf("%s_%d", prefix, n)
		}
		b.counter[prefix]++
		if !b.used[name] {
			b.used[name] = true
			return name
		}
	}
}

// Reserve marks names as taken, so that Fresh avoids them.
func (b *Builder) Reserve(names ...string) {
	for _, n := range names {
		b.used[n] = true
	}
}

// Graph is the graph as built so far. The caller may edit it.
func (b *Builder) Graph() *Graph { return b.graph }

// Model finishes the model, or reports every naming mistake made on the way.
func (b *Builder) Model() (*Model, error) {
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	return &Model{IRVersion: IRVersion(b.opsets[0].Version), ProducerName: "ninox", Opsets: b.opsets, Graph: b.graph}, nil
}

func (b *Builder) claim(name string) {
	if name == "" || b.used[name] {
		b.errs = append(b.errs, fmt.Errorf("build: value name %q is empty or already taken", name))
	}
	b.used[name] = true
}

// IRVersion is the lowest IR version whose release could carry the opset of the
// default domain
// (https://onnx.ai/onnx/repo-docs/Versioning.html, released versions).
func IRVersion(opset int64) int64 {
	switch {
	case opset >= 23:
		return 11
	case opset >= 21:
		return 10
	case opset >= 19:
		return 9
	case opset >= 15:
		return 8
	case opset >= 12:
		return 7
	case opset >= 11:
		return 6
	}
	return 4
}
