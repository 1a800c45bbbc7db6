package nino

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ninox/models"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// The neuron permutation experiment of the paper's appendix: the neurons of an
// attention layer are permuted in ways that leave the transformer's output as it
// is, and in ways that change it. Embeddings of the neural graph by a network of
// random weights must tell the two apart:
//
//	go test ./nino -run PermutationsAreToldApart -v
const (
	permutations = 1000
	attnWidth    = 16
	attnHeads    = 4
	attnHeadDim  = attnWidth / attnHeads
)

// orders are those of the queries, keys and values of the layer.
type orders struct{ query, key, value []int }

// drawOrders draws good orders (of heads; of the neurons of each head, for
// queries and keys the same; for values others) or bad ones (neurons of one
// head into another, the same for all three; or queries and keys differently).
func drawOrders(rng *rand.Rand, kind int) orders {
	switch kind {
	case 0:
		p := rng.Perm(attnWidth)
		return orders{p, p, p}
	case 1:
		heads := rng.Perm(attnHeads)
		return orders{withinHeads(rng, heads), withinHeads(rng, heads), withinHeads(rng, heads)}
	default:
		heads := rng.Perm(attnHeads)
		p := withinHeads(rng, heads)
		return orders{p, p, withinHeads(rng, heads)}
	}
}

func withinHeads(rng *rand.Rand, heads []int) []int {
	var out []int
	for _, h := range heads {
		for _, i := range rng.Perm(attnHeadDim) {
			out = append(out, h*attnHeadDim+i)
		}
	}
	return out
}

// attention is the layer's weights: in [width, 3·width], bias [3·width], out
// [width, width].
type attention struct{ in, bias, out []float32 }

func (a attention) permuted(o orders) attention {
	columns := make([]int, 0, 3*attnWidth)
	for part, order := range [][]int{o.query, o.key, o.value} {
		for _, i := range order {
			columns = append(columns, part*attnWidth+i)
		}
	}
	var b attention
	for row := range attnWidth {
		for _, c := range columns {
			b.in = append(b.in, a.in[row*3*attnWidth+c])
		}
	}
	for _, c := range columns {
		b.bias = append(b.bias, a.bias[c])
	}
	for _, row := range o.value {
		b.out = append(b.out, a.out[row*attnWidth:(row+1)*attnWidth]...)
	}
	return b
}

// Names of the layer's weights.
const (
	attnIn   = "transformer.h.0.attn.c_attn.weight"
	attnBias = "transformer.h.0.attn.c_attn.bias"
	attnOut  = "transformer.h.0.attn.c_proj.weight"
)

func (a attention) each(visit func(name string, dims []int64, v []float32)) {
	visit(attnIn, []int64{attnWidth, 3 * attnWidth}, a.in)
	visit(attnBias, []int64{3 * attnWidth}, a.bias)
	visit(attnOut, []int64{attnWidth, attnWidth}, a.out)
}

// laboratory runs the transformer and embeds its graphs.
type laboratory struct {
	t       *testing.T
	state   *weights.Set
	model   *ort.Session // the layer's weights are inputs
	tokens  *ort.Value
	network *ort.Session
	want    []float32 // logits of the unpermuted layer
}

func newLaboratory(t *testing.T) (*laboratory, *subject) {
	t.Helper()
	m, err := models.Transformer{Name: "layer", Family: models.GPT2, Vocab: 6, Positions: 8, Width: attnWidth, Hidden: attnWidth, Layers: 1, Heads: attnHeads}.Model(1)
	if err != nil {
		t.Fatal(err)
	}
	s := newSubject(t, "layer", m, nil)
	l := &laboratory{t: t, state: s.states[0]}
	m = m.Clone()
	for i, w := range m.Graph.Initializers { // weights large enough for attention to attend
		if v, err := l.state.Floats(w.Name); err == nil {
			for k := range v {
				v[k] *= 3
			}
			m.Graph.Initializers[i] = onnxgraph.Floats(w.Name, w.Dims, v)
		}
	}
	l.layer().each(func(name string, dims []int64, _ []float32) {
		m.Graph.Inputs = append(m.Graph.Inputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(dims...))})
		m.Graph.Initializers = slices.DeleteFunc(m.Graph.Initializers, func(w *onnxgraph.Tensor) bool { return w.Name == name })
	})
	l.model = l.session(m)
	if l.tokens, err = ort.Int64Value([]int64{2, 8}, []int64{3, 1, 4, 1, 5, 0, 2, 2, 5, 3, 5, 1, 0, 0, 4, 2}); err != nil {
		t.Fatal(err)
	}
	l.want = l.logits(l.layer())
	return l, s
}

