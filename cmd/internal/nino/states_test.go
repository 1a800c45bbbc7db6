package nino

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// shardedState writes a state as two shards with an index.
func shardedState(t *testing.T, dir, name string, s *weights.Set) string {
	t.Helper()
	names := map[string]string{}
	shards := []*weights.Set{{}, {}}
	for i, n := range s.Names() {
		names[n] = fmt.Sprintf("%s-%d.safetensors", name, i%2)
		shards[i%2].Add(n, s.Get(n))
	}
	for i, shard := range shards {
		if err := weights.WriteSafetensors(filepath.Join(dir, fmt.Sprintf("%s-%d.safetensors", name, i)), shard, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(map[string]any{"weight_map": names})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".safetensors.index.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every kind of file gives the same state.
func TestReadState(t *testing.T) {
	dir := t.TempDir()
	s := &weights.Set{}
	s.AddFloats("a.weight", []int64{2, 3}, []float32{1, 2, 3, 4, 5, 6})
	s.AddFloats("a.bias", []int64{2}, []float32{7, 8})
	var tensors []*onnxgraph.Tensor
	b := onnxgraph.NewBuilder("state", 17)
	for _, n := range s.Names() {
		x, err := weights.ToTensor(n, s.Get(n))
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, x)
		b.Init(x)
	}
	b.Output(b.Named("y", "Add", []string{"a.bias", "a.bias"}), onnxgraph.Float, onnxgraph.StaticShape(2))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, write := range map[string]func(string) error{
		"s.safetensors": func(p string) error { return weights.WriteSafetensors(p, s, nil, false) },
		"s.npz":         func(p string) error { return weights.WriteNPZExact(p, tensors, false) },
		"s.onnx":        func(p string) error { return m.WriteFile(p, onnxgraph.WriteOptions{}) },
		"s.pt":          func(p string) error { return (&nino.Weights{Tensors: s}).WriteReference(p, false) },
	} {
		if err := write(path(name)); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{path("s.safetensors"), path("s.npz"), path("s.onnx"), path("s.pt"), shardedState(t, dir, "s", s),
		indexFile(t, path("s.bin.index.json"), `{"weight_map":{"a.weight":"s.pt","a.bias":"s.pt"}}`)}
	for _, file := range files {
		got, _, err := readState(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, n := range s.Names() {
			want, _ := s.Floats(n)
			if v, err := got.Floats(n); err != nil || !slices.Equal(v, want) || got.Len() != s.Len() {
				t.Errorf("%s: %s is %v, %v", file, n, v, err)
			}
		}
	}
	for content, want := range map[string]string{
		`{`: "unexpected end", `{}`: "weight_map",
		`{"weight_map":{"a.weight":"../s.pt"}}`: "outside the folder",
		`{"weight_map":{"b":"s.pt"}}`:           `array "b" is not in s.pt`,
		`{"weight_map":{"b":"none.pt"}}`:        "no such file",
	} {
		index := indexFile(t, path("bad.bin.index.json"), content)
		if _, _, err := readState(index); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("index %s: error %v, expected %q", content, err, want)
		}
	}
}

func indexFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Exports of one network under different names, layouts and with different ties
// lead to the same update of the same checkpoints.
func TestStepWhateverTheExport(t *testing.T) {
	w := testenv.Shared(t, "fixtures/weights/nino_no_posw.pt")
	for name, others := range map[string]map[string]string{
		"a_fm16":      {"model_folded": "", "model_dynamo": ""},
		"c_gpt2_v256": {"model_folded": "", "model_dynamo": "lm_head.weight is transformer.wte.weight (value)"},
		"e_llama_gqa": {"model_folded": "self_attn.k_proj.weight (value, transposed)", "model_dynamo": ""},
	} {
		dir := testenv.Shared(t, "fixtures/nino/"+name)
		o := stepOptions{Weights: w, K: 20, Method: methodNino, Overwrite: true, Out: filepath.Join(t.TempDir(), "out.safetensors")}
		for i := range stateCount {
			o.States = append(o.States, filepath.Join(dir, fmt.Sprintf("state_%d.safetensors", i)))
		}
		newest, _, err := weights.ReadSafetensors(o.States[4])
		if err != nil {
			t.Fatal(err)
		}
		step := func(model string) (*weights.Set, string) {
			a, _, progress := testApp(false)
			o.Model = filepath.Join(dir, model+".onnx")
			if err := runStep(t.Context(), a, o); err != nil {
				t.Fatalf("%s: %v", o.Model, err)
			}
			out, _, err := weights.ReadSafetensors(o.Out)
			if err != nil {
				t.Fatal(err)
			}
			return out, progress.String()
		}
		want, _ := step("model")
		for model, said := range others {
			got, progress := step(model)
			if !strings.Contains(progress, said) || strings.Contains(progress, "left out") || strings.Contains(progress, "copied") {
				t.Errorf("%s, %s: %q, expected %q in it", name, model, progress, said)
			}
			var off, update float64
			for _, n := range newest.Names() {
				x, _ := want.Floats(n)
				v, err := got.Floats(n)
				if err != nil {
					t.Fatal(err)
				}
				old, _ := newest.Floats(n)
				for i := range x {
					off += math.Pow(float64(v[i]-x[i]), 2)
					update += math.Pow(float64(x[i]-old[i]), 2)
				}
			}
			if share := math.Sqrt(off / update); share > 1e-4 {
				t.Errorf("%s: with %s the update differs by %.2g of its norm", name, model, share)
			}
		}
	}
}
