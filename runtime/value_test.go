package ort_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// identity is y = x of the given type.
func identity(t testing.TB, d onnxgraph.DType, s onnxgraph.Shape) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("identity", 21)
	if d.Bits() == 2 {
		b = onnxgraph.NewBuilder("identity", 25)
	}
	x := b.Input("x", d, s)
	if bits := d.Bits(); bits == 2 || bits == 4 { // Identity has no kernel for these, but Cast has
		f := b.Op("Cast", []string{x}, onnxgraph.IntAttr("to", int64(onnxgraph.Float)))
		b.Output(b.Named("y", "Cast", []string{f}, onnxgraph.IntAttr("to", int64(d))), d, s)
	} else {
		b.Output(b.Named("y", "Identity", []string{x}), d, s)
	}
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// randomTensor has random bytes as elements, which are valid for all types but
// bool and strings.
func randomTensor(rng *rand.Rand, d onnxgraph.DType, dims []int64) *onnxgraph.Tensor {
	t := &onnxgraph.Tensor{Name: "t", DType: d, Dims: dims}
	if d == onnxgraph.String {
		for range t.Len() {
			t.Strings = append(t.Strings, fmt.Appendf(nil, "%x é", rng.Uint32()>>rng.IntN(32)))
		}
		if len(t.Strings) > 0 {
			t.Strings[0] = []byte{}
		}
		return t
	}
	t.Data = make([]byte, d.RawSize(t.Len()))
	for i := range t.Data {
		t.Data[i] = byte(rng.Uint32())
		if d == onnxgraph.Bool {
			t.Data[i] &= 1
		}
	}
	if used := t.Len() * int64(d.Bits()) % 8; used > 0 {
		t.Data[len(t.Data)-1] &= 1<<used - 1 // the unused bits of the last byte
	}
	return t
}

func TestValuesOfAllTypes(t *testing.T) {
	types := []onnxgraph.DType{
		onnxgraph.Float, onnxgraph.Uint8, onnxgraph.Int8, onnxgraph.Uint16, onnxgraph.Int16, onnxgraph.Int32, onnxgraph.Int64,
		onnxgraph.String, onnxgraph.Bool, onnxgraph.Float16, onnxgraph.Double, onnxgraph.Uint32, onnxgraph.Uint64, onnxgraph.BFloat16,
		onnxgraph.Float8E4M3FN, onnxgraph.Float8E4M3FNUZ, onnxgraph.Float8E5M2, onnxgraph.Float8E5M2FNUZ, onnxgraph.Uint4, onnxgraph.Int4,
		onnxgraph.Uint2, onnxgraph.Int2,
	}
	shapes := [][]int64{{}, {3}, {2, 3}, {0}, {2, 0, 3}}
	rng := rand.New(rand.NewPCG(3, 3))
	for _, d := range types {
		t.Run(d.String(), func(t *testing.T) {
			for _, dims := range shapes {
				s := newSession(t, identity(t, d, onnxgraph.StaticShape(dims...)))
				want := randomTensor(rng, d, dims)
				v, err := ort.NewValue(want)
				if err != nil {
					t.Fatal(err)
				}
				out, err := s.Run(context.Background(), map[string]*ort.Value{"x": v})
				v.Close()
				if err != nil {
					t.Fatalf("%v: %v", dims, err)
				}
				got := out["y"].Tensor("t")
				if got.DType != d || !slices.Equal(got.Dims, dims) || !bytes.Equal(got.Data, want.Data) ||
					!slices.EqualFunc(got.Strings, want.Strings, bytes.Equal) {
					t.Errorf("%v: got %+v, want %+v", dims, got, want)
				}
			}
		})
	}
}

// TestValuesWithoutKernels checks that the other types reach the library at
// all: it has no kernels for them.
func TestValuesWithoutKernels(t *testing.T) {
	runtimetest.Engine(t)
	for _, d := range []onnxgraph.DType{onnxgraph.Complex64, onnxgraph.Complex128, onnxgraph.Float4E2M1, onnxgraph.Float8E8M0} {
		v, err := ort.NewValue(randomTensor(rand.New(rand.NewPCG(1, 1)), d, []int64{3}))
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(t, addModel(t))
		_, err = s.Run(context.Background(), map[string]*ort.Value{"x": v, "y": v})
		if want := d.String() + "[3], expected float[n]"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to contain %q", err, want)
		}
	}
}

