package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ninox/onnxgraph/internal/onnxpb"
)

// Marshal serialises the model, deterministically. Tensors whose External is
// set are written as references without their data.
func (m *Model) Marshal() ([]byte, error) {
	p := &onnxpb.ModelProto{
		IrVersion:       number(m.IRVersion),
		ProducerName:    text(m.ProducerName),
		ProducerVersion: text(m.ProducerVersion),
		Domain:          text(m.Domain),
		ModelVersion:    number(m.ModelVersion),
		DocString:       text(m.Doc),
		OpsetImport:     writeOpsets(m.Opsets),
		MetadataProps:   writeMeta(m.Metadata),
	}
	if m.Graph == nil {
		return nil, fmt.Errorf("write: the model has no graph")
	}
	var err error
	if p.Graph, err = writeGraph(m.Graph); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	for _, f := range m.Functions {
		fp, err := writeFunction(f)
		if err != nil {
			return nil, fmt.Errorf("write: function %q: %w", f.Name, err)
		}
		p.Functions = append(p.Functions, fp)
	}
	keep(p, m.Unknown)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return b, nil
}

// text and number leave zero values out of the file, as other writers do.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func number(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func keep(p proto.Message, unknown []byte) {
	if len(unknown) > 0 {
		p.ProtoReflect().SetUnknown(protoreflect.RawFields(unknown))
	}
}

func writeOpsets(in []Opset) []*onnxpb.OperatorSetIdProto {
	var out []*onnxpb.OperatorSetIdProto
	for _, o := range in {
		out = append(out, &onnxpb.OperatorSetIdProto{Domain: text(o.Domain), Version: proto.Int64(o.Version)})
	}
	return out
}

func writeMeta(in []KeyValue) []*onnxpb.StringStringEntryProto {
	var out []*onnxpb.StringStringEntryProto
	for _, kv := range in {
		out = append(out, &onnxpb.StringStringEntryProto{Key: proto.String(kv.Key), Value: proto.String(kv.Value)})
	}
	return out
}

func writeGraph(g *Graph) (*onnxpb.GraphProto, error) {
	p := &onnxpb.GraphProto{Name: text(g.Name), DocString: text(g.Doc), MetadataProps: writeMeta(g.Metadata)}
	var err error
	if p.Node, err = writeNodes(g.Nodes); err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.Name, err)
	}
	p.Input, p.Output, p.ValueInfo = writeValues(g.Inputs), writeValues(g.Outputs), writeValues(g.ValueInfo)
	for _, t := range g.Initializers {
		tp, err := writeTensor(t)
		if err != nil {
			return nil, fmt.Errorf("graph %q: initializer %w", g.Name, err)
		}
		p.Initializer = append(p.Initializer, tp)
	}
	for _, s := range g.Sparse {
		sp, err := writeSparse(s)
		if err != nil {
			return nil, fmt.Errorf("graph %q: %w", g.Name, err)
		}
		p.SparseInitializer = append(p.SparseInitializer, sp)
	}
	keep(p, g.Unknown)
	return p, nil
}

func writeNodes(in []*Node) ([]*onnxpb.NodeProto, error) {
	var out []*onnxpb.NodeProto
	for _, n := range in {
		p := &onnxpb.NodeProto{
			Name: text(n.Name), OpType: text(n.OpType), Domain: text(n.Domain), Overload: text(n.Overload), DocString: text(n.Doc),
			Input: n.Inputs, Output: n.Outputs, MetadataProps: writeMeta(n.Metadata),
		}
		for _, a := range n.Attrs {
			ap, err := writeAttribute(a)
			if err != nil {
				return nil, fmt.Errorf("node %q (%s), attribute %q: %w", n.Name, n.Op(), a.Name, err)
			}
			p.Attribute = append(p.Attribute, ap)
		}
		keep(p, n.Unknown)
		out = append(out, p)
	}
	return out, nil
}

func writeValues(in []*Value) []*onnxpb.ValueInfoProto {
	var out []*onnxpb.ValueInfoProto
	for _, v := range in {
		p := &onnxpb.ValueInfoProto{Name: text(v.Name), Type: writeType(v.Type), DocString: text(v.Doc), MetadataProps: writeMeta(v.Metadata)}
		keep(p, v.Unknown)
		out = append(out, p)
	}
	return out
}

