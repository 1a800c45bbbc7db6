package weights

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// File is a checkpoint whose arrays alias files mapped into memory: they are
// read as they are used, and the system may drop what it has read. Arrays that
// are compressed in the file, or column-major, lie in memory.
//
//	f, err := weights.Open("model.safetensors.index.json")
//	defer f.Close()
//	t := f.Tensor("lm_head.weight") // nil where absent
type File struct {
	Path   string
	Meta   map[string]string // of the file, or of the first of several; nil where there is none
	shards []shard
	names  []string
	by     map[string]*onnxgraph.Tensor
	close  []func() error
}

// shard is one of the files that make up a checkpoint.
type shard struct {
	name  string
	names []string // of its arrays
}

// indexSuffix ends the names of files that list the shards of a checkpoint.
const indexSuffix = ".safetensors.index.json"

// Open maps a checkpoint: a safetensors file, the index of several, a folder
// with one of these, an npz file or the initializers of an ONNX model.
func Open(path string) (*File, error) {
	f := &File{Path: path, by: map[string]*onnxgraph.Tensor{}}
	if err := f.open(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) open(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		inner, err := checkpointIn(path)
		if err != nil {
			return err
		}
		return f.open(inner)
	case strings.HasSuffix(path, ".json"):
		return f.openIndex(path)
	}
	switch filepath.Ext(path) {
	case ".npz":
		return f.openNPZ(path)
	case ".onnx":
		return f.openModel(path)
	}
	return f.openSafetensors(path, nil)
}

// checkpointIn finds the checkpoint of a folder: the one index, or else the one
// safetensors file.
func checkpointIn(dir string) (string, error) {
	for _, pattern := range []string{"*" + indexSuffix, "*.safetensors"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			return "", fmt.Errorf("%s: %d files %s, expected one: name the one that is meant", dir, len(found), pattern)
		}
	}
	return "", fmt.Errorf("%s: a folder without .safetensors files", dir)
}

// openIndex opens the files that an index lists, and requires what it says of
// them to be true.
func (f *File) openIndex(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("%s: index: %w", path, err)
	}
	if len(index.Map) == 0 {
		return fmt.Errorf("%s: index without a weight_map", path)
	}
	files := map[string]bool{}
	for _, file := range index.Map {
		if !filepath.IsLocal(file) {
			return fmt.Errorf("%s: index names %q, expected a file beside it", path, file)
		}
		files[file] = true
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		wanted := func(name string) bool { return index.Map[name] == file }
		if err := f.openSafetensors(filepath.Join(filepath.Dir(path), file), wanted); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index.Map)) {
		if f.by[name] == nil {
			return fmt.Errorf("%s: array %q is not in %s, where the index says it is", path, name, index.Map[name])
		}
	}
	return nil
}

// openSafetensors maps a file; nil wants all of its arrays.
func (f *File) openSafetensors(path string, wanted func(name string) bool) error {
	m, err := onnxgraph.MapFile(path)
	if err != nil {
		return err
	}
	f.close = append(f.close, m.Close)
	var entries []safeEntry
	var meta map[string]string
	var start int64
	err = onnxgraph.Guarded(func() error {
		entries, meta, start, err = readSafeHeader(bytes.NewReader(m.Data), int64(len(m.Data)))
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: safetensors header: %w", path, err)
	}
	if f.Meta == nil {
		f.Meta = meta
	}
	s := shard{name: filepath.Base(path)}
	for _, e := range entries {
		if wanted != nil && !wanted(e.name) {
			continue
		}
		data := m.Data[start+e.Offsets[0] : start+e.Offsets[1] : start+e.Offsets[1]]
		f.add(&s, &onnxgraph.Tensor{Name: e.name, DType: safeDTypes[e.DType], Dims: dimsOf(e.Shape), Data: data})
	}
	f.shards = append(f.shards, s)
	return nil
}

func (f *File) add(s *shard, t *onnxgraph.Tensor) {
	s.names = append(s.names, t.Name)
	f.names = append(f.names, t.Name)
	f.by[t.Name] = t
}

// openNPZ maps an npz file. What is deflated or column-major is read.
func (f *File) openNPZ(path string) error {
	m, err := onnxgraph.MapFile(path)
	if err != nil {
		return err
	}
	f.close = append(f.close, m.Close)
	length := int64(len(m.Data))
	z, err := zip.NewReader(bytes.NewReader(m.Data), length)
	if err != nil {
		return fmt.Errorf("%s: not an npz file: %w", path, err)
	}
	if len(z.File) > maxNPZArrays {
		return fmt.Errorf("%s: %d arrays, at most %d are supported", path, len(z.File), maxNPZArrays)
	}
	if err := checkZip(z, length); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s := shard{name: filepath.Base(path)}
	for _, entry := range z.File {
		name, ok := strings.CutSuffix(entry.Name, ".npy")
		if !ok || f.by[name] != nil {
			return fmt.Errorf("%s: entry %q: expected a .npy file, each once", path, entry.Name)
		}
		t, err := mapEntry(entry, m.Data)
		if err != nil {
			return fmt.Errorf("%s: array %q: %w", path, name, err)
		}
		t.Name = name
		f.add(&s, t)
	}
	f.shards = append(f.shards, s)
	return nil
}

// mapEntry is an array of a zip file that lies in memory.
func mapEntry(f *zip.File, file []byte) (*onnxgraph.Tensor, error) {
	if f.Method != zip.Store {
		return readExactEntry(f, int64(len(file)))
	}
	start, err := f.DataOffset()
	if err != nil {
		return nil, err
	}
	if end := start + int64(f.UncompressedSize64); start < 0 || end < start || end > int64(len(file)) {
		return nil, fmt.Errorf("lies at bytes %d to %d of %d", start, end, len(file))
	}
	raw := file[start : start+int64(f.UncompressedSize64)]
	head, used, err := readNPYHeader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("npy header: %w", err)
	}
	if head.fortran && len(head.dims) > 1 {
		return readExactEntry(f, int64(len(file)))
	}
	width := int64(head.dtype.Bits() / 8)
	n, err := size(head.dims, width)
	if err != nil {
		return nil, err
	}
	if n*width != int64(len(raw))-used {
		return nil, fmt.Errorf("%d bytes of data, %s%v takes %d", int64(len(raw))-used, head.dtype, head.dims, n*width)
	}
	return &onnxgraph.Tensor{DType: head.dtype, Dims: dimsOf(head.dims), Data: raw[used:]}, nil
}

