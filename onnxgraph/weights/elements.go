package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"unsafe"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// maxRank caps the number of axes of an array in a file.
const maxRank = 32

// hostLittle says whether the host stores numbers as the files do.
var hostLittle = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// size is the number of elements of a shape, or an error where it is negative,
// has too many axes, or its elements of width bytes would not fit in memory.
func size(dims []int64, width int64) (int64, error) {
	if len(dims) > maxRank {
		return 0, fmt.Errorf("%d axes, at most %d are supported", len(dims), maxRank)
	}
	n, empty := uint64(1), false
	for _, d := range dims {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative extent", dims)
		}
		if d == 0 {
			empty = true
			continue
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > uint64(math.MaxInt64/8/width) { // 8: elements may widen to int64
			return 0, fmt.Errorf("shape %v is too large", dims)
		}
		n = lo
	}
	if empty {
		return 0, nil
	}
	return int64(n), nil
}

// readElements reads a row-major little-endian array of a type that is listed
// in widen; real types become float32, integers and bool int64.
func readElements(r io.Reader, d onnxgraph.DType, dims []int64) (*tensor.Dense, error) {
	n, err := size(dims, int64(d.Bits()/8))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("shape %v has no elements", dims)
	}
	if d == onnxgraph.Float {
		out := make([]float32, n)
		return DenseFloats(dims, out), readWords(r, out)
	}
	if d == onnxgraph.Int64 {
		out := make([]int64, n)
		return DenseInt64s(dims, out), readWords(r, out)
	}
	if w := widenFloat[d]; w != nil {
		out := make([]float32, n)
		return DenseFloats(dims, out), readWiden(r, out, d.Bits()/8, w)
	}
	if w := widenInt[d]; w != nil {
		out := make([]int64, n)
		return DenseInt64s(dims, out), readWiden(r, out, d.Bits()/8, w)
	}
	return nil, fmt.Errorf("elements of type %s are not supported", d)
}

// readWords fills out with little-endian numbers, straight into its memory.
func readWords[T float32 | int64](r io.Reader, out []T) error {
	raw := bytesOf(out)
	if _, err := io.ReadFull(r, raw); err != nil {
		return err
	}
	swapToHost(raw, len(raw)/max(len(out), 1))
	return nil
}

// bytesOf is the memory of a slice of numbers.
func bytesOf[T float32 | int64](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}

// swapToHost turns little-endian words into the host's, and back.
func swapToHost(raw []byte, width int) {
	if hostLittle {
		return
	}
	for ; len(raw) >= width && width > 0; raw = raw[width:] {
		for i, j := 0, width-1; i < j; i, j = i+1, j-1 {
			raw[i], raw[j] = raw[j], raw[i]
		}
	}
}

// readWiden fills out from elements of width bytes, a chunk at a time.
func readWiden[T float32 | int64](r io.Reader, out []T, width int, widen func([]byte) T) error {
	const chunk = 1 << 16
	buf := make([]byte, min(len(out), chunk)*width)
	for len(out) > 0 {
		n := min(len(out), chunk)
		if _, err := io.ReadFull(r, buf[:n*width]); err != nil {
			return err
		}
		for i := range n {
			out[i] = widen(buf[i*width:])
		}
		out = out[n:]
	}
	return nil
}

var le = binary.LittleEndian

// widenFloat and widenInt convert one element of the types that are neither
// float32 nor int64 in the file.
var (
	widenFloat = map[onnxgraph.DType]func([]byte) float32{
		onnxgraph.Double:   func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) },
		onnxgraph.Float16:  func(b []byte) float32 { return onnxgraph.HalfToFloat(le.Uint16(b)) },
		onnxgraph.BFloat16: func(b []byte) float32 { return math.Float32frombits(uint32(le.Uint16(b)) << 16) },
	}
	widenInt = map[onnxgraph.DType]func([]byte) int64{
		onnxgraph.Int32:  func(b []byte) int64 { return int64(int32(le.Uint32(b))) },
		onnxgraph.Int16:  func(b []byte) int64 { return int64(int16(le.Uint16(b))) },
		onnxgraph.Int8:   func(b []byte) int64 { return int64(int8(b[0])) },
		onnxgraph.Uint32: func(b []byte) int64 { return int64(le.Uint32(b)) },
		onnxgraph.Uint16: func(b []byte) int64 { return int64(le.Uint16(b)) },
		onnxgraph.Uint8:  func(b []byte) int64 { return int64(b[0]) },
		onnxgraph.Bool:   func(b []byte) int64 { return int64(b[0]) },
	}
)
