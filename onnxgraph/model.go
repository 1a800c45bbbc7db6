package onnxgraph

// Model is a whole ONNX model (ModelProto).
type Model struct {
	IRVersion       int64
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	Doc             string
	Opsets          []Opset
	Metadata        []KeyValue
	Graph           *Graph
	Functions       []*Function
	Unknown         []byte // fields of the file that this package does not model, written back untouched
	spelling        *spelling
	files           *mappings // what tensors alias
}

// spelling holds how the file wrote small messages whose values here have no
// place for it, such as an operator set with an explicitly empty domain.
type spelling struct {
	opsets  map[Opset][]byte
	entries map[KeyValue][]byte
}

// Opset is one operator set that a model imports. The default domain "" and
// its alias "ai.onnx" are both written "".
type Opset struct {
	Domain  string
	Version int64
}

// KeyValue is one metadata property.
type KeyValue struct{ Key, Value string }

// OpsetVersion is the imported version of a domain, 0 where it is not imported.
func (m *Model) OpsetVersion(domain string) int64 {
	for _, o := range m.Opsets {
		if o.Domain == domain {
			return o.Version
		}
	}
	return 0
}

// Meta returns a metadata property and whether it is there.
func (m *Model) Meta(key string) (string, bool) {
	for _, kv := range m.Metadata {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return "", false
}

// SetMeta sets a metadata property, replacing an earlier one of the same key.
func (m *Model) SetMeta(key, value string) {
	for i := range m.Metadata {
		if m.Metadata[i].Key == key {
			m.Metadata[i].Value = value
			return
		}
	}
	m.Metadata = append(m.Metadata, KeyValue{key, value})
}

// Graph is a graph or subgraph (GraphProto). Nodes stand in topological order.
type Graph struct {
	Name         string
	Doc          string
	Nodes        []*Node
	Inputs       []*Value
	Outputs      []*Value
	Initializers []*Tensor
	Sparse       []*SparseTensor // sparse initializers
	ValueInfo    []*Value        // types of intermediate values, as far as the file gives them
	Metadata     []KeyValue
	Unknown      []byte
}

// Value is a named, typed value (ValueInfoProto).
type Value struct {
	Name     string
	Type     Type
	Doc      string
	Metadata []KeyValue
	Unknown  []byte
}

// Initializer finds an initializer by name, nil where there is none. It is a
// linear search; build an index for many look-ups.
func (g *Graph) Initializer(name string) *Tensor {
	for _, t := range g.Initializers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Node is one application of an operator (NodeProto). An empty input or output
// name stands for an absent optional one.
type Node struct {
	Name     string
	OpType   string
	Domain   string // "" is the default domain ai.onnx
	Overload string
	Doc      string
	Inputs   []string
	Outputs  []string
	Attrs    []*Attribute
	Metadata []KeyValue
	Unknown  []byte
}

// Input returns the i-th input name, "" where it is absent.
func (n *Node) Input(i int) string {
	if i < len(n.Inputs) {
		return n.Inputs[i]
	}
	return ""
}

// Output returns the i-th output name, "" where it is absent.
func (n *Node) Output(i int) string {
	if i < len(n.Outputs) {
		return n.Outputs[i]
	}
	return ""
}

// Attr finds an attribute by name, nil where it is not set.
func (n *Node) Attr(name string) *Attribute {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Int returns an integer attribute or def where it is not set.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.Attr(name); a != nil {
		return a.I
	}
	return def
}

// Float returns a float attribute or def where it is not set.
func (n *Node) Float(name string, def float32) float32 {
	if a := n.Attr(name); a != nil {
		return a.F
	}
	return def
}

// Str returns a string attribute or def where it is not set.
func (n *Node) Str(name, def string) string {
	if a := n.Attr(name); a != nil {
		return string(a.S)
	}
	return def
}

// Ints returns a list-of-integers attribute, nil where it is not set.
func (n *Node) Ints(name string) []int64 {
	if a := n.Attr(name); a != nil {
		return a.Ints
	}
	return nil
}

// Op names the operator as error messages do: "Conv" or "com.microsoft:Gelu".
func (n *Node) Op() string {
	if n.Domain == "" {
		return n.OpType
	}
	return n.Domain + ":" + n.OpType
}

// Label names the node in messages and derived names: its name, else its first
// output, else its operator.
func (n *Node) Label() string {
	if n.Name != "" {
		return n.Name
	}
	for _, o := range n.Outputs {
		if o != "" {
			return o
		}
	}
	return n.OpType
}

// Function is a model-local function (FunctionProto).
type Function struct {
	Name      string
	Domain    string
	Overload  string
	Doc       string
	Inputs    []string
	Outputs   []string
	Attrs     []string     // names of attributes without a default
	Defaults  []*Attribute // attributes with a default
	Nodes     []*Node
	Opsets    []Opset
	ValueInfo []*Value
	Metadata  []KeyValue
	Unknown   []byte
	spelling  *spelling
}

// AttrType tells the cases of Attribute apart; values as in AttributeProto.
type AttrType int32

// Attribute types of the ONNX specification.
const (
	AttrUndefined AttrType = 0
	AttrFloat     AttrType = 1
	AttrInt       AttrType = 2
	AttrString    AttrType = 3
	AttrTensor    AttrType = 4
	AttrGraph     AttrType = 5
	AttrFloats    AttrType = 6
	AttrInts      AttrType = 7
	AttrStrings   AttrType = 8
	AttrTensors   AttrType = 9
	AttrGraphs    AttrType = 10
	AttrSparse    AttrType = 11
	AttrSparses   AttrType = 12
	AttrTypeProto AttrType = 13
	AttrTypes     AttrType = 14
)

// Attribute is a named constant of a node (AttributeProto); Type says which
// field holds it.
type Attribute struct {
	Name    string
	Doc     string
	Type    AttrType
	RefAttr string // within functions: the function's attribute that it stands for
	F       float32
	I       int64
	S       []byte
	T       *Tensor
	G       *Graph
	Sparse  *SparseTensor
	TP      *Type
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph
	Sparses []*SparseTensor
	Types   []*Type
	Unknown []byte
}

// Attribute constructors, for the builder and for gradient rules.

// IntAttr makes an integer attribute.
func IntAttr(name string, v int64) *Attribute { return &Attribute{Name: name, Type: AttrInt, I: v} }

// IntsAttr makes a list-of-integers attribute.
func IntsAttr(name string, v ...int64) *Attribute {
	return &Attribute{Name: name, Type: AttrInts, Ints: v}
}

// FloatAttr makes a float attribute.
func FloatAttr(name string, v float32) *Attribute {
	return &Attribute{Name: name, Type: AttrFloat, F: v}
}

// FloatsAttr makes a list-of-floats attribute.
func FloatsAttr(name string, v ...float32) *Attribute {
	return &Attribute{Name: name, Type: AttrFloats, Floats: v}
}

// StringAttr makes a string attribute.
func StringAttr(name, v string) *Attribute {
	return &Attribute{Name: name, Type: AttrString, S: []byte(v)}
}

// TensorAttr makes a tensor attribute.
func TensorAttr(name string, t *Tensor) *Attribute {
	return &Attribute{Name: name, Type: AttrTensor, T: t}
}

// GraphAttr makes a subgraph attribute.
func GraphAttr(name string, g *Graph) *Attribute {
	return &Attribute{Name: name, Type: AttrGraph, G: g}
}

// SparseTensor is a tensor in coordinate format (SparseTensorProto).
type SparseTensor struct {
	Values  *Tensor // its name is the sparse tensor's
	Indices *Tensor
	Dims    []int64
	Unknown []byte
}
