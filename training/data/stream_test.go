package data

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"ninox/onnxgraph"
)

var rowSchema = arrow.NewSchema([]arrow.Field{
	{Name: "x", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32)},
	{Name: "y", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// rowBatch has rows from number at on: x = (n, -n), y = n.
func rowBatch(at, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, rowSchema)
	for n := at; n < at+rows; n++ {
		x := b.Field(0).(*array.FixedSizeListBuilder)
		x.Append(true)
		x.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{float32(n), -float32(n)}, nil)
		b.Field(1).(*array.Int64Builder).Append(int64(n))
	}
	return b.NewRecordBatch()
}

// rowStream is a stream of record batches of the given numbers of rows.
func rowStream(t *testing.T, rows ...int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rowSchema))
	at := 0
	for _, n := range rows {
		if err := w.Write(rowBatch(at, n)); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openRows(t *testing.T, r io.Reader) *Stream {
	t.Helper()
	s, err := OpenStream(context.Background(), "arrow:-", r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Train.(*Stream)
}

// loadRows reads all batches and returns the labels, the digest after each batch
// and the error at the end.
func loadRows(t *testing.T, s *Stream, o LoaderOptions) (labels []int64, digests []string, err error) {
	t.Helper()
	d, err := Bind(s, []*onnxgraph.Value{
		{Name: "label", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("N")})},
		{Name: "x", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(2)})},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLoader(d, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		b, err := l.Next(context.Background())
		if err != nil {
			return labels, digests, err
		}
		labels, digests = append(labels, b.Buffers[0].Int64s...), append(digests, b.Digest)
		for i, y := range b.Buffers[0].Int64s {
			if x := b.Buffers[1].Floats[2*i : 2*i+2]; x[0] != float32(y) || x[1] != -float32(y) {
				t.Fatalf("label %d beside x %v", y, x)
			}
		}
	}
}

func isCount(v []int64, from int) bool {
	for i, x := range v {
		if x != int64(from+i) {
			return false
		}
	}
	return true
}

// Batches take the rows in their order, however they are divided into record
// batches; what does not fill one is left out.
func TestStream(t *testing.T) {
	var reference []string
	for _, rows := range [][]int{{3, 5, 0, 1, 4, 9}, {22}, {11, 11}} {
		s := openRows(t, bytes.NewReader(rowStream(t, rows...)))
		if s.FirstRows() != rows[0] || s.Len() != 0 || columnList(s.Columns()) != "x float[2], y int64[]" {
			t.Fatalf("%d rows, %d samples of %s", s.FirstRows(), s.Len(), columnList(s.Columns()))
		}
		labels, digests, err := loadRows(t, s, LoaderOptions{Batch: 4})
		if !errors.Is(err, ErrEnd) || len(labels) != 20 || !isCount(labels, 0) {
			t.Fatalf("record batches of %v rows: %v, then %v", rows, labels, err)
		}
		if reference == nil {
			reference = digests
		}
		if strings.Join(digests, " ") != strings.Join(reference, " ") || digests[0] == digests[1] {
			t.Errorf("record batches of %v rows: digests %v, of others %v", rows, digests, reference)
		}
	}
}

func TestStreamResumed(t *testing.T) {
	whole := rowStream(t, 6, 6, 6)
	_, digests, _ := loadRows(t, openRows(t, bytes.NewReader(whole)), LoaderOptions{Batch: 4})
	labels, rest, err := loadRows(t, openRows(t, bytes.NewReader(whole)), LoaderOptions{Batch: 4, Start: 2, Digest: digests[1]})
	if !errors.Is(err, ErrEnd) || len(labels) != 8 || !isCount(labels, 8) || rest[1] != digests[3] {
		t.Errorf("labels %v, digests %v of %v, %v", labels, rest, digests, err)
	}
	_, _, err = loadRows(t, openRows(t, bytes.NewReader(whole)), LoaderOptions{Batch: 4, Start: 2, Digest: digests[2]})
	if err == nil || !strings.Contains(err.Error(), "its first 8 samples are not those that the run was trained on") {
		t.Errorf("another stream: error %v", err)
	}
	_, _, err = loadRows(t, openRows(t, bytes.NewReader(whole)), LoaderOptions{Batch: 4, Start: 5})
	if err == nil || errors.Is(err, ErrEnd) || !strings.Contains(err.Error(), "it ends after 18 samples, but the run to be resumed has used 20") {
		t.Errorf("a stream that is too short: error %v", err)
	}
}

