package onnxgraph

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// externalModel writes DIR/model.onnx, whose tensor "w" of two floats lies at
// the given place, and returns its path.
func externalModel(t *testing.T, dir string, e External) string {
	t.Helper()
	m := &Model{IRVersion: 8, Opsets: []Opset{{"", 17}}, Graph: &Graph{
		Name: "g", Initializers: []*Tensor{{Name: "w", DType: Float, Dims: []int64{2}, External: &e}},
	}}
	path := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(path, mustMarshal(t, m), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustWrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestExternalData(t *testing.T) {
	dir := t.TempDir()
	values := Floats("w", []int64{2}, []float32{3, 4})
	mustWrite(t, filepath.Join(dir, "sub", "w.bin"), append(make([]byte, 64), values.Data...))
	path := externalModel(t, dir, External{Location: "sub/w.bin", Offset: 64, Length: 8})
	m, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w := m.Graph.Initializer("w")
	if !bytes.Equal(w.Data, values.Data) || w.External == nil {
		t.Fatalf("read %v, external %v", w.Data, w.External)
	}
	// Written elsewhere, the model holds its data itself; the one in memory
	// still knows where it came from.
	alone := filepath.Join(t.TempDir(), "alone.onnx")
	if err := m.WriteFile(alone, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if w.External == nil {
		t.Error("writing forgot the tensor's place")
	}
	if m, err = ReadFile(alone); err != nil {
		t.Fatal(err)
	}
	if w := m.Graph.Initializer("w"); w.External != nil || !bytes.Equal(w.Data, values.Data) {
		t.Errorf("written inline and read: %+v", w)
	}
}

// A shape that announces far more than the file holds is refused before memory
// is taken.
func TestExternalDataBoundsMemory(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "w.bin"), make([]byte, 8))
	m := &Model{Graph: &Graph{Initializers: []*Tensor{{Name: "w", DType: Float, Dims: []int64{1 << 40}, External: &External{Location: "w.bin", Length: -1}}}}}
	path := filepath.Join(dir, "m.onnx")
	mustWrite(t, path, mustMarshal(t, m))
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "lie beyond") {
		t.Errorf("error %v", err)
	}
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(dir); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, "no.onnx")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	mustWrite(t, path, []byte("no model"))
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a text file: %v", err)
	}
	big, err := os.Create(filepath.Join(dir, "big.onnx")) // sparse, takes no room
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(maxFile+1), big.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(big.Name()); err == nil || !strings.Contains(err.Error(), "at most 2 GiB") {
		t.Errorf("a file of more than 2 GiB: %v", err)
	}
}

func writes(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteAtomic(path, false, writes("one")); err != nil {
		t.Fatal(err)
	}
	if err := WriteAtomic(path, false, writes("two")); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("an existing file: %v", err)
	}
	if got := mustRead(t, path); got != "one" {
		t.Errorf("the file holds %q", got)
	}
	if err := WriteAtomic(path, true, writes("three")); err != nil || mustRead(t, path) != "three" {
		t.Errorf("overwriting: %v, %q", err, mustRead(t, path))
	}
	full := errors.New("disk full")
	err := WriteAtomic(path, true, func(w io.Writer) error {
		if err := writes("half")(w); err != nil {
			return err
		}
		return full
	})
	if !errors.Is(err, full) || mustRead(t, path) != "three" {
		t.Errorf("a failed write: %v, file %q", err, mustRead(t, path))
	}
	if err := WriteAtomic(filepath.Join(dir, "none", "f"), true, writes("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// Of several writers that may not overwrite, exactly one wins, and its file
// stays whole.
func TestWriteAtomicNeverClobbers(t *testing.T) {
	for round := range 20 {
		path := filepath.Join(t.TempDir(), "f")
		const writers = 8
		errs := make([]error, writers)
		var wg, ready sync.WaitGroup
		ready.Add(writers)
		for i := range writers {
			wg.Go(func() {
				errs[i] = WriteAtomic(path, false, func(w io.Writer) error {
					ready.Done()
					ready.Wait() // all have passed the first look
					return writes(fmt.Sprint("writer ", i))(w)
				})
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: writers %d and %d both succeeded", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, fs.ErrExist):
				t.Fatalf("writer %d: %v", i, err)
			}
		}
		if winner < 0 || mustRead(t, path) != fmt.Sprint("writer ", winner) {
			t.Fatalf("round %d: winner %d, file %q", round, winner, mustRead(t, path))
		}
	}
}
