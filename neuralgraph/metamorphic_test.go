package neuralgraph_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/neuralgraph/graphtest"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// variants are ways to write the same network in another form. Each edits its
// own copy of the model.
var variants = map[string]func(t *testing.T, m *onnxgraph.Model, rng *rand.Rand) *onnxgraph.Model{
	"nodes in another order": func(_ *testing.T, m *onnxgraph.Model, rng *rand.Rand) *onnxgraph.Model {
		m.Graph.EachGraph(func(g *onnxgraph.Graph) {
			rng.Shuffle(len(g.Nodes), func(i, j int) { g.Nodes[i], g.Nodes[j] = g.Nodes[j], g.Nodes[i] })
		})
		return m
	},
	"weights in another order": func(_ *testing.T, m *onnxgraph.Model, rng *rand.Rand) *onnxgraph.Model {
		list := m.Graph.Initializers
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return m
	},
	"all names changed":            renamed,
	"weights as Constant nodes":    weightsAsNodes,
	"matrices stored transposed":   matricesTransposed,
	"and stored as they are read":  storedAsRead,
	"weights in a file beside it":  weightsBeside,
	"in the newest opset":          inNewestOpset,
	"in standard form already":     inStandardForm,
	"every open extent known":      extentsKnown,
	"an Identity behind each node": identities,
}

func renamed(_ *testing.T, m *onnxgraph.Model, rng *rand.Rand) *onnxgraph.Model {
	names := map[string]string{"": ""}
	order := slices.Sorted(maps.Keys(m.Graph.Names()))
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, name := range order {
		if name != "" {
			names[name] = fmt.Sprintf("n%d", i)
		}
	}
	all := func(list []string) {
		for i := range list {
			list[i] = names[list[i]]
		}
	}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for i, t := range g.Initializers {
			c := *t
			c.Name = names[t.Name]
			g.Initializers[i] = &c
		}
		for _, list := range [][]*onnxgraph.Value{g.Inputs, g.Outputs} {
			for i, v := range list {
				list[i] = &onnxgraph.Value{Name: names[v.Name], Type: v.Type}
			}
		}
		g.ValueInfo = nil
		for _, n := range g.Nodes {
			n.Name = names[n.Name]
			all(n.Inputs)
			all(n.Outputs)
		}
	})
	return m
}

func weightsAsNodes(_ *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	var nodes []*onnxgraph.Node
	inputs := map[string]bool{}
	for _, v := range m.Graph.Inputs {
		inputs[v.Name] = true
	}
	var kept []*onnxgraph.Tensor
	for _, t := range m.Graph.Initializers {
		if inputs[t.Name] || t.Len() < 2 { // a number in a node may be anything
			kept = append(kept, t)
			continue
		}
		value := *t
		value.Name = ""
		nodes = append(nodes, &onnxgraph.Node{Name: t.Name + "/node", OpType: "Constant", Outputs: []string{t.Name}, Attrs: []*onnxgraph.Attribute{onnxgraph.TensorAttr("value", &value)}})
	}
	m.Graph.Initializers = kept
	m.Graph.Nodes = slices.Concat(nodes, m.Graph.Nodes)
	return m
}

func matricesTransposed(t *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	var nodes []*onnxgraph.Node
	for i, w := range m.Graph.Initializers {
		if len(w.Dims) != 2 || w.DType != onnxgraph.Float {
			continue
		}
		v, err := w.AsFloats()
		if err != nil {
			t.Fatal(err)
		}
		rows, cols := w.Dims[0], w.Dims[1]
		turned := make([]float32, len(v))
		for k := range v {
			turned[int64(k)%cols*rows+int64(k)/cols] = v[k]
		}
		m.Graph.Initializers[i] = onnxgraph.Floats(w.Name+"/stored", []int64{cols, rows}, turned)
		nodes = append(nodes, &onnxgraph.Node{Name: w.Name + "/turn", OpType: "Transpose", Inputs: []string{w.Name + "/stored"}, Outputs: []string{w.Name}})
	}
	m.Graph.Nodes = slices.Concat(nodes, m.Graph.Nodes)
	return m
}

// storedAsRead transposes matrices, and drops each Transpose again.
func storedAsRead(t *testing.T, m *onnxgraph.Model, rng *rand.Rand) *onnxgraph.Model {
	nodes := len(m.Graph.Nodes)
	turned := matricesTransposed(t, m, rng)
	out, fired := transposesDropped(t, turned)
	if fired == 0 && len(turned.Graph.Nodes) > nodes {
		t.Error("no weight was stored in another layout")
	}
	return out
}

func transposesDropped(t *testing.T, m *onnxgraph.Model) (*onnxgraph.Model, int) {
	t.Helper()
	out, fired, err := rewrite.Apply(m, ops.Registry(), rewrite.Optional())
	if err != nil {
		t.Fatal(err)
	}
	return out, fired["weights"]
}

func weightsBeside(t *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := m.WriteFile(path, onnxgraph.WriteOptions{External: "weights.bin", ExternalMin: 1}); err != nil {
		t.Fatal(err)
	}
	out, err := onnxgraph.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Initializers) > 0 && !slices.ContainsFunc(out.Graph.Initializers, func(w *onnxgraph.Tensor) bool { return w.External != nil }) {
		t.Fatal("no weight lies beside the model")
	}
	return out
}

