package finetune_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/finetune"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

const peftDir = "testdata/peft"

// peftOutput runs a model on the reference's input.
func peftOutput(t *testing.T, m *onnxgraph.Model) []float32 {
	t.Helper()
	reference := peftReference(t)
	x := reference.Get("x")
	v, err := ort.FloatValue(weights.Dims(x), x.Data().([]float32))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), map[string]*ort.Value{"x": v}, "y")
	if err != nil {
		t.Fatal(err)
	}
	defer out["y"].Close()
	return slices.Clone(out["y"].Floats())
}

func peftReference(t *testing.T) *weights.Set {
	t.Helper()
	s, _, err := weights.ReadSafetensors(filepath.Join(peftDir, "reference.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func peftBase(t *testing.T) *onnxgraph.Model {
	t.Helper()
	m, err := onnxgraph.ReadFile(filepath.Join(peftDir, "base.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// An adapter that PEFT wrote, on an export of its network, gives what PEFT gives:
// linear layers, convolutions with and without groups, patterns for rank and
// alpha, a module trained whole (testdata/peft/make.py).
func TestReadPEFT(t *testing.T) {
	m, adapters, err := finetune.ReadPEFT(filepath.Join(peftDir, "adapter"), peftBase(t), ops.Registry(), "")
	if err != nil {
		t.Fatal(err)
	}
	scales := map[string]float64{}
	for _, ad := range adapters.Adapters {
		scales[ad.Module] = ad.Scale
	}
	if len(scales) != 4 || scales["conv"] != 3 || scales["fc2"] != 4 || !slices.Equal(slices.Sorted(slices.Values(adapters.Saved)), []string{"head.bias", "head.weight"}) {
		t.Errorf("scales %v, saved %v", scales, adapters.Saved)
	}
	want, err := peftReference(t).Floats("y")
	if err != nil {
		t.Fatal(err)
	}
	if d := furthest(peftOutput(t, m), want); d > 2e-6 {
		t.Errorf("output is %g from PEFT's", d)
	}
	if d := furthest(peftOutput(t, peftBase(t)), want); d < 1e-2 {
		t.Errorf("the adapter changes the output by %g only: a poor test", d)
	}
	if _, err := finetune.Merge(m); err == nil || !strings.Contains(err.Error(), "mixes the 2 groups of the convolution") {
		t.Errorf("merging what mixes groups: error %v", err)
	}
}

// What WritePEFT writes, ReadPEFT reads: the same numbers and the same output.
func TestPEFTRoundTrip(t *testing.T) {
	m, adapters, err := finetune.AddLoRA(peftBase(t), ops.Registry(), finetune.LoRA{Rank: 4, Alpha: 2, Except: []string{"head.weight"}, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	adapters.Saved = []string{"head.weight"}
	adapters.Record(m)
	for _, ad := range adapters.Adapters {
		b := m.Graph.Initializer(ad.B)
		set(m, ad.B, normal(rand.New(rand.NewPCG(9, 9)), int(b.Len())))
	}
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := finetune.WritePEFT(dir, m, "", false); err != nil {
		t.Fatal(err)
	}
	back, again, err := finetune.ReadPEFT(dir, peftBase(t), ops.Registry(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Adapters) != len(adapters.Adapters) || !slices.Equal(again.Saved, adapters.Saved) {
		t.Errorf("adapters %+v, expected %+v", again, adapters)
	}
	if d := furthest(peftOutput(t, back), peftOutput(t, m)); d != 0 {
		t.Errorf("the output is another, by %g", d)
	}
	merged, err := finetune.Merge(back)
	if err != nil {
		t.Fatal(err)
	}
	if d := furthest(peftOutput(t, merged), peftOutput(t, m)); d > 1e-6 {
		t.Errorf("merged, the output is another, by %g", d)
	}
	// Modules under another name: a prefix more in the model, or one less.
	if _, _, err := finetune.ReadPEFT(dir, renamedBase(t, "net."), ops.Registry(), "net."); err != nil {
		t.Errorf("with a prefix: %v", err)
	}
	if err := finetune.WritePEFT(filepath.Join(dir, "short"), back, "c", false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := finetune.ReadPEFT(filepath.Join(dir, "short"), peftBase(t), ops.Registry(), ""); err == nil || !strings.Contains(err.Error(), `module "onv": the model has no such layer, only `) {
		t.Errorf("a foreign adapter: error %v", err)
	}
	if _, _, err := finetune.ReadPEFT(dir, back, ops.Registry(), ""); err == nil || !strings.Contains(err.Error(), "has adapters already") {
		t.Errorf("a second adapter: error %v", err)
	}
}

// renamedBase is the base with a prefix before the names of its weights.
func renamedBase(t *testing.T, prefix string) *onnxgraph.Model {
	t.Helper()
	m := peftBase(t)
	names := map[string]bool{}
	for _, i := range m.Graph.Initializers {
		names[i.Name] = true
		i.Name = prefix + i.Name
	}
	for _, n := range m.Graph.Nodes {
		for i, in := range n.Inputs {
			if names[in] {
				n.Inputs[i] = prefix + in
			}
		}
	}
	return m
}

func product(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}

func TestReadPEFTRefuses(t *testing.T) {
	tensor := func(name string, dims ...int64) *onnxgraph.Tensor {
		return onnxgraph.Floats("base_model.model."+name, dims, make([]float32, product(dims)))
	}
	a, b := tensor("fc1.lora_A.weight", 2, 4), tensor("fc1.lora_B.weight", 6, 2)
	for name, k := range map[string]struct {
		config  map[string]any
		tensors []*onnxgraph.Tensor
		want    string
	}{
		"another method":  {map[string]any{"peft_type": "IA3"}, []*onnxgraph.Tensor{a, b}, `peft_type "IA3", expected LORA`},
		"DoRA":            {map[string]any{"peft_type": "LORA", "use_dora": true}, []*onnxgraph.Tensor{a, b}, "use_dora is set"},
		"half":            {nil, []*onnxgraph.Tensor{a}, `module "fc1": expected matrices lora_A and lora_B`},
		"nothing":         {nil, []*onnxgraph.Tensor{tensor("head.bias", 3)}, "no tensors lora_A and lora_B"},
		"embedding":       {nil, []*onnxgraph.Tensor{tensor("e.lora_embedding_A", 2, 4)}, "adapters of embeddings"},
		"another shape":   {nil, []*onnxgraph.Tensor{tensor("fc1.lora_A.weight", 2, 5), b}, "A [2 5] and B [6 2], expected [2 4] and [6 2] beside the weight [6 4]"},
		"another head":    {nil, []*onnxgraph.Tensor{a, b, tensor("head.weight", 5, 6)}, `shape [5 6], expected [3 6] as initializer "head.weight" has`},
		"another network": {nil, []*onnxgraph.Tensor{a, b, tensor("tail.weight", 5, 6)}, `no initializer "tail.weight" in the model`},
		"no rank fits":    {nil, []*onnxgraph.Tensor{tensor("grouped.lora_A.weight", 3, 4, 3, 3), tensor("grouped.lora_B.weight", 4, 3, 1, 1)}, "no multiple of the 2 groups"},
	} {
		t.Run(name, func(t *testing.T) {
			if k.config == nil {
				k.config = map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 2}
			}
			dir := t.TempDir()
			text, err := json.Marshal(k.config)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, finetune.PEFTConfig), text, 0o644)
			}
			if err == nil {
				err = weights.WriteSafetensorsExact(filepath.Join(dir, finetune.PEFTWeights), k.tensors, nil, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := finetune.ReadPEFT(dir, peftBase(t), ops.Registry(), ""); err == nil || !strings.Contains(err.Error(), k.want) {
				t.Errorf("error %v, expected %q", err, k.want)
			}
		})
	}
	if _, _, err := finetune.ReadPEFT(t.TempDir(), peftBase(t), ops.Registry(), ""); err == nil || !strings.Contains(err.Error(), finetune.PEFTConfig) {
		t.Errorf("an empty folder: error %v", err)
	}
}

// Adapters are not exchanged where the exporter changed the weights that they are
// for.
func TestPEFTOfFoldedWeights(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "adapter")
	for want, fold := range map[string]func(m *onnxgraph.Model){
		"export again with optimize=False": func(m *onnxgraph.Model) {
			for _, n := range m.Graph.Nodes {
				if n.OpType == "Conv" {
					n.Metadata = append(n.Metadata, onnxgraph.KeyValue{Key: "pkg.onnxscript.rewriter.rule_name", Value: "FuseBatchNormIntoConv, Other"})
				}
			}
		},
		"export again with training=TrainingMode.PRESERVE": func(m *onnxgraph.Model) {
			for _, n := range m.Graph.Nodes {
				if n.OpType == "Conv" {
					m.Graph.Initializer(n.Inputs[1]).Name = "onnx::Conv_1" + n.Inputs[1]
					n.Inputs[1] = "onnx::Conv_1" + n.Inputs[1]
					n.Name = "/" + strings.TrimSuffix(strings.TrimPrefix(n.Inputs[1], "onnx::Conv_1"), ".weight") + "/Conv"
				}
			}
		},
	} {
		m := peftBase(t)
		fold(m)
		if _, _, err := finetune.ReadPEFT(filepath.Join(peftDir, "adapter"), m, ops.Registry(), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("read: error %v, expected %q", err, want)
		}
		m, _, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := finetune.WritePEFT(dir, m, "", false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("write: error %v, expected %q", err, want)
		}
		if _, err := finetune.Merge(m); err != nil {
			t.Errorf("merging needs no layer of PyTorch's: %v", err)
		}
	}
}