// A producer that is faster has to wait: of an endless stream no more is taken
// than the batches asked for and prepared, and the record batch under way.
func TestStreamHoldsBack(t *testing.T) {
	r, w := io.Pipe()
	var written atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out := ipc.NewWriter(w, ipc.WithSchema(rowSchema))
		for out.Write(rowBatch(0, 2048)) == nil { // above what any buffer holds
			written.Add(1)
		}
	}()
	l, err := NewLoader(openRows(t, r), LoaderOptions{Batch: 2048, Depth: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := l.Next(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	const most = 20 + 2 + 1 + 2                  // asked for, ready, being filled; read and being written
	if n := written.Load(); n > most || n < 19 { // the writer may not have counted the last one yet
		t.Errorf("%d record batches written for 20, expected at most %d", n, most)
	}
	r.Close()
	<-ended
}

// Whoever waits for a silent process can be interrupted.
func TestStreamSilent(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := OpenStream(ctx, "arrow:-", r, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("opening: error %v", err)
	}
	head := rowStream(t, 4)
	l, err := NewLoader(openRows(t, io.MultiReader(bytes.NewReader(head[:len(head)-8]), r)), LoaderOptions{Batch: 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: error %v", err)
	}
	l.Close()
}

func TestStreamFaults(t *testing.T) {
	whole := rowStream(t, 4, 4)
	_, _, err := loadRows(t, openRows(t, bytes.NewReader(whole[:len(whole)-8])), LoaderOptions{Batch: 4})
	var f *FileError
	if !errors.As(err, &f) || f.Record != 8 || !strings.Contains(err.Error(), "standard input: record 8") || !strings.Contains(err.Error(), "without its end mark") {
		t.Errorf("a stream that breaks off: error %v", err)
	}
	lists := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)}}, nil)
	var uneven bytes.Buffer
	w := ipc.NewWriter(&uneven, ipc.WithSchema(lists))
	for n := 1; n < 3; n++ {
		b := array.NewRecordBuilder(memory.DefaultAllocator, lists)
		x := b.Field(0).(*array.ListBuilder)
		x.Append(true)
		x.ValueBuilder().(*array.Float32Builder).AppendValues(make([]float32, n), nil)
		if err := w.Write(b.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	l, err := NewLoader(openRows(t, &uneven), LoaderOptions{Batch: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err = l.Next(context.Background()); err == nil {
		_, err = l.Next(context.Background())
	}
	if !errors.As(err, &f) || !strings.Contains(err.Error(), `record 1: column "x": a list of shape [2], but [1] in the rows before it`) {
		t.Errorf("uneven rows: error %v", err)
	}
	text := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	var words, none bytes.Buffer
	if err := errors.Join(ipc.NewWriter(&words, ipc.WithSchema(text)).Close(), ipc.NewWriter(&none, ipc.WithSchema(rowSchema)).Close()); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]io.Reader{
		"text, which the process that writes the stream is to turn into tokens; columns are text utf8": &words,
		"the stream has ended without a row":        &none,
		"standard input: at byte 5: not an Arrow":   strings.NewReader("hello"),
		"standard input: at byte 0: not an Arrow I": strings.NewReader(""),
	} {
		if _, err := OpenStream(context.Background(), "arrow:-", r, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	if _, err := Open(context.Background(), "arrow:-"); err == nil || !strings.Contains(err.Error(), "standard input is a stream") {
		t.Errorf("a stream where files are expected: error %v", err)
	}
	if err := openRows(t, bytes.NewReader(whole)).Batch([]int{0}, nil); err == nil {
		t.Error("a sample of a stream can be chosen")
	}
}

// Tensors of a fixed shape, and pictures, which are decoded on the way.
func TestStreamColumns(t *testing.T) {
	tensors := arrow.NewSchema([]arrow.Field{{
		Name: "x", Type: arrow.FixedSizeListOf(6, arrow.PrimitiveTypes.Float32),
		Metadata: arrow.NewMetadata([]string{ipc.ExtensionTypeKeyName, ipc.ExtensionMetadataKeyName}, []string{"arrow.fixed_shape_tensor", `{"shape":[1,2,3]}`}),
	}}, nil)
	images := arrow.NewSchema([]arrow.Field{
		{Name: "img", Type: arrow.StructOf(arrow.Field{Name: "bytes", Type: arrow.BinaryTypes.Binary})},
		{Name: "label", Type: arrow.PrimitiveTypes.Int8},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, tensors)
	x := b.Field(0).(*array.FixedSizeListBuilder)
	x.Append(true)
	x.ValueBuilder().(*array.Float32Builder).AppendValues([]float32{1, 2, 3, 4, 5, 6}, nil)
	p := array.NewRecordBuilder(memory.DefaultAllocator, images)
	for label := range 2 {
		img := p.Field(0).(*array.StructBuilder)
		img.Append(true)
		img.FieldBuilder(0).(*array.BinaryBuilder).Append(greyPNG(t, 3, byte(255*label)))
		p.Field(1).(*array.Int8Builder).Append(int8(label))
	}
	for _, k := range []struct {
		schema *arrow.Schema
		batch  arrow.RecordBatch
		want   string
	}{{tensors, b.NewRecordBatch(), "x float[1,2,3]"}, {images, p.NewRecordBatch(), "image float[1,3,3], label int64[]"}} {
		var raw bytes.Buffer
		w := ipc.NewWriter(&raw, ipc.WithSchema(k.schema))
		if err := errors.Join(w.Write(k.batch), w.Close()); err != nil {
			t.Fatal(err)
		}
		s := openRows(t, &raw)
		if got := columnList(s.Columns()); got != k.want {
			t.Errorf("columns %s, expected %s", got, k.want)
		}
		n := s.FirstRows()
		into := NewBatch(s.Columns(), n)
		if err := s.next(context.Background(), n, into.Buffers); err != nil {
			t.Fatal(err)
		}
		if v := into.Buffers[0].Floats; v[0] >= v[len(v)-1] {
			t.Errorf("%s: values %v", k.want, v)
		}
	}
}

func TestIsStream(t *testing.T) {
	file := filepath.Join(t.TempDir(), "-")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]bool{"arrow:-": true, "arrow:" + file: false, "parquet:-": false, "arrow:missing": false, "": false} {
		if got := IsStream(spec); got != want {
			t.Errorf("%q: %v", spec, got)
		}
	}
}
