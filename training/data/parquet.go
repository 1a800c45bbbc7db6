package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
	"github.com/x448/float16"
)

// parquetTable reads a Parquet file; a chunk is a row group
// (https://parquet.apache.org/docs/file-format/).
type parquetTable struct {
	path   string
	file   *os.File
	parsed *parquet.File
	fields []field
	leaves []*parquet.Column // by field; nil for fields that are not read
	group  int               // the next row group
	row    int64             // its first row
	chunk  []series
}

func openParquet(path string) (_ table, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	size := int64(-1)
	defer func() {
		err = errors.Join(err, panicked(recover()))
		if err != nil {
			f.Close()
			err = &FileError{path, -1, size, fmt.Errorf("not a whole Parquet file: %w", err)}
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size = info.Size()
	p, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	t := &parquetTable{path: path, file: f, parsed: p}
	for _, c := range p.Root().Columns() {
		desc, leaf := parquetField(c)
		t.fields, t.leaves = append(t.fields, desc), append(t.leaves, leaf)
	}
	t.chunk = make([]series, len(t.fields))
	return t, nil
}

// panicked is what a panic of the library means: a file that it did not expect.
func panicked(reason any) error {
	if reason == nil {
		return nil
	}
	return fmt.Errorf("damaged: %v", reason)
}

// parquetField describes a column of the first level and finds the leaf that
// holds its values.
func parquetField(c *parquet.Column) (field, *parquet.Column) {
	leaf := c
	for !leaf.Leaf() && len(leaf.Columns()) == 1 {
		leaf = leaf.Columns()[0]
	}
	if !leaf.Leaf() {
		if bytes := c.Column("bytes"); bytes != nil && bytes.Leaf() && bytes.Type().Kind() == parquet.ByteArray {
			return field{Name: c.Name(), Kind: fieldPicture, Type: "{bytes, path}"}, bytes
		}
		return field{Name: c.Name(), Type: "group"}, nil
	}
	f := field{Name: c.Name(), Kind: parquetKind(leaf), Type: leaf.Type().String(), Rank: leaf.MaxRepetitionLevel()}
	for range f.Rank {
		f.Type = "list of " + f.Type
	}
	if f.Kind == fieldOther || f.Rank > 0 && !f.numeric() {
		f.Kind, leaf = fieldOther, nil
	}
	return f, leaf
}

func parquetKind(leaf *parquet.Column) fieldKind {
	var logical format.LogicalTypeValue
	if l := leaf.Type().LogicalType(); l != nil {
		logical = l.Value
	}
	switch leaf.Type().Kind() {
	case parquet.Boolean:
		return fieldInts
	case parquet.Int32, parquet.Int64:
		if _, plain := logical.(*format.IntType); plain || logical == nil {
			return fieldInts
		}
	case parquet.Float, parquet.Double:
		return fieldFloats
	case parquet.FixedLenByteArray:
		if _, half := logical.(*format.Float16Type); half {
			return fieldFloats
		}
	case parquet.ByteArray:
		if c := leaf.Type().ConvertedType(); c != nil && *c == deprecated.UTF8 {
			return fieldText
		}
		switch logical.(type) {
		case nil:
			return fieldPicture
		case *format.StringType, *format.JsonType, *format.EnumType:
			return fieldText
		}
	}
	return fieldOther
}

func (t *parquetTable) Fields() []field { return t.fields }
func (t *parquetTable) Close() error    { return t.file.Close() }

func (t *parquetTable) Metadata(key string) string {
	v, _ := t.parsed.Lookup(key)
	return v
}

func (t *parquetTable) Next(ctx context.Context) ([]series, error) {
	groups := t.parsed.RowGroups()
	if t.group == len(groups) {
		return nil, io.EOF
	}
	for i, leaf := range t.leaves {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t.chunk[i].reset()
		if leaf == nil {
			continue
		}
		if err := t.readColumn(groups[t.group].ColumnChunks()[leaf.Index()], leaf, i); err != nil {
			return nil, err
		}
		if got, want := t.chunk[i].rows, int(groups[t.group].NumRows()); got != want {
			return nil, t.fault(i, leaf, fmt.Errorf("%d rows, expected %d", got, want))
		}
	}
	t.row += groups[t.group].NumRows()
	t.group++
	return t.chunk, nil
}

// fault places an error at a row of a column and at the byte where the column's
// values of the row group begin.
func (t *parquetTable) fault(i int, leaf *parquet.Column, err error) error {
	meta := t.parsed.Metadata().RowGroups[t.group].Columns[leaf.Index()].MetaData
	return &FileError{t.path, t.row + int64(t.chunk[i].rows), meta.DataPageOffset, fmt.Errorf("column %q: %w", t.fields[i].Name, err)}
}

func (t *parquetTable) readColumn(chunk parquet.ColumnChunk, leaf *parquet.Column, i int) (err error) {
	pages := chunk.Pages()
	defer pages.Close()
	defer func() {
		if e := errors.Join(err, panicked(recover())); e != nil {
			err = t.fault(i, leaf, e)
		}
	}()
	in := leafReader{series: &t.chunk[i], kind: t.fields[i].Kind, counts: make([]int64, leaf.MaxRepetitionLevel())}
	values := make([]parquet.Value, 1024)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return in.endRow()
		}
		if err != nil {
			return err
		}
		for r := page.Values(); ; {
			n, err := r.ReadValues(values)
			for _, v := range values[:n] {
				if err := in.add(v); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		parquet.Release(page)
	}
}

// leafReader puts the values of a leaf into a series, row by row. How lists nest
// is told by the repetition level of each value: that of the list which it
// continues, 0 where it begins a row.
type leafReader struct {
	*series
	kind   fieldKind
	begun  bool
	counts []int64 // elements so far of the list that is open at each depth
	inner  []int64 // elements of the lists below the outermost; 0 until one ended
}

func (l *leafReader) add(v parquet.Value) error {
	if v.IsNull() {
		return errors.New("a value is missing")
	}
	at := v.RepetitionLevel()
	if at == 0 {
		if err := l.endRow(); err != nil {
			return err
		}
		l.begun = true
		for d := range l.counts {
			l.counts[d] = 1
		}
	} else {
		if err := l.endLists(at); err != nil {
			return err
		}
		l.counts[at-1]++
	}
	return l.element(v)
}

// endLists closes the lists deeper than a level.
func (l *leafReader) endLists(level int) error {
	if l.inner == nil {
		l.inner = make([]int64, len(l.counts))
	}
	for d := level; d < len(l.counts); d++ {
		if l.inner[d] == 0 {
			l.inner[d] = l.counts[d]
		}
		if l.inner[d] != l.counts[d] {
			return fmt.Errorf("a list of %d elements beside one of %d; samples have one shape", l.counts[d], l.inner[d])
		}
		l.counts[d] = 1
	}
	return nil
}

func (l *leafReader) endRow() error {
	if !l.begun {
		return nil
	}
	dims := append([]int64{}, l.counts...)
	if len(dims) > 1 {
		if err := l.endLists(1); err != nil {
			return err
		}
		copy(dims[1:], l.inner[1:])
	}
	return l.shaped(dims)
}

func (l *leafReader) element(v parquet.Value) error {
	switch v.Kind() {
	case parquet.Boolean:
		l.ints = append(l.ints, map[bool]int64{true: 1}[v.Boolean()])
	case parquet.Int32:
		l.ints = append(l.ints, int64(v.Int32()))
	case parquet.Int64:
		l.ints = append(l.ints, v.Int64())
	case parquet.Float:
		l.floats = append(l.floats, v.Float())
	case parquet.Double:
		l.floats = append(l.floats, float32(v.Double()))
	case parquet.FixedLenByteArray:
		b := v.ByteArray()
		l.floats = append(l.floats, float16.Frombits(uint16(b[0])|uint16(b[1])<<8).Float32())
	case parquet.ByteArray:
		l.blobs = append(l.blobs, append([]byte(nil), v.ByteArray()...))
	default:
		return fmt.Errorf("a value of type %s", v.Kind())
	}
	return nil
}
