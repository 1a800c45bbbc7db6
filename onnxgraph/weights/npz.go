package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// The npz format: a zip file with one .npy file per array.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

const (
	npyMagic     = "\x93NUMPY"
	maxNPYHeader = 1 << 16 // bytes; numpy's own limit is 10,000 characters
	maxNPZArrays = 1 << 16
	// maxInflate is the most bytes that one byte of deflated data can stand for.
	maxInflate = 1032
)

var npyDTypes = map[string]onnxgraph.DType{
	"<f8": onnxgraph.Double, "<f4": onnxgraph.Float, "<f2": onnxgraph.Float16,
	"<i8": onnxgraph.Int64, "<i4": onnxgraph.Int32, "<i2": onnxgraph.Int16, "|i1": onnxgraph.Int8,
	"<u4": onnxgraph.Uint32, "<u2": onnxgraph.Uint16, "|u1": onnxgraph.Uint8, "|b1": onnxgraph.Bool,
}

// ReadNPZ reads every array of an npz file, stored or deflated, in C or Fortran
// order. Real types become float32, integers and bool int64, and a scalar an
// array of shape [1]. Errors name the file and the array.
func ReadNPZ(path string) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := readNPZ(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func readNPZ(r io.ReaderAt, length int64) (*Set, error) {
	z, err := zip.NewReader(r, length)
	if err != nil {
		return nil, fmt.Errorf("not an npz file: %w", err)
	}
	if len(z.File) > maxNPZArrays {
		return nil, fmt.Errorf("%d arrays, at most %d are supported", len(z.File), maxNPZArrays)
	}
	if err := checkZip(z, length); err != nil {
		return nil, err
	}
	s := &Set{}
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok {
			return nil, fmt.Errorf("entry %q: expected a .npy file", f.Name)
		}
		if s.Get(name) != nil {
			return nil, fmt.Errorf("array %q occurs twice", name)
		}
		d, err := readEntry(f)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		s.Add(name, d)
	}
	return s, nil
}

// checkZip refuses a directory by which a file of length bytes unpacks to more
// than deflate can make of it: by entries that share their data, or by sizes
// that are not true. What it can make, as of zeros, is a thousandfold.
func checkZip(z *zip.Reader, length int64) error {
	left := uint64(length)
	for _, f := range z.File {
		if f.CompressedSize64 > left {
			return fmt.Errorf("entry %q: %d compressed bytes, the file of %d has %d left (entries overlap)", f.Name, f.CompressedSize64, length, left)
		}
		left -= f.CompressedSize64
		if f.UncompressedSize64 > math.MaxInt64/2 || f.UncompressedSize64/maxInflate > f.CompressedSize64 {
			return fmt.Errorf("entry %q: %d bytes cannot come out of %d", f.Name, f.UncompressedSize64, f.CompressedSize64)
		}
	}
	return nil
}

// readEntry reads one array out of a zip file.
func readEntry(f *zip.File) (*tensor.Dense, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	d, err := readNPY(r, int64(f.UncompressedSize64))
	if err != nil {
		return nil, err
	}
	// The checksum is verified at the end of the entry.
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		return nil, errors.Join(fmt.Errorf("%d bytes after the data", n), err)
	}
	return d, nil
}

// readNPY reads one array from a .npy file of length bytes.
func readNPY(r io.Reader, length int64) (*tensor.Dense, error) {
	head, used, err := readNPYHeader(r)
	if err != nil {
		return nil, fmt.Errorf("npy header: %w", err)
	}
	width := int64(head.dtype.Bits() / 8)
	n, err := size(head.dims, width)
	if err != nil {
		return nil, err
	}
	if n*width != length-used {
		return nil, fmt.Errorf("%d bytes of data, %s%v takes %d", length-used, head.dtype, head.dims, n*width)
	}
	d, err := readElements(r, head.dtype, head.dims)
	if err != nil || !head.fortran || len(head.dims) < 2 {
		return d, err
	}
	if v, ok := d.Data().([]float32); ok {
		return DenseFloats(head.dims, rowMajor(v, head.dims)), nil
	}
	return DenseInt64s(head.dims, rowMajor(d.Data().([]int64), head.dims)), nil
}

// rowMajor reorders column-major elements.
func rowMajor[T any](v []T, dims []int64) []T {
	out := make([]T, len(v))
	index := make([]int64, len(dims))
	for i := range out {
		at, stride := int64(0), int64(1)
		for a, d := range dims {
			at += index[a] * stride
			stride *= d
		}
		out[i] = v[at]
		for a := len(dims) - 1; a >= 0; a-- {
			if index[a]++; index[a] < dims[a] {
				break
			}
			index[a] = 0
		}
	}
	return out
}

type npyHeader struct {
	dtype   onnxgraph.DType
	fortran bool
	dims    []int64
}

// npyDict is the header as NumPy writes it: a Python dict with these three keys.
var npyDict = regexp.MustCompile(`^\{'descr': ('[^']*'|\[.*\]), 'fortran_order': (True|False), 'shape': \(([0-9, L]*)\),? *\}\s*$`)

// readNPYHeader reads up to the data; used is the number of bytes before it.
func readNPYHeader(r io.Reader) (h npyHeader, used int64, err error) {
	var pre [8]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil {
		return h, 0, err
	}
	if !bytes.HasPrefix(pre[:], []byte(npyMagic)) {
		return h, 0, errors.New("not a .npy file")
	}
	wide := 2 // bytes of the length
	switch pre[6] {
	case 1:
	case 2, 3:
		wide = 4
	default:
		return h, 0, fmt.Errorf("format version %d, expected 1, 2 or 3", pre[6])
	}
	var word [4]byte
	if _, err := io.ReadFull(r, word[:wide]); err != nil {
		return h, 0, err
	}
	n := binary.LittleEndian.Uint32(word[:])
	if n > maxNPYHeader {
		return h, 0, fmt.Errorf("a header of %d bytes, at most %d are supported", n, maxNPYHeader)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(r, raw); err != nil {
		return h, 0, err
	}
	h, err = parseNPYHeader(string(raw))
	return h, int64(len(pre)+wide) + int64(n), err
}

func parseNPYHeader(dict string) (h npyHeader, err error) {
	m := npyDict.FindStringSubmatch(dict)
	if m == nil {
		return h, fmt.Errorf("%.80q is not understood", dict)
	}
	descr := strings.Trim(m[1], "'")
	var ok bool
	if h.dtype, ok = npyDTypes[descr]; !ok {
		return h, fmt.Errorf("elements of type %.40q are not supported", descr)
	}
	h.fortran = m[2] == "True"
	for part := range strings.SplitSeq(m[3], ",") {
		part = strings.TrimSuffix(strings.TrimSpace(part), "L")
		if part == "" {
			continue // of "()" and "(3,)"
		}
		d, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return h, fmt.Errorf("shape (%s): %w", m[3], err)
		}
		h.dims = append(h.dims, d)
	}
	return h, nil
}
