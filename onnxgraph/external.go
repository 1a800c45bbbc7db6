package onnxgraph

import (
	"bufio"
	"crypto/sha1" // the checksum that the specification asks for
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"
)

// Where external data is written, tensors begin at multiples of these: large
// ones at those of a page, so that readers can map them one by one.
const (
	alignSmall         = 64
	alignLarge         = 4096
	largeTensor        = 1 << 20
	defaultExternalMin = 1024
)

// loadExternal maps the data of every external tensor from files inside dir.
// os.Root refuses paths and links that lead out of it.
func loadExternal(m *Model, dir string) error {
	var tensors []*Tensor
	m.EachTensor(func(t *Tensor) {
		if t.External != nil {
			tensors = append(tensors, t)
		}
	})
	if len(tensors) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	loaded := map[string][]byte{} // by location: tensors share a file
	for _, t := range tensors {
		if err := loadTensor(root, t, loaded, m.files); err != nil {
			return fmt.Errorf("tensor %q: external data %q: %w", t.Name, t.External.Location, err)
		}
	}
	return nil
}

func loadTensor(root *os.Root, t *Tensor, loaded map[string][]byte, files *mappings) error {
	if t.DType.Bits() == 0 {
		return fmt.Errorf("%s tensors cannot be external", t.DType)
	}
	e := t.External
	file, ok := loaded[e.Location]
	if !ok {
		var err error
		if file, err = loadPlain(root, e.Location, files); err != nil {
			return err
		}
		loaded[e.Location] = file
	}
	n, _ := elementCount(t.Dims)
	size, length := t.DType.RawSize(n), int64(len(file))
	if e.Length >= 0 && e.Length != size {
		return fmt.Errorf("length %d, but %s%v takes %d bytes", e.Length, t.DType, t.Dims, size)
	}
	if e.Offset > length || size > length-e.Offset {
		return fmt.Errorf("%d bytes at offset %d lie beyond the file's %d", size, e.Offset, length)
	}
	t.Data = file[e.Offset : e.Offset+size : e.Offset+size]
	return nil
}

func loadPlain(root *os.Root, location string, files *mappings) ([]byte, error) {
	if !filepath.IsLocal(filepath.FromSlash(location)) {
		return nil, errors.New("the path leads out of the model's folder")
	}
	f, size, err := openPlain(root, location)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return files.load(f, size)
}

// openPlain opens a file that is neither a link nor known by a second name:
// either could lead to data that the model's folder does not hold.
func openPlain(root *os.Root, name string) (*os.File, int64, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	refused := errors.New("not a plain file of its own (links are refused)")
	if !named.Mode().IsRegular() {
		return nil, 0, refused
	}
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && (!os.SameFile(named, st) || hardLinked(st)) { // swapped in between, or linked
		err = refused
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// layout says where the tensors of a model lie in the file that takes their
// data. Tensors that share their memory share their place.
type layout struct {
	places  map[*Tensor]*External
	tensors []*Tensor // one for each place, in the order of their offsets
	size    int64
	summed  bool // the model's files had checksums, so this one gets one
}

// plan lays out the initializers of at least minSize bytes.
func (m *Model) plan(location string, minSize int64) *layout {
	l := &layout{places: map[*Tensor]*External{}}
	type memory struct {
		start *byte
		size  int64
	}
	shared := map[memory]*External{}
	m.Graph.eachInitializer(func(t *Tensor) {
		size := int64(len(t.Data))
		if size < minSize || t.DType.Bits() == 0 || l.places[t] != nil {
			return
		}
		l.summed = l.summed || t.External != nil && t.External.Checksum != ""
		at := memory{unsafe.SliceData(t.Data), size}
		if shared[at] == nil {
			l.size = aligned(l.size, size)
			shared[at] = &External{Location: location, Offset: l.size, Length: size}
			l.tensors = append(l.tensors, t)
			l.size += size
		}
		l.places[t] = shared[at]
	})
	return l
}

// aligned is the offset at or after at where size bytes may begin.
func aligned(at, size int64) int64 {
	to := int64(alignSmall)
	if size >= largeTensor {
		to = alignLarge
	}
	return (at + to - 1) / to * to
}

// eachInitializer calls visit for the initializers of a graph and those of the
// subgraphs below it.
func (g *Graph) eachInitializer(visit func(*Tensor)) {
	g.EachGraph(func(g *Graph) {
		for _, t := range g.Initializers {
			visit(t)
		}
	})
}

// write streams the tensors to w, and notes the file's checksum.
func (l *layout) write(w io.Writer) error {
	var sum hash.Hash
	if l.summed {
		sum = sha1.New()
		w = io.MultiWriter(w, sum)
	}
	out := bufio.NewWriterSize(w, 1<<16) // large tensors go past it
	at := int64(0)
	for _, t := range l.tensors {
		e := l.places[t]
		if _, err := out.Write(make([]byte, e.Offset-at)); err != nil {
			return err
		}
		if _, err := out.Write(t.Data); err != nil {
			return err
		}
		at = e.Offset + e.Length
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if sum != nil {
		for _, t := range l.tensors {
			l.places[t].Checksum = hex.EncodeToString(sum.Sum(nil))
		}
	}
	return nil
}

// writeExternal writes a model whose large initializers lie in a second file.
func (m *Model) writeExternal(path string, o WriteOptions) error {
	if !plainName(o.External) || o.External == filepath.Base(path) {
		return fmt.Errorf("WriteOptions.External %q: expected the plain name of another file in the model's folder", o.External)
	}
	if o.ExternalMin == 0 {
		o.ExternalMin = defaultExternalMin
	}
	if m.Graph == nil {
		return errors.New("write: the model has no graph")
	}
	l := m.plan(o.External, o.ExternalMin)
	data, err := stage(filepath.Join(filepath.Dir(path), o.External), o.Overwrite, l.write)
	if err != nil {
		return err
	}
	defer data.close()
	e, err := m.encode(func(t *Tensor) *External {
		if at := l.places[t]; at != nil {
			return at
		}
		return inlined(t)
	})
	if err != nil {
		return err
	}
	if e.size() > maxFile {
		return fmt.Errorf("the model takes %d bytes without its initializers of at least %d bytes (WriteOptions.ExternalMin), an ONNX file holds at most 2 GiB", e.size(), o.ExternalMin)
	}
	model, err := stage(path, o.Overwrite, e.write)
	if err != nil {
		return err
	}
	defer model.close()
	if err := data.commit(); err != nil {
		return err
	}
	if err := model.commit(); err != nil {
		data.withdraw()
		return err
	}
	return nil
}

// plainName says whether name is a file's name without a folder.
func plainName(name string) bool {
	return fs.ValidPath(name) && filepath.IsLocal(name) && filepath.Base(name) == name && name != "."
}
