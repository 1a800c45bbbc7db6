package weights

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// The safetensors format: a uint64 header length, a JSON header that maps each
// name to {dtype, shape, data_offsets}, then the data without gaps.
// https://huggingface.co/docs/safetensors

const (
	maxHeader   = 100_000_000 // bytes, as in the format's own implementation
	metadataKey = "__metadata__"
)

var safeDTypes = map[string]onnxgraph.DType{
	"F64": onnxgraph.Double, "F32": onnxgraph.Float, "F16": onnxgraph.Float16, "BF16": onnxgraph.BFloat16,
	"I64": onnxgraph.Int64, "I32": onnxgraph.Int32, "I16": onnxgraph.Int16, "I8": onnxgraph.Int8,
	"U32": onnxgraph.Uint32, "U16": onnxgraph.Uint16, "U8": onnxgraph.Uint8, "BOOL": onnxgraph.Bool,
}

// safeEntry is one tensor of the header.
type safeEntry struct {
	name    string
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"` // begin and end, from the end of the header
}

// ReadSafetensors reads a whole file: the arrays in the order of the header,
// and its metadata (nil where there is none). Real types become float32, integers
// and bool int64, and a scalar an array of shape [1]. Errors name the file and
// the array.
func ReadSafetensors(path string) (*Set, map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	s, meta, err := readSafetensors(f, st.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, meta, nil
}

// ReadSafetensorsFrom is ReadSafetensors of so many bytes that are no file.
func ReadSafetensorsFrom(r io.ReaderAt, length int64) (*Set, map[string]string, error) {
	return readSafetensors(r, length)
}

func readSafetensors(r io.ReaderAt, length int64) (*Set, map[string]string, error) {
	entries, meta, start, err := readSafeHeader(r, length)
	if err != nil {
		return nil, nil, fmt.Errorf("safetensors header: %w", err)
	}
	s := &Set{}
	for _, e := range entries {
		begin, end := e.Offsets[0], e.Offsets[1]
		d, err := readElements(io.NewSectionReader(r, start+begin, end-begin), safeDTypes[e.DType], e.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("array %q: %w", e.name, err)
		}
		s.Add(e.name, d)
	}
	return s, meta, nil
}

// readSafeHeader reads and checks the header; start is where the data begins.
func readSafeHeader(r io.ReaderAt, length int64) (entries []safeEntry, meta map[string]string, start int64, err error) {
	var word [8]byte
	if _, err := r.ReadAt(word[:], 0); err != nil {
		return nil, nil, 0, fmt.Errorf("%d bytes are too few for a safetensors file", length)
	}
	n := binary.LittleEndian.Uint64(word[:])
	if n > maxHeader || int64(n) > length-8 {
		return nil, nil, 0, fmt.Errorf("a length of %d bytes, in a file of %d (at most %d): not a safetensors file", n, length, maxHeader)
	}
	raw := make([]byte, n)
	if _, err := r.ReadAt(raw, 8); err != nil {
		return nil, nil, 0, err
	}
	if entries, meta, err = parseSafeHeader(raw); err != nil {
		return nil, nil, 0, err
	}
	start = 8 + int64(n)
	return entries, meta, start, checkSafeLayout(entries, length-start)
}

// parseSafeHeader decodes the JSON object key by key, because a decoder into a
// map would hide duplicate names.
func parseSafeHeader(raw []byte) (entries []safeEntry, meta map[string]string, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		name := t.(string) // the decoder admits nothing else as a key
		if seen[name] {
			return nil, nil, fmt.Errorf("name %q occurs twice", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := dec.Decode(&meta); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", metadataKey, err)
			}
			continue
		}
		e := safeEntry{name: name}
		if err := dec.Decode(&e); err != nil {
			return nil, nil, fmt.Errorf("array %q: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, errors.New("data after the JSON object")
	}
	return entries, meta, nil
}

// checkSafeLayout requires known types, shapes that fit their bytes, and data
// that fills the length bytes after the header without gaps or overlaps.
func checkSafeLayout(entries []safeEntry, length int64) error {
	for _, e := range entries {
		d, ok := safeDTypes[e.DType]
		if !ok {
			return fmt.Errorf("array %q: elements of type %q are not supported", e.name, e.DType)
		}
		width := int64(d.Bits() / 8)
		n, err := size(e.Shape, width)
		if err != nil {
			return fmt.Errorf("array %q: %w", e.name, err)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] {
			return fmt.Errorf("array %q: data_offsets %v, expected [begin, end]", e.name, e.Offsets)
		}
		if got := e.Offsets[1] - e.Offsets[0]; got != n*width {
			return fmt.Errorf("array %q: %d bytes of data, %s%v takes %d", e.name, got, e.DType, e.Shape, n*width)
		}
	}
	byOffset := slices.SortedFunc(slices.Values(entries), func(a, b safeEntry) int {
		return slices.Compare(a.Offsets, b.Offsets)
	})
	at := int64(0)
	for _, e := range byOffset {
		if e.Offsets[0] != at {
			return fmt.Errorf("array %q: data begins at byte %d, expected %d (gap or overlap)", e.name, e.Offsets[0], at)
		}
		at = e.Offsets[1]
	}
	if at != length {
		return fmt.Errorf("the arrays take %d bytes, the file holds %d", at, length)
	}
	return nil
}

// WriteSafetensors writes the arrays (float32 or int64, row-major) in their
// order and the metadata, atomically. An existing file is an fs.ErrExist unless
// overwrite is set.
func WriteSafetensors(path string, s *Set, meta map[string]string, overwrite bool) error {
	header, err := safeHeader(s, meta)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return onnxgraph.WriteAtomic(path, overwrite, func(w io.Writer) error {
		b := bufio.NewWriterSize(w, 1<<16)
		if _, err := b.Write(header); err != nil {
			return err
		}
		for _, name := range s.names {
			if err := writeData(b, s.by[name]); err != nil {
				return fmt.Errorf("array %q: %w", name, err)
			}
		}
		return b.Flush()
	})
}

// safeHeader is everything before the data, padded with spaces to a multiple
// of eight bytes so that the data is aligned.
func safeHeader(s *Set, meta map[string]string) ([]byte, error) {
	out := bytes.NewBufferString("\x00\x00\x00\x00\x00\x00\x00\x00{")
	add := func(name string, v any) error {
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		val, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if out.Len() > 9 {
			out.WriteByte(',')
		}
		fmt.Fprintf(out, "%s:%s", key, val)
		return nil
	}
	if meta != nil {
		if err := add(metadataKey, meta); err != nil {
			return nil, err
		}
	}
	at := int64(0)
	for _, name := range s.names {
		if name == metadataKey {
			return nil, fmt.Errorf("array %q: the name is reserved", name)
		}
		d := s.by[name]
		typ, width, err := safeType(d)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		end := at + int64(d.DataSize())*width
		if err := add(name, safeEntry{DType: typ, Shape: Dims(d), Offsets: []int64{at, end}}); err != nil {
			return nil, err
		}
		at = end
	}
	out.WriteByte('}')
	for out.Len()%8 != 0 {
		out.WriteByte(' ')
	}
	n := out.Len() - 8
	if n > maxHeader {
		return nil, fmt.Errorf("the header takes %d bytes, at most %d are allowed", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(out.Bytes(), uint64(n))
	return out.Bytes(), nil
}

// safeType names the element type and its bytes, and refuses views whose
// memory is not the array in row-major order.
func safeType(d *tensor.Dense) (string, int64, error) {
	if d.RequiresIterator() || d.DataOrder().IsColMajor() {
		return "", 0, errors.New("is a view, expected row-major data of its own")
	}
	switch d.Data().(type) {
	case []float32, float32:
		return "F32", 4, nil
	case []int64, int64:
		return "I64", 8, nil
	}
	return "", 0, fmt.Errorf("is %s, expected float32 or int64", d.Dtype())
}

func writeData(w io.Writer, d *tensor.Dense) error {
	switch v := d.Data().(type) {
	case []float32:
		return writeWords(w, v)
	case float32:
		return writeWords(w, []float32{v})
	case []int64:
		return writeWords(w, v)
	case int64:
		return writeWords(w, []int64{v})
	}
	return fmt.Errorf("is %s, expected float32 or int64", d.Dtype())
}

func writeWords[T float32 | int64](w io.Writer, v []T) error {
	if hostLittle {
		_, err := w.Write(bytesOf(v))
		return err
	}
	return binary.Write(w, le, v)
}
