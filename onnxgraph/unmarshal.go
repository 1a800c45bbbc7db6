package onnxgraph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"

	"ninox/onnxgraph/internal/onnxpb"
)

// maxDepth caps the nesting of messages in a file: subgraphs within subgraphs
// take four levels each, so this is about 25 nested control-flow bodies.
const maxDepth = 100

// Unmarshal parses a serialised ModelProto. Data of external tensors is not
// loaded (ReadFile does that). Any byte string gives a model or an error.
func Unmarshal(b []byte) (*Model, error) {
	var p onnxpb.ModelProto
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth}).Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("parse: not an ONNX model: %w", err)
	}
	if p.Graph == nil {
		return nil, errors.New("parse: not an ONNX model: it has no graph")
	}
	m := &Model{
		IRVersion:       p.GetIrVersion(),
		ProducerName:    p.GetProducerName(),
		ProducerVersion: p.GetProducerVersion(),
		Domain:          p.GetDomain(),
		ModelVersion:    p.GetModelVersion(),
		Doc:             p.GetDocString(),
		Opsets:          readOpsets(p.OpsetImport),
		Metadata:        readMeta(p.MetadataProps),
		Unknown:         p.ProtoReflect().GetUnknown(),
	}
	var err error
	if m.Graph, err = readGraph(p.Graph); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	for _, f := range p.Functions {
		fn, err := readFunction(f)
		if err != nil {
			return nil, fmt.Errorf("parse: function %q: %w", f.GetName(), err)
		}
		m.Functions = append(m.Functions, fn)
	}
	return m, nil
}

// defaultDomain maps the alias of the default operator domain to "".
func defaultDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

func readOpsets(in []*onnxpb.OperatorSetIdProto) []Opset {
	var out []Opset
	for _, o := range in {
		out = append(out, Opset{defaultDomain(o.GetDomain()), o.GetVersion()})
	}
	return out
}

func readMeta(in []*onnxpb.StringStringEntryProto) []KeyValue {
	var out []KeyValue
	for _, kv := range in {
		out = append(out, KeyValue{kv.GetKey(), kv.GetValue()})
	}
	return out
}

func readGraph(p *onnxpb.GraphProto) (*Graph, error) {
	g := &Graph{Name: p.GetName(), Doc: p.GetDocString(), Metadata: readMeta(p.MetadataProps), Unknown: p.ProtoReflect().GetUnknown()}
	var err error
	if g.Nodes, err = readNodes(p.Node); err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.Name, err)
	}
	for _, list := range []struct {
		from []*onnxpb.ValueInfoProto
		to   *[]*Value
	}{{p.Input, &g.Inputs}, {p.Output, &g.Outputs}, {p.ValueInfo, &g.ValueInfo}} {
		if *list.to, err = readValues(list.from); err != nil {
			return nil, fmt.Errorf("graph %q: %w", g.Name, err)
		}
	}
	for _, t := range p.Initializer {
		tensor, err := readTensor(t)
		if err != nil {
			return nil, fmt.Errorf("graph %q: initializer %w", g.Name, err)
		}
		g.Initializers = append(g.Initializers, tensor)
	}
	for _, s := range p.SparseInitializer {
		sparse, err := readSparse(s)
		if err != nil {
			return nil, fmt.Errorf("graph %q: sparse initializer: %w", g.Name, err)
		}
		g.Sparse = append(g.Sparse, sparse)
	}
	return g, nil
}

func readNodes(in []*onnxpb.NodeProto) ([]*Node, error) {
	out := make([]*Node, 0, len(in))
	for _, p := range in {
		n := &Node{
			Name: p.GetName(), OpType: p.GetOpType(), Domain: defaultDomain(p.GetDomain()), Overload: p.GetOverload(),
			Doc: p.GetDocString(), Inputs: p.Input, Outputs: p.Output, Metadata: readMeta(p.MetadataProps), Unknown: p.ProtoReflect().GetUnknown(),
		}
		for _, a := range p.Attribute {
			attr, err := readAttribute(a)
			if err != nil {
				return nil, fmt.Errorf("node %q (%s), attribute %q: %w", n.Name, n.Op(), a.GetName(), err)
			}
			n.Attrs = append(n.Attrs, attr)
		}
		out = append(out, n)
	}
	return out, nil
}

func readValues(in []*onnxpb.ValueInfoProto) ([]*Value, error) {
	var out []*Value
	for _, p := range in {
		t, err := readType(p.Type)
		if err != nil {
			return nil, fmt.Errorf("value %q: %w", p.GetName(), err)
		}
		out = append(out, &Value{Name: p.GetName(), Type: t, Doc: p.GetDocString(), Metadata: readMeta(p.MetadataProps), Unknown: p.ProtoReflect().GetUnknown()})
	}
	return out, nil
}