func writeFunction(f *Function) (*onnxpb.FunctionProto, error) {
	p := &onnxpb.FunctionProto{
		Name: text(f.Name), Domain: text(f.Domain), Overload: text(f.Overload), DocString: text(f.Doc),
		Input: f.Inputs, Output: f.Outputs, Attribute: f.Attrs, OpsetImport: writeOpsets(f.Opsets),
		ValueInfo: writeValues(f.ValueInfo), MetadataProps: writeMeta(f.Metadata),
	}
	var err error
	if p.Node, err = writeNodes(f.Nodes); err != nil {
		return nil, err
	}
	for _, a := range f.Defaults {
		ap, err := writeAttribute(a)
		if err != nil {
			return nil, err
		}
		p.AttributeProto = append(p.AttributeProto, ap)
	}
	keep(p, f.Unknown)
	return p, nil
}

func writeAttribute(a *Attribute) (*onnxpb.AttributeProto, error) {
	p := &onnxpb.AttributeProto{
		Name: text(a.Name), DocString: text(a.Doc), RefAttrName: text(a.RefAttr),
		Floats: a.Floats, Ints: a.Ints, Strings: a.Strings,
	}
	if a.Type != AttrUndefined {
		p.Type = proto.Int32(int32(a.Type))
	}
	switch { // zero is a value here, the field must be in the file; a reference has none
	case a.RefAttr != "":
	case a.Type == AttrFloat:
		p.F = proto.Float32(a.F)
	case a.Type == AttrInt:
		p.I = proto.Int64(a.I)
	case a.Type == AttrString:
		p.S = append([]byte{}, a.S...)
	}
	var err error
	if a.T != nil {
		if p.T, err = writeTensor(a.T); err != nil {
			return nil, err
		}
	}
	if a.G != nil {
		if p.G, err = writeGraph(a.G); err != nil {
			return nil, err
		}
	}
	if a.Sparse != nil {
		if p.SparseTensor, err = writeSparse(a.Sparse); err != nil {
			return nil, err
		}
	}
	if a.TP != nil {
		p.Tp = attrType(*a.TP)
	}
	for _, t := range a.Tensors {
		tp, err := writeTensor(t)
		if err != nil {
			return nil, err
		}
		p.Tensors = append(p.Tensors, tp)
	}
	for _, g := range a.Graphs {
		gp, err := writeGraph(g)
		if err != nil {
			return nil, err
		}
		p.Graphs = append(p.Graphs, gp)
	}
	for _, s := range a.Sparses {
		sp, err := writeSparse(s)
		if err != nil {
			return nil, err
		}
		p.SparseTensors = append(p.SparseTensors, sp)
	}
	for _, t := range a.Types {
		p.TypeProtos = append(p.TypeProtos, attrType(*t))
	}
	keep(p, a.Unknown)
	return p, nil
}

// attrType is a type as an attribute's value, which must be there.
func attrType(t Type) *onnxpb.TypeProto {
	if p := writeType(t); p != nil {
		return p
	}
	return &onnxpb.TypeProto{}
}

// writeType is nil for a type that says nothing.
func writeType(t Type) *onnxpb.TypeProto {
	p := &onnxpb.TypeProto{Denotation: text(t.Denotation)}
	elem := func() *onnxpb.TypeProto {
		if t.Elem == nil {
			return nil
		}
		return writeType(*t.Elem)
	}
	d := int32(t.DType)
	switch t.Kind {
	case TensorKind:
		p.Value = &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: &d, Shape: writeShape(t.Shape)}}
	case SparseTensorKind:
		p.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: &onnxpb.TypeProto_SparseTensor{ElemType: &d, Shape: writeShape(t.Shape)}}
	case SequenceKind:
		p.Value = &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: elem()}}
	case OptionalKind:
		p.Value = &onnxpb.TypeProto_OptionalType{OptionalType: &onnxpb.TypeProto_Optional{ElemType: elem()}}
	case MapKind:
		p.Value = &onnxpb.TypeProto_MapType{MapType: &onnxpb.TypeProto_Map{KeyType: &d, ValueType: elem()}}
	default:
		if t.Denotation == "" {
			return nil
		}
	}
	return p
}

func writeShape(s Shape) *onnxpb.TensorShapeProto {
	if s == nil {
		return nil
	}
	p := &onnxpb.TensorShapeProto{}
	for _, d := range s {
		dim := &onnxpb.TensorShapeProto_Dimension{}
		switch {
		case d.IsKnown():
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.Value}
		case d.Symbol != "":
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Symbol}
		}
		p.Dim = append(p.Dim, dim)
	}
	return p
}

