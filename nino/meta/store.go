package meta

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/x448/float16"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
)

// Store is a folder of trajectories. Each is a file ID.traj, beside ID.onnx,
// the model whose parameters it follows. A file gets its name when it is
// complete, so that what is there is whole; ID.traj.part and ID.onnx.part are of a
// run under way or what a killed one left, and are made anew.
//
// A trajectory file is
//
//	"NINOXTR1", uint32 length, header (JSON), uint32 CRC-32C of the header,
//	for each state: its values as float16, parameter after parameter, uint32 CRC-32C of them,
//
// all little-endian.
type Store struct {
	dir    string
	bucket *bucket // nil: the folder is all there is
}

const (
	trajectoryMagic  = "NINOXTR1"
	maxHeader        = 16 << 20 // bytes
	trajectorySuffix = ".traj"
	modelSuffix      = ".onnx"
	partSuffix       = ".part"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenStore opens a store, and makes the folder where it is missing.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{dir: dir}, nil
}

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(id, suffix string) string { return filepath.Join(s.dir, id+suffix) }

// Has says whether the store holds a run, in its bucket if it has one.
func (s *Store) Has(id string) bool {
	if s.bucket != nil {
		return s.bucket.held[id]
	}
	return s.complete(id)
}

// complete says whether the folder holds a whole run.
func (s *Store) complete(id string) bool {
	_, err := os.Stat(s.path(id, trajectorySuffix))
	return err == nil
}

// IDs lists the complete runs, sorted.
func (s *Store) IDs() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var out []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), trajectorySuffix); ok {
			out = append(out, id)
		}
	}
	return out, nil
}

// header is what a trajectory file says of itself.
type header struct {
	Task       Task             `json:"task"`
	Parameters []parameterShape `json:"parameters"`
	Every      int              `json:"every"`
	States     int              `json:"states"`
}

type parameterShape struct {
	Name string  `json:"name"`
	Dims []int64 `json:"dims"`
}

func (p parameterShape) len() (int, error) {
	n := int64(1)
	for _, d := range p.Dims {
		if d < 0 || d > 0 && n > math.MaxInt32/d {
			return 0, fmt.Errorf("parameter %q has shape %v", p.Name, p.Dims)
		}
		n *= d
	}
	return int(n), nil
}

// writer writes one trajectory.
type writer struct {
	store  *Store
	id     string
	header header
	file   *os.File
	buf    *bufio.Writer
	record []byte
	states int
}

// create starts a trajectory of a model.
func (s *Store) create(t Task, m *onnxgraph.Model, parameters []parameterShape) (*writer, error) {
	w := &writer{store: s, id: t.ID(), header: header{Task: t, Parameters: parameters, Every: t.Every, States: t.States()}}
	if err := s.writeModel(w.id, m); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	text, err := json.Marshal(w.header)
	if err != nil {
		return nil, err
	}
	if w.file, err = os.Create(s.path(w.id, trajectorySuffix+partSuffix)); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	w.buf = bufio.NewWriterSize(w.file, 1<<20)
	head := append([]byte(trajectoryMagic), binary.LittleEndian.AppendUint32(nil, uint32(len(text)))...)
	head = append(head, text...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(text, castagnoli))
	if _, err := w.buf.Write(head); err != nil {
		w.abort()
		return nil, fmt.Errorf("store: %w", err)
	}
	return w, nil
}

// writeModel writes a run's model by way of ID.onnx.part, which the next attempt
// replaces if this one is killed.
func (s *Store) writeModel(id string, m *onnxgraph.Model) error {
	b, err := m.Marshal()
	if err != nil {
		return err
	}
	f, err := os.Create(s.path(id, modelSuffix+partSuffix))
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(id, modelSuffix))
}