func TestValueErrors(t *testing.T) {
	vector := func(d onnxgraph.DType, n int64, data int) *onnxgraph.Tensor {
		return &onnxgraph.Tensor{Name: "t", DType: d, Dims: []int64{n}, Data: make([]byte, data)}
	}
	for _, c := range []struct {
		name string
		make func() (*ort.Value, error)
		want string
	}{
		{"short", func() (*ort.Value, error) { return ort.FloatValue([]int64{2, 3}, make([]float32, 5)) }, "float[2 3]: 5 elements, the shape takes 6"},
		{"negative", func() (*ort.Value, error) { return ort.Int64Value([]int64{-1}, make([]int64, 5)) }, "int64[-1]: the shape has a negative extent"},
		{"large", func() (*ort.Value, error) { return ort.FloatValue([]int64{1 << 40, 1 << 40}, nil) }, "too large"},
		{"no scalar", func() (*ort.Value, error) { return ort.FloatValue(nil, nil) }, "0 elements, the shape takes 1"},
		{"bytes", func() (*ort.Value, error) { return ort.NewValue(vector(onnxgraph.Float16, 3, 5)) }, `tensor "t": float16[3]: 5 bytes of data, expected 6`},
		{"type", func() (*ort.Value, error) { return ort.NewValue(vector(99, 1, 1)) }, "not an element type"},
		{"strings", func() (*ort.Value, error) {
			return ort.NewValue(&onnxgraph.Tensor{Name: "t", DType: onnxgraph.String, Dims: []int64{1}, Strings: [][]byte{{}, {}}})
		}, "2 strings"},
		{"zero byte", func() (*ort.Value, error) {
			return ort.NewValue(&onnxgraph.Tensor{Name: "t", DType: onnxgraph.String, Dims: []int64{1}, Strings: [][]byte{{'a', 0}}})
		}, "zero byte"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.make(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to contain %q", err, c.want)
			}
		})
	}
}

func TestValueIsTheSlice(t *testing.T) {
	data := []float32{1, 2, 3, 4}
	v := floats(t, []int64{3}, data...) // a variadic call passes the slice itself
	if &v.Floats()[0] != &data[0] || len(v.Floats()) != 3 || cap(v.Floats()) != 3 {
		t.Error("Floats is not the first elements of the slice")
	}
	if v.Int64s() != nil {
		t.Error("a float value has int64 elements")
	}
	if got := v.Tensor("name"); got.Name != "name" || got.DType != onnxgraph.Float || !slices.Equal(got.Dims, []int64{3}) {
		t.Errorf("Tensor is %+v", got)
	}
	v.Tensor("").Data[0] = 99
	if data[0] != 1 {
		t.Error("Tensor shares the elements")
	}
}

func TestDenseValue(t *testing.T) {
	data := []float32{1, 2, 3, 4, 5, 6}
	v, err := ort.DenseValue(tensor.New(tensor.WithShape(2, 3), tensor.WithBacking(data)))
	if err != nil {
		t.Fatal(err)
	}
	if &v.Floats()[0] != &data[0] || !slices.Equal(v.Dims(), []int64{2, 3}) {
		t.Error("the value does not share the array's elements")
	}
	scalar := tensor.New(tensor.FromScalar(int64(7)))
	if v, err = ort.DenseValue(scalar); err != nil {
		t.Fatal(err)
	}
	if v.Int64s()[0] = 8; len(v.Dims()) != 0 || scalar.Data().(int64) != 8 {
		t.Errorf("scalar: shape %v, array %v", v.Dims(), scalar.Data())
	}
	transposed := tensor.New(tensor.WithShape(2, 3), tensor.WithBacking(slices.Clone(data)))
	if err := transposed.T(); err != nil {
		t.Fatal(err)
	}
	if _, err := ort.DenseValue(transposed); err == nil || !strings.Contains(err.Error(), "not contiguous") {
		t.Errorf("transposed array: error %v", err)
	}
	if _, err := ort.DenseValue(tensor.New(tensor.WithShape(1), tensor.Of(tensor.Float64))); err == nil || !strings.Contains(err.Error(), "float64: expected float32 or int64") {
		t.Errorf("float64 array: error %v", err)
	}
}

// TestUnclosedValues leaves values to the garbage collector, which must
// neither free what is in use nor find pinned memory that nobody unpins.
func TestUnclosedValues(t *testing.T) {
	s := newSession(t, addModel(t))
	for i := range 2000 {
		x, err := ort.FloatValue([]int64{2}, []float32{float32(i), 1})
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": x}, "z")
		if err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			runtime.GC()
		}
		if got := out["z"].Floats(); got[0] != float32(2*i) || got[1] != 2 {
			t.Fatalf("run %d: %v", i, got)
		}
	}
	for range 3 {
		runtime.GC()
	}
}

func TestClosedValueWorksAgain(t *testing.T) {
	s := newSession(t, addModel(t))
	x := floats(t, []int64{1}, 5)
	for range 2 {
		out, err := s.Run(context.Background(), map[string]*ort.Value{"x": x, "y": x})
		if err != nil {
			t.Fatal(err)
		}
		x.Close()
		x.Close()
		z := out["z"]
		z.Close()
		if z.Floats()[0] != 10 || x.Floats()[0] != 5 {
			t.Errorf("after Close: z %v, x %v", z.Floats(), x.Floats())
		}
	}
}
