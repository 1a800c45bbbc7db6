package rewrite

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/x448/float16"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Facts is the growing knowledge about the values of a graph; *infer.Result
// is one.
type Facts interface {
	// Fact is what is known about a value, nil where nothing is.
	Fact(value string) *op.Fact
	// Add infers one more node and records the facts of its outputs.
	Add(n *onnxgraph.Node) error
	// Set records the fact of a value.
	Set(value string, f *op.Fact)
}

// Emitter adds nodes and constants to a model. Constants of equal content are
// shared, and so are, where Sharing is set, nodes of equal operator, inputs
// and attributes. Mistakes collect in Errs.
type Emitter struct {
	Model *onnxgraph.Model
	Facts Facts  // of the graph that nodes are emitted into
	Stage string // of error messages
	// Prefix of the names of emitted nodes and values.
	Prefix string
	// Emitted collects the nodes in order; whoever drives the emitter puts
	// them into the graph.
	Emitted []*onnxgraph.Node
	// Sharing reuses an equal node that was emitted before. That is right only
	// where everything emitted ends up in one sequence.
	Sharing bool
	Errs    []error

	root   Facts // of the outermost graph, which owns the constants
	used   map[string]bool
	serial map[string]int
	consts map[string]string   // content → name
	equal  map[string][]string // operator, inputs, attributes → outputs
}

// NewEmitter emits into m, whose outermost graph facts describe. It edits
// m's list of initializers.
func NewEmitter(m *onnxgraph.Model, facts Facts, stage string) *Emitter {
	e := &Emitter{
		Model: m, Facts: facts, Stage: stage, root: facts,
		used: m.Graph.Names(), serial: map[string]int{}, consts: map[string]string{}, equal: map[string][]string{},
	}
	e.used[""] = true
	return e
}

// Used says whether a value or node of that name exists.
func (e *Emitter) Used(name string) bool { return e.used[name] }

// Reserve takes a name, so that nothing emitted gets it.
func (e *Emitter) Reserve(name string) { e.used[name] = true }

// Fresh takes a name that starts with the given one.
func (e *Emitter) Fresh(name string) string {
	candidate := name
	for e.used[candidate] {
		e.serial[name]++
		candidate = fmt.Sprintf("%s_%d", name, e.serial[name])
	}
	e.used[candidate] = true
	return candidate
}

// Opset is the model's opset of the default domain.
func (e *Emitter) Opset() int64 { return e.Model.OpsetVersion("") }

// Fact is what is known about any value, emitted ones included.
func (e *Emitter) Fact(value string) *op.Fact { return e.Facts.Fact(value) }

// Emit adds a node of the default domain with one output.
func (e *Emitter) Emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	return e.EmitN(opType, inputs, 1, attrs...)[0]
}

// EmitN adds a node of the default domain with n outputs.
func (e *Emitter) EmitN(opType string, inputs []string, n int, attrs ...*onnxgraph.Attribute) []string {
	key, shareable := nodeKey(opType, inputs, n, attrs)
	shareable = shareable && e.Sharing
	if out, ok := e.equal[key]; ok && shareable {
		return slices.Clone(out)
	}
	node := &onnxgraph.Node{Name: e.Fresh(e.Prefix + opType), OpType: opType, Inputs: slices.Clone(inputs), Attrs: attrs}
	for i := range n {
		suffix := ""
		if n > 1 {
			suffix = fmt.Sprintf("_out%d", i)
		}
		node.Outputs = append(node.Outputs, e.Fresh(node.Name+suffix+"_output"))
	}
	if err := e.Facts.Add(node); err != nil {
		e.Errs = append(e.Errs, fmt.Errorf("%s: emitted node %q: %w", e.Stage, node.Name, err))
	}
	e.Emitted = append(e.Emitted, node)
	if shareable {
		e.equal[key] = node.Outputs
	}
	return slices.Clone(node.Outputs)
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
// and content are shared. They live in the outermost graph.
func (e *Emitter) Const(t *onnxgraph.Tensor) string {
	key := fmt.Sprintf("%d%v", t.DType, t.Dims) + string(t.Data)
	if name, ok := e.consts[key]; ok {
		return name
	}
	c := *t
	if c.Name == "" {
		c.Name = e.Stage + "_const"
	}
	c.Name = e.Fresh(c.Name)
	e.consts[key] = c.Name
	e.Model.Graph.Initializers = append(e.Model.Graph.Initializers, &c)
	e.root.Set(c.Name, &op.Fact{Type: onnxgraph.TensorOf(c.DType, c.Shape()), Const: &c})
	return c.Name
}

// DropUnusedConstants removes the constants that were emitted and that no node
// reads.
func (e *Emitter) DropUnusedConstants() {
	used := outputNames(e.Model.Graph)
	for _, n := range e.Model.Graph.Nodes {
		for _, in := range n.Reads() {
			used[in] = true
		}
	}
	emitted := map[string]bool{}
	for _, name := range e.consts {
		emitted[name] = true
	}
	g := e.Model.Graph
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *onnxgraph.Tensor) bool { return emitted[t.Name] && !used[t.Name] })
}

// ScalarLike is a constant scalar of the value's element type.
func (e *Emitter) ScalarLike(value string, v float64) string {
	d := e.Fact(value).DType()
	t := ScalarTensor(d, v)
	if t == nil {
		e.Errs = append(e.Errs, fmt.Errorf("%s: value %q: no scalar constant of type %s", e.Stage, value, d))
		return ""
	}
	return e.Const(t)
}

// ShapeOf is the value's shape as an int64 vector: a constant where static,
// else a Shape node.
func (e *Emitter) ShapeOf(value string) string {
	if dims, ok := e.Fact(value).Shape().Static(); ok {
		return e.Const(onnxgraph.Vector("", dims...))
	}
	return e.Emit("Shape", []string{value})
}

// ScalarTensor makes a scalar of any type that arithmetic knows, nil for
// others.
func ScalarTensor(d onnxgraph.DType, v float64) *onnxgraph.Tensor {
	le := binary.LittleEndian
	t := &onnxgraph.Tensor{DType: d, Dims: []int64{}}
	switch d {
	case onnxgraph.Float:
		t.Data = le.AppendUint32(nil, math.Float32bits(float32(v)))
	case onnxgraph.Double:
		t.Data = le.AppendUint64(nil, math.Float64bits(v))
	case onnxgraph.Float16:
		t.Data = le.AppendUint16(nil, float16.Fromfloat32(float32(v)).Bits())
	case onnxgraph.BFloat16:
		bits := math.Float32bits(float32(v))
		t.Data = le.AppendUint16(nil, uint16((bits+0x7fff+bits>>16&1)>>16))
	case onnxgraph.Int64, onnxgraph.Uint64:
		t.Data = le.AppendUint64(nil, uint64(int64(v)))
	case onnxgraph.Int32, onnxgraph.Uint32:
		t.Data = le.AppendUint32(nil, uint32(int32(v)))
	case onnxgraph.Int8, onnxgraph.Uint8:
		t.Data = []byte{byte(int8(v))}
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