// openModel maps the initializers of a model.
func (f *File) openModel(path string) error {
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return err
	}
	f.close = append(f.close, m.Close)
	s := shard{name: filepath.Base(path)}
	for _, t := range m.Graph.Initializers {
		f.add(&s, t)
	}
	f.shards = append(f.shards, s)
	return nil
}

// Tensor is the array of a name with the element type of the file, nil where
// there is none. Its data must not be changed, nor used after Close; reading it
// may fail (onnxgraph.Guarded).
func (f *File) Tensor(name string) *onnxgraph.Tensor { return f.by[name] }

// Names lists the arrays in the order of the files. The caller must not change
// the slice.
func (f *File) Names() []string { return f.names }

// Set reads all arrays into memory, as ReadSafetensors and ReadNPZ do.
func (f *File) Set() (*Set, error) {
	s := &Set{}
	for _, name := range f.names {
		t := f.by[name]
		d, err := readElements(bytes.NewReader(t.Data), t.DType, t.Dims)
		if err != nil {
			return nil, fmt.Errorf("%s: array %q: %w", f.Path, name, err)
		}
		s.Add(name, d)
	}
	return s, nil
}

// Bytes is the size of all arrays.
func (f *File) Bytes() int64 {
	n := int64(0)
	for _, t := range f.by {
		n += t.DType.RawSize(t.Len())
	}
	return n
}

// Close releases the files. More than one call is fine.
func (f *File) Close() error {
	var errs []error
	for _, c := range f.close {
		errs = append(errs, c())
	}
	f.close, f.by, f.names, f.shards = nil, nil, nil, nil
	return errors.Join(errs...)
}

// WriteLike writes a checkpoint with the arrays of f, their types and as many
// files: path names the one safetensors file, or, of several, gives their names
// (base-00001-of-00002.safetensors) and that of their index. fill sets the
// arrays of what is written, mapped and zero at first. Every file is written
// atomically, the index last. The result is the path of the file or the index.
func (f *File) WriteLike(path string, meta map[string]string, overwrite bool, fill func(*File) error) (string, error) {
	paths := f.pathsLike(path)
	out := &File{Path: path, Meta: meta, by: map[string]*onnxgraph.Tensor{}}
	if err := f.writeShards(paths, meta, overwrite, out, fill); err != nil {
		return "", err
	}
	if len(f.shards) == 1 {
		return paths[0], nil
	}
	index := LikePath(f, path)
	return index, writeIndex(index, out, overwrite)
}

// LikePath is the path that WriteLike gives back.
func LikePath(f *File, path string) string {
	if len(f.shards) == 1 {
		return path
	}
	return baseOf(path) + indexSuffix
}

// baseOf is a path without what ends the names of checkpoints.
func baseOf(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path, indexSuffix), ".safetensors")
}

func (f *File) pathsLike(path string) []string {
	if len(f.shards) == 1 {
		return []string{path}
	}
	var out []string
	for i := range f.shards {
		out = append(out, fmt.Sprintf("%s-%05d-of-%05d.safetensors", baseOf(path), i+1, len(f.shards)))
	}
	return out
}

// writeShards writes the shards from number len(out.shards) on, one within the
// other, so that all are mapped when they are filled.
func (f *File) writeShards(paths []string, meta map[string]string, overwrite bool, out *File, fill func(*File) error) error {
	at := len(out.shards)
	if at == len(paths) {
		return fill(out)
	}
	var tensors []*onnxgraph.Tensor
	for _, name := range f.shards[at].names {
		t := f.by[name]
		tensors = append(tensors, &onnxgraph.Tensor{Name: name, DType: t.DType, Dims: t.Dims})
	}
	header, err := exactHeader(tensors, meta)
	if err != nil {
		return fmt.Errorf("%s: %w", paths[at], err)
	}
	size := int64(len(header))
	for _, t := range tensors {
		size += t.DType.RawSize(t.Len())
	}
	return onnxgraph.WriteMapped(paths[at], size, overwrite, func(b []byte) error {
		rest := b[copy(b, header):]
		s := shard{name: filepath.Base(paths[at])}
		for _, t := range tensors {
			n := t.DType.RawSize(t.Len())
			t.Data, rest = rest[:n:n], rest[n:]
			out.add(&s, t)
		}
		out.shards = append(out.shards, s)
		return f.writeShards(paths, meta, overwrite, out, fill)
	})
}

// writeIndex writes the index of the shards.
func writeIndex(path string, f *File, overwrite bool) error {
	index := struct {
		Meta map[string]int64  `json:"metadata"`
		Map  map[string]string `json:"weight_map"`
	}{map[string]int64{"total_size": f.Bytes()}, map[string]string{}}
	for _, s := range f.shards {
		for _, name := range s.names {
			index.Map[name] = s.name
		}
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return onnxgraph.WriteAtomic(path, overwrite, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}
