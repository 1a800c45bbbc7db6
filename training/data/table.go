package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// table is a source of rows in chunks: a Parquet file, or a file or stream in the
// IPC format of Apache Arrow.
type table interface {
	// Fields are the columns of the table.
	Fields() []field
	// Metadata is what the writer left in the schema under a key, "" for nothing.
	Metadata(key string) string
	// Next is the next chunk of rows, with one series per field; io.EOF where there
	// is none. The chunk is valid until the next call.
	Next(ctx context.Context) ([]series, error)
	Close() error
}

// fieldKind is what can be done with a column of a table.
type fieldKind int

const (
	fieldOther   fieldKind = iota // nothing: a map, a date, a structure
	fieldFloats                   // numbers, or lists of as many numbers in every row
	fieldInts                     // the same of whole numbers and truth values
	fieldText                     // a string
	fieldPicture                  // the bytes of an image file, alone or in {bytes, path}
)

// field is one column of a table.
type field struct {
	Name string
	Kind fieldKind
	Type string // as the file spells it, for messages
	Rank int    // nesting of lists; 0 for plain values
}

// dtype is the element type of a numeric field.
func (f field) dtype() onnxgraph.DType {
	if f.Kind == fieldInts {
		return onnxgraph.Int64
	}
	return onnxgraph.Float
}

func (f field) numeric() bool { return f.Kind == fieldFloats || f.Kind == fieldInts }

func fieldNames(fields []field, keep func(field) bool) []string {
	var out []string
	for _, f := range fields {
		if keep(f) {
			out = append(out, f.Name)
		}
	}
	return out
}

// series is a run of rows of one field. Numeric rows all have the shape dims.
type series struct {
	rows   int
	dims   []int64 // of one row; nil until the first one is known
	floats []float32
	ints   []int64
	blobs  [][]byte // text or image files
}

func (s *series) reset() {
	s.rows, s.floats, s.ints, s.blobs = 0, s.floats[:0], s.ints[:0], s.blobs[:0]
}

// shaped notes a row of the given shape, which all rows must have.
func (s *series) shaped(dims []int64) error {
	if s.dims == nil {
		s.dims = slices.Clone(dims)
		if s.dims == nil {
			s.dims = []int64{}
		}
		for _, d := range dims {
			if d == 0 {
				return errors.New("an empty list, expected numbers")
			}
		}
	}
	if !slices.Equal(s.dims, dims) {
		return fmt.Errorf("a list of shape %v, but %v in the rows before it; samples have one shape", dims, s.dims)
	}
	s.rows++
	return nil
}

// number is an element of any numeric type.
type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

func appendAs[T, F number](to []T, from []F) []T {
	to = slices.Grow(to, len(from))
	for _, v := range from {
		to = append(to, T(v))
	}
	return to
}

// openTable opens one file by its name.
func openTable(path string) (table, error) {
	if strings.HasSuffix(path, ".parquet") || strings.HasSuffix(path, ".pq") {
		return openParquet(path)
	}
	return openArrow(path)
}

// tables is a table of several files with the same columns, one after another.
type tables struct {
	paths []string
	open  func(string) (table, error)
	now   table
	field []field
}

func openTables(paths []string, open func(string) (table, error)) (*tables, error) {
	t := &tables{paths: paths, open: open}
	if err := t.advance(); err != nil {
		return nil, err
	}
	t.field = t.now.Fields()
	return t, nil
}

func (t *tables) Fields() []field            { return t.field }
func (t *tables) Metadata(key string) string { return t.now.Metadata(key) }

func (t *tables) Close() error {
	if t.now == nil {
		return nil
	}
	return t.now.Close()
}

// advance opens the next file.
func (t *tables) advance() error {
	if err := t.Close(); err != nil {
		return err
	}
	next, err := t.open(t.paths[0])
	if err != nil {
		return err
	}
	if t.field != nil && !slices.Equal(t.field, next.Fields()) {
		next.Close()
		return fmt.Errorf("%s: columns %s, but %s in the files before it", t.paths[0], describe(next.Fields()), describe(t.field))
	}
	t.now, t.paths = next, t.paths[1:]
	return nil
}

func (t *tables) Next(ctx context.Context) ([]series, error) {
	for {
		chunk, err := t.now.Next(ctx)
		if !errors.Is(err, io.EOF) || len(t.paths) == 0 {
			return chunk, err
		}
		if err := t.advance(); err != nil {
			return nil, err
		}
	}
}

// describe lists columns with their types, for messages.
func describe(fields []field) string {
	if len(fields) == 0 {
		return "none"
	}
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.Name + " " + f.Type
	}
	return strings.Join(out, ", ")
}

// rowsOf are the chunks of a table until its end.
func rowsOf(ctx context.Context, t table, use func([]series) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk, err := t.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = use(chunk)
		}
		if err != nil {
			return err
		}
	}
}
