package data

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// A safetensors file is the data set of its arrays; numbers of other types become
// float32 and int64.
func TestSafetensors(t *testing.T) {
	dir := t.TempDir()
	x := onnxgraph.Floats("x", []int64{3, 2}, []float32{1, 2, 3, 4, 5, 6})
	y := onnxgraph.Int64s("y", []int64{3}, []int64{7, 8, 9})
	half := &onnxgraph.Tensor{Name: "half", DType: onnxgraph.Float16, Dims: []int64{3}, Data: []byte{0, 0x3C, 0, 0x40, 0, 0x42}} // 1, 2, 3
	narrow := &onnxgraph.Tensor{Name: "narrow", DType: onnxgraph.Int32, Dims: []int64{3}}
	for _, v := range []uint32{4, 5, 6} {
		narrow.Data = binary.LittleEndian.AppendUint32(narrow.Data, v)
	}
	file := filepath.Join(dir, "set.safetensors")
	if err := weights.WriteSafetensorsExact(file, []*onnxgraph.Tensor{x, y, half, narrow}, nil, false); err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.Background(), "safetensors:"+file)
	if err != nil {
		t.Fatal(err)
	}
	const want = "x float[2], y int64[], half float[], narrow int64[]"
	if got := columnList(s.Train.Columns()); got != want || s.Train.Len() != 3 || s.Test != nil || s.Train.Name() != "set.safetensors" {
		t.Fatalf("%d samples of %s, expected %s", s.Train.Len(), got, want)
	}
	b := sampleOf(t, s.Train, 2)
	if !slices.Equal(b[0].Floats, []float32{5, 6}) || b[1].Int64s[0] != 9 || b[2].Floats[0] != 3 || b[3].Int64s[0] != 6 {
		t.Errorf("sample %+v", b)
	}

	arrays := &weights.Set{}
	arrays.AddFloats("x", []int64{3, 2}, []float32{1, 2, 3, 4, 5, 6})
	arrays.Add("y", weights.DenseInt64s([]int64{3}, []int64{7, 8, 9}))
	f := filepath.Join(dir, "arrays.safetensors")
	if err := weights.WriteSafetensors(f, arrays, nil, false); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(context.Background(), "safetensors:"+f); err != nil {
		t.Fatal(err)
	}
	same, err := NewArrays("same", arrays)
	if err != nil || same.Hash() != s.Train.Hash() {
		t.Errorf("hashes of the same arrays: %s, %s, %v", same.Hash(), s.Train.Hash(), err)
	}
}

func TestSafetensorsFaults(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.safetensors")
	whole := filepath.Join(dir, "whole.safetensors")
	good := onnxgraph.Floats("x", []int64{2}, []float32{1, 2})
	write := func(path string, tensors ...*onnxgraph.Tensor) []byte {
		if err := weights.WriteSafetensorsExact(path, tensors, nil, true); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	raw := write(whole, good)
	for want, content := range map[string][]byte{
		"bad.safetensors":            raw[:len(raw)-1],
		`"y" has 3 samples, "x" has`: write(whole, good, onnxgraph.Int64s("y", []int64{3}, []int64{1, 2, 3})),
		"no arrays":                  write(whole),
	} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(context.Background(), "safetensors:"+file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "bad.safetensors") {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	if _, err := ParseSpec("safetensors"); err == nil || !strings.Contains(err.Error(), "expected safetensors:FILE") {
		t.Errorf("without a file: error %v", err)
	}
}
