package onnxgraph

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unsafe"
)

const (
	// maxNesting caps subgraphs within subgraphs, and types within types.
	maxNesting = 32
	// A file may take this many times its size in memory, plus a constant:
	// structs are larger than the few bytes that can make them.
	maxGrowth  = 32
	minStructs = 1 << 20
)

// Unmarshal parses a serialised ModelProto. Data of external tensors is not
// loaded (ReadFile does that). Any byte string gives a model or an error, and
// takes memory in proportion to its length.
//
// Tensors are not copied: their data, and fields kept as unknown, alias b,
// which must not change as long as the model is in use.
func Unmarshal(b []byte) (*Model, error) {
	d := &decoder{spare: maxGrowth*int64(len(b)) + minStructs}
	m, err := d.model(b)
	switch {
	case isWireError(err):
		return nil, fmt.Errorf("parse: not an ONNX model: %w", err)
	case err != nil:
		return nil, fmt.Errorf("parse: %w", err)
	case m.Graph == nil:
		return nil, errors.New("parse: not an ONNX model: it has no graph")
	}
	return m, nil
}

// decoder reads the messages of one file. It goes through each message once
// and copies names only.
type decoder struct {
	names   arena
	nodes   slab[Node]
	attrs   slab[Attribute]
	values  slab[Value]
	tensors slab[Tensor]
	lists   []string // room for lists of names
	graphs  int      // nesting of the graph that is being read
	types   int      // nesting of the type
	spare   int64    // bytes of memory that structs may still take
	spelt   map[KeyValue][]byte
}

// slab hands out values from blocks: one allocation for several.
type slab[T any] struct {
	free []T
	size int
}

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.size = min(2*s.size+1, 64) // files of a few values need no more
		s.free = make([]T, s.size)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

var errTooLarge = errors.New("the model would take more than 32 times the size of its file in memory")

// grow accounts for n more values of type T.
func grow[T any](d *decoder, n int) error {
	var v T
	if d.spare -= int64(n) * int64(unsafe.Sizeof(v)); d.spare < 0 {
		return errTooLarge
	}
	return nil
}

// push appends to a list the value of the field on which s stands. The first
// one makes room for those that follow it at once, as nearly all do.
func push[T any](d *decoder, to *[]T, s *scanner, v T) error {
	if len(*to) == cap(*to) {
		n := 1 + s.alike() + 2*len(*to)
		if err := grow[T](d, n); err != nil {
			return err
		}
		*to = append(make([]T, 0, n), *to...)
	}
	*to = append(*to, v)
	return nil
}

// texts and entries push one more string or property.
func (d *decoder) texts(to *[]string, s *scanner) error {
	if *to == nil { // most lists are short: several come out of one block
		if n := 1 + s.alike(); n <= 16 {
			if len(d.lists) < n {
				if err := grow[string](d, 256); err != nil {
					return err
				}
				d.lists = make([]string, 256)
			}
			*to, d.lists = d.lists[:0:n], d.lists[n:]
		}
	}
	return push(d, to, s, d.names.text(s.body))
}

func (d *decoder) entries(to *[]KeyValue, s *scanner) error {
	kv, err := d.entry(s.body)
	if err != nil {
		return err
	}
	return push(d, to, s, kv)
}

// all pushes one more message.
func all[T any](d *decoder, to *[]*T, s *scanner, read func([]byte) (*T, error)) error {
	v, err := read(s.body)
	if err != nil {
		return err
	}
	return push(d, to, s, v)
}

// text reads a singular string; an empty one is kept as it stands.
func (d *decoder) text(to *string, s *scanner, k *keeper) {
	if *to = d.names.text(s.body); *to == "" {
		k.add(s)
	}
}

// domain reads the name of an operator set; the default one has two names.
func (d *decoder) domain(to *string, s *scanner, k *keeper) {
	if string(s.body) == "ai.onnx" {
		*to = ""
		k.add(s)
		return
	}
	d.text(to, s, k)
}

