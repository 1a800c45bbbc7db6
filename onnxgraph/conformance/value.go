package conformance

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"ninox/onnxgraph"
)

// Value is a stored input or output: a tensor, a sequence or nothing.
type Value struct {
	Kind   onnxgraph.TypeKind // NoType is an optional value that holds nothing
	Tensor *onnxgraph.Tensor
	Elems  []*Value // of a sequence
}

// Type is the type of the value; a sequence whose elements differ has what
// they share.
func (v *Value) Type() onnxgraph.Type {
	switch v.Kind {
	case onnxgraph.TensorKind:
		return onnxgraph.TensorOf(v.Tensor.DType, v.Tensor.Shape())
	case onnxgraph.SequenceKind:
		t := onnxgraph.Type{Kind: v.Kind, Elem: &onnxgraph.Type{}}
		for i, e := range v.Elems {
			elem := e.Type()
			if i > 0 {
				elem.Shape = shared(elem.Shape, t.Elem.Shape)
			}
			t.Elem = &elem
		}
		return t
	}
	return onnxgraph.Type{}
}

// shared is what holds for both shapes.
func shared(a, b onnxgraph.Shape) onnxgraph.Shape {
	if len(a) != len(b) || b == nil {
		return nil
	}
	for i, d := range b {
		if a[i] != d {
			a[i] = onnxgraph.UnknownDim()
		}
	}
	return a
}

// parseValue reads the message that a declared type asks for: a TensorProto,
// or a SequenceProto or OptionalProto of onnx-data.proto.
func parseValue(b []byte, declared onnxgraph.Type) (*Value, error) {
	switch declared.Kind {
	case onnxgraph.SequenceKind:
		return parseSequence(b)
	case onnxgraph.MapKind:
		return nil, errors.New("a map, which no backend test has")
	case onnxgraph.OptionalKind:
		return parseOptional(b)
	}
	v, err := parseTensor(b)
	if err == nil && declared.DType == onnxgraph.BFloat16 && v.Tensor.DType == onnxgraph.Uint16 {
		v.Tensor.DType = onnxgraph.BFloat16 // numpy had no such type when the files of release 1.12 were made
	}
	return v, err
}

// parseTensor reads a TensorProto as the only initializer of a model, so that
// the package's own reader, and no second one, does it.
func parseTensor(b []byte) (*Value, error) {
	const graph, initializer = 7, 5 // fields of ModelProto and GraphProto
	wrap := func(field protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), b)
	}
	m, err := onnxgraph.Unmarshal(wrap(graph, wrap(initializer, b)))
	if err != nil {
		return nil, err
	}
	return &Value{Kind: onnxgraph.TensorKind, Tensor: m.Graph.Initializers[0]}, nil
}

// Fields of SequenceProto and OptionalProto that hold values, by kind.
const (
	fieldTensor   = 3
	fieldSequence = 5
)

// holder reads the value in a field of SequenceProto or OptionalProto; nil for
// other fields.
func holder(field protowire.Number, b []byte) (*Value, error) {
	switch field {
	case fieldTensor:
		return parseTensor(b)
	case fieldSequence:
		return parseSequence(b)
	}
	return nil, nil
}

func parseSequence(b []byte) (*Value, error) {
	out := &Value{Kind: onnxgraph.SequenceKind}
	err := eachField(b, func(field protowire.Number, b []byte) error {
		e, err := holder(field, b)
		if e != nil {
			out.Elems = append(out.Elems, e)
		}
		return err
	})
	return out, err
}

// parseOptional reads an OptionalProto. Its fields are those of a sequence's,
// one of them at most.
func parseOptional(b []byte) (*Value, error) {
	out := &Value{}
	err := eachField(b, func(field protowire.Number, b []byte) error {
		e, err := holder(field, b)
		if e != nil {
			out = e
		}
		return err
	})
	return out, err
}

// eachField calls visit with the bytes of every field of a message that has a
// length.
func eachField(b []byte, visit func(field protowire.Number, b []byte) error) error {
	for len(b) > 0 {
		field, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(field, kind, b); size < 0 {
			return protowire.ParseError(size)
		}
		if kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(b) // its length was just checked
			if err := visit(field, content); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}
