package data

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

func cifarRecord(labels []byte, red, green, blue byte) []byte {
	b := slices.Clone(labels)
	for _, v := range []byte{red, green, blue} {
		b = append(b, bytes.Repeat([]byte{v}, 1024)...)
	}
	return b
}

func TestCIFARBinary(t *testing.T) {
	ten := map[string][]byte{"test_batch.bin": cifarRecord([]byte{3}, 1, 2, 3)}
	for i := range 5 {
		ten[fmt.Sprintf("data_batch_%d.bin", i+1)] = append(cifarRecord([]byte{byte(i)}, 10, 20, byte(i)), cifarRecord([]byte{9}, 0, 0, 0)...)
	}
	hundred := map[string][]byte{"train.bin": cifarRecord([]byte{19, 99}, 1, 2, 3), "test.bin": cifarRecord([]byte{0, 7}, 1, 2, 3)}

	s, err := Open(context.Background(), "cifar10:"+writeFiles(t, ten))
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 10 || s.Test.Len() != 1 {
		t.Fatalf("got %d + %d images", s.Train.Len(), s.Test.Len())
	}
	b := NewBatch(s.Train.Columns(), 1)
	if err := s.Train.Batch([]int{4}, b.Buffers); err != nil {
		t.Fatal(err)
	}
	if got, want := b.Buffers[0].Floats[2*1024], (float32(2)/255-0.44653124)/0.26158768; got != want || b.Buffers[1].Int64s[0] != 2 {
		t.Errorf("first blue pixel %v of label %d, expected %v of label 2", got, b.Buffers[1].Int64s[0], want)
	}

	s, err = Open(context.Background(), "cifar100:"+writeFiles(t, hundred))
	if err != nil {
		t.Fatal(err)
	}
	if _, l := s.Train.(*Images).Pixels(0); l != 99 || s.Classes != 100 {
		t.Errorf("label %d of %d classes, expected the fine label 99 of 100", l, s.Classes)
	}

	hundred["test.bin"] = hundred["test.bin"][:3000]
	if _, err := Open(context.Background(), "cifar100:"+writeFiles(t, hundred)); err == nil || !strings.Contains(err.Error(), "test.bin: 3000 bytes, expected a multiple of 3074") {
		t.Errorf("truncated file: %v", err)
	}
	ten["data_batch_2.bin"][3073] = 10
	if _, err := Open(context.Background(), "cifar10:"+writeFiles(t, ten)); err == nil || !strings.Contains(err.Error(), "data_batch_2.bin: at byte 3073: label 10") {
		t.Errorf("label out of range: %v", err)
	}
}

