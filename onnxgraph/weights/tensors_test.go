package weights_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// exact are tensors of every type that both formats hold, scalars and empty
// ones included.
func exact() []*onnxgraph.Tensor {
	var out []*onnxgraph.Tensor
	for _, d := range []onnxgraph.DType{
		onnxgraph.Float, onnxgraph.Double, onnxgraph.Float16, onnxgraph.Int64, onnxgraph.Int32, onnxgraph.Int16, onnxgraph.Int8,
		onnxgraph.Uint32, onnxgraph.Uint16, onnxgraph.Uint8, onnxgraph.Bool,
	} {
		for _, dims := range [][]int64{{}, {3}, {2, 3}, {2, 1, 2}} {
			t := &onnxgraph.Tensor{Name: d.String() + strings.Repeat("x", len(dims)), DType: d, Dims: dims}
			t.Data = make([]byte, t.Len()*int64(d.Bits()/8))
			for i := range t.Data {
				t.Data[i] = byte(17*i + 1)
				if d == onnxgraph.Bool {
					t.Data[i] = byte(i % 2)
				}
			}
			out = append(out, t)
		}
	}
	return out
}

func TestExactFiles(t *testing.T) {
	dir := t.TempDir()
	want := exact()
	half := &onnxgraph.Tensor{Name: "half", DType: onnxgraph.BFloat16, Dims: []int64{1}, Data: []byte{0x80, 0x3f}}

	path := filepath.Join(dir, "w.safetensors")
	meta := map[string]string{"step": "3"}
	if err := weights.WriteSafetensorsExact(path, append(want, half), meta, false); err != nil {
		t.Fatal(err)
	}
	got, back, err := weights.ReadSafetensorsExact(path)
	if err != nil || !reflect.DeepEqual(got, append(want, half)) || !reflect.DeepEqual(back, meta) {
		t.Errorf("safetensors: read back differently (%v, %v)", back, err)
	}
	if err := weights.WriteSafetensorsExact(path, want, nil, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, expected one of an existing file", err)
	}
	// The reader of sets takes the same file.
	if s, _, err := weights.ReadSafetensors(path); err != nil || s.Len() != len(want)+1 {
		t.Errorf("%v", err)
	}

	path = filepath.Join(dir, "w.npz")
	if err := weights.WriteNPZExact(path, want, false); err != nil {
		t.Fatal(err)
	}
	if got, err = weights.ReadNPZExact(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("npz: read back differently (%v)", err)
	}
	if s, err := weights.ReadNPZ(path); err != nil || s.Len() != len(want) {
		t.Errorf("%v", err)
	}
	if err := weights.WriteNPZExact(path, []*onnxgraph.Tensor{half}, true); err == nil || !strings.Contains(err.Error(), `array "half": NumPy has no type for bfloat16`) {
		t.Errorf("error %v", err)
	}
	if err := weights.WriteSafetensorsExact(path, []*onnxgraph.Tensor{half, half}, nil, true); err == nil || !strings.Contains(err.Error(), "the name is taken") {
		t.Errorf("error %v", err)
	}
	for _, read := range []func(string) error{
		func(p string) error { _, err := weights.ReadNPZExact(p); return err },
		func(p string) error { _, _, err := weights.ReadSafetensorsExact(p); return err },
	} {
		if err := read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, expected that of a missing file", err)
		}
	}
	if _, err := weights.ReadNPZExact(filepath.Join(dir, "w.safetensors")); err == nil || !strings.Contains(err.Error(), "not an npz file") {
		t.Errorf("error %v", err)
	}
}
