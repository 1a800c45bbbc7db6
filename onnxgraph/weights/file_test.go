package weights

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
)

// halves is a bfloat16 tensor of small whole numbers.
func halves(name string, dims []int64, v ...byte) *onnxgraph.Tensor {
	var data []byte
	for _, x := range v {
		data = append(data, x, 0x3f)
	}
	return &onnxgraph.Tensor{Name: name, DType: onnxgraph.BFloat16, Dims: dims, Data: data}
}

// sharded writes two shards and their index.
func sharded(t *testing.T) (index string) {
	t.Helper()
	dir := t.TempDir()
	parts := map[string]*onnxgraph.Tensor{
		"model-00001-of-00002.safetensors": halves("a", []int64{2, 2}, 1, 2, 3, 4),
		"model-00002-of-00002.safetensors": halves("b", []int64{}, 5),
	}
	for name, x := range parts {
		if err := WriteSafetensorsExact(filepath.Join(dir, name), []*onnxgraph.Tensor{x}, map[string]string{"format": "pt"}, false); err != nil {
			t.Fatal(err)
		}
	}
	index = filepath.Join(dir, "model.safetensors.index.json")
	text := `{"metadata":{"total_size":10},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`
	if err := os.WriteFile(index, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return index
}

// Every kind of checkpoint opens with the bits and types that it has.
func TestOpen(t *testing.T) {
	want := halves("a", []int64{2, 2}, 1, 2, 3, 4)
	dir := t.TempDir()
	floats := onnxgraph.Floats("a", []int64{2, 2}, []float32{1, 2, 3, 4})
	npz, single, model := filepath.Join(dir, "s.npz"), filepath.Join(dir, "s.safetensors"), filepath.Join(dir, "m.onnx")
	b := onnxgraph.NewBuilder("m", 17)
	b.Output(b.Op("Identity", []string{b.Init(onnxgraph.Floats("a", []int64{2, 2}, []float32{1, 2, 3, 4}))}), onnxgraph.Float, onnxgraph.StaticShape(2, 2))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(WriteNPZExact(npz, []*onnxgraph.Tensor{floats}, false), m.WriteFile(model, onnxgraph.WriteOptions{}),
		WriteSafetensorsExact(single, []*onnxgraph.Tensor{want}, nil, false)); err != nil {
		t.Fatal(err)
	}
	index := sharded(t)
	cases := map[string]*onnxgraph.Tensor{npz: floats, model: floats, single: want, index: want, filepath.Dir(index): want}
	for _, path := range slices.Sorted(maps.Keys(cases)) {
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w, got := cases[path], f.Tensor("a")
		if got == nil || got.DType != w.DType || !slices.Equal(got.Dims, w.Dims) || !bytes.Equal(got.Data, w.Data) {
			t.Errorf("%s: %+v, expected %+v", path, got, w)
		}
		if f.Tensor("absent") != nil || f.Bytes() < w.DType.RawSize(4) {
			t.Errorf("%s: %d bytes", path, f.Bytes())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	index := sharded(t)
	dir := filepath.Dir(index)
	change := func(old, new string) func() {
		return func() {
			text, err := os.ReadFile(index)
			if err == nil {
				err = os.WriteFile(index, bytes.ReplaceAll(text, []byte(old), []byte(new)), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		spoil func()
		path  string
		want  string
	}{
		{func() {}, filepath.Join(dir, "absent"), "no such file"},
		{func() {}, t.TempDir(), "without .safetensors files"},
		{change(`"b":"model-00002`, `"c":"model-00002`), index, `array "c" is not in model-00002-of-00002.safetensors`},
		{change("model-00002-of", "../model-00002-of"), index, "expected a file beside it"},
		{change("weight_map", "weights"), index, "without a weight_map"},
		{change("{", "["), index, "index:"},
	} {
		c.spoil()
		if _, err := Open(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %q", err, c.want)
		}
	}
}

// What is written has the types and the shards of what it is like; an error of
// fill leaves nothing, and files are not replaced unasked.
func TestWriteLike(t *testing.T) {
	f, err := Open(sharded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "next.safetensors")
	failed := errors.New("no numbers")
	if _, err := f.WriteLike(path, nil, false, func(*File) error { return failed }); !errors.Is(err, failed) {
		t.Fatalf("error %v, expected that of fill", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("a failed write left %v, %v", left, err)
	}
	fill := func(out *File) error {
		for i := range out.Tensor("a").Data {
			out.Tensor("a").Data[i] = byte(i + 1)
		}
		copy(out.Tensor("b").Data, f.Tensor("b").Data)
		return nil
	}
	index, err := f.WriteLike(path, map[string]string{"by": "test"}, false, fill)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "next.safetensors.index.json"); index != want || LikePath(f, path) != want {
		t.Errorf("written to %s, expected %s", index, want)
	}
	got, err := Open(index)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if a := got.Tensor("a"); a.DType != onnxgraph.BFloat16 || !bytes.Equal(a.Data, []byte{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("a is %+v", a)
	}
	if b := got.Tensor("b"); len(b.Dims) != 0 || !bytes.Equal(b.Data, []byte{5, 0x3f}) {
		t.Errorf("b is %+v", b)
	}
	if got.Meta["by"] != "test" || len(got.shards) != 2 {
		t.Errorf("metadata %v, %d files", got.Meta, len(got.shards))
	}
	if _, err := f.WriteLike(path, nil, false, fill); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written over files: %v", err)
	}
	if _, err := f.WriteLike(path, nil, true, fill); err != nil {
		t.Error(err)
	}
}