func jpegBytes(t testing.TB, side int, c color.Color) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		img.Set(i%side, i/side, c)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCIFARJPEG(t *testing.T) {
	archive := func(entries ...string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			side := 32
			if strings.Contains(e, "large") {
				side = 33
			}
			body := jpegBytes(t, side, color.RGBA{200, 100, 50, 255})
			if err := w.WriteHeader(&tar.Header{Name: e, Size: int64(len(body)), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(writeFiles(t, map[string][]byte{"cifar10-jpeg.tar.gz": gz(t, b.Bytes())}), "cifar10-jpeg.tar.gz")
	}
	s, err := Open(context.Background(), "cifar10-jpeg:"+archive("train/airplane/0001.jpg", "train/airplane/0000.jpg", "train/truck/0000.jpg", "test/cat/0000.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	var labels []int
	for i := range s.Train.Len() {
		_, l := s.Train.(*Images).Pixels(i)
		labels = append(labels, l)
	}
	if !slices.Equal(labels, []int{0, 9, 0}) {
		t.Errorf("labels %v, expected [0 9 0]: by file name, then class", labels)
	}
	p, l := s.Test.(*Images).Pixels(0)
	near := func(a byte, b int) bool { return int(a)-b <= 3 && b-int(a) <= 3 }
	if l != 3 || !near(p[0], 200) || !near(p[1024], 100) || !near(p[2048], 50) {
		t.Errorf("label %d, colour %d %d %d, expected 3 and about 200 100 50", l, p[0], p[1024], p[2048])
	}
	if s.Note == "" {
		t.Error("nothing says that the copy is lossy")
	}
	for entry, want := range map[string]string{
		"train/boat/0000.jpg":      "a class out of airplane",
		"train/cat/large.jpg":      "33x33 pixels, expected 32x32",
		"validation/cat/0000.jpg":  "expected train or test",
		"train/truck/no/0000.text": "no JPEG or PNG files",
	} {
		if _, err := Open(context.Background(), "cifar10-jpeg:"+archive(entry)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", entry, err, want)
		}
	}
}

func TestCIFARJPEGShared(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes 60,000 images")
	}
	s, err := Open(context.Background(), "cifar10-jpeg:"+testenv.Shared(t, "data/cifar10-jpeg.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 50000 || s.Test.Len() != 10000 {
		t.Errorf("got %d + %d images", s.Train.Len(), s.Test.Len())
	}
}

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]Spec{
		"fashion-mnist":  {Kind: "fashion-mnist"},
		"mnist:a/b":      {"mnist", "a/b"},
		`npz:C:\data\in`: {"npz", `C:\data\in`},
		"embedded":       {Kind: "embedded"},
	} {
		got, err := ParseSpec(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"imagenet":   "expected one of embedded, fashion-mnist, mnist",
		"npz":        "expected npz:FILE",
		"embedded:x": "takes no path",
	} {
		if _, err := ParseSpec(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, expected %q", text, err, want)
		}
	}
	t.Setenv("NINOX_DATA", filepath.Join(t.TempDir(), "nothing"))
	if _, err := Open(context.Background(), "cifar100"); err == nil || !strings.Contains(err.Error(), "nothing") || !strings.Contains(err.Error(), "train.bin") {
		t.Errorf("missing data: %v; expected the places searched and the files wanted", err)
	}
}

func TestFindAndFilesIn(t *testing.T) {
	home := t.TempDir()
	t.Setenv("NINOX_DATA", home)
	var src Source
	for _, s := range Sources() {
		if s.Kind == "cifar100" {
			src = s
		}
	}
	dir := filepath.Join(home, "cifar100")
	if src.Places()[0] != dir || src.Find() == dir {
		t.Fatalf("places %v, found %q before anything is there", src.Places(), src.Find())
	}
	inner := filepath.Join(dir, "cifar-100-binary")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if src.Find() != dir {
		t.Errorf("found %q, expected %q", src.Find(), dir)
	}
	for _, name := range []string{"train.bin", "test.bin", "test.bin.gz"} {
		if _, err := src.FilesIn(dir); name == "test.bin" && (err == nil || !strings.Contains(err.Error(), "test.bin")) {
			t.Errorf("error %v, expected one about test.bin", err)
		}
		if err := os.WriteFile(filepath.Join(inner, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := src.FilesIn(dir)
	want := map[string]string{"train.bin": filepath.Join(inner, "train.bin"), "test.bin.gz": filepath.Join(inner, "test.bin.gz")}
	if err != nil || !maps.Equal(files, want) {
		t.Errorf("files %v, %v, expected %v", files, err, want)
	}
}

func tinyArrays(t testing.TB, n int) Dataset {
	t.Helper()
	x, y := make([]float32, 2*n), make([]int64, n)
	for i := range n {
		x[2*i], x[2*i+1], y[i] = float32(i), -float32(i), int64(i)
	}
	s := &weights.Set{}
	s.AddFloats("x", []int64{int64(n), 2}, x)
	s.Add("y", weights.DenseInt64s([]int64{int64(n)}, y))
	d, err := NewArrays("tiny", s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBind(t *testing.T) {
	d := tinyArrays(t, 4)
	value := func(name string, dt onnxgraph.DType, dims ...onnxgraph.Dim) *onnxgraph.Value {
		return &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(dt, dims)}
	}
	batch := onnxgraph.Sym("batch")
	b, err := Bind(d, []*onnxgraph.Value{value("labels", onnxgraph.Int64, batch), value("input", onnxgraph.Float, batch, onnxgraph.Known(2))})
	if err != nil {
		t.Fatal(err)
	}
	batchOf := NewBatch(b.Columns(), 1)
	if err := b.Batch([]int{3}, batchOf.Buffers); err != nil {
		t.Fatal(err)
	}
	if batchOf.Buffers[0].Int64s[0] != 3 || !slices.Equal(batchOf.Buffers[1].Floats, []float32{3, -3}) || b.Columns()[1].Name != "input" {
		t.Errorf("bound batch %+v with columns %v", batchOf.Buffers, b.Columns())
	}
	for _, c := range []struct {
		in   *onnxgraph.Value
		want string
	}{
		{value("x", onnxgraph.Float, batch, onnxgraph.Known(3)), "dimension 1 is 2, not 3"},
		{value("x", onnxgraph.Float, batch), "2 dimensions, not 1"},
		{value("x", onnxgraph.Int64, batch), "elements are float, not int64"},
		{value("other", onnxgraph.Float, batch, onnxgraph.Known(3)), "columns are x float[2], y int64[]"},
	} {
		if _, err := Bind(d, []*onnxgraph.Value{c.in}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("input %s %s: error %v, expected %q", c.in.Name, c.in.Type, err, c.want)
		}
	}
}

func TestArraysErrors(t *testing.T) {
	s := &weights.Set{}
	s.AddFloats("x", []int64{2, 1}, []float32{1, 2})
	s.AddFloats("y", []int64{3}, []float32{1, 2, 3})
	if _, err := NewArrays("a", s); err == nil || !strings.Contains(err.Error(), `array "y" has 3 samples, "x" has 2`) {
		t.Errorf("unequal lengths: %v", err)
	}
	if _, err := NewArrays("a", &weights.Set{}); err == nil {
		t.Error("a set of no arrays was taken")
	}
}

// Arrays of different lengths: rows that belong together stay together.
func TestUnequalArrays(t *testing.T) {
	s := &weights.Set{}
	tokens, labels := make([]int64, 4*3), make([]int64, 12)
	for i := range labels {
		tokens[i], labels[i] = int64(i), int64(100+i)
	}
	s.Add("tokens", weights.DenseInt64s([]int64{4, 3}, tokens))
	s.Add("labels", weights.DenseInt64s([]int64{12}, labels))
	d, err := NewArrays("text", s)
	if err != nil {
		t.Fatal(err)
	}
	if d.Len() != 4 || Unit(d) != 3 || d.Columns()[1].RowsOf(2) != 6 {
		t.Errorf("%d samples of %d rows, columns %v", d.Len(), Unit(d), d.Columns())
	}
	bound, err := Bind(d, []*onnxgraph.Value{
		{Name: "tokens", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(3)})},
		{Name: "labels", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("tokens")})},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBatch(bound.Columns(), 2)
	if err := bound.Batch([]int{2, 0}, b.Buffers); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Buffers[0].Int64s, []int64{6, 7, 8, 0, 1, 2}) || !slices.Equal(b.Buffers[1].Int64s, []int64{106, 107, 108, 100, 101, 102}) {
		t.Errorf("batch %v", b.Buffers)
	}
}

func TestOrder(t *testing.T) {
	o := Order{Samples: 100, Batch: 30, Shuffle: true, Seed: 7}
	if o.PerEpoch() != 3 {
		t.Errorf("%d batches an epoch, expected 3", o.PerEpoch())
	}
	a, b := o.Epoch(0), o.Epoch(1)
	if slices.Equal(a, b) || !slices.Equal(a, o.Epoch(0)) {
		t.Error("epochs must differ from each other and repeat themselves")
	}
	slices.Sort(a)
	for i, v := range a {
		if i != v {
			t.Fatalf("not a permutation at %d", i)
		}
	}
}

func TestLoader(t *testing.T) {
	d := tinyArrays(t, 10)
	collect := func(start int64, n int) [][]int64 {
		l, err := NewLoader(d, LoaderOptions{Batch: 3, Shuffle: true, Seed: 3, Start: start})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var out [][]int64
		for i := range n {
			b, err := l.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if b.Index != start+int64(i) {
				t.Fatalf("batch %d, expected %d", b.Index, start+int64(i))
			}
			out = append(out, slices.Clone(b.Buffers[1].Int64s))
		}
		return out
	}
	all := collect(0, 9)
	if !slices.EqualFunc(all[4:], collect(4, 5), slices.Equal) {
		t.Error("starting at batch 4 gives other batches than passing through it")
	}
	seen := map[int64]bool{}
	for _, b := range all[:3] {
		for _, v := range b {
			if seen[v] {
				t.Errorf("sample %d twice in an epoch", v)
			}
			seen[v] = true
		}
	}
	if _, err := NewLoader(d, LoaderOptions{Batch: 11}); err == nil {
		t.Error("a batch larger than the data set must be refused")
	}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := NewLoader(d, LoaderOptions{Batch: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cancel()
	for range 5 { // prepared batches may still be handed out, waiting must end
		if _, err := l.Next(ctx); err != nil {
			return
		}
	}
	t.Error("a cancelled context is not noticed")
}

func BenchmarkBatch(b *testing.B) {
	n := 10000
	d, err := NewImages("bench", 1, 28, 28, make([]byte, n*784), make([]byte, n), NormMNIST)
	if err != nil {
		b.Fatal(err)
	}
	batch := NewBatch(d.Columns(), 128)
	idx := Order{Samples: n, Batch: 128, Shuffle: true}.Epoch(0)[:128]
	for b.Loop() {
		if err := d.Batch(idx, batch.Buffers); err != nil {
			b.Fatal(err)
		}
	}
}

// One sample of every stretch, always the same; of a set whose classes take turns,
// all classes.
func TestSpread(t *testing.T) {
	labels := make([]int64, 5000)
	for i := range labels {
		labels[i] = int64(i)
	}
	set := &weights.Set{}
	set.Add("label", weights.DenseInt64s([]int64{5000}, labels))
	whole, err := NewArrays("numbers", set)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	d := Spread(whole, n)
	if d.Len() != n || d.Hash() == whole.Hash() || Spread(whole, 5000) != whole {
		t.Fatalf("%d samples", d.Len())
	}
	read := func(d Dataset) []int64 {
		got := []Buffer{{Int64s: make([]int64, n)}}
		if err := d.Batch(span(0, n), got); err != nil {
			t.Fatal(err)
		}
		return got[0].Int64s
	}
	got, classes := read(d), [5]int{}
	for i, at := range got {
		if at/5 != int64(i) {
			t.Errorf("sample %d is number %d", i, at)
		}
		classes[at%5]++
	}
	if slices.Min(classes[:]) < 150 {
		t.Errorf("of five classes that take turns there are %v", classes)
	}
	if !slices.Equal(read(Spread(whole, n)), got) {
		t.Error("the samples are others the second time")
	}
	if err := d.Batch([]int{n}, []Buffer{{}}); err == nil {
		t.Error("a sample beyond the last was read")
	}
}