func (l *laboratory) session(m *onnxgraph.Model) *ort.Session {
	l.t.Helper()
	s, err := runtimetest.Engine(l.t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(s.Close)
	return s
}

func (l *laboratory) layer() attention {
	l.t.Helper()
	var a attention
	for name, to := range map[string]*[]float32{attnIn: &a.in, attnBias: &a.bias, attnOut: &a.out} {
		v, err := l.state.Floats(name)
		if err != nil {
			l.t.Fatal(err)
		}
		*to = v
	}
	return a
}

func (l *laboratory) run(s *ort.Session, in map[string]*ort.Value, output string) []float32 {
	l.t.Helper()
	out, err := s.Run(l.t.Context(), in, output)
	if err != nil {
		l.t.Fatal(err)
	}
	return out[output].Floats()
}

func (l *laboratory) value(dims []int64, v []float32) *ort.Value {
	l.t.Helper()
	x, err := ort.FloatValue(dims, v)
	if err != nil {
		l.t.Fatal(err)
	}
	return x
}

// logits is the transformer's output with the layer's weights.
func (l *laboratory) logits(a attention) []float32 {
	in := map[string]*ort.Value{models.TokensName: l.tokens}
	a.each(func(name string, dims []int64, v []float32) { in[name] = l.value(dims, v) })
	return l.run(l.model, in, models.LogitsName)
}

// embedder makes the network's model with its last nodes as an output.
func (l *laboratory) embedder() (w *Weights, nodes string) {
	l.t.Helper()
	c, err := NewConfig(VariantGNN, 32)
	if err != nil {
		l.t.Fatal(err)
	}
	w = amplified(l.t, randomWeights(l.t, rand.New(rand.NewPCG(7, 8)), c), 2)
	m, err := EdgesModel(w, DefaultOpset)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, n := range m.Graph.Nodes { // what the last update of the edges reads of the nodes
		if slices.ContainsFunc(n.Inputs, func(in string) bool { return strings.Contains(in, ".from") }) && n.OpType != "Add" {
			nodes = n.Inputs[0]
		}
	}
	m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: nodes, Type: onnxgraph.TensorOf(onnxgraph.Float, nil)})
	l.network = l.session(m)
	return w, nodes
}