func writeSparse(s *SparseTensor) (*onnxpb.SparseTensorProto, error) {
	values, err := writeTensor(s.Values)
	if err != nil {
		return nil, err
	}
	indices, err := writeTensor(s.Indices)
	if err != nil {
		return nil, err
	}
	p := &onnxpb.SparseTensorProto{Values: values, Indices: indices, Dims: s.Dims}
	keep(p, s.Unknown)
	return p, nil
}

func writeTensor(t *Tensor) (*onnxpb.TensorProto, error) {
	p := &onnxpb.TensorProto{
		Name: text(t.Name), DocString: text(t.Doc), DataType: proto.Int32(int32(t.DType)), Dims: t.Dims, MetadataProps: writeMeta(t.Metadata),
	}
	keep(p, t.Unknown)
	if t.External != nil {
		p.DataLocation = proto.Int32(1)
		p.ExternalData = writeExternal(t.External)
		return p, nil
	}
	n, ok := elements(t.Dims)
	switch {
	case !ok:
		return nil, fmt.Errorf("tensor %q: shape %v is negative or too large", t.Name, t.Dims)
	case t.DType == String:
		if int64(len(t.Strings)) != n {
			return nil, fmt.Errorf("tensor %q: %d strings for shape %v", t.Name, len(t.Strings), t.Dims)
		}
		p.StringData = t.Strings
		return p, nil
	case int64(len(t.Data)) != t.DType.RawSize(n):
		return nil, fmt.Errorf("tensor %q: %d bytes of data, but %s%v takes %d", t.Name, len(t.Data), t.DType, t.Dims, t.DType.RawSize(n))
	case t.Typed:
		unpackTyped(p, t)
	case t.Data == nil:
		p.RawData = []byte{}
	default:
		p.RawData = t.Data
	}
	return p, nil
}

// unpackTyped is the inverse of packTyped.
func unpackTyped(p *onnxpb.TensorProto, t *Tensor) {
	le, b := binary.LittleEndian, t.Data
	switch t.DType {
	case Float, Complex64:
		for ; len(b) >= 4; b = b[4:] {
			p.FloatData = append(p.FloatData, math.Float32frombits(le.Uint32(b)))
		}
	case Double, Complex128:
		for ; len(b) >= 8; b = b[8:] {
			p.DoubleData = append(p.DoubleData, math.Float64frombits(le.Uint64(b)))
		}
	case Int64:
		for ; len(b) >= 8; b = b[8:] {
			p.Int64Data = append(p.Int64Data, int64(le.Uint64(b)))
		}
	case Uint64:
		for ; len(b) >= 8; b = b[8:] {
			p.Uint64Data = append(p.Uint64Data, le.Uint64(b))
		}
	case Uint32:
		for ; len(b) >= 4; b = b[4:] {
			p.Uint64Data = append(p.Uint64Data, uint64(le.Uint32(b)))
		}
	case Int32:
		for ; len(b) >= 4; b = b[4:] {
			p.Int32Data = append(p.Int32Data, int32(le.Uint32(b)))
		}
	case Int16:
		for ; len(b) >= 2; b = b[2:] {
			p.Int32Data = append(p.Int32Data, int32(int16(le.Uint16(b))))
		}
	case Uint16, Float16, BFloat16:
		for ; len(b) >= 2; b = b[2:] {
			p.Int32Data = append(p.Int32Data, int32(le.Uint16(b)))
		}
	case Int8:
		for _, v := range b {
			p.Int32Data = append(p.Int32Data, int32(int8(v)))
		}
	default:
		for _, v := range b {
			p.Int32Data = append(p.Int32Data, int32(v))
		}
	}
}

func writeExternal(e *External) []*onnxpb.StringStringEntryProto {
	kv := []KeyValue{{"location", e.Location}}
	if e.Offset != 0 {
		kv = append(kv, KeyValue{"offset", strconv.FormatInt(e.Offset, 10)})
	}
	if e.Length >= 0 {
		kv = append(kv, KeyValue{"length", strconv.FormatInt(e.Length, 10)})
	}
	if e.Checksum != "" {
		kv = append(kv, KeyValue{"checksum", e.Checksum})
	}
	return writeMeta(append(kv, e.Other...))
}
