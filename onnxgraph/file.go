package onnxgraph

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile is the largest model file that protobuf can express (2 GiB); tensors
// beyond that lie in external files.
const maxFile = 1 << 31

// ReadFile reads a model and the data of its external tensors, which must lie
// in the model's own folder. Errors name the file.
func ReadFile(path string) (*Model, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s: is a folder, expected an ONNX file", path)
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes; an ONNX file has at most 2 GiB, larger models keep tensors in external files", path, st.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Unmarshal(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := loadExternal(m, filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// loadExternal reads the data of every external tensor from files inside dir.
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
	for _, t := range tensors {
		if err := readExternalData(root, t); err != nil {
			return fmt.Errorf("tensor %q: external data %q: %w", t.Name, t.External.Location, err)
		}
	}
	return nil
}

func readExternalData(root *os.Root, t *Tensor) error {
	if t.DType.Bits() == 0 {
		return fmt.Errorf("%s tensors cannot be external", t.DType)
	}
	if !filepath.IsLocal(filepath.FromSlash(t.External.Location)) {
		return errors.New("the path leads out of the model's folder")
	}
	f, st, err := openPlain(root, t.External.Location)
	if err != nil {
		return err
	}
	defer f.Close()
	n, _ := elementCount(t.Dims)
	size := t.DType.RawSize(n)
	e := t.External
	if e.Length >= 0 && e.Length != size {
		return fmt.Errorf("length %d, but %s%v takes %d bytes", e.Length, t.DType, t.Dims, size)
	}
	if e.Offset > st.Size() || size > st.Size()-e.Offset {
		return fmt.Errorf("%d bytes at offset %d lie beyond the file's %d", size, e.Offset, st.Size())
	}
	t.Data = make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, e.Offset, size), t.Data)
	return err
}

// openPlain opens a file that is neither a link nor known by a second name:
// either could lead to data that the model's folder does not hold.
func openPlain(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	refused := errors.New("not a plain file of its own (links are refused)")
	if !named.Mode().IsRegular() { // before opening: a pipe would block
		return nil, nil, refused
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && (!os.SameFile(named, st) || hardLinked(st)) { // swapped in between, or linked
		err = refused
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// EachTensor calls visit for every tensor of the model: initializers and
// attributes, in subgraphs and functions too.
func (m *Model) EachTensor(visit func(*Tensor)) {
	var nodes func([]*Node)
	sparse := func(s *SparseTensor) {
		visit(s.Values)
		visit(s.Indices)
	}
	graph := func(g *Graph) {
		for _, t := range g.Initializers {
			visit(t)
		}
		for _, s := range g.Sparse {
			sparse(s)
		}
		nodes(g.Nodes)
	}
	attribute := func(a *Attribute) {
		if a.T != nil {
			visit(a.T)
		}
		for _, t := range a.Tensors {
			visit(t)
		}
		if a.Sparse != nil {
			sparse(a.Sparse)
		}
		for _, s := range a.Sparses {
			sparse(s)
		}
		if a.G != nil {
			graph(a.G)
		}
		for _, g := range a.Graphs {
			graph(g)
		}
	}
	nodes = func(list []*Node) {
		for _, n := range list {
			for _, a := range n.Attrs {
				attribute(a)
			}
		}
	}
	graph(m.Graph)
	for _, f := range m.Functions {
		nodes(f.Nodes)
		for _, a := range f.Defaults {
			attribute(a)
		}
	}
}

// WriteOptions say how a model is written.
type WriteOptions struct {
	Overwrite bool // replace an existing file
}

// WriteFile writes the model atomically: to a temporary file in the same
// folder, synced and renamed. External tensors that were loaded are written
// into the file itself.
func (m *Model) WriteFile(path string, o WriteOptions) error {
	inline := *m
	restore := inlineExternal(&inline)
	defer restore()
	b, err := inline.Marshal()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(b) >= maxFile {
		return fmt.Errorf("%s: the model takes %d bytes, an ONNX file holds at most 2 GiB", path, len(b))
	}
	return WriteAtomic(path, o.Overwrite, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// inlineExternal makes loaded external tensors ordinary ones until restore.
func inlineExternal(m *Model) (restore func()) {
	refs := map[*Tensor]*External{}
	m.EachTensor(func(t *Tensor) {
		if t.External != nil && t.Data != nil {
			refs[t] = t.External
			t.External = nil
		}
	})
	return func() {
		for t, e := range refs {
			t.External = e
		}
	}
}

// WriteAtomic writes a file so that readers see the old one or the whole new
// one: write fills a temporary file beside it, which is synced and renamed.
// An existing file is an fs.ErrExist unless overwrite is set, even where
// another process creates it meanwhile.
func WriteAtomic(path string, overwrite bool, write func(io.Writer) error) (err error) {
	exists := &fs.PathError{Op: "write", Path: path, Err: fs.ErrExist}
	if _, err := os.Lstat(path); err == nil && !overwrite {
		return exists
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = write(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if !overwrite {
		// A hard link fails where the name is taken; a rename would replace.
		switch err = os.Link(f.Name(), path); {
		case err == nil:
			return errors.Join(os.Remove(f.Name()), syncDir(filepath.Dir(path)))
		case errors.Is(err, fs.ErrExist):
			err = exists
			return err
		} // file systems without hard links: rename
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir brings a new name in a folder to the disk, as far as the system
// lets folders be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // an error where folders cannot be synced; the file itself is on the disk
	return d.Close()
}
