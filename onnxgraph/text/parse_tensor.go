package text

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// initializer reads the data of a value that turned out to be an initializer.
func (p *parser) initializer(v *onnxgraph.Value, g *onnxgraph.Graph) error {
	at := p.tok
	if err := p.expect("="); err != nil {
		return err
	}
	if v.Type.Kind == onnxgraph.SparseTensorKind {
		s, err := p.sparse(v.Type, v.Name, at.pos)
		g.Sparse = append(g.Sparse, s)
		return err
	}
	t, err := p.tensor(v.Type, v.Name, at.pos)
	g.Initializers = append(g.Initializers, t)
	return err
}

func tensorNotes(t *onnxgraph.Tensor) noteTarget {
	return noteTarget{name: &t.Name, doc: &t.Doc, meta: &t.Metadata, unknown: &t.Unknown}
}

// tensor reads the data of a tensor: {elements} or ["location": "file", …].
// pos is where it began.
func (p *parser) tensor(typ onnxgraph.Type, name string, pos int) (*onnxgraph.Tensor, error) {
	if typ.Kind != onnxgraph.TensorKind || typ.DType == onnxgraph.Undefined {
		return nil, p.errorAt(pos, "data of type %s, expected that of a tensor with an element type", typ)
	}
	dims, ok := typ.Shape.Static()
	if !ok {
		return nil, p.errorAt(pos, "tensor %q with data has the shape %s, expected numbers", name, typ.Shape)
	}
	t := &onnxgraph.Tensor{Name: name, DType: typ.DType, Dims: dims}
	if _, ok := elements(dims); !ok {
		return nil, p.errorAt(pos, "tensor %q: shape %v is too large", name, dims)
	}
	var err error
	switch {
	case p.tok.is("["):
		err = p.external(t)
	case p.tok.is("{"):
		err = p.elements(t, pos)
	default:
		err = p.unexpected(`"{" and elements, or "[" and a reference to external data`)
	}
	if err != nil {
		return nil, err
	}
	return t, p.notes(tensorNotes(t))
}

// external reads where data lies outside the model.
func (p *parser) external(t *onnxgraph.Tensor) error {
	pos := p.tok.pos
	var kv []onnxgraph.KeyValue
	if err := p.pairs(&kv)(); err != nil {
		return err
	}
	e := &onnxgraph.External{Length: -1}
	for _, pair := range kv {
		var err error
		switch pair.Key {
		case "location":
			e.Location = pair.Value
		case "offset":
			e.Offset, err = size(pair.Value)
		case "length":
			e.Length, err = size(pair.Value)
		case "checksum":
			e.Checksum = pair.Value
		default:
			e.Other = append(e.Other, pair)
		}
		if err != nil {
			return p.errorAt(pos, "external data: %s %q is not a non-negative number", pair.Key, clip(pair.Value, 40))
		}
	}
	if e.Location == "" {
		return p.errorAt(pos, "external data without a location")
	}
	t.External = e
	return nil
}