func readFunction(p *onnxpb.FunctionProto) (*Function, error) {
	f := &Function{
		Name: p.GetName(), Domain: defaultDomain(p.GetDomain()), Overload: p.GetOverload(), Doc: p.GetDocString(),
		Inputs: p.Input, Outputs: p.Output, Attrs: p.Attribute, Opsets: readOpsets(p.OpsetImport),
		Metadata: readMeta(p.MetadataProps), Unknown: p.ProtoReflect().GetUnknown(),
	}
	var err error
	if f.Nodes, err = readNodes(p.Node); err != nil {
		return nil, err
	}
	if f.ValueInfo, err = readValues(p.ValueInfo); err != nil {
		return nil, err
	}
	for _, a := range p.AttributeProto {
		attr, err := readAttribute(a)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", a.GetName(), err)
		}
		f.Defaults = append(f.Defaults, attr)
	}
	return f, nil
}

func readAttribute(p *onnxpb.AttributeProto) (*Attribute, error) {
	a := &Attribute{
		Name: p.GetName(), Doc: p.GetDocString(), Type: AttrType(p.GetType()), RefAttr: p.GetRefAttrName(),
		Floats: p.Floats, Ints: p.Ints, Strings: p.Strings, Unknown: p.ProtoReflect().GetUnknown(),
	}
	if a.Type == AttrUndefined && a.RefAttr == "" {
		a.Type = guessAttrType(p) // files before IR version 2 leave the type out
	}
	switch a.Type { // a stray number of another type means nothing
	case AttrFloat:
		a.F = p.GetF()
	case AttrInt:
		a.I = p.GetI()
	case AttrString:
		a.S = p.S
	}
	if a.Type < AttrUndefined || a.Type > AttrTypes {
		return nil, fmt.Errorf("type %d is none of the specification's", a.Type)
	}
	var err error
	if p.T != nil {
		if a.T, err = readTensor(p.T); err != nil {
			return nil, err
		}
	}
	if p.G != nil {
		if a.G, err = readGraph(p.G); err != nil {
			return nil, err
		}
	}
	if p.SparseTensor != nil {
		if a.Sparse, err = readSparse(p.SparseTensor); err != nil {
			return nil, err
		}
	}
	if p.Tp != nil {
		t, err := readType(p.Tp)
		if err != nil {
			return nil, err
		}
		a.TP = &t
	}
	for _, x := range p.Tensors {
		t, err := readTensor(x)
		if err != nil {
			return nil, err
		}
		a.Tensors = append(a.Tensors, t)
	}
	for _, x := range p.Graphs {
		g, err := readGraph(x)
		if err != nil {
			return nil, err
		}
		a.Graphs = append(a.Graphs, g)
	}
	for _, x := range p.SparseTensors {
		s, err := readSparse(x)
		if err != nil {
			return nil, err
		}
		a.Sparses = append(a.Sparses, s)
	}
	for _, x := range p.TypeProtos {
		t, err := readType(x)
		if err != nil {
			return nil, err
		}
		a.Types = append(a.Types, &t)
	}
	return a, a.holdsItsType()
}

