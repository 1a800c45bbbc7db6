package nino

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// The file that torch.save writes is a zip of uncompressed records under one
// folder: data.pkl, a pickle whose tensors refer to storages, and data/KEY, the
// bytes of each storage.

const (
	maxPickle  = 16 << 20 // bytes of data.pkl
	maxRecords = 1 << 16
	maxStorage = 1 << 30 // bytes of one storage
)

// torchTypes are the storage classes that are read.
var torchTypes = map[string]onnxgraph.DType{
	"FloatStorage": onnxgraph.Float, "DoubleStorage": onnxgraph.Double, "HalfStorage": onnxgraph.Float16,
	"BFloat16Storage": onnxgraph.BFloat16, "LongStorage": onnxgraph.Int64, "IntStorage": onnxgraph.Int32,
}

// readTorch returns the tensors of a file, in its order, and the model_args
// beside them.
func readTorch(r io.ReaderAt, length int64) (set *weights.Set, args map[string]string, err error) {
	records, top, err := torchTop(r, length)
	if err != nil {
		return nil, nil, err
	}
	state := top
	if v, ok := top.get("state_dict"); ok {
		if state, ok = dictOf(v); !ok {
			return nil, nil, errors.New("data.pkl: state_dict is no dict")
		}
		if args, err = modelArgs(top); err != nil {
			return nil, nil, fmt.Errorf("data.pkl: %w", err)
		}
	}
	for _, e := range state {
		if _, ok := e.value.(*torchTensor); !ok {
			return nil, nil, fmt.Errorf("data.pkl: state_dict entry %v is no tensor", e.key)
		}
	}
	set, err = state.tensors(records, length)
	return set, args, err
}

// torchTop reads what a file holds, without its tensors' elements.
func torchTop(r io.ReaderAt, length int64) (records map[string]*zip.File, top dict, err error) {
	if records, err = torchRecords(r, length); err != nil {
		return nil, nil, err
	}
	raw, err := readRecord(records, "data.pkl", maxPickle)
	if err != nil {
		return nil, nil, err
	}
	if order := records["byteorder"]; order != nil {
		b, err := readRecord(records, "byteorder", 16)
		if err != nil {
			return nil, nil, err
		}
		if string(b) != "little" {
			return nil, nil, fmt.Errorf("byte order %q, expected little", b)
		}
	}
	if top, err = unpickle(raw); err != nil {
		return nil, nil, fmt.Errorf("data.pkl: %w", err)
	}
	return records, top, nil
}

// tensors reads the tensors among the entries, at most budget elements: a view
// can claim more than its storage holds.
func (d dict) tensors(records map[string]*zip.File, budget int64) (*weights.Set, error) {
	set := &weights.Set{}
	for _, e := range d {
		name, isName := e.key.(string)
		t, isTensor := e.value.(*torchTensor)
		if !isTensor {
			continue
		}
		if !isName {
			return nil, fmt.Errorf("data.pkl: key %v of a tensor is no string", e.key)
		}
		if err := t.add(set, name, records, budget); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		budget -= int64(set.Get(name).DataSize())
	}
	return set, nil
}

// stateKeys are the names under which training programs keep a model's state
// beside that of the optimizer.
var stateKeys = []string{"state_dict", "model_state_dict", "model", "net", "module", "params"}