// amplified are weights so much larger: a network that stays in the linear part
// of its activations sees hardly more than sums, which permutations keep.
func amplified(t *testing.T, w *Weights, gain float32) *Weights {
	t.Helper()
	s := &weights.Set{}
	for _, name := range w.Tensors.Names() {
		v, err := w.Tensors.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		v = slices.Clone(v)
		for i := range v {
			v[i] *= gain
		}
		s.AddFloats(name, weights.Dims(w.Tensors.Get(name)), v)
	}
	out, err := NewWeights(s, w.Args)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// embed is the mean of the nodes' last values. Every edge is entered in both
// directions, for else nothing would reach the nodes of heads, and without
// positions these would all be alike. Positions are left out: they depend on the
// order of neurons.
func (l *laboratory) embed(x *Examples, w *Weights, nodes string, a attention) []float64 {
	l.t.Helper()
	state := l.state.Clone()
	a.each(func(name string, dims []int64, v []float32) { state.AddFloats(name, dims, v) })
	e, err := x.Example([]*weights.Set{state, state, state, state, state}, nil, x.Taps(), math.Inf(1))
	if err != nil {
		l.t.Fatal(err)
	}
	from, to := e.Index[:e.Edges], e.Index[e.Edges:]
	edges := int64(2 * e.Edges)
	index, err := ort.Int64Value([]int64{2, edges}, slices.Concat(from, to, to, from))
	if err != nil {
		l.t.Fatal(err)
	}
	types, err := ort.Int64Value([]int64{edges}, slices.Concat(e.Types, e.Types))
	if err != nil {
		l.t.Fatal(err)
	}
	k, err := ort.Int64Value([]int64{}, []int64{20})
	if err != nil {
		l.t.Fatal(err)
	}
	v := l.run(l.network, map[string]*ort.Value{inEdges: index, inTypes: types, inHorizon: k,
		inFeatures:  l.value([]int64{edges, int64(e.Taps * w.Context)}, slices.Concat(e.Features, e.Features)),
		inPositions: l.value([]int64{int64(e.Nodes), int64(w.Positions)}, make([]float32, e.Nodes*w.Positions))}, nodes)
	out := make([]float64, w.Width)
	for i, y := range v {
		out[i%w.Width] += float64(y) / float64(e.Nodes)
	}
	return out
}

// TestPermutationsAreToldApart is the experiment.
func TestPermutationsAreToldApart(t *testing.T) {
	l, s := newLaboratory(t)
	w, nodes := l.embedder()
	graphs := map[string]*Examples{}
	for name, g := range map[string]*neuralgraph.NiNo{"ours": s.nino, "naive": s.nino.Naive()} {
		x, err := NewExamples(w.Config, g)
		if err != nil {
			t.Fatal(err)
		}
		graphs[name] = x
	}
	rng := rand.New(rand.NewPCG(1, 2))
	base := l.layer()
	good := make([]bool, permutations)
	points := map[string][][]float64{}
	count := 0
	for i := range permutations {
		a := base.permuted(drawOrders(rng, i%4))
		good[i] = distance(l.logits(a), l.want) < 1e-4
		if good[i] {
			count++
		}
		for name, x := range graphs {
			points[name] = append(points[name], l.embed(x, w, nodes, a))
		}
	}
	if count < 450 || count > 550 {
		t.Fatalf("%d of %d permutations are good", count, permutations)
	}
	for name, x := range graphs {
		origin := l.embed(x, w, nodes, base)
		distances := make([]float64, permutations)
		farGood, nearBad := 0.0, math.Inf(1)
		for i, p := range points[name] {
			if distances[i] = apartBy(p, origin); good[i] {
				farGood = math.Max(farGood, distances[i])
			} else {
				nearBad = math.Min(nearBad, distances[i])
			}
		}
		right := bestThreshold(distances, good)
		t.Logf("%s: %d good and %d bad permutations, %.1f %% told apart; good ones lie within %.1e of the original, bad ones from %.1e on",
			name, count, permutations-count, 100*right, farGood, nearBad)
		if name == "ours" && (right < 1 || nearBad < 5*farGood) {
			t.Errorf("our graph: %.1f %% told apart; good permutations move the embedding by up to %.1e, bad ones by no more than %.1e", 100*right, farGood, nearBad)
		}
		if name == "naive" && right > 0.8 {
			t.Errorf("the naive graph: %.1f %% told apart, it cannot know", 100*right)
		}
	}
}

// bestThreshold is the share of permutations told apart by the best limit on the
// distance of their embeddings from the original's. (A linear classifier, as in
// the paper, separates a point from a cloud around it only where the cloud has
// few points for its dimension.)
func bestThreshold(distances []float64, good []bool) float64 {
	order := make([]int, len(distances))
	right := 0 // where all are called bad
	for i := range order {
		order[i] = i
		if !good[i] {
			right++
		}
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(distances[i], distances[j]) })
	best := right
	for _, i := range order {
		if good[i] {
			right++
		} else {
			right--
		}
		best = max(best, right)
	}
	return float64(best) / float64(len(distances))
}

func apartBy(p, q []float64) float64 {
	most := 0.0
	for i := range p {
		most = math.Max(most, math.Abs(p[i]-q[i]))
	}
	return most
}
