package data

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// arrowTable reads record batches in the IPC format of Apache Arrow, as a stream
// or as a file (https://arrow.apache.org/docs/format/Columnar.html). A chunk is a
// record batch.
type arrowTable struct {
	name   string
	close  func() error
	read   func() (arrow.RecordBatch, error) // io.EOF at the end
	ended  func() error                      // what is wrong with an end that read reports
	schema *arrow.Schema
	fields []field
	shapes [][]int64 // by field: that of a row of a tensor type, else nil
	row    int64     // the first of the next batch
	chunk  []series
}

// arrowMagic begins a file; a stream begins with a message.
const arrowMagic = "ARROW1"

func openArrow(path string) (table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(arrowMagic))
	if n, _ := f.ReadAt(head, 0); string(head[:n]) != arrowMagic {
		t, err := openArrowStream(path, f)
		if err != nil {
			f.Close()
			return nil, err
		}
		t.close = f.Close
		return t, nil
	}
	t, err := openArrowFile(path, f)
	if err != nil {
		f.Close()
		size := int64(-1)
		if info, e := f.Stat(); e == nil {
			size = info.Size()
		}
		return nil, &FileError{path, -1, size, fmt.Errorf("not a whole Arrow file: %w", err)}
	}
	return t, nil
}

func openArrowFile(path string, f *os.File) (t *arrowTable, err error) {
	defer func() { err = errors.Join(err, panicked(recover())) }()
	r, err := ipc.NewFileReader(f)
	if err != nil {
		return nil, err
	}
	return newArrowTable(path, r.Schema(), r.Read, nil, f.Close)
}

// openArrowStream reads from a pipe or file that r is at the start of. It reads
// no further than a batch ahead, so that a writer that is faster has to wait.
func openArrowStream(name string, r io.Reader) (t *arrowTable, err error) {
	counted := &countingReader{r: bufio.NewReaderSize(r, 1<<16)}
	defer func() {
		if err = errors.Join(err, panicked(recover())); err != nil {
			err = &FileError{name, -1, counted.n, fmt.Errorf("not an Arrow IPC stream: %w", truncation(err))}
		}
	}()
	s, err := ipc.NewReader(counted)
	if err != nil {
		return nil, err
	}
	read := func() (arrow.RecordBatch, error) {
		b, err := s.Read()
		if err != nil && !errors.Is(err, io.EOF) {
			err = &FileError{name, -1, counted.n, err}
		}
		return b, err
	}
	ended := func() error {
		if !counted.marked() {
			return &FileError{name, -1, counted.n, errors.New("the stream breaks off without its end mark: the process that writes it did not close it")}
		}
		return nil
	}
	return newArrowTable(name, s.Schema(), read, ended, func() error { return nil })
}

// countingReader counts bytes and keeps the last eight of them.
type countingReader struct {
	r    io.Reader
	n    int64
	last [8]byte
	read int // bytes of the last read that had any
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if n > 0 {
		c.read = n
	}
	if tail := p[:n]; n >= len(c.last) {
		copy(c.last[:], tail[n-len(c.last):])
	} else {
		copy(c.last[:], c.last[n:])
		copy(c.last[len(c.last)-n:], tail)
	}
	return n, err
}

// marked says whether a stream was closed by its writer: its last message has a
// length of zero, which the library reads as four bytes.
func (c *countingReader) marked() bool {
	return c.last == [8]byte{0xFF, 0xFF, 0xFF, 0xFF} && c.read == 4
}

func newArrowTable(name string, s *arrow.Schema, read func() (arrow.RecordBatch, error), ended, close func() error) (*arrowTable, error) {
	t := &arrowTable{name: name, read: read, ended: ended, close: close, schema: s, chunk: make([]series, s.NumFields())}
	for _, f := range s.Fields() {
		shape, err := tensorShape(f)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		t.fields, t.shapes = append(t.fields, arrowField(f)), append(t.shapes, shape)
	}
	return t, nil
}

// tensorShape is the shape of the rows of a field of Arrow's type
// arrow.fixed_shape_tensor, nil for another type
// (https://arrow.apache.org/docs/format/CanonicalExtensions.html).
func tensorShape(f arrow.Field) ([]int64, error) {
	if name, _ := f.Metadata.GetValue(ipc.ExtensionTypeKeyName); name != "arrow.fixed_shape_tensor" {
		return nil, nil
	}
	var meta struct {
		Shape       []int64 `json:"shape"`
		Permutation []int   `json:"permutation"`
	}
	text, _ := f.Metadata.GetValue(ipc.ExtensionMetadataKeyName)
	if err := json.Unmarshal([]byte(text), &meta); err != nil {
		return nil, fmt.Errorf("shape of the tensors: %w", err)
	}
	if !slices.IsSorted(meta.Permutation) {
		return nil, fmt.Errorf("tensors whose axes are permuted %v, expected them in order", meta.Permutation)
	}
	if meta.Shape == nil {
		meta.Shape = []int64{}
	}
	return meta.Shape, nil
}