func size(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// elements is the product of dims, false where it overflows.
func elements(dims []int64) (int64, bool) {
	n := int64(1)
	for _, d := range dims {
		if d > 0 && n > math.MaxInt64/256/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// perElement is how many numbers an element is written as.
func perElement(d onnxgraph.DType) int64 {
	if d == onnxgraph.Complex64 || d == onnxgraph.Complex128 {
		return 2
	}
	return 1
}

func (p *parser) elements(t *onnxgraph.Tensor, pos int) error {
	n, _ := elements(t.Dims)
	want := n * perElement(t.DType)
	count := int64(0)
	read := elementReaders[t.DType]
	if read == nil {
		return p.errorAt(pos, "elements of type %s have no form in texts", t.DType)
	}
	err := p.listOrNone("{", "}", func() error {
		if p.tok.is(".") {
			return p.errorAt(p.tok.pos, "tensor %q: elements are left out here; a text for reading only (printed with elided tensors) is no model", t.Name)
		}
		count++
		if count > want {
			return p.errorAt(p.tok.pos, "tensor %q: more than the %d elements of its shape %v", t.Name, want, t.Dims)
		}
		return read(p, t)
	})
	if err != nil {
		return err
	}
	switch bits := t.DType.Bits(); {
	case bits == 0 || bits >= 8:
	case count == n && (bits == 6 || n > 1):
		t.Data = pack(t.Data, bits)
		return nil
	case count == t.DType.RawSize(n) && bits != 6: // packed bytes
		return nil
	}
	if count != want {
		return p.errorAt(pos, "tensor %q: %d elements, but its shape %v takes %d", t.Name, count, t.Dims, want)
	}
	if t.DType == onnxgraph.String && t.Strings == nil {
		t.Strings = [][]byte{}
	} else if t.Data == nil {
		t.Data = []byte{}
	}
	return nil
}

// pack lays elements of bits below one byte side by side, the first ones in
// the low bits.
func pack(elems []byte, bits int) []byte {
	out := make([]byte, (len(elems)*bits+7)/8)
	for i, e := range elems {
		at := i * bits
		v := uint16(e&(1<<bits-1)) << (at % 8)
		out[at/8] |= byte(v)
		if v > 0xff {
			out[at/8+1] |= byte(v >> 8)
		}
	}
	return out
}

// unpack is the inverse of pack for n elements.
func unpack(data []byte, bits int, n int64) []byte {
	out := make([]byte, n)
	for i := range out {
		at := i * bits
		v := uint16(data[at/8])
		if at%8+bits > 8 {
			v |= uint16(data[at/8+1]) << 8
		}
		out[i] = byte(v>>(at%8)) & (1<<bits - 1)
	}
	return out
}

// elementReader appends the element that comes next to a tensor.
type elementReader func(p *parser, t *onnxgraph.Tensor) error

var elementReaders = map[onnxgraph.DType]elementReader{
	onnxgraph.Float: floats32, onnxgraph.Complex64: floats32,
	onnxgraph.Double: floats64, onnxgraph.Complex128: floats64,
	onnxgraph.Int8: signed(8), onnxgraph.Int16: signed(16), onnxgraph.Int32: signed(32), onnxgraph.Int64: signed(64),
	onnxgraph.Uint8: unsigned(8), onnxgraph.Uint16: unsigned(16), onnxgraph.Uint32: unsigned(32), onnxgraph.Uint64: unsigned(64),
	onnxgraph.Bool:    unsigned(8),
	onnxgraph.Float16: halves(floatToHalf), onnxgraph.BFloat16: halves(floatToBFloat),
	onnxgraph.Float8E4M3FN: unsigned(8), onnxgraph.Float8E4M3FNUZ: unsigned(8), onnxgraph.Float8E5M2: unsigned(8),
	onnxgraph.Float8E5M2FNUZ: unsigned(8), onnxgraph.Float8E8M0: unsigned(8),
	onnxgraph.Int4: packed, onnxgraph.Uint4: packed, onnxgraph.Float4E2M1: packed, onnxgraph.Int2: packed, onnxgraph.Uint2: packed,
	onnxgraph.Float6E2M3: unsigned(6), onnxgraph.Float6E3M2: unsigned(6),
	onnxgraph.String: func(p *parser, t *onnxgraph.Tensor) error {
		s, err := p.want(quoted, "a string")
		t.Strings = append(t.Strings, []byte(s))
		return err
	},
}

func floats32(p *parser, t *onnxgraph.Tensor) error {
	f, err := p.float(32)
	t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(f)))
	return err
}

func floats64(p *parser, t *onnxgraph.Tensor) error {
	f, err := p.float(64)
	t.Data = binary.LittleEndian.AppendUint64(t.Data, math.Float64bits(f))
	return err
}

func signed(bits int) elementReader {
	return func(p *parser, t *onnxgraph.Tensor) error {
		at := p.tok
		s, err := p.want(integer, "an integer")
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(s, 10, bits)
		if err != nil {
			return p.errorAt(at.pos, "%s does not fit into %s", clip(s, 40), t.DType)
		}
		t.Data = appendBits(t.Data, uint64(n), bits)
		return nil
	}
}

func unsigned(bits int) elementReader {
	return func(p *parser, t *onnxgraph.Tensor) error {
		at := p.tok
		s, err := p.want(integer, "an integer that is not negative")
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil {
			return p.errorAt(at.pos, "%s does not fit into %s", clip(s, 40), t.DType)
		}
		t.Data = appendBits(t.Data, n, bits)
		return nil
	}
}

// packed reads a packed byte, or an element of its own.
func packed(p *parser, t *onnxgraph.Tensor) error {
	if !strings.HasPrefix(p.tok.text, "-") {
		return unsigned(8)(p, t)
	}
	at, bits := p.tok, t.DType.Bits()
	n, err := p.int("an element")
	signed := t.DType == onnxgraph.Int4 || t.DType == onnxgraph.Int2
	if err == nil && (!signed || n < -1<<(bits-1)) {
		err = p.errorAt(at.pos, "%d does not fit into %s", n, t.DType)
	}
	t.Data = append(t.Data, byte(n)&(1<<bits-1))
	return err
}

// halves reads the bits of a 16-bit float as an integer, or a number with a
// fraction or exponent.
func halves(round func(float32) uint16) elementReader {
	return func(p *parser, t *onnxgraph.Tensor) error {
		if p.tok.kind == integer {
			return unsigned(16)(p, t)
		}
		f, err := p.float(32)
		t.Data = binary.LittleEndian.AppendUint16(t.Data, round(float32(f)))
		return err
	}
}

func appendBits(b []byte, n uint64, bits int) []byte {
	for ; bits > 0; bits -= 8 {
		b = append(b, byte(n))
		n >>= 8
	}
	return b
}

// sparse reads {values, indices} of a sparse tensor. pos is where it began.
func (p *parser) sparse(typ onnxgraph.Type, name string, pos int) (*onnxgraph.SparseTensor, error) {
	dims, ok := typ.Shape.Static()
	if !ok {
		return nil, p.errorAt(pos, "sparse tensor %q with data has the shape %s, expected numbers", name, typ.Shape)
	}
	s := &onnxgraph.SparseTensor{Dims: dims}
	if err := p.expect("{"); err != nil {
		return nil, err
	}
	var err error
	if s.Values, err = p.typedTensor(); err != nil {
		return nil, err
	}
	if err := p.expect(","); err != nil {
		return nil, err
	}
	if s.Indices, err = p.typedTensor(); err != nil {
		return nil, err
	}
	if err := p.expect("}"); err != nil {
		return nil, err
	}
	if s.Values.Name == "" {
		s.Values.Name = name
	}
	return s, p.notes(noteTarget{unknown: &s.Unknown})
}

func (p *parser) typedTensor() (*onnxgraph.Tensor, error) {
	at := p.tok
	a := &onnxgraph.Attribute{}
	if err := p.typedValue(a); err != nil {
		return nil, err
	}
	if a.T == nil {
		return nil, p.errorAt(at.pos, "expected a tensor with its elements")
	}
	return a.T, nil
}
