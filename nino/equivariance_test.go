package nino

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"ninox/models"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// subject is a network with five states of its parameters.
type subject struct {
	name   string
	graph  *neuralgraph.Graph
	nino   *neuralgraph.NiNo
	states []*weights.Set
}

func newSubject(t testing.TB, name string, m *onnxgraph.Model, states []*weights.Set) *subject {
	t.Helper()
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	n, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{name, g, n, states}
	if states == nil {
		s.states = walk(t, m, g)
	}
	return s
}

// walk makes states that drift away from the model's weights, each parameter
// faster along some numbers than along others.
func walk(t testing.TB, m *onnxgraph.Model, g *neuralgraph.Graph) []*weights.Set {
	t.Helper()
	rng := rand.New(rand.NewPCG(11, 12))
	out := make([]*weights.Set, 5)
	for i := range out {
		out[i] = &weights.Set{}
	}
	for _, p := range g.Parameters {
		w := m.Graph.Initializer(p.Name)
		if w == nil {
			t.Fatalf("parameter %s is no initializer", p.Name)
		}
		v, err := w.AsFloats()
		if err != nil {
			t.Fatal(err)
		}
		for k := range v {
			v[k] += float32(0.1 * rng.NormFloat64()) // biases and norms start out all alike
		}
		drift := make([]float32, len(v))
		for k := range drift {
			drift[k] = float32(0.02 * rng.NormFloat64())
		}
		for i := range out {
			w := make([]float32, len(v))
			for k := range w {
				w[k] = v[k] + float32(i)*drift[k] + float32(0.002*rng.NormFloat64())
			}
			out[i].AddFloats(p.Name, p.Shape, w)
		}
	}
	return out
}

// permuted are the states with the parameters permuted.
func (s *subject) permuted(t testing.TB, p neuralgraph.Permutations, states ...*weights.Set) []*weights.Set {
	t.Helper()
	out := make([]*weights.Set, len(states))
	for i, state := range states {
		out[i] = &weights.Set{}
		for _, w := range s.graph.Parameters {
			v, err := state.Floats(w.Name)
			if err != nil {
				t.Fatal(err)
			}
			q, err := s.graph.Permute(onnxgraph.Floats(w.Name, w.Shape, v), p)
			if err != nil {
				t.Fatal(err)
			}
			if v, err = q.AsFloats(); err != nil {
				t.Fatal(err)
			}
			out[i].AddFloats(w.Name, w.Shape, v)
		}
	}
	return out
}

// nowcast predicts 20 intervals ahead on a graph.
func (s *subject) nowcast(t testing.TB, w *Weights, g *neuralgraph.NiNo, positions []float32, states []*weights.Set) *weights.Set {
	t.Helper()
	n, err := New(runtimetest.Engine(t), w, g, Options{Positions: positions})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	out, err := n.Nowcast(t.Context(), states, 20)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apart is the largest difference of two sets of parameters.
func (s *subject) apart(t testing.TB, x, y *weights.Set) float64 {
	t.Helper()
	most := 0.0
	for _, p := range s.graph.Parameters {
		a, errA := x.Floats(p.Name)
		b, errB := y.Floats(p.Name)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for k := range a {
			most = math.Max(most, math.Abs(float64(a[k])-float64(b[k])))
		}
	}
	return most
}

// subjects are the tasks' networks, the fixtures with the states of their
// training, and small language models.
func subjects(t testing.TB) []*subject {
	t.Helper()
	var out []*subject
	add := func(name string, network models.Network) {
		m, err := network.Model(1)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, newSubject(t, name, m, nil))
	}
	seen := map[string]bool{}
	for _, task := range models.Tasks() {
		if n := task.Network.Parameters(); n < 3e5 && !seen[fmt.Sprint(n)] {
			seen[fmt.Sprint(n)] = true
			add(task.Name, task.Network)
		}
	}
	for _, v := range []models.Variant{
		{Channels: 1, Side: 8, Classes: 3, Hidden: []int{7, 5}, Activation: "tanh"},
		{Channels: 2, Side: 8, Classes: 3, Hidden: []int{8, 8, 12}, Kernel: 3, Norm: "group", Residual: true},
		{Channels: 2, Side: 8, Classes: 3, Hidden: []int{6, 6}, Kernel: 5, Norm: "batch", Activation: "silu", Flatten: true},
	} {
		add(fmt.Sprintf("%+v", v), v)
	}
	language := models.Transformer{Vocab: 31, Positions: 8, Width: 16, Layers: 2, Heads: 4}
	for _, shared := range []int{4, 2, 1} {
		language.Name, language.Family, language.KVHeads = fmt.Sprintf("llama, %d key heads", shared), models.Llama, shared
		add(language.Name, language)
	}
	language.Name, language.Family, language.KVHeads = "gpt2", models.GPT2, 0
	add(language.Name, language)
	return out
}

