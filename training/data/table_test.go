package data

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
)

func writeParquet[T any](t testing.TB, path string, rows []T) {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b)
	for len(rows) > 0 { // several row groups
		n := min(4, len(rows))
		if _, err := w.Write(rows[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sampleOf is one sample of a data set, all columns.
func sampleOf(t testing.TB, d Dataset, i int) []Buffer {
	t.Helper()
	b := NewBatch(d.Columns(), 1)
	if err := d.Batch([]int{i}, b.Buffers); err != nil {
		t.Fatal(err)
	}
	return b.Buffers
}

type numberRow struct {
	X      []float64
	Grid   [][]int32 `parquet:"Grid,list" parquet-element:",list"`
	Labels int64
	Flag   bool
	Note   string
}

func TestParquetNumbers(t *testing.T) {
	dir := t.TempDir()
	var rows []numberRow
	for i := range 10 {
		rows = append(rows, numberRow{[]float64{float64(i), 0.5}, [][]int32{{1, 2, 3}, {4, 5, int32(i)}}, int64(i), i%2 == 1, "ignored"})
	}
	writeParquet(t, filepath.Join(dir, "a.parquet"), rows[:7])
	writeParquet(t, filepath.Join(dir, "b.parquet"), rows[7:])
	s, err := Open(context.Background(), "parquet:"+filepath.Join(dir, "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if got := columnList(s.Train.Columns()); s.Train.Len() != 10 || got != "X float[2], Grid int64[2,3], Labels int64[], Flag int64[]" {
		t.Fatalf("%d samples of %s", s.Train.Len(), got)
	}
	b := sampleOf(t, s.Train, 9)
	if !slices.Equal(b[0].Floats, []float32{9, 0.5}) || !slices.Equal(b[1].Int64s, []int64{1, 2, 3, 4, 5, 9}) || b[2].Int64s[0] != 9 || b[3].Int64s[0] != 1 {
		t.Errorf("sample %+v", b)
	}
}

func TestParquetRefuses(t *testing.T) {
	type optional struct {
		X *float64 `parquet:"X,optional"`
	}
	type day struct {
		Day int32 `parquet:"Day,date"`
	}
	dir := t.TempDir()
	x := 1.0
	path := func(name string) string { return filepath.Join(dir, name+".parquet") }
	writeParquet(t, path("ragged"), []numberRow{{X: []float64{1, 2}, Grid: [][]int32{{1}}}, {X: []float64{1, 2, 3}, Grid: [][]int32{{1}}}})
	writeParquet(t, path("inner"), []numberRow{{X: []float64{1}, Grid: [][]int32{{1, 2}, {3}}}})
	writeParquet(t, path("missing"), []optional{{&x}, {nil}})
	writeParquet(t, path("other"), []day{{1}})
	good, err := os.ReadFile(path("ragged"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(good)
	for i := 8; i < 40; i++ {
		damaged[i] = 0xFF
	}
	for name, b := range map[string][]byte{"short": good[:len(good)/2], "damaged": damaged, "empty": nil} {
		if err := os.WriteFile(path(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"ragged":  `record 1: at byte`,
		"inner":   "a list of 1 elements beside one of 2",
		"missing": `column "X": a value is missing`,
		"other":   "no column of images, text or numbers; columns are Day",
		"short":   "not a whole Parquet file",
		"empty":   "not a whole Parquet file",
		"damaged": `damaged.parquet: record 0: at byte`,
		"absent":  "absent.parquet: no such file",
	} {
		_, err := Open(context.Background(), "parquet:"+path(name))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", name, err, want)
		}
		var f *FileError
		if name != "other" && name != "absent" && (!errors.As(err, &f) || f.File != path(name)) {
			t.Errorf("%s: error %v does not name the file", name, err)
		}
	}
}

// Files of images as the datasets library of Hugging Face writes them.
func TestParquetImages(t *testing.T) {
	type picture struct {
		Bytes []byte `parquet:"bytes,optional"`
		Path  string `parquet:"path,optional"`
	}
	type row struct {
		Img   picture `parquet:"img,optional"`
		Label int64   `parquet:"label"`
	}
	dir := t.TempDir()
	rows := []row{{picture{pngOf(t, 32, 10, 20, 30), "a.png"}, 2}, {picture{pngOf(t, 32, 40, 50, 60), ""}, 0}}
	writeParquet(t, filepath.Join(dir, "train-00000-of-00001.parquet"), rows)
	writeParquet(t, filepath.Join(dir, "validation-00000-of-00001.parquet"), rows[:1])
	writeParquet(t, filepath.Join(dir, "test-00000-of-00001.parquet"), rows[1:])
	s, err := Open(context.Background(), "parquet:"+dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 2 || s.Test.Len() != 1 || s.Classes != 3 {
		t.Fatalf("%d + %d images of %d classes", s.Train.Len(), s.Test.Len(), s.Classes)
	}
	lut := NormCIFAR.table()
	if b := sampleOf(t, s.Train, 0); b[0].Floats[0] != lut[0][10] || b[0].Floats[1024] != lut[1][20] || b[0].Floats[3071] != lut[2][30] || b[1].Int64s[0] != 2 {
		t.Errorf("image %v … of label %d", b[0].Floats[:2], b[1].Int64s[0])
	}
	if b := sampleOf(t, s.Test, 0); b[0].Floats[0] != lut[0][40] || b[1].Int64s[0] != 0 {
		t.Errorf("the test image is %v … of label %d", b[0].Floats[:2], b[1].Int64s[0])
	}
}

func TestParquetText(t *testing.T) {
	type row struct {
		Text string `parquet:"text"`
	}
	dir := t.TempDir()
	writeParquet(t, filepath.Join(dir, "train-0.parquet"), []row{{"one line\n"}, {""}, {"another"}, {"and more"}})
	writeParquet(t, filepath.Join(dir, "test-0.parquet"), []row{{"for testing"}})
	s, err := OpenWith(context.Background(), "parquet:"+dir, Options{Length: 5})
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i := range s.Train.Len() {
		for _, v := range sampleOf(t, s.Train, i)[0].Int64s {
			text = append(text, byte(v))
		}
	}
	if string(text) != "one line\nanother\nand more\n"[:25] || s.Test.Len() != 2 || s.Vocabulary != 256 {
		t.Errorf("text %q, %d for testing", text, s.Test.Len())
	}
}

// arrowBatches are three batches of 2 rows: x, a list of 2 numbers, and y.
func arrowBatches(t testing.TB) (*arrow.Schema, []arrow.RecordBatch) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32)},
		{Name: "y", Type: arrow.PrimitiveTypes.Int32},
		{Name: "s", Type: arrow.ListOf(arrow.PrimitiveTypes.Uint8)},
	}, nil)
	var out []arrow.RecordBatch
	for n := range 3 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range 2 {
			x := b.Field(0).(*array.FixedSizeListBuilder)
			x.Append(true)
			x.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{float32(2*n + i), -1}, nil)
			b.Field(1).(*array.Int32Builder).Append(int32(2*n + i))
			s := b.Field(2).(*array.ListBuilder)
			s.Append(true)
			s.ValueBuilder().(*array.Uint8Builder).AppendValues([]uint8{7, 8, 9}, nil)
		}
		out = append(out, b.NewRecordBatch())
	}
	return schema, out
}

func arrowStream(t testing.TB) []byte {
	t.Helper()
	schema, batches := arrowBatches(t)
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(schema))
	for _, r := range batches {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArrow(t *testing.T) {
	schema, batches := arrowBatches(t)
	dir := t.TempDir()
	stream := filepath.Join(dir, "stream.arrow")
	if err := os.WriteFile(stream, arrowStream(t), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file.arrow")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range batches {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{stream, file} {
		s, err := Open(context.Background(), "arrow:"+path)
		if err != nil {
			t.Fatal(err)
		}
		if got := columnList(s.Train.Columns()); s.Train.Len() != 6 || got != "x float[2], y int64[], s int64[3]" {
			t.Fatalf("%s: %d samples of %s", path, s.Train.Len(), got)
		}
		if b := sampleOf(t, s.Train, 5); !slices.Equal(b[0].Floats, []float32{5, -1}) || b[1].Int64s[0] != 5 || !slices.Equal(b[2].Int64s, []int64{7, 8, 9}) {
			t.Errorf("%s: sample %+v", path, b)
		}
	}
}

// Every truncation of a stream is noticed, also that between two batches, and
// reported with the file.
func TestArrowTruncated(t *testing.T) {
	whole := arrowStream(t)
	path := filepath.Join(t.TempDir(), "cut.arrow")
	for n := 8; n < len(whole); n += 8 {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(context.Background(), "arrow:"+path)
		var f *FileError
		if !errors.As(err, &f) || f.File != path || f.Offset < 0 {
			t.Fatalf("%d of %d bytes: error %v", n, len(whole), err)
		}
	}
}
