package autodiff

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// emitter adds nodes and constants to a copy of a model. Constants of equal
// content and nodes of equal operator, inputs and attributes are shared.
type emitter struct {
	model  *onnxgraph.Model
	reg    *op.Registry
	facts  Facts
	prefix string // of the names of emitted nodes and values
	// emitted collects the nodes in order. A lowering puts them in place of a
	// node, the backward pass behind the graph; only there may equal nodes be
	// shared, since order is no question.
	emitted   []*onnxgraph.Node
	appending bool
	used      map[string]bool
	serial    map[string]int
	consts    map[string]string   // content → name
	equal     map[string][]string // operator, inputs, attributes → outputs
	errs      []error
}

func newEmitter(m *onnxgraph.Model, reg *op.Registry, facts Facts) *emitter {
	g := *m.Graph
	g.Nodes = slices.Clone(g.Nodes)
	g.Initializers = slices.Clone(g.Initializers)
	c := *m
	c.Graph = &g
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	e := &emitter{
		model: &c, reg: reg, facts: facts,
		used: map[string]bool{"": true}, serial: map[string]int{}, consts: map[string]string{}, equal: map[string][]string{},
	}
	reserve(&g, e.used)
	return e
}

// reserve collects every value and node name, those of subgraphs included,
// because a subgraph's names must not collide with outer ones.
func reserve(g *onnxgraph.Graph, used map[string]bool) {
	for _, v := range g.Inputs {
		used[v.Name] = true
	}
	for _, t := range g.Initializers {
		used[t.Name] = true
	}
	for _, s := range g.Sparse {
		used[s.Values.Name] = true
	}
	for _, n := range g.Nodes {
		used[n.Name] = true
		for _, o := range n.Outputs {
			used[o] = true
		}
		for _, a := range n.Attrs {
			if a.G != nil {
				reserve(a.G, used)
			}
			for _, sub := range a.Graphs {
				reserve(sub, used)
			}
		}
	}
}

func (e *emitter) fresh(name string) string {
	candidate := name
	for e.used[candidate] {
		e.serial[name]++
		candidate = fmt.Sprintf("%s_%d", name, e.serial[name])
	}
	e.used[candidate] = true
	return candidate
}

// Opset is the model's opset of the default domain.
func (e *emitter) Opset() int64 { return e.model.OpsetVersion("") }

// Fact is what is known about any value, emitted ones included.
func (e *emitter) Fact(value string) *op.Fact { return e.facts.Fact(value) }

// Emit adds a node of the default domain with one output.
func (e *emitter) Emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	return e.EmitN(opType, inputs, 1, attrs...)[0]
}

// EmitN adds a node of the default domain with n outputs.
func (e *emitter) EmitN(opType string, inputs []string, n int, attrs ...*onnxgraph.Attribute) []string {
	key, shareable := nodeKey(opType, inputs, n, attrs)
	shareable = shareable && e.appending
	if out, ok := e.equal[key]; ok && shareable {
		return out
	}
	node := &onnxgraph.Node{Name: e.fresh(e.prefix + opType), OpType: opType, Inputs: slices.Clone(inputs), Attrs: attrs}
	for i := range n {
		suffix := ""
		if n > 1 {
			suffix = fmt.Sprintf("_out%d", i)
		}
		node.Outputs = append(node.Outputs, e.fresh(node.Name+suffix+"_output"))
	}
	if err := e.facts.Add(node); err != nil {
		e.errs = append(e.errs, fmt.Errorf("autodiff: emitted node %q: %w", node.Name, err))
	}
	e.emitted = append(e.emitted, node)
	if shareable {
		e.equal[key] = node.Outputs
	}
	return node.Outputs
}