// TestNowcastIsEquivariant: permuting the neurons of a network and then
// predicting, positions and all, is predicting and then permuting.
func TestNowcastIsEquivariant(t *testing.T) {
	list := subjects(t)
	w := importWeights(t, "nino_no_posw")
	for _, name := range cases {
		f := loadFixture(t, name)
		m, err := onnxgraph.ReadFile(f.dir + "/model.onnx")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, newSubject(t, name, m, f.states(t)))
	}
	for _, s := range list {
		p := s.graph.RandomPermutations(rand.New(rand.NewPCG(3, 4)))
		first := s.nowcast(t, w, s.nino, nil, s.states)
		want := s.permuted(t, p, first)[0]
		got := s.nowcast(t, w, s.nino, nil, s.permuted(t, p, s.states...))
		update := s.apart(t, first, s.states[4])
		d := s.apart(t, want, got)
		t.Logf("%s: %d groups, %d nodes: %.1e apart, the update moves by up to %.1e", s.name, len(p), s.nino.Nodes, d, update)
		if d > 1e-5 || len(p) == 0 {
			t.Errorf("%s: %d groups permuted, predictions %.1e apart", s.name, len(p), d)
		}
		if moved := s.apart(t, first, want); moved < 1e-3 {
			t.Errorf("%s: the permutation moves predictions by %.1e only", s.name, moved)
		}
	}
}

// TestReferenceGraphIsNotEquivariant: on the graphs that the reference builds
// predictions depend on the order of neurons, where positions play no part: for
// GPT-2 through the key bias, for Llama through misplaced parameters.
func TestReferenceGraphIsNotEquivariant(t *testing.T) {
	w := importWeights(t, "nino_no_posw")
	for _, name := range []string{"c_gpt2_v256", "e_llama_gqa"} {
		f := loadFixture(t, name)
		m, err := onnxgraph.ReadFile(f.dir + "/model.onnx")
		if err != nil {
			t.Fatal(err)
		}
		s := newSubject(t, name, m, f.states(t))
		reference := f.nino(t)
		difference := func(g *neuralgraph.NiNo, p neuralgraph.Permutations) float64 {
			none := make([]float32, g.Nodes*w.Positions)
			want := s.permuted(t, p, s.nowcast(t, w, g, none, s.states))[0]
			return s.apart(t, want, s.nowcast(t, w, g, none, s.permuted(t, p, s.states...)))
		}
		for _, gr := range s.graph.Groups {
			if gr.Role != neuralgraph.RoleHeadDim || !gr.Permutable {
				continue
			}
			p := s.graph.RandomPermutations(rand.New(rand.NewPCG(5, 6)), gr.ID)
			ours, theirs := difference(s.nino, p), difference(reference, p)
			t.Logf("%s: neurons of heads (%s) permuted: predictions on our graph %.1e apart, on the reference's %.1e", name, gr.Name, ours, theirs)
			if ours > 1e-5 || theirs < 100*ours {
				t.Errorf("%s: predictions on our graph %.1e apart, on the reference's %.1e", name, ours, theirs)
			}
			break // one group is enough
		}
	}
}