func guessAttrType(p *onnxpb.AttributeProto) AttrType {
	switch {
	case p.F != nil:
		return AttrFloat
	case p.I != nil:
		return AttrInt
	case p.S != nil:
		return AttrString
	case p.T != nil:
		return AttrTensor
	case p.G != nil:
		return AttrGraph
	case p.Floats != nil:
		return AttrFloats
	case p.Ints != nil:
		return AttrInts
	case p.Strings != nil:
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

func readType(p *onnxpb.TypeProto) (Type, error) {
	if p == nil {
		return Type{}, nil
	}
	t := Type{Denotation: p.GetDenotation()}
	elem := func(p *onnxpb.TypeProto) error {
		e, err := readType(p)
		t.Elem = &e
		return err
	}
	var err error
	switch v := p.Value.(type) {
	case *onnxpb.TypeProto_TensorType:
		t.Kind, t.DType = TensorKind, DType(v.TensorType.GetElemType())
		t.Shape, err = readShape(v.TensorType.Shape)
	case *onnxpb.TypeProto_SparseTensorType:
		t.Kind, t.DType = SparseTensorKind, DType(v.SparseTensorType.GetElemType())
		t.Shape, err = readShape(v.SparseTensorType.Shape)
	case *onnxpb.TypeProto_SequenceType:
		t.Kind = SequenceKind
		err = elem(v.SequenceType.ElemType)
	case *onnxpb.TypeProto_OptionalType:
		t.Kind = OptionalKind
		err = elem(v.OptionalType.ElemType)
	case *onnxpb.TypeProto_MapType:
		t.Kind, t.DType = MapKind, DType(v.MapType.GetKeyType())
		err = elem(v.MapType.ValueType)
	}
	if err == nil && t.DType != Undefined && !t.DType.Valid() {
		err = fmt.Errorf("element type %d is none of the specification's", t.DType)
	}
	return t, err
}

func readShape(p *onnxpb.TensorShapeProto) (Shape, error) {
	if p == nil {
		return nil, nil
	}
	s := make(Shape, len(p.Dim))
	for i, d := range p.Dim {
		s[i] = UnknownDim()
		switch v := d.Value.(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			// Exporters write -1 and 0 for "unknown" on graph inputs; only
			// positive numbers and true zeros of constants mean something.
			if v.DimValue >= 0 {
				s[i] = Known(v.DimValue)
			}
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			s[i] = Sym(v.DimParam)
		}
	}
	return s, nil
}

func readSparse(p *onnxpb.SparseTensorProto) (*SparseTensor, error) {
	if p.Values == nil || p.Indices == nil {
		return nil, errors.New("sparse tensor without values or indices")
	}
	values, err := readTensor(p.Values)
	if err != nil {
		return nil, err
	}
	indices, err := readTensor(p.Indices)
	if err != nil {
		return nil, err
	}
	return &SparseTensor{Values: values, Indices: indices, Dims: p.Dims, Unknown: p.ProtoReflect().GetUnknown()}, nil
}

// readTensor converts a tensor, packing typed fields into raw little-endian
// data. It allocates no more than the file's own data takes.
func readTensor(p *onnxpb.TensorProto) (*Tensor, error) {
	t := &Tensor{
		Name: p.GetName(), Doc: p.GetDocString(), DType: DType(p.GetDataType()), Dims: p.Dims,
		Metadata: readMeta(p.MetadataProps), Unknown: p.ProtoReflect().GetUnknown(),
	}
	if t.Dims == nil {
		t.Dims = []int64{}
	}
	fail := func(format string, args ...any) (*Tensor, error) {
		return nil, fmt.Errorf("tensor %q: "+format, append([]any{t.Name}, args...)...)
	}
	if !t.DType.Valid() {
		return fail("element type %d is none of the specification's", t.DType)
	}
	n, ok := elements(t.Dims)
	if !ok {
		return fail("shape %v is negative or too large", t.Dims)
	}
	if p.GetDataLocation() == 1 {
		ext, err := readExternal(p.ExternalData)
		if err != nil {
			return fail("%w", err)
		}
		t.External = ext
		return t, nil
	}
	switch {
	case t.DType == String:
		t.Strings = p.StringData
		if int64(len(t.Strings)) != n {
			return fail("%d strings for shape %v", len(t.Strings), t.Dims)
		}
		return t, nil
	case p.RawData != nil:
		t.Data = p.RawData
	default:
		t.Typed = true
		t.Data = packTyped(p, t.DType)
	}
	if int64(len(t.Data)) != t.DType.RawSize(n) {
		return fail("%d bytes of data, but %s%v takes %d", len(t.Data), t.DType, t.Dims, t.DType.RawSize(n))
	}
	return t, nil
}

// elements is the product of dims, false where it is negative or overflows.
func elements(dims []int64) (int64, bool) {
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > 0 && n > math.MaxInt64/256/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// packTyped lays the typed fields of a tensor out as raw data.
func packTyped(p *onnxpb.TensorProto, d DType) []byte {
	le := binary.LittleEndian
	var b []byte
	switch d {
	case Float, Complex64:
		b = make([]byte, 0, 4*len(p.FloatData))
		for _, v := range p.FloatData {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case Double, Complex128:
		b = make([]byte, 0, 8*len(p.DoubleData))
		for _, v := range p.DoubleData {
			b = le.AppendUint64(b, math.Float64bits(v))
		}
	case Int64:
		b = make([]byte, 0, 8*len(p.Int64Data))
		for _, v := range p.Int64Data {
			b = le.AppendUint64(b, uint64(v))
		}
	case Uint64:
		b = make([]byte, 0, 8*len(p.Uint64Data))
		for _, v := range p.Uint64Data {
			b = le.AppendUint64(b, v)
		}
	case Uint32:
		b = make([]byte, 0, 4*len(p.Uint64Data))
		for _, v := range p.Uint64Data {
			b = le.AppendUint32(b, uint32(v))
		}
	case Int32:
		b = make([]byte, 0, 4*len(p.Int32Data))
		for _, v := range p.Int32Data {
			b = le.AppendUint32(b, uint32(v))
		}
	case Int16, Uint16, Float16, BFloat16:
		b = make([]byte, 0, 2*len(p.Int32Data))
		for _, v := range p.Int32Data {
			b = le.AppendUint16(b, uint16(v))
		}
	default: // one byte, or several elements packed into one
		b = make([]byte, 0, len(p.Int32Data))
		for _, v := range p.Int32Data {
			b = append(b, byte(v))
		}
	}
	return b
}

func readExternal(in []*onnxpb.StringStringEntryProto) (*External, error) {
	e := &External{Length: -1}
	number := func(kv *onnxpb.StringStringEntryProto) (int64, error) {
		n, err := strconv.ParseInt(kv.GetValue(), 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("external data: %s %q is not a non-negative number", kv.GetKey(), kv.GetValue())
		}
		return n, nil
	}
	for _, kv := range in {
		var err error
		switch kv.GetKey() {
		case "location":
			e.Location = kv.GetValue()
		case "offset":
			e.Offset, err = number(kv)
		case "length":
			e.Length, err = number(kv)
		case "checksum":
			e.Checksum = kv.GetValue()
		default:
			e.Other = append(e.Other, KeyValue{kv.GetKey(), kv.GetValue()})
		}
		if err != nil {
			return nil, err
		}
	}
	if e.Location == "" {
		return nil, errors.New("external data without a location")
	}
	return e, nil
}
