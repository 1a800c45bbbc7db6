package text

import (
	"encoding/binary"
	"math"
	"strconv"

	"ninox/onnxgraph"
)

// initializer prints the type, name and data of a graph's tensor.
func (p *printer) initializer(t *onnxgraph.Tensor) {
	p.typ(onnxgraph.TensorOf(t.DType, t.Shape()))
	p.str(" ")
	p.name(t.Name)
	p.str(" = ")
	p.data(t, nil)
}

// tensor prints a tensor of an attribute.
func (p *printer) tensor(t *onnxgraph.Tensor) {
	p.typ(onnxgraph.TensorOf(t.DType, t.Shape()))
	p.str(" ")
	var name *string
	if t.Name != "" && !p.line {
		name = p.plainName(t.Name, "tensor_")
		p.str(" ")
	}
	p.data(t, name)
}

func (p *printer) sparse(s *onnxgraph.SparseTensor) {
	p.typ(onnxgraph.Type{Kind: onnxgraph.SparseTensorKind, DType: s.Values.DType, Shape: onnxgraph.StaticShape(s.Dims...)})
	p.str(" ")
	p.sparseData(s)
}

func (p *printer) sparseData(s *onnxgraph.SparseTensor) {
	p.str("{")
	p.tensor(s.Values)
	p.str(", ")
	p.tensor(s.Indices)
	p.str("}")
	p.notes(noteValues{unknown: s.Unknown})
}

// data prints the elements of a tensor, or where they lie, and its notes.
func (p *printer) data(t *onnxgraph.Tensor, name *string) {
	if t.External != nil {
		p.external(t.External)
	} else {
		p.str("{")
		p.elements(t)
		p.str("}")
	}
	p.notes(noteValues{name: name, doc: t.Doc, meta: t.Metadata, unknown: t.Unknown})
}

func (p *printer) external(e *onnxgraph.External) {
	kv := []onnxgraph.KeyValue{{Key: "location", Value: e.Location}}
	if e.Offset != 0 {
		kv = append(kv, onnxgraph.KeyValue{Key: "offset", Value: strconv.FormatInt(e.Offset, 10)})
	}
	if e.Length >= 0 {
		kv = append(kv, onnxgraph.KeyValue{Key: "length", Value: strconv.FormatInt(e.Length, 10)})
	}
	if e.Checksum != "" {
		kv = append(kv, onnxgraph.KeyValue{Key: "checksum", Value: e.Checksum})
	}
	p.pairs(append(kv, e.Other...))
}

// elements prints the numbers or strings of a tensor.
func (p *printer) elements(t *onnxgraph.Tensor) {
	n, ok := elements(t.Dims)
	if t.DType == onnxgraph.String {
		if int64(len(t.Strings)) != n {
			p.fail("tensor %q: %d strings for shape %v", t.Name, len(t.Strings), t.Dims)
			return
		}
		for i, s := range t.Strings {
			p.str(separator(i, "", ", "))
			if p.cut(i) {
				return
			}
			p.quoted(string(s))
		}
		return
	}
	write, known := elementWriters[t.DType]
	if !known || !ok || int64(len(t.Data)) != t.DType.RawSize(n) {
		p.fail("tensor %q: %d bytes of data do not make a %s%v", t.Name, len(t.Data), t.DType, t.Dims)
		return
	}
	b := t.Data
	if t.DType.Bits() == 6 { // the reference keeps one element in each number, other than for types of two and four bits
		b = unpack(b, 6, n)
	}
	for i := 0; len(b) > 0; i++ {
		p.str(separator(i, "", ", "))
		if p.cut(i) {
			return
		}
		p.buf = write.append(p.buf, b)
		b = b[write.size:]
		if p.w != nil && len(p.buf) > 1<<16 {
			p.flush()
		}
	}
}

// elementWriter prints the number that size bytes hold.
type elementWriter struct {
	size   int
	append func(to, data []byte) []byte
}

var (
	le = binary.LittleEndian

	writeFloat  = elementWriter{4, func(to, b []byte) []byte { return appendFloat(to, float64(math.Float32frombits(le.Uint32(b))), 32) }}
	writeDouble = elementWriter{8, func(to, b []byte) []byte { return appendFloat(to, math.Float64frombits(le.Uint64(b)), 64) }}
	writeInt8   = elementWriter{1, func(to, b []byte) []byte { return strconv.AppendInt(to, int64(int8(b[0])), 10) }}
	writeInt16  = elementWriter{2, func(to, b []byte) []byte { return strconv.AppendInt(to, int64(int16(le.Uint16(b))), 10) }}
	writeInt32  = elementWriter{4, func(to, b []byte) []byte { return strconv.AppendInt(to, int64(int32(le.Uint32(b))), 10) }}
	writeInt64  = elementWriter{8, func(to, b []byte) []byte { return strconv.AppendInt(to, int64(le.Uint64(b)), 10) }}
	writeUint8  = elementWriter{1, func(to, b []byte) []byte { return strconv.AppendUint(to, uint64(b[0]), 10) }}
	writeUint16 = elementWriter{2, func(to, b []byte) []byte { return strconv.AppendUint(to, uint64(le.Uint16(b)), 10) }}
	writeUint32 = elementWriter{4, func(to, b []byte) []byte { return strconv.AppendUint(to, uint64(le.Uint32(b)), 10) }}
	writeUint64 = elementWriter{8, func(to, b []byte) []byte { return strconv.AppendUint(to, le.Uint64(b), 10) }}
)

var elementWriters = map[onnxgraph.DType]elementWriter{
	onnxgraph.Float: writeFloat, onnxgraph.Complex64: writeFloat, onnxgraph.Double: writeDouble, onnxgraph.Complex128: writeDouble,
	onnxgraph.Int8: writeInt8, onnxgraph.Int16: writeInt16, onnxgraph.Int32: writeInt32, onnxgraph.Int64: writeInt64,
	onnxgraph.Uint8: writeUint8, onnxgraph.Uint16: writeUint16, onnxgraph.Uint32: writeUint32, onnxgraph.Uint64: writeUint64,
	onnxgraph.Bool: writeUint8, onnxgraph.Float16: writeUint16, onnxgraph.BFloat16: writeUint16,
	onnxgraph.Float8E4M3FN: writeUint8, onnxgraph.Float8E4M3FNUZ: writeUint8, onnxgraph.Float8E5M2: writeUint8,
	onnxgraph.Float8E5M2FNUZ: writeUint8, onnxgraph.Float8E8M0: writeUint8,
	onnxgraph.Int4: writeUint8, onnxgraph.Uint4: writeUint8, onnxgraph.Float4E2M1: writeUint8, onnxgraph.Int2: writeUint8, onnxgraph.Uint2: writeUint8,
	onnxgraph.Float6E2M3: writeUint8, onnxgraph.Float6E3M2: writeUint8,
}