// nodeKey identifies a node by what it computes. Random operators and those
// with subgraphs are never shared.
func nodeKey(opType string, inputs []string, n int, attrs []*onnxgraph.Attribute) (string, bool) {
	if strings.HasPrefix(opType, "Random") || opType == "Multinomial" || opType == "Bernoulli" || opType == "Dropout" {
		return "", false
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%d/%q", opType, n, inputs)
	for _, a := range attrs {
		if a.G != nil || a.Graphs != nil {
			return "", false
		}
		fmt.Fprintf(&b, "/%s=%d,%v,%q,%v,%v,%q", a.Name, a.I, a.F, a.S, a.Floats, a.Ints, a.Strings)
		if a.T != nil {
			fmt.Fprintf(&b, ",%d%v%q", a.T.DType, a.T.Dims, a.T.Data)
		}
	}
	return b.String(), true
}

// Const adds a constant and returns its name; constants of equal type, shape
// and content are shared.
func (e *emitter) Const(t *onnxgraph.Tensor) string {
	key := fmt.Sprintf("%d%v", t.DType, t.Dims) + string(t.Data)
	if name, ok := e.consts[key]; ok {
		return name
	}
	c := *t
	if c.Name == "" {
		c.Name = "grad_const"
	}
	c.Name = e.fresh(c.Name)
	e.consts[key] = c.Name
	e.model.Graph.Initializers = append(e.model.Graph.Initializers, &c)
	e.facts.Set(c.Name, &op.Fact{Type: onnxgraph.TensorOf(c.DType, c.Shape()), Const: &c})
	return c.Name
}

// ScalarLike is a constant scalar of the value's element type.
func (e *emitter) ScalarLike(value string, v float64) string {
	d := e.facts.Fact(value).DType()
	t := scalarTensor(d, v)
	if t == nil {
		e.errs = append(e.errs, fmt.Errorf("autodiff: value %q: no scalar constant of type %s", value, d))
		return ""
	}
	return e.Const(t)
}

// ShapeOf is the value's shape as an int64 vector: a constant where static,
// else a Shape node.
func (e *emitter) ShapeOf(value string) string {
	if dims, ok := e.facts.Fact(value).Shape().Static(); ok {
		return e.Const(onnxgraph.Vector("", dims...))
	}
	return e.Emit("Shape", []string{value})
}

// scalarTensor makes a scalar of any type that arithmetic knows, nil for others.
func scalarTensor(d onnxgraph.DType, v float64) *onnxgraph.Tensor {
	le := binary.LittleEndian
	t := &onnxgraph.Tensor{DType: d, Dims: []int64{}}
	switch d {
	case onnxgraph.Float:
		t.Data = le.AppendUint32(nil, math.Float32bits(float32(v)))
	case onnxgraph.Double:
		t.Data = le.AppendUint64(nil, math.Float64bits(v))
	case onnxgraph.Float16:
		t.Data = le.AppendUint16(nil, floatToHalf(float32(v)))
	case onnxgraph.BFloat16:
		bits := math.Float32bits(float32(v))
		t.Data = le.AppendUint16(nil, uint16((bits+0x7fff+bits>>16&1)>>16))
	case onnxgraph.Int64:
		t.Data = le.AppendUint64(nil, uint64(int64(v)))
	case onnxgraph.Int32:
		t.Data = le.AppendUint32(nil, uint32(int32(v)))
	case onnxgraph.Bool:
		t.Data = []byte{0}
		if v != 0 {
			t.Data[0] = 1
		}
	default:
		return nil
	}
	return t
}

// floatToHalf rounds to IEEE 754 binary16, to nearest, ties to even.
func floatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exp := int(bits>>23&0xff) - 112
	frac := bits & 0x7fffff
	switch {
	case bits&0x7fffffff > 0x7f800000:
		return sign | 0x7e00
	case exp >= 31:
		return sign | 0x7c00
	case exp < -10:
		return sign
	case exp <= 0: // subnormal: the hidden bit becomes explicit and everything shifts right
		frac |= 0x800000
		shift := uint(14 - exp)
		half := uint32(1) << (shift - 1)
		return sign | uint16((frac+half-1+frac>>shift&1)>>shift)
	}
	// A carry out of the fraction moves into the exponent, as it should.
	return sign + uint16(exp<<10) + uint16((frac+0xfff+frac>>13&1)>>13)
}