// number reads a singular number for which zero means "not given".
func number(to *int64, s *scanner, k *keeper) {
	if *to = int64(s.num); *to == 0 {
		k.add(s)
	}
}

func (d *decoder) model(b []byte) (*Model, error) {
	m := &Model{spelling: &spelling{}}
	d.spelt = map[KeyValue][]byte{}
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case modelIrVersion:
			number(&m.IRVersion, &s, &k)
		case modelProducerName:
			d.text(&m.ProducerName, &s, &k)
		case modelProducerVersion:
			d.text(&m.ProducerVersion, &s, &k)
		case modelDomain:
			d.text(&m.Domain, &s, &k)
		case modelModelVersion:
			number(&m.ModelVersion, &s, &k)
		case modelDocString:
			d.text(&m.Doc, &s, &k)
		case modelOpsetImport:
			err = d.opset(&m.Opsets, &m.spelling.opsets, &s)
		case modelMetadataProps:
			err = d.entries(&m.Metadata, &s)
		case modelGraph:
			if m.Graph != nil {
				return nil, errTwice("graph")
			}
			m.Graph, err = d.graph(s.body)
		case modelFunctions:
			err = all(d, &m.Functions, &s, d.function)
		default:
			k.add(&s)
		}
		if err != nil {
			return nil, err
		}
	}
	m.Unknown, m.spelling.entries = k.fields(), d.spelt
	return m, s.err
}

// errTwice refuses a second occurrence of a message that a file has once.
// Protobuf would merge the two; no writer makes such files.
func errTwice(what string) error { return fmt.Errorf("%s occurs twice", what) }

