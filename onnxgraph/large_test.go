package onnxgraph

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// mapped writes a model with one tensor of size bytes and reads it back.
func mapped(t *testing.T, size int) (*Model, string) {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	m := &Model{IRVersion: 8, Opsets: []Opset{{"", 17}}, Graph: &Graph{Initializers: []*Tensor{{Name: "w", DType: Uint8, Dims: []int64{int64(size)}, Data: data}}}}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(path, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	read, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	if !bytes.Equal(read.Graph.Initializers[0].Data, data) {
		t.Fatal("the data come back changed")
	}
	return read, path
}

// Reading, cloning and writing a large model takes memory for its graph only.
func TestTensorsAreNotCopied(t *testing.T) {
	const size = 64 << 20
	_, path := mapped(t, size)
	used := allocated(func() {
		m, err := ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		c := m.Clone()
		if &c.Graph.Initializers[0].Data[0] != &m.Graph.Initializers[0].Data[0] {
			t.Error("a clone copies tensors")
		}
		for _, o := range []WriteOptions{{Overwrite: true}, {Overwrite: true, External: "w.bin"}} {
			if err := c.WriteFile(path, o); err != nil { // over the file that is mapped
				t.Fatal(err)
			}
		}
	})
	if used > 1<<20 {
		t.Errorf("%d bytes of memory for tensors of %d", used, size)
	}
	m, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if w := m.Graph.Initializers[0]; w.External == nil || len(w.Data) != size || w.Data[1000] != byte(7000&0xff) {
		t.Errorf("the data come back changed, external %+v", w.External)
	}
}

func TestClose(t *testing.T) {
	m, _ := mapped(t, 1<<20)
	own := Scalar("own", 1)
	m.Graph.Initializers = append(m.Graph.Initializers, own)
	c := m.Clone()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if len(own.Data) != 4 {
		t.Error("data that is not the file's is gone")
	}
	w := c.Graph.Initializers[0]
	if _, err := w.AsInts(); err == nil || w.Data != nil {
		t.Errorf("a closed model still has data: %v", err)
	}
	if err := errors.Join(m.Close(), c.Close(), new(Model).Close()); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// A file cut short while it is mapped gives errors.
func TestTruncatedWhileMapped(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("files are not mapped here")
	}
	m, path := mapped(t, 4<<20)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	w := m.Graph.Initializers[0]
	if _, err := w.AsInts(); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), `tensor "w"`) {
		t.Errorf("AsInts: %v", err)
	}
	if _, err := w.AsFloats(); !errors.Is(err, errChanged) {
		t.Errorf("AsFloats: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out.onnx")
	w.External = &External{Location: "x", Checksum: "so that a new one is computed"}
	for _, o := range []WriteOptions{{}, {External: "w.bin"}} {
		if err := m.WriteFile(out, o); err == nil {
			t.Errorf("written with %+v", o)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Data of initializers goes to a second file, large tensors at multiples of a
// page, shared memory once, with a checksum where the source had one.
func TestWriteExternal(t *testing.T) {
	dir := t.TempDir()
	big := make([]byte, 3<<19)
	copy(big, "big")
	tensor := func(name string, data []byte) *Tensor {
		return &Tensor{Name: name, DType: Uint8, Dims: []int64{int64(len(data))}, Data: data}
	}
	inner := &Graph{Name: "inner", Initializers: []*Tensor{tensor("inner", []byte(strings.Repeat("i", 2000)))}}
	small := tensor("small", []byte(strings.Repeat("s", 1024)))
	small.External = &External{Location: "elsewhere", Length: 1024, Checksum: "stale"}
	typed := Floats("typed", []int64{512}, make([]float32, 512))
	typed.Typed = true
	m := &Model{IRVersion: 8, Opsets: []Opset{{"", 17}}, Graph: &Graph{
		Name:         "g",
		Initializers: []*Tensor{tensor("tiny", []byte("tiny")), small, tensor("big", big), tensor("tied", big), typed, {Name: "words", DType: String, Dims: []int64{1}, Strings: [][]byte{make([]byte, 5000)}}},
		Nodes:        []*Node{{Name: "n", OpType: "If", Attrs: []*Attribute{GraphAttr("then_branch", inner)}}},
	}}
	path := filepath.Join(dir, "m.onnx")
	if err := m.WriteFile(path, WriteOptions{External: "w.bin"}); err != nil {
		t.Fatal(err)
	}
	if small.External.Location != "elsewhere" {
		t.Error("writing changed the model in memory")
	}
	sum := sha1.Sum([]byte(mustRead(t, filepath.Join(dir, "w.bin"))))
	read, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"tiny": -1, "small": 0, "big": 4096, "tied": 4096, "typed": 4096 + 3<<19, "words": -1, "inner": 4096 + 3<<19 + 2048}
	seen := 0
	read.EachTensor(func(x *Tensor) {
		seen++
		at := int64(-1)
		if x.External != nil {
			at = x.External.Offset
			if x.External.Checksum != hex.EncodeToString(sum[:]) {
				t.Errorf("%s: checksum %q", x.Name, x.External.Checksum)
			}
		}
		if at != want[x.Name] {
			t.Errorf("%s lies at %d, expected %d", x.Name, at, want[x.Name])
		}
	})
	if seen != len(want) {
		t.Errorf("%d tensors, expected %d", seen, len(want))
	}
	if err := m.WriteFile(path, WriteOptions{External: "other.bin"}); err == nil {
		t.Error("an existing model was replaced")
	}
	if _, err := os.Lstat(filepath.Join(dir, "other.bin")); err == nil {
		t.Error("a data file without its model was left behind")
	}
	read.Graph.Initializers[1].External = nil // what was read is written back inline
	back := filepath.Join(dir, "back.onnx")
	if err := read.WriteFile(back, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(back)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range again.Graph.Initializers {
		if was := m.Graph.Initializers[i]; x.External != nil || !bytes.Equal(x.Data, was.Data) {
			t.Errorf("%s: not what it was", x.Name)
		}
	}
}

// A model above protobuf's limit is read from, and written to, two files. The
// source is sparse, but the copy takes its room on the disk.
func TestAboveTwoGiB(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 2 GiB")
	}
	dir := t.TempDir()
	const n = 2<<30 + 2<<20
	f, err := os.Create(filepath.Join(dir, "w.bin"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("end!"), n-4)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "m.onnx")
	half := func(i int) *Tensor {
		return &Tensor{Name: fmt.Sprint("w", i), DType: Uint8, Dims: []int64{n / 2}, External: &External{Location: "w.bin", Offset: int64(i) * n / 2, Length: n / 2}}
	}
	m := &Model{IRVersion: 8, Graph: &Graph{Name: "g", Initializers: []*Tensor{half(0), half(1)}}}
	mustWrite(t, source, mustMarshal(t, m))
	if m, err = ReadFile(source); err != nil {
		t.Fatal(err)
	}
	defer m.Close()

	attr := m.Clone()
	attr.Graph.Nodes = []*Node{{Name: "c", OpType: "Constant", Attrs: []*Attribute{TensorAttr("value", m.Graph.Initializers[0]), TensorAttr("more", m.Graph.Initializers[1])}}}
	out := filepath.Join(dir, "out.onnx")
	if err := attr.WriteFile(out, WriteOptions{External: "none", ExternalMin: n}); err == nil || !strings.Contains(err.Error(), "WriteOptions.ExternalMin") {
		t.Errorf("data that stays in the model: %v", err)
	}
	if free(dir) < n+1<<30 {
		t.Skip("too little room on the disk for the copy")
	}
	var log bytes.Buffer
	used := allocated(func() {
		err = m.WriteFile(out, WriteOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	})
	if err != nil || !strings.Contains(log.String(), "out.onnx.data") {
		t.Fatalf("%v, log %q", err, log.String())
	}
	if used > 4<<20 {
		t.Errorf("%d bytes of memory to write %d", used, n)
	}
	read, err := ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if w := read.Graph.Initializers[1]; string(w.Data[n/2-4:]) != "end!" || w.External.Offset != n/2 {
		t.Errorf("the last tensor ends in %q, at %+v", w.Data[n/2-4:], w.External)
	}
}