// ReadTorch reads the tensors of a checkpoint that torch.save wrote: a state
// dict, or a dict that has one under a usual name. Nothing of the file is
// executed.
func ReadTorch(path string) (*weights.Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	records, top, err := torchTop(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	state := top
	for _, key := range stateKeys {
		if v, ok := top.get(key); ok {
			if d, ok := dictOf(v); ok {
				state = d
				break
			}
		}
	}
	set, err := state.tensors(records, st.Size())
	if err == nil && set.Len() == 0 {
		err = fmt.Errorf("holds no tensors, neither at the top nor under one of %q", stateKeys)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// torchRecords indexes the records by their path below the top folder.
func torchRecords(r io.ReaderAt, length int64) (map[string]*zip.File, error) {
	z, err := zip.NewReader(r, length)
	if err != nil {
		return nil, fmt.Errorf("not a file of torch.save: %w", err)
	}
	if len(z.File) > maxRecords {
		return nil, fmt.Errorf("%d records, at most %d are read", len(z.File), maxRecords)
	}
	records := map[string]*zip.File{}
	for _, f := range z.File {
		if f.Method != zip.Store {
			return nil, fmt.Errorf("record %q is compressed, torch.save stores records", f.Name)
		}
		_, rest, _ := strings.Cut(f.Name, "/")
		if records[rest] != nil {
			return nil, fmt.Errorf("record %q occurs twice", rest)
		}
		records[rest] = f
	}
	return records, nil
}

// readRecord reads a whole record of at most limit bytes.
func readRecord(records map[string]*zip.File, name string, limit uint64) ([]byte, error) {
	f := records[name]
	if f == nil {
		return nil, fmt.Errorf("record %q is missing", name)
	}
	if f.UncompressedSize64 > limit {
		return nil, fmt.Errorf("record %q has %d bytes, at most %d are read", name, f.UncompressedSize64, limit)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", name, err)
	}
	return b, nil
}

// torchStorage stands for a record of tensor data.
type torchStorage struct {
	dtype    onnxgraph.DType
	key      string
	elements int
}

// torchTensor is a strided view of a storage.
type torchTensor struct {
	storage       *torchStorage
	offset        int
	dims, strides []int64
}

// add reads the tensor's elements, at most budget of them, into the set,
// row-major.
func (t *torchTensor) add(set *weights.Set, name string, records map[string]*zip.File, budget int64) error {
	raw, err := readRecord(records, "data/"+t.storage.key, maxStorage)
	if err != nil {
		return err
	}
	all := &onnxgraph.Tensor{Name: name, DType: t.storage.dtype, Dims: []int64{int64(t.storage.elements)}, Data: raw}
	if want := all.DType.RawSize(all.Dims[0]); int64(len(raw)) != want {
		return fmt.Errorf("storage %s has %d bytes, expected %d", t.storage.key, len(raw), want)
	}
	n, last := int64(1), int64(t.offset)
	for i, d := range t.dims {
		if d < 1 || t.strides[i] < 0 || d > maxStorage || t.strides[i] > maxStorage || n > budget/d {
			return fmt.Errorf("shape %v with strides %v", t.dims, t.strides)
		}
		n *= d
		last += (d - 1) * t.strides[i]
	}
	if t.offset < 0 || last >= int64(t.storage.elements) {
		return fmt.Errorf("shape %v with strides %v at offset %d exceeds a storage of %d elements", t.dims, t.strides, t.offset, t.storage.elements)
	}
	d, err := weights.FromTensor(all)
	if err != nil {
		return err
	}
	if v, ok := d.Data().([]float32); ok {
		set.Add(name, weights.DenseFloats(t.dims, gather(v, t, n)))
	} else {
		set.Add(name, weights.DenseInt64s(t.dims, gather(d.Data().([]int64), t, n)))
	}
	return nil
}

// gather copies the n elements of the view in row-major order.
func gather[T any](v []T, t *torchTensor, n int64) []T {
	out := make([]T, 0, n)
	index := make([]int64, len(t.dims))
	at := int64(t.offset)
	for range n {
		out = append(out, v[at])
		for a := len(index) - 1; a >= 0; a-- {
			index[a]++
			at += t.strides[a]
			if index[a] < t.dims[a] {
				break
			}
			at -= index[a] * t.strides[a]
			index[a] = 0
		}
	}
	return out
}

// modelArgs are the settings of the network as text, spelled as Python prints
// them.
func modelArgs(top dict) (map[string]string, error) {
	v, ok := top.get("model_args")
	if !ok || v == nil {
		return nil, nil
	}
	d, ok := dictOf(v)
	if !ok {
		return nil, errors.New("model_args is no dict")
	}
	args := map[string]string{}
	for _, e := range d {
		key, ok := e.key.(string)
		if !ok {
			return nil, fmt.Errorf("model_args key %v is no string", e.key)
		}
		switch v := e.value.(type) {
		case nil:
			args[key] = "None"
		case bool:
			args[key] = "False"
			if v {
				args[key] = "True"
			}
		case int:
			args[key] = strconv.Itoa(v)
		case float64:
			args[key] = pythonFloat(v)
		case string:
			args[key] = v
		default:
			return nil, fmt.Errorf("model_args %q is neither number nor string", key)
		}
	}
	return args, nil
}
