package nino

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// fixtureStep is a step on a fixture.
func fixtureStep(t *testing.T, name string) stepOptions {
	t.Helper()
	dir := testenv.Shared(t, "fixtures/nino/"+name)
	o := stepOptions{
		Model: filepath.Join(dir, "model.onnx"), Weights: testenv.Shared(t, "fixtures/weights/nino_no_posw.safetensors"),
		K: 20, Method: methodNino, Out: filepath.Join(t.TempDir(), "next.safetensors"),
	}
	for i := range 5 {
		o.States = append(o.States, filepath.Join(dir, "state_"+string(rune('0'+i))+".safetensors"))
	}
	return o
}

// stepped runs a step and opens what it wrote.
func stepped(t *testing.T, o stepOptions) (*Step, *weights.File) {
	t.Helper()
	runtimetest.Engine(t)
	a, out, _ := testApp(true)
	if err := runStep(t.Context(), a, o); err != nil {
		t.Fatal(err)
	}
	var r Step
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &r, f
}

// asBFloat16 writes a state's arrays as bfloat16, cut off, in two shards, or
// the same numbers as float32 in one file.
func asBFloat16(t *testing.T, path, dir string, short bool) {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var tensors []*onnxgraph.Tensor
	index := map[string]string{}
	files := []string{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}
	for i, name := range f.Names() {
		x := f.Tensor(name)
		c := &onnxgraph.Tensor{Name: name, DType: onnxgraph.Float, Dims: x.Dims}
		if short {
			c.DType = onnxgraph.BFloat16
		}
		for at := 0; at < len(x.Data); at += 4 {
			if !short {
				c.Data = append(c.Data, 0, 0)
			}
			c.Data = append(c.Data, x.Data[at+2:at+4]...)
		}
		tensors = append(tensors, c)
		index[name] = files[min(1, i/3)]
	}
	if !short {
		if err := weights.WriteSafetensorsExact(filepath.Join(dir, "m.safetensors"), tensors, nil, false); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, part := range [][]*onnxgraph.Tensor{tensors[:3], tensors[3:]} {
		if err := weights.WriteSafetensorsExact(filepath.Join(dir, files[i]), part, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(map[string]any{"weight_map": index})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "m.safetensors.index.json"), raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Sharded bfloat16 states give a sharded bfloat16 result: that of the same
// numbers as float32, rounded.
func TestStepShards(t *testing.T) {
	o := fixtureStep(t, "a_fm16")
	dir := t.TempDir()
	short, long := o, o
	short.States, long.States = nil, nil
	short.Out = filepath.Join(dir, "short.safetensors")
	long.Out = filepath.Join(dir, "long.safetensors")
	for i, path := range o.States {
		s := filepath.Join(dir, "short"+string(rune('0'+i)))
		l := filepath.Join(dir, "long"+string(rune('0'+i)))
		asBFloat16(t, path, s, true)
		asBFloat16(t, path, l, false)
		short.States, long.States = append(short.States, s), append(long.States, l)
	}
	r, got := stepped(t, short)
	if want := filepath.Join(dir, "short.safetensors.index.json"); r.Path != want {
		t.Errorf("written to %s, expected %s", r.Path, want)
	}
	_, want := stepped(t, long)
	for _, name := range want.Names() {
		a, b := got.Tensor(name), want.Tensor(name)
		if a.DType != onnxgraph.BFloat16 {
			t.Fatalf("%s is %s", name, a.DType)
		}
		x, err := a.AsFloats()
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.AsFloats()
		if err != nil {
			t.Fatal(err)
		}
		for i := range x {
			if d := math.Abs(float64(x[i]) - float64(y[i])); d > math.Abs(float64(y[i]))/256+1e-9 {
				t.Fatalf("%s, element %d: %v, expected %v rounded", name, i, x[i], y[i])
			}
		}
	}
}

// A step that must keep its values in a file gives the same bits; less memory
// than any step takes is refused beforehand.
func TestStepMemory(t *testing.T) {
	o := fixtureStep(t, "c_gpt2_v256")
	free, want := stepped(t, o)
	if free.Streamed == nil || free.Streamed.Memory > free.Streamed.Expected {
		t.Fatalf("%+v took more memory than expected", free.Streamed)
	}
	o.Out = filepath.Join(t.TempDir(), "tight.safetensors")
	o.Memory = fmt.Sprint(free.Streamed.Expected - 1)
	tight, got := stepped(t, o)
	if tight.Streamed.Expected >= free.Streamed.Expected {
		t.Errorf("%d bytes expected with a bound, %d without", tight.Streamed.Expected, free.Streamed.Expected)
	}
	for _, name := range want.Names() {
		if string(got.Tensor(name).Data) != string(want.Tensor(name).Data) {
			t.Errorf("%s differs", name)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(o.Out), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files %v, %v", left, err)
	}
	o.Memory, o.Overwrite = "10MB", true
	a, _, _ := testApp(false)
	if err := runStep(t.Context(), a, o); err == nil || !strings.Contains(err.Error(), "of memory at least") {
		t.Errorf("error %v", err)
	}
}
