package onnxgraph

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
)

// maxFile is the largest message that protobuf's implementations read; tensors
// beyond that lie in external files.
const maxFile = math.MaxInt32

// ReadFile reads a model and maps the data of its external tensors, which must
// lie in the model's own folder. Errors name the file.
//
// Large files are mapped, not read: opening a model takes about as long as
// reading its graph, whatever its tensors weigh. The tensors alias the map
// until Close. Replace a file in use by renaming another over it, as WriteFile
// does. Cutting it short while it is mapped turns later reads into errors here
// (ReadFile, WriteFile, AsFloats and its like), and ends the program elsewhere.
func ReadFile(path string) (*Model, error) {
	m, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func readFile(path string) (*Model, error) {
	f, size, err := openModel(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := &mappings{}
	m, err := readMapped(f, size, files)
	if err == nil {
		err = loadExternal(m, filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, files.close())
	}
	return m, nil
}

// openModel opens a plain file; waiting for a pipe or reading a device without
// end is not what anybody wants.
func openModel(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, openFlags, 0)
	if err != nil {
		return nil, 0, errors.Unwrap(err) // the caller names the file
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.IsDir():
		err = errors.New("is a folder, expected an ONNX file")
	case !st.Mode().IsRegular():
		err = errors.New("is a pipe or device, expected an ONNX file")
	case st.Size() > maxFile:
		err = fmt.Errorf("%d bytes; an ONNX file has at most 2 GiB, larger models keep tensors in external files", st.Size())
	default:
		return f, st.Size(), nil
	}
	return nil, 0, errors.Join(err, f.Close())
}

func readMapped(f *os.File, size int64, files *mappings) (m *Model, err error) {
	b, err := files.load(f, size)
	if err != nil {
		return nil, err
	}
	err = Guarded(func() error {
		m, err = Unmarshal(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.files = files
	return m, nil
}

// WriteOptions say how a model is written.
type WriteOptions struct {
	Overwrite bool // replace existing files
	// External is the name of a file beside the model that takes the data of
	// initializers of at least ExternalMin bytes. Where it is empty, everything
	// lies in the model's own file; a model too large for that (2 GiB) gets a
	// file of its name with ".data" behind, and Log is told.
	External    string
	ExternalMin int64        // 0 is 1,024, as in the onnx package
	Log         *slog.Logger // nil is silent
}

// WriteFile writes the model atomically: to a temporary file in the same
// folder, synced and renamed. Data of tensors is streamed from where it lies,
// which may be a map of the very file that is replaced. Where a second file
// takes data, both are written before the first is renamed; between the two
// renames an overwritten model has its old graph with the new data.
func (m *Model) WriteFile(path string, o WriteOptions) error {
	if err := m.writeFile(path, o); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (m *Model) writeFile(path string, o WriteOptions) error {
	if o.External == "" {
		e, err := m.encode(inlined)
		if err != nil {
			return err
		}
		if e.size() <= maxFile {
			return WriteAtomic(path, o.Overwrite, e.write)
		}
		o.External = filepath.Base(path) + ".data"
		if o.Log != nil {
			o.Log.Info("the model is too large for one ONNX file: tensors go to a second one", "model", path, "data", o.External, "bytes", e.size())
		}
	}
	return m.writeExternal(path, o)
}

func (e *encoder) write(w io.Writer) error {
	_, err := e.writeTo(w)
	return err
}

// inlined places loaded external tensors in the model itself.
func inlined(t *Tensor) *External {
	if t.Data != nil {
		return nil
	}
	return t.External
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