func arrowField(f arrow.Field) field {
	out := field{Name: f.Name, Type: f.Type.String()}
	if s, ok := f.Type.(*arrow.StructType); ok {
		if b, ok := s.FieldByName("bytes"); ok && isBinary(b.Type) {
			out.Kind = fieldPicture
		}
		return out
	}
	inner := f.Type
	for {
		if e, ok := inner.(arrow.ExtensionType); ok {
			inner = e.StorageType()
			continue
		}
		l, ok := inner.(arrow.ListLikeType)
		if !ok || inner.ID() == arrow.MAP {
			break
		}
		inner = l.Elem()
		out.Rank++
	}
	switch id := inner.ID(); {
	case id == arrow.BOOL || arrow.IsInteger(id):
		out.Kind = fieldInts
	case arrow.IsFloating(id):
		out.Kind = fieldFloats
	case out.Rank > 0:
	case id == arrow.STRING || id == arrow.LARGE_STRING:
		out.Kind = fieldText
	case isBinary(inner):
		out.Kind = fieldPicture
	}
	return out
}

func isBinary(t arrow.DataType) bool { return t.ID() == arrow.BINARY || t.ID() == arrow.LARGE_BINARY }

func (t *arrowTable) Fields() []field { return t.fields }
func (t *arrowTable) Close() error    { return t.close() }

func (t *arrowTable) Metadata(key string) string {
	m := t.schema.Metadata()
	v, _ := m.GetValue(key)
	return v
}

func (t *arrowTable) Next(ctx context.Context) (_ []series, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at := 0
	defer func() {
		if p := panicked(recover()); p != nil {
			err = &FileError{t.name, t.row, -1, p}
		}
	}()
	b, err := t.read()
	if errors.Is(err, io.EOF) && t.ended != nil {
		err = cmp.Or(t.ended(), err)
	}
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		var f *FileError
		if errors.As(err, &f) {
			f.Record = t.row
			return nil, err
		}
		return nil, &FileError{t.name, t.row, -1, err}
	}
	for at = range t.fields {
		s := &t.chunk[at]
		s.reset()
		if t.fields[at].Kind == fieldOther {
			continue
		}
		if err := s.addArrow(b.Column(at), int(b.NumRows()), t.shapes[at]); err != nil {
			return nil, &FileError{t.name, t.row, -1, fmt.Errorf("column %q: %w", t.fields[at].Name, err)}
		}
	}
	t.row += b.NumRows()
	return t.chunk, nil
}

// addArrow appends the rows of an array. Lists that stand for tensors have the
// given shape, else nil.
func (s *series) addArrow(a arrow.Array, rows int, shape []int64) error {
	dims := []int64{}
	for {
		if a.NullN() > 0 {
			return errors.New("a value is missing")
		}
		switch l := a.(type) {
		case array.ExtensionArray:
			a = l.Storage()
			continue
		case *array.Struct:
			st := l.DataType().(*arrow.StructType)
			i, _ := st.FieldIdx("bytes")
			a = l.Field(i)
			continue
		case array.ListLike:
			n, values, err := listOf(l)
			if err != nil {
				return err
			}
			dims, a = append(dims, n), values
			continue
		}
		break
	}
	if rows == 0 {
		return nil
	}
	if shape != nil {
		if len(dims) != 1 || dims[0] != elements(shape) {
			return fmt.Errorf("lists of shape %v, expected tensors of shape %v", dims, shape)
		}
		dims = shape
	}
	if err := s.shaped(dims); err != nil {
		return err
	}
	s.rows += rows - 1
	return s.addElements(a)
}

func elements(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

// listOf takes a list array apart: the length that all lists have, and their
// elements one after another.
func listOf(l array.ListLike) (int64, arrow.Array, error) {
	rows := l.Len()
	if rows == 0 {
		return 0, l.ListValues(), nil
	}
	first, end := l.ValueOffsets(0)
	n := end - first
	for i := range rows {
		from, to := l.ValueOffsets(i)
		if to-from != n {
			return 0, nil, fmt.Errorf("row %d of the batch holds a list of %d elements beside one of %d; samples have one shape", i, to-from, n)
		}
		end = to
	}
	return n, array.NewSlice(l.ListValues(), first, end), nil
}

func (s *series) addElements(a arrow.Array) error {
	switch a := a.(type) {
	case *array.Float32:
		s.floats = append(s.floats, a.Float32Values()...)
	case *array.Float64:
		s.floats = appendAs(s.floats, a.Float64Values())
	case *array.Float16:
		for _, v := range a.Values() {
			s.floats = append(s.floats, v.Float32())
		}
	case *array.Int64:
		s.ints = append(s.ints, a.Int64Values()...)
	case *array.Int32:
		s.ints = appendAs(s.ints, a.Int32Values())
	case *array.Int16:
		s.ints = appendAs(s.ints, a.Int16Values())
	case *array.Int8:
		s.ints = appendAs(s.ints, a.Int8Values())
	case *array.Uint64:
		s.ints = appendAs(s.ints, a.Uint64Values())
	case *array.Uint32:
		s.ints = appendAs(s.ints, a.Uint32Values())
	case *array.Uint16:
		s.ints = appendAs(s.ints, a.Uint16Values())
	case *array.Uint8:
		s.ints = appendAs(s.ints, a.Uint8Values())
	case *array.Boolean:
		for i := range a.Len() {
			s.ints = append(s.ints, map[bool]int64{true: 1}[a.Value(i)])
		}
	case interface{ Value(int) string }: // strings, of either size of offset
		for i := range a.(arrow.Array).Len() {
			s.blobs = append(s.blobs, []byte(a.Value(i)))
		}
	case interface{ Value(int) []byte }:
		for i := range a.(arrow.Array).Len() {
			s.blobs = append(s.blobs, append([]byte(nil), a.Value(i)...))
		}
	default:
		return fmt.Errorf("elements of type %s", a.DataType())
	}
	return nil
}
