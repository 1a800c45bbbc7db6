package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// The functions of this file keep element types, shapes and bits, unlike those
// of Set, which widen to what the engines compute with.

// ReadSafetensorsExact reads every tensor of a safetensors file, and its
// metadata, nil where there is none.
func ReadSafetensorsExact(path string) ([]*onnxgraph.Tensor, map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	entries, meta, start, err := readSafeHeader(f, st.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: safetensors header: %w", path, err)
	}
	var out []*onnxgraph.Tensor
	for _, e := range entries {
		t := &onnxgraph.Tensor{Name: e.name, DType: safeDTypes[e.DType], Dims: dimsOf(e.Shape), Data: make([]byte, e.Offsets[1]-e.Offsets[0])}
		if _, err := f.ReadAt(t.Data, start+e.Offsets[0]); err != nil && len(t.Data) > 0 {
			return nil, nil, fmt.Errorf("%s: array %q: %w", path, e.name, err)
		}
		out = append(out, t)
	}
	return out, meta, nil
}

// dimsOf is a shape of its own, not nil for scalars.
func dimsOf(s []int64) []int64 { return append([]int64{}, s...) }

// WriteSafetensorsExact writes tensors and metadata, atomically. An existing
// file is an fs.ErrExist unless overwrite is set.
func WriteSafetensorsExact(path string, tensors []*onnxgraph.Tensor, meta map[string]string, overwrite bool) error {
	header, err := exactHeader(tensors, meta)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return onnxgraph.WriteAtomic(path, overwrite, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, t := range tensors {
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

func exactHeader(tensors []*onnxgraph.Tensor, meta map[string]string) ([]byte, error) {
	names := map[onnxgraph.DType]string{}
	for name, d := range safeDTypes {
		names[d] = name
	}
	fields := []string{}
	add := func(name string, v any) error {
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		val, err := json.Marshal(v)
		fields = append(fields, string(key)+":"+string(val))
		return err
	}
	if meta != nil {
		if err := add(metadataKey, meta); err != nil {
			return nil, err
		}
	}
	at, seen := int64(0), map[string]bool{metadataKey: true}
	for _, t := range tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("array %q: the name is taken", t.Name)
		}
		seen[t.Name] = true
		name, ok := names[t.DType]
		if !ok {
			return nil, fmt.Errorf("array %q: safetensors has no type for %s", t.Name, t.DType)
		}
		end := at + t.DType.RawSize(t.Len())
		if err := add(t.Name, safeEntry{DType: name, Shape: dimsOf(t.Dims), Offsets: []int64{at, end}}); err != nil {
			return nil, err
		}
		at = end
	}
	text := "{" + strings.Join(fields, ",") + "}"
	text += strings.Repeat(" ", (8-len(text)%8)%8)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

// ReadNPZExact reads every array of an npz file.
func ReadNPZExact(path string) ([]*onnxgraph.Tensor, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: not an npz file: %w", path, err)
	}
	defer z.Close()
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if len(z.File) > maxNPZArrays {
		return nil, fmt.Errorf("%s: %d arrays, at most %d are supported", path, len(z.File), maxNPZArrays)
	}
	var out []*onnxgraph.Tensor
	seen := map[string]bool{}
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		if !ok || seen[name] {
			return nil, fmt.Errorf("%s: entry %q: expected a .npy file, each once", path, f.Name)
		}
		seen[name] = true
		t, err := readExactEntry(f, st.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: array %q: %w", path, name, err)
		}
		t.Name = name
		out = append(out, t)
	}
	return out, nil
}

func readExactEntry(f *zip.File, length int64) (*onnxgraph.Tensor, error) {
	if f.UncompressedSize64/maxInflate > uint64(length) {
		return nil, fmt.Errorf("%d bytes cannot come out of a file of %d", f.UncompressedSize64, length)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	head, used, err := readNPYHeader(r)
	if err != nil {
		return nil, fmt.Errorf("npy header: %w", err)
	}
	width := int64(head.dtype.Bits() / 8)
	n, err := size(head.dims, width)
	if err != nil {
		return nil, err
	}
	if n*width != int64(f.UncompressedSize64)-used {
		return nil, fmt.Errorf("%d bytes of data, %s%v takes %d", int64(f.UncompressedSize64)-used, head.dtype, head.dims, n*width)
	}
	data, err := io.ReadAll(r) // to the end, where the checksum is verified
	if err != nil {
		return nil, err
	}
	if head.fortran && len(head.dims) > 1 {
		data = rowMajorBytes(data, head.dims, int(width))
	}
	return &onnxgraph.Tensor{DType: head.dtype, Dims: dimsOf(head.dims), Data: data}, nil
}

// rowMajorBytes reorders column-major elements of width bytes.
func rowMajorBytes(data []byte, dims []int64, width int) []byte {
	places := make([]int64, len(data)/width)
	for i := range places {
		places[i] = int64(i)
	}
	out := make([]byte, 0, len(data))
	for _, p := range rowMajor(places, dims) {
		out = append(out, data[int(p)*width:int(p+1)*width]...)
	}
	return out
}

// WriteNPZExact writes tensors as an npz file without compression, atomically.
// An existing file is an fs.ErrExist unless overwrite is set. NumPy has no
// bfloat16, which is an error.
func WriteNPZExact(path string, tensors []*onnxgraph.Tensor, overwrite bool) error {
	descr := map[onnxgraph.DType]string{}
	for _, name := range slices.Sorted(maps.Keys(npyDTypes)) {
		descr[npyDTypes[name]] = name
	}
	for _, t := range tensors {
		if descr[t.DType] == "" {
			return fmt.Errorf("%s: array %q: NumPy has no type for %s", path, t.Name, t.DType)
		}
	}
	return onnxgraph.WriteAtomic(path, overwrite, func(w io.Writer) error {
		z := zip.NewWriter(w)
		for _, t := range tensors {
			f, err := z.CreateHeader(&zip.FileHeader{Name: t.Name + ".npy", Method: zip.Store})
			if err != nil {
				return err
			}
			if _, err := f.Write(append(npyHead(descr[t.DType], t.Dims), t.Data...)); err != nil {
				return err
			}
		}
		return z.Close()
	})
}

// npyHead is the header of a .npy file of version 1, padded so that data is
// aligned to 64 bytes.
func npyHead(descr string, dims []int64) []byte {
	var shape strings.Builder
	for _, d := range dims {
		fmt.Fprintf(&shape, "%d, ", d)
	}
	text := strings.TrimSuffix(shape.String(), " ")
	if len(dims) > 1 {
		text = strings.TrimSuffix(text, ",")
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, text)
	const before = 10 // magic, version and length
	dict += strings.Repeat(" ", (64-(before+len(dict)+1)%64)%64) + "\n"
	var b bytes.Buffer
	b.WriteString(npyMagic)
	b.Write([]byte{1, 0, byte(len(dict)), byte(len(dict) >> 8)})
	b.WriteString(dict)
	return b.Bytes()
}