func inNewestOpset(t *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	out, _, err := rewrite.Convert(m, ops.Registry(), rewrite.Newest)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func inStandardForm(t *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	out, err := rewrite.Standard(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func extentsKnown(_ *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	for i, v := range m.Graph.Inputs {
		c := &onnxgraph.Value{Name: v.Name, Type: v.Type}
		c.Type.Shape = slices.Clone(v.Type.Shape)
		for a, d := range c.Type.Shape {
			if !d.IsKnown() {
				c.Type.Shape[a] = onnxgraph.Known(int64(2 + 62*min(a, 1)))
			}
		}
		m.Graph.Inputs[i] = c
	}
	m.Graph.ValueInfo = nil
	return m
}

func identities(_ *testing.T, m *onnxgraph.Model, _ *rand.Rand) *onnxgraph.Model {
	outputs := map[string]bool{}
	for _, v := range m.Graph.Outputs {
		outputs[v.Name] = true
	}
	var nodes []*onnxgraph.Node
	for _, n := range m.Graph.Nodes {
		nodes = append(nodes, n)
		for i, out := range n.Outputs {
			if out == "" || outputs[out] || n.OpType == "Constant" {
				continue
			}
			n.Outputs[i] = out + "/raw"
			nodes = append(nodes, &onnxgraph.Node{Name: out + "/same", OpType: "Identity", Inputs: []string{out + "/raw"}, Outputs: []string{out}})
		}
	}
	m.Graph.Nodes = nodes
	return m
}

// networks are what the variants are made of.
func networks(t *testing.T) map[string]*onnxgraph.Model {
	t.Helper()
	out := map[string]*onnxgraph.Model{}
	build := map[string]graphtest.Transformer{
		"gpt2":  graphtest.GPT2(2, 12, 3, 29),
		"llama": {Llama: true, Layers: 2, Width: 16, Heads: 4, KVHeads: 2, Hidden: 20, Vocabulary: 31},
	}
	for name, tr := range build {
		m, err := tr.Model()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = m
	}
	return out
}

func fingerprint(t *testing.T, m *onnxgraph.Model) string {
	t.Helper()
	s, err := analysed(t, m).Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func analysed(t testing.TB, m *onnxgraph.Model) *neuralgraph.Graph {
	t.Helper()
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// otherwise lists forms in which a network really has another graph.
var otherwise = map[string]string{
	"gpt2/every open extent known":                        "the rows of the position table that are never read are told apart",
	"models/piper_tashkeel.onnx/every open extent known":  "its table of positions becomes a constant, and so does the weight that scales it",
	"models/piper_tashkeel.onnx/in standard form already": "roots of single numbers become initializers, which cannot be told from weights",
}

// TestOneGraphForManyForms: however a network is written, its graph is the
// same.
func TestOneGraphForManyForms(t *testing.T) {
	for name, m := range networks(t) {
		checkForms(t, name, m)
	}
}

// TestOneGraphForManyFormsOfExports is the same for exported models.
func TestOneGraphForManyFormsOfExports(t *testing.T) {
	for _, file := range []string{"fixtures/nino/a_fm16/model.onnx", "fixtures/nino/c_gpt2_v256/model.onnx", "fixtures/nino/e_llama_gqa/model_dynamo.onnx",
		"models/rapidocr_cls_v2.onnx", "models/piper_tashkeel.onnx", "models/silero_vad_v6_fw.onnx"} {
		m, err := onnxgraph.ReadFile(testenv.Shared(t, file))
		if err != nil {
			t.Fatal(err)
		}
		checkForms(t, file, m)
	}
}

// TestTransposesOfExportsDropped: an export that transposes the weight of each
// linear layer has the graph that it has without.
func TestTransposesOfExportsDropped(t *testing.T) {
	m, err := onnxgraph.ReadFile(testenv.Shared(t, "fixtures/nino/e_llama_gqa/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	out, fired := transposesDropped(t, m)
	if before, after := fingerprint(t, m), fingerprint(t, out); fired == 0 || before != after {
		t.Errorf("%d weights stored as they are read: fingerprint %s, before %s", fired, after, before)
	}
}

func checkForms(t *testing.T, name string, m *onnxgraph.Model) {
	t.Helper()
	want := fingerprint(t, m)
	for _, form := range slices.Sorted(maps.Keys(variants)) {
		if otherwise[name+"/"+form] != "" {
			continue
		}
		t.Run(name+"/"+form, func(t *testing.T) {
			if got := fingerprint(t, variants[form](t, m.Clone(), rand.New(rand.NewPCG(5, 7)))); got != want {
				t.Errorf("fingerprint %s, of the model as given %s", got, want)
			}
		})
	}
}

// TestFingerprintsDiffer: networks that differ in one respect have different
// fingerprints, so that equal ones mean something.
func TestFingerprintsDiffer(t *testing.T) {
	base := graphtest.Transformer{Llama: true, Layers: 2, Width: 16, Heads: 4, KVHeads: 2, Hidden: 20, Vocabulary: 31}
	changes := map[string]func(t *graphtest.Transformer){
		"nothing":    func(*graphtest.Transformer) {},
		"layers":     func(t *graphtest.Transformer) { t.Layers = 3 },
		"heads":      func(t *graphtest.Transformer) { t.Heads, t.KVHeads = 2, 2 },
		"kv heads":   func(t *graphtest.Transformer) { t.KVHeads = 1 },
		"hidden":     func(t *graphtest.Transformer) { t.Hidden = 21 },
		"vocabulary": func(t *graphtest.Transformer) { t.Vocabulary = 30 },
		"family":     func(t *graphtest.Transformer) { t.Llama, t.Positions = false, 8 },
	}
	of := map[string]string{}
	for name, change := range changes {
		tr := base
		change(&tr)
		m, err := tr.Model()
		if err != nil {
			t.Fatal(err)
		}
		s := fingerprint(t, m)
		if other, ok := of[s]; ok {
			t.Errorf("%s and %s have the same fingerprint", name, other)
		}
		of[s] = name
	}
}