// add appends a state.
func (w *writer) add(state *weights.Set) error {
	w.record = w.record[:0]
	for _, p := range w.header.Parameters {
		v, err := state.Floats(p.Name)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		for _, x := range v {
			w.record = binary.LittleEndian.AppendUint16(w.record, float16.Fromfloat32(x).Bits())
		}
	}
	w.record = binary.LittleEndian.AppendUint32(w.record, crc32.Checksum(w.record, castagnoli))
	w.states++
	if _, err := w.buf.Write(w.record); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// finish makes the trajectory part of the store.
func (w *writer) finish() error {
	if w.states != w.header.States {
		w.abort()
		return fmt.Errorf("store: run %s has %d states, expected %d", w.id, w.states, w.header.States)
	}
	err := errors.Join(w.buf.Flush(), w.file.Sync(), w.file.Close())
	if err == nil {
		err = os.Rename(w.file.Name(), w.store.path(w.id, trajectorySuffix))
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (w *writer) abort() {
	w.file.Close()
	os.Remove(w.file.Name())
}

// Trajectory is one run of the store, open for reading. It is safe for
// concurrent use.
type Trajectory struct {
	ID    string
	Task  Task
	Graph *neuralgraph.NiNo // of the model, its blocks in place of the stored parameters

	header header
	sizes  []int // of the parameters
	record int   // bytes of a state
	start  int64 // of the first state
	file   *os.File
}

// Open opens a run and checks its header and length. States are checked as
// they are read.
func (s *Store) Open(id string) (*Trajectory, error) {
	t := &Trajectory{ID: id}
	path := s.path(id, trajectorySuffix)
	var err error
	if t.file, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := t.readHeader(); err != nil {
		t.Close()
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	if t.Graph, err = s.graph(id, t.header.Parameters); err != nil {
		t.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	return t, nil
}

// graph derives the neural graph of a run's model.
func (s *Store) graph(id string, parameters []parameterShape) (*neuralgraph.NiNo, error) {
	path := s.path(id, modelSuffix)
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return nil, err
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var names []string
	for _, p := range parameters {
		names = append(names, p.Name)
	}
	n, err := g.NiNo(names)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func (t *Trajectory) readHeader() error {
	fixed := make([]byte, len(trajectoryMagic)+4)
	if _, err := io.ReadFull(t.file, fixed); err != nil || string(fixed[:len(trajectoryMagic)]) != trajectoryMagic {
		return errors.New("no trajectory file")
	}
	size := binary.LittleEndian.Uint32(fixed[len(trajectoryMagic):])
	if size > maxHeader {
		return fmt.Errorf("header of %d bytes", size)
	}
	text := make([]byte, size+4)
	if _, err := io.ReadFull(t.file, text); err != nil {
		return errors.New("ends within its header")
	}
	if crc32.Checksum(text[:size], castagnoli) != binary.LittleEndian.Uint32(text[size:]) {
		return errors.New("the header's checksum does not match")
	}
	if err := json.Unmarshal(text[:size], &t.header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	t.Task, t.start = t.header.Task, int64(len(fixed)+len(text))
	for _, p := range t.header.Parameters {
		n, err := p.len()
		if err != nil {
			return err
		}
		t.sizes = append(t.sizes, n)
		t.record += 2 * n
	}
	t.record += 4
	st, err := t.file.Stat()
	if err != nil {
		return err
	}
	if want := t.start + int64(t.record)*int64(t.header.States); st.Size() != want {
		return fmt.Errorf("%d bytes, expected %d for %d states", st.Size(), want, t.header.States)
	}
	return nil
}

// Close closes the file.
func (t *Trajectory) Close() { t.file.Close() }

// States is the number of states.
func (t *Trajectory) States() int { return t.header.States }

// Every is the number of steps between two states.
func (t *Trajectory) Every() int { return t.header.Every }

// State reads state number i, of step i·Every.
func (t *Trajectory) State(i int) (*weights.Set, error) {
	if i < 0 || i >= t.header.States {
		return nil, fmt.Errorf("store: run %s: state %d of %d", t.ID, i, t.header.States)
	}
	b := make([]byte, t.record)
	if _, err := t.file.ReadAt(b, t.start+int64(i)*int64(t.record)); err != nil {
		return nil, fmt.Errorf("store: run %s: state %d: %w", t.ID, i, err)
	}
	body, sum := b[:t.record-4], binary.LittleEndian.Uint32(b[t.record-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("store: run %s: state %d: the checksum does not match", t.ID, i)
	}
	set := &weights.Set{}
	for n, p := range t.header.Parameters {
		v := make([]float32, t.sizes[n])
		for j := range v {
			v[j] = float16.Frombits(binary.LittleEndian.Uint16(body[2*j:])).Float32()
		}
		body = body[2*len(v):]
		set.AddFloats(p.Name, p.Dims, v)
	}
	return set, nil
}
