package onnxgraph

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var le = binary.LittleEndian

// typedKey is the key of the field, other than raw_data, that holds elements
// of type d (TensorProto in onnx.proto).
func (d DType) typedKey() uint64 {
	switch d {
	case Float, Complex64:
		return tensorFloatData
	case Double, Complex128:
		return tensorDoubleData
	case Int64:
		return tensorInt64Data
	case Uint32, Uint64:
		return tensorUint64Data
	case String:
		return tensorStringData
	}
	return tensorInt32Data
}

// typedWire is the wire type of one number of that field.
func (d DType) typedWire() uint64 {
	switch d.typedKey() {
	case tensorFloatData:
		return wireFixed32
	case tensorDoubleData:
		return wireFixed64
	}
	return wireVarint
}

// sixBits says whether d packs four elements into three bytes of raw data,
// although its typed field has a number for each.
func (d DType) sixBits() bool { return d.Bits() == 6 }

// packTyped lays the packed numbers of a typed field out as the raw data of n
// elements. Floats are laid out so already, and alias the field.
func packTyped(numbers []byte, d DType, n int64) ([]byte, error) {
	if d.typedWire() != wireVarint {
		return numbers, nil
	}
	count, err := countVarints(numbers)
	if err != nil {
		return nil, err
	}
	width := max(d.Bits()/8, 1)
	want := d.RawSize(n) / int64(width)
	if d.sixBits() {
		want = n
	}
	if int64(count) != want { // before anything of that size is allocated
		return nil, fmt.Errorf("%d numbers of data, but %d elements of type %s take %d", count, n, d, want)
	}
	raw := make([]byte, 0, count*width)
	for len(numbers) > 0 {
		v, used := uvarint(numbers)
		if used == 0 {
			return nil, errLongVarint
		}
		numbers = numbers[used:]
		switch width {
		case 1:
			raw = append(raw, byte(v))
		case 2:
			raw = le.AppendUint16(raw, uint16(v))
		case 4:
			raw = le.AppendUint32(raw, uint32(v))
		default:
			raw = le.AppendUint64(raw, v)
		}
	}
	if d.sixBits() {
		return packSix(raw), nil
	}
	return raw, nil
}

// packSix packs one element per byte into six bits each, lowest bits first.
func packSix(codes []byte) []byte {
	out := make([]byte, (6*len(codes)+7)/8)
	for i, c := range codes {
		at, shift := 6*i/8, 6*i%8
		wide := uint16(c&0x3f) << shift
		out[at] |= byte(wide)
		if wide > 0xff {
			out[at+1] |= byte(wide >> 8)
		}
	}
	return out
}

// unpackSix is the inverse of packSix for n elements.
func unpackSix(raw []byte, n int64) []byte {
	out := make([]byte, n)
	for i := range out {
		at, shift := 6*i/8, 6*i%8
		wide := uint16(raw[at])
		if at+1 < len(raw) {
			wide |= uint16(raw[at+1]) << 8
		}
		out[i] = byte(wide>>shift) & 0x3f
	}
	return out
}

// appendTyped appends the packed numbers of t's typed field, the inverse of
// packTyped for types whose numbers are varints. Signed types sign-extend.
func appendTyped(to []byte, t *Tensor, n int64) []byte {
	raw := t.Data
	if t.DType.sixBits() {
		raw = unpackSix(raw, n)
	}
	for i, width := 0, max(t.DType.Bits()/8, 1); i+width <= len(raw); i += width {
		var v uint64
		switch b := raw[i:]; t.DType {
		case Int8:
			v = uint64(int8(b[0]))
		case Int16:
			v = uint64(int16(le.Uint16(b)))
		case Int32:
			v = uint64(int32(le.Uint32(b)))
		case Uint16, Float16, BFloat16:
			v = uint64(le.Uint16(b))
		case Uint32:
			v = uint64(le.Uint32(b))
		case Int64, Uint64:
			v = le.Uint64(b)
		default:
			v = uint64(b[0])
		}
		to = protowire.AppendVarint(to, v)
	}
	return to
}