func (d *decoder) opset(to *[]Opset, spelt *map[Opset][]byte, at *scanner) error {
	var o Opset
	var k keeper
	hasVersion := false
	s := scanner{rest: at.body}
	for s.next() {
		switch s.key {
		case opsetDomain:
			d.domain(&o.Domain, &s, &k)
		case opsetVersion:
			o.Version, hasVersion = int64(s.num), true
		default:
			k.add(&s)
		}
	}
	if k.raw != nil || !hasVersion {
		if *spelt == nil {
			*spelt = map[Opset][]byte{}
		}
		(*spelt)[o] = at.body
		if err := grow[Opset](d, 4); err != nil { // a share of the map
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	return push(d, to, at, o)
}

// entry reads a StringStringEntryProto.
func (d *decoder) entry(b []byte) (kv KeyValue, err error) {
	fields := 0
	s := scanner{rest: b}
	for s.next() {
		fields++
		switch s.key {
		case entryKey:
			kv.Key = d.names.text(s.body)
		case entryValue:
			kv.Value = d.names.text(s.body)
		default:
			fields += 2
		}
	}
	if fields != 2 { // a part is missing, or unknown
		if err := grow[KeyValue](d, 4); err != nil { // a share of the map
			return kv, err
		}
		d.spelt[kv] = b
	}
	return kv, s.err
}

func (d *decoder) graph(b []byte) (*Graph, error) {
	if d.graphs++; d.graphs > maxNesting {
		return nil, fmt.Errorf("subgraphs nest more than %d deep", maxNesting)
	}
	defer func() { d.graphs-- }()
	g := &Graph{}
	if err := grow[Graph](d, 1); err != nil {
		return nil, err
	}
	if err := d.graphFields(g, b); err != nil {
		return nil, inGraph(g.Name, err)
	}
	return g, nil
}

// inGraph says in which graph a fault lies.
func inGraph(name string, err error) error { return fmt.Errorf("graph %q: %w", name, err) }

func (d *decoder) graphFields(g *Graph, b []byte) error {
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case graphName:
			d.text(&g.Name, &s, &k)
		case graphDocString:
			d.text(&g.Doc, &s, &k)
		case graphMetadataProps:
			err = d.entries(&g.Metadata, &s)
		case graphNode:
			err = all(d, &g.Nodes, &s, d.node)
		case graphInput:
			err = all(d, &g.Inputs, &s, d.value)
		case graphOutput:
			err = all(d, &g.Outputs, &s, d.value)
		case graphValueInfo:
			err = all(d, &g.ValueInfo, &s, d.value)
		case graphInitializer:
			if err = all(d, &g.Initializers, &s, d.tensor); err != nil {
				return fmt.Errorf("initializer %w", err)
			}
		case graphSparseInitializer:
			if err = all(d, &g.Sparse, &s, d.sparse); err != nil {
				return fmt.Errorf("sparse initializer: %w", err)
			}
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	g.Unknown = k.fields()
	return s.err
}

func (d *decoder) node(b []byte) (*Node, error) {
	if err := grow[Node](d, 1); err != nil {
		return nil, err
	}
	n := d.nodes.next()
	return n, d.nodeFields(n, b)
}

func (d *decoder) nodeFields(n *Node, b []byte) error {
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case nodeInput:
			err = d.texts(&n.Inputs, &s)
		case nodeOutput:
			err = d.texts(&n.Outputs, &s)
		case nodeName:
			d.text(&n.Name, &s, &k)
		case nodeOpType:
			d.text(&n.OpType, &s, &k)
		case nodeDomain:
			d.domain(&n.Domain, &s, &k)
		case nodeOverload:
			d.text(&n.Overload, &s, &k)
		case nodeDocString:
			d.text(&n.Doc, &s, &k)
		case nodeMetadataProps:
			err = d.entries(&n.Metadata, &s)
		case nodeAttribute:
			if err = all(d, &n.Attrs, &s, d.attribute); err != nil && !isWireError(err) { // the operator may come after its attributes
				return d.inNode(n, b, err)
			}
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	n.Unknown = k.fields()
	return s.err
}

// inNode names the node in which a fault was found before all of it was read.
func (d *decoder) inNode(n *Node, b []byte, err error) error {
	for s := (scanner{rest: b}); s.next(); {
		switch s.key {
		case nodeName:
			n.Name = d.names.text(s.body)
		case nodeOpType:
			n.OpType = d.names.text(s.body)
		case nodeDomain:
			n.Domain = d.names.text(s.body)
		}
	}
	return fmt.Errorf("node %q (%s), %w", n.Name, n.Op(), err)
}

func (d *decoder) value(b []byte) (*Value, error) {
	if err := grow[Value](d, 1); err != nil {
		return nil, err
	}
	v := d.values.next()
	return v, d.valueFields(v, b)
}

func (d *decoder) valueFields(v *Value, b []byte) error {
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case valueName:
			d.text(&v.Name, &s, &k)
		case valueDocString:
			d.text(&v.Doc, &s, &k)
		case valueMetadataProps:
			err = d.entries(&v.Metadata, &s)
		case valueType:
			if v.Type.says() {
				return errTwice("its type")
			}
			if len(s.body) == 0 {
				k.add(&s) // says nothing
				continue
			}
			if v.Type, err = d.typ(s.body); err != nil {
				err = fmt.Errorf("value %q: %w", v.Name, err)
			}
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	v.Unknown = k.fields()
	return s.err
}

func (d *decoder) function(b []byte) (*Function, error) {
	f := &Function{spelling: &spelling{}}
	if err := grow[Function](d, 1); err != nil {
		return nil, err
	}
	if err := d.functionFields(f, b); err != nil {
		return nil, fmt.Errorf("function %q: %w", f.Name, err)
	}
	return f, nil
}

func (d *decoder) functionFields(f *Function, b []byte) error {
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case functionName:
			d.text(&f.Name, &s, &k)
		case functionDomain:
			d.domain(&f.Domain, &s, &k)
		case functionOverload:
			d.text(&f.Overload, &s, &k)
		case functionDocString:
			d.text(&f.Doc, &s, &k)
		case functionInput:
			err = d.texts(&f.Inputs, &s)
		case functionOutput:
			err = d.texts(&f.Outputs, &s)
		case functionAttribute:
			err = d.texts(&f.Attrs, &s)
		case functionNode:
			err = all(d, &f.Nodes, &s, d.node)
		case functionOpsetImport:
			err = d.opset(&f.Opsets, &f.spelling.opsets, &s)
		case functionValueInfo:
			err = all(d, &f.ValueInfo, &s, d.value)
		case functionMetadataProps:
			err = d.entries(&f.Metadata, &s)
		case functionAttributeProto:
			err = all(d, &f.Defaults, &s, d.attribute)
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	f.Unknown = k.fields()
	return s.err
}

func (d *decoder) attribute(b []byte) (*Attribute, error) {
	a := d.attrs.next()
	if err := grow[Attribute](d, 1); err != nil {
		return nil, err
	}
	if err := d.attributeFields(a, b); err != nil {
		if isWireError(err) {
			return nil, err
		}
		return nil, fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	return a, nil
}

func (d *decoder) attributeFields(a *Attribute, b []byte) error {
	var k keeper
	var scalar [3][]byte // the fields f, i and s as they stand
	var floats, ints []byte
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case attrName:
			d.text(&a.Name, &s, &k)
		case attrDocString:
			d.text(&a.Doc, &s, &k)
		case attrRefAttrName:
			d.text(&a.RefAttr, &s, &k)
		case attrType:
			a.Type = AttrType(s.num)
			if a.Type < AttrUndefined || a.Type > AttrTypes {
				err = fmt.Errorf("type %d is none of the specification's", a.Type)
			} else if a.Type == AttrUndefined {
				k.add(&s)
			}
		case attrF, attrI, attrS:
			scalar[s.key>>3-attrF>>3] = s.raw
		case attrFloats, attrFloats&^7 | wireBytes:
			floats = joinNumbers(floats, &s)
		case attrInts, attrInts&^7 | wireBytes:
			ints = joinNumbers(ints, &s)
		case attrStrings:
			err = push(d, &a.Strings, &s, d.names.bytes(s.body))
		case attrT:
			if a.T != nil {
				return errTwice("its tensor")
			}
			a.T, err = d.tensor(s.body)
		case attrG:
			if a.G != nil {
				return errTwice("its graph")
			}
			a.G, err = d.graph(s.body)
		case attrSparseTensor:
			if a.Sparse != nil {
				return errTwice("its sparse tensor")
			}
			a.Sparse, err = d.sparse(s.body)
		case attrTp:
			if a.TP != nil {
				return errTwice("its type")
			}
			a.TP, err = d.newType(s.body)
		case attrTensors:
			err = all(d, &a.Tensors, &s, d.tensor)
		case attrGraphs:
			err = all(d, &a.Graphs, &s, d.graph)
		case attrSparseTensors:
			err = all(d, &a.Sparses, &s, d.sparse)
		case attrTypeProtos:
			err = all(d, &a.Types, &s, d.newType)
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	var err error
	if a.Floats, err = d.float32s(floats); err != nil {
		return err
	}
	if a.Ints, err = d.int64s(ints); err != nil {
		return err
	}
	if a.Type == AttrUndefined && a.RefAttr == "" {
		a.Type = guessAttrType(a, scalar) // files before IR version 2 leave the type out
	}
	d.scalar(a, scalar, &k)
	a.Unknown = k.fields()
	return a.holdsItsType()
}

// scalar takes the one scalar field that the attribute's type asks for; stray
// ones of another type mean nothing, and are kept as they stand.
func (d *decoder) scalar(a *Attribute, scalar [3][]byte, k *keeper) {
	for i, of := range []AttrType{AttrFloat, AttrInt, AttrString} {
		s := scanner{rest: scalar[i]}
		switch {
		case !s.next():
		case a.Type != of || a.RefAttr != "":
			k.add(&s)
		case of == AttrFloat:
			a.F = math.Float32frombits(uint32(s.num))
		case of == AttrInt:
			a.I = int64(s.num)
		default:
			a.S = d.names.bytes(s.body)
		}
	}
}

func guessAttrType(a *Attribute, scalar [3][]byte) AttrType {
	switch {
	case scalar[0] != nil:
		return AttrFloat
	case scalar[1] != nil:
		return AttrInt
	case scalar[2] != nil:
		return AttrString
	case a.T != nil:
		return AttrTensor
	case a.G != nil:
		return AttrGraph
	case a.Floats != nil:
		return AttrFloats
	case a.Ints != nil:
		return AttrInts
	case a.Strings != nil:
		return AttrStrings
	}
	return AttrUndefined
}

// holdsItsType refuses attributes whose type names a field that is not there,
// so that nobody meets a nil tensor or graph later.
func (a *Attribute) holdsItsType() error {
	if a.RefAttr != "" {
		return nil
	}
	missing := a.Type == AttrTensor && a.T == nil || a.Type == AttrGraph && a.G == nil ||
		a.Type == AttrSparse && a.Sparse == nil || a.Type == AttrTypeProto && a.TP == nil
	if missing {
		return fmt.Errorf("its type is %d, but it does not hold a value of that type", a.Type)
	}
	return nil
}

func (d *decoder) float32s(packed []byte) ([]float32, error) {
	if len(packed)%4 != 0 {
		return nil, wireError("the data end within a number")
	}
	if len(packed) == 0 {
		return nil, nil
	}
	out := make([]float32, len(packed)/4)
	for i := range out {
		out[i] = math.Float32frombits(le.Uint32(packed[4*i:]))
	}
	return out, nil
}

func (d *decoder) int64s(packed []byte) ([]int64, error) {
	if err := grow[int64](d, len(packed)); err != nil {
		return nil, err
	}
	return varints(packed)
}

func (d *decoder) newType(b []byte) (*Type, error) {
	if err := grow[Type](d, 1); err != nil {
		return nil, err
	}
	t, err := d.typ(b)
	return &t, err
}

// typ reads a TypeProto. What the file says beyond the fields of Type, or
// spells otherwise, is kept with it.
func (d *decoder) typ(b []byte) (Type, error) {
	if d.types++; d.types > maxNesting {
		return Type{}, fmt.Errorf("types nest more than %d deep", maxNesting)
	}
	defer func() { d.types-- }()
	t := Type{}
	odd := false
	s := scanner{rest: b}
	for s.next() {
		var kind TypeKind
		switch s.key {
		case typeDenotation:
			t.Denotation = d.names.text(s.body)
			odd = odd || t.Denotation == ""
			continue
		case typeTensorType:
			kind = TensorKind
		case typeSparseTensorType:
			kind = SparseTensorKind
		case typeSequenceType:
			kind = SequenceKind
		case typeOptionalType:
			kind = OptionalKind
		case typeMapType:
			kind = MapKind
		default:
			odd = true
			continue
		}
		if t.Kind != NoType {
			return Type{}, errors.New("a type of two kinds")
		}
		t.Kind = kind
		more, err := d.typeFields(&t, s.body)
		if err != nil {
			return Type{}, err
		}
		odd = odd || more
	}
	if s.err != nil {
		return Type{}, s.err
	}
	if t.DType != Undefined && !t.DType.Valid() {
		return Type{}, fmt.Errorf("element type %d is none of the specification's", t.DType)
	}
	if odd {
		t.spelt = b
	}
	return t, nil
}

// typeFields reads what a type is made of. Fields of the same key mean
// different things in the several kinds.
func (d *decoder) typeFields(t *Type, b []byte) (odd bool, err error) {
	type part struct {
		kind TypeKind
		key  uint64
	}
	sawDType := false
	s := scanner{rest: b}
	for s.next() {
		switch (part{t.Kind, s.key}) {
		case part{TensorKind, typeTensorElemType}, part{SparseTensorKind, typeTensorElemType}, part{MapKind, typeMapKeyType}:
			t.DType, sawDType = DType(s.num), true
		case part{TensorKind, typeTensorShape}, part{SparseTensorKind, typeTensorShape}:
			if t.Shape != nil {
				return false, errTwice("a shape")
			}
			var more bool
			if t.Shape, more, err = d.shape(s.body); err != nil {
				return false, err
			}
			odd = odd || more
		case part{SequenceKind, typeSequenceElemType}, part{OptionalKind, typeSequenceElemType}, part{MapKind, typeMapValueType}:
			if t.Elem != nil {
				return false, errTwice("the type of elements")
			}
			if t.Elem, err = d.newType(s.body); err != nil {
				return false, err
			}
			odd = odd || t.Elem.spelt != nil || len(s.body) == 0
		default:
			odd = true
		}
	}
	hasDType := t.Kind == TensorKind || t.Kind == SparseTensorKind || t.Kind == MapKind
	if !hasDType && t.Elem == nil {
		t.Elem = &Type{} // the element's type is not given
		odd = true
	}
	if t.Kind == MapKind && t.Elem == nil {
		t.Elem = &Type{}
		odd = true
	}
	return odd || hasDType && !sawDType, s.err
}

func (d *decoder) shape(b []byte) (shape Shape, odd bool, err error) {
	dims := []Dim{}
	s := scanner{rest: b}
	for s.next() {
		if s.key != tensorShapeDim {
			odd = true
			continue
		}
		dim, more, err := d.dim(s.body)
		if err != nil {
			return nil, false, err
		}
		odd = odd || more
		if err := push(d, &dims, &s, dim); err != nil {
			return nil, false, err
		}
	}
	return dims, odd, s.err
}

// dim reads one extent. Exporters write -1 for "unknown" on graph inputs.
func (d *decoder) dim(b []byte) (dim Dim, odd bool, err error) {
	dim = UnknownDim()
	s := scanner{rest: b}
	for fields := 1; s.next(); fields++ {
		odd = odd || fields > 1
		switch s.key {
		case tensorShapeDimensionDimValue:
			if dim = UnknownDim(); int64(s.num) >= 0 {
				dim = Known(int64(s.num))
			} else {
				odd = true
			}
		case tensorShapeDimensionDimParam:
			dim = Sym(d.names.text(s.body))
			odd = odd || dim.Symbol == ""
		default:
			odd = true
		}
	}
	return dim, odd, s.err
}

func (d *decoder) sparse(b []byte) (*SparseTensor, error) {
	t := &SparseTensor{}
	if err := grow[SparseTensor](d, 1); err != nil {
		return nil, err
	}
	var dims []byte
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		var err error
		switch s.key {
		case sparseTensorValues:
			if t.Values != nil {
				return nil, errTwice("values")
			}
			t.Values, err = d.tensor(s.body)
		case sparseTensorIndices:
			if t.Indices != nil {
				return nil, errTwice("indices")
			}
			t.Indices, err = d.tensor(s.body)
		case sparseTensorDims, sparseTensorDims&^7 | wireBytes:
			dims = joinNumbers(dims, &s)
		default:
			k.add(&s)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	if t.Values == nil || t.Indices == nil {
		return nil, errors.New("sparse tensor without values or indices")
	}
	var err error
	t.Dims, err = d.int64s(dims)
	t.Unknown = k.fields()
	return t, err
}

// tensor reads a TensorProto. Elements come from the one field that its type
// and location name; whatever else stands in the file is kept.
func (d *decoder) tensor(b []byte) (*Tensor, error) {
	t := d.tensors.next()
	if err := grow[Tensor](d, 1); err != nil {
		return nil, err
	}
	if err := d.tensorFields(t, b); err != nil {
		if isWireError(err) {
			return nil, err
		}
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return t, nil
}

func (d *decoder) tensorFields(t *Tensor, b []byte) error {
	carrier, err := t.carrier(b)
	if err != nil {
		return err
	}
	typed := carrier == t.DType.typedKey() && carrier != tensorStringData
	var dims, elements []byte
	var external [][]byte
	var k keeper
	s := scanner{rest: b}
	for s.next() {
		switch {
		case s.key == tensorName:
			d.text(&t.Name, &s, &k)
		case s.key == tensorDocString:
			d.text(&t.Doc, &s, &k)
		case s.key == tensorMetadataProps:
			err = d.entries(&t.Metadata, &s)
		case s.key == tensorDataType:
		case s.key == tensorDataLocation && s.num == externalLocation:
		case s.key == tensorDims || s.key == tensorDims&^7|wireBytes:
			dims = joinNumbers(dims, &s)
		case s.key>>3 != carrier>>3:
			k.add(&s)
		case carrier == tensorExternalData && s.key == carrier:
			err = push(d, &external, &s, s.body)
		case carrier == tensorStringData && s.key == carrier:
			err = push(d, &t.Strings, &s, s.body)
		case carrier == tensorRawData && s.key == carrier:
			t.Data = s.body
		case typed && (s.key&7 == t.DType.typedWire() || s.key == carrier):
			elements = joinNumbers(elements, &s)
		default:
			k.add(&s)
		}
		if err != nil {
			return err
		}
	}
	if s.err != nil {
		return s.err
	}
	if t.Dims, err = d.int64s(dims); err != nil {
		return err
	}
	if t.Dims == nil {
		t.Dims = []int64{}
	}
	t.Unknown = k.fields()
	n, ok := elementCount(t.Dims)
	switch {
	case !t.DType.Valid():
		return fmt.Errorf("element type %d is none of the specification's", t.DType)
	case !ok:
		return fmt.Errorf("shape %v is negative or too large", t.Dims)
	case carrier == tensorExternalData:
		t.External, err = d.external(external)
		return err
	case carrier == tensorStringData:
		if int64(len(t.Strings)) != n {
			return fmt.Errorf("%d strings for shape %v", len(t.Strings), t.Dims)
		}
		return nil
	case typed:
		t.Typed = true
		if t.Data, err = packTyped(elements, t.DType, n); err != nil {
			return err
		}
	}
	if int64(len(t.Data)) != t.DType.RawSize(n) {
		return fmt.Errorf("%d bytes of data, but %s%v takes %d", len(t.Data), t.DType, t.Dims, t.DType.RawSize(n))
	}
	return nil
}

// carrier finds the key of the field that holds the tensor's elements, and
// with it the element type; both may stand after the data.
func (t *Tensor) carrier(b []byte) (uint64, error) {
	raw, location := false, uint64(0)
	s := scanner{rest: b}
	for s.next() {
		switch s.key {
		case tensorDataType:
			t.DType = DType(s.num)
		case tensorDataLocation:
			location = s.num
		case tensorRawData:
			raw = true
		}
	}
	switch {
	case location > externalLocation:
		return 0, fmt.Errorf("data location %d is none of the specification's", location)
	case location == externalLocation:
		return tensorExternalData, s.err
	case t.DType == String:
		return tensorStringData, s.err
	case raw:
		return tensorRawData, s.err
	}
	return t.DType.typedKey(), s.err
}

// external reads the entries that say where a tensor's data lies. Keys that
// the specification does not name have no effect; they are only kept.
func (d *decoder) external(entries [][]byte) (*External, error) {
	e := &External{Length: -1}
	seen := map[string]bool{}
	for _, b := range entries {
		kv, err := d.entry(b)
		if err != nil {
			return nil, err
		}
		key, value := kv.Key, kv.Value
		switch key {
		case "location":
			e.Location = value
		case "offset":
			e.Offset, err = byteCount(key, value)
		case "length":
			e.Length, err = byteCount(key, value)
		case "checksum":
			e.Checksum = value
		default:
			if e.Other == nil {
				if err := grow[KeyValue](d, len(entries)); err != nil {
					return nil, err
				}
				e.Other = make([]KeyValue, 0, len(entries))
			}
			e.Other = append(e.Other, kv)
			continue
		}
		if err != nil {
			return nil, err
		}
		if seen[key] { // which one holds is a matter of the reader
			return nil, fmt.Errorf("external data: %s is given twice", key)
		}
		seen[key] = true
	}
	if e.Location == "" {
		return nil, errors.New("external data without a location")
	}
	e.spelt = entries
	return e, nil
}

func byteCount(key, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("external data: %s %q is not a non-negative number", key, value)
	}
	return n, nil
}

// elementCount is the product of dims, false where it is negative or overflows.
func elementCount(dims []int64) (int64, bool) {
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > 0 && n > math.MaxInt64/256/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
