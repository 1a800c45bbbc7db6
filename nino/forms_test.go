package nino

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// randomTensors are the tensors of a network.
func randomTensors(rng *rand.Rand, c Config) *weights.Set {
	s := &weights.Set{}
	for _, x := range c.expected() {
		var dims []int64
		n := 1
		for _, d := range x.dims {
			dims = append(dims, int64(d))
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64() / math.Sqrt(float64(x.dims[len(x.dims)-1])))
		}
		s.AddFloats(x.name, dims, v)
	}
	return s
}

// randomWeights is a small network with every optional part.
func randomWeights(t testing.TB, rng *rand.Rand, c Config) *Weights {
	t.Helper()
	s := randomTensors(rng, c)
	w, err := NewWeights(s, map[string]string{"ctx": fmt.Sprint(c.Context)})
	if err != nil {
		t.Fatal(err)
	}
	if w.Config != c {
		t.Fatalf("described as %+v, made as %+v", w.Config, c)
	}
	return w
}

// mixedGraph has all that blocks can be: an embedding, a kernel of 25 taps, a
// diagonal kernel, nodes that do not follow one another, auxiliary edges, a
// transposed view with tap offsets, and more edges than a tile holds.
func mixedGraph() (*neuralgraph.NiNo, map[string][]int64) {
	span := func(first, count int) neuralgraph.Span { return neuralgraph.Span{First: first, Count: count} }
	odd := neuralgraph.Span{Count: 5, Index: []int32{190, 3, 191, 60, 7}}
	g := &neuralgraph.NiNo{Nodes: 200, Blocks: []neuralgraph.Block{
		{Parameter: "words", Type: neuralgraph.EdgeEmbedding, Source: span(0, 50), Target: span(50, 10), Taps: 1, SourceStride: 10, TargetStride: 1},
		{Parameter: "conv5", Type: neuralgraph.EdgeConv, Source: span(50, 10), Target: span(60, 4), Taps: 25, SourceStride: 25, TargetStride: 250},
		{Parameter: "depthwise", Type: neuralgraph.EdgeConv, Source: span(60, 4), Target: span(64, 4), Diagonal: true, Taps: 9, SourceStride: 9},
		{Parameter: "odd", Type: neuralgraph.EdgeQuery, Source: odd, Target: span(64, 4), Taps: 2, SourceStride: 1, TargetStride: 10, TapOffsets: []int64{0, 5}},
		{Parameter: "back", Type: neuralgraph.EdgeKey, Source: span(64, 4), Target: odd, Taps: 1, SourceStride: 5, TargetStride: 1},
		{Parameter: "big", Type: neuralgraph.EdgeLinear, Source: span(68, 70), Target: span(50, 130), Taps: 1, SourceStride: 1, TargetStride: 70},
		{Parameter: "bias", Type: neuralgraph.EdgeBias, Source: span(199, 1), Target: span(50, 130), Taps: 1, TargetStride: 1},
		{Type: neuralgraph.EdgeResidual, Source: span(50, 10), Target: span(180, 10), Diagonal: true},
		{Type: neuralgraph.EdgeHead, Source: span(198, 1), Target: span(180, 10)},
	}}
	return g, map[string][]int64{"words": {50, 10}, "conv5": {4, 10, 5, 5}, "depthwise": {4, 1, 3, 3}, "odd": {4, 2, 5}, "back": {4, 5}, "big": {130, 70}, "bias": {130}}
}

// testTrajectory is a trajectory in memory.
func testTrajectory(p *plan, method Scaling, states []*weights.Set) (*trajectory, error) {
	return newTrajectory(context.Background(), p, method, arraysOf(states), states[0].Clone(), 2)
}

// resultsOf are the predictions of a trajectory, by parameter.
func resultsOf(tr *trajectory) [][]float32 {
	var out [][]float32
	for _, c := range tr.result {
		v := make([]float32, c.len())
		c.read(v, 1, 0, 1, len(v))
		out = append(out, v)
	}
	return out
}

// The tiles form and the edges form agree on a graph with everything in it, for
// networks of one to four layers, with and without word positions.
func TestFormsAgree(t *testing.T) {
	engine := runtimetest.Engine(t)
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	g, dims := mixedGraph()
	states := randomStates(rng, dims)
	for layers := 1; layers <= 4; layers++ {
		c := Config{Variant: VariantGNN, Width: 24, Layers: layers, Context: 5, Horizons: 6, Taps: 9, EdgeTypes: 15, Positions: 8, Scaling: ScaleLayerwise}
		if layers%2 == 0 {
			c.Words = 61
		}
		w := randomWeights(t, rng, c)
		p, err := newPlan(g, w.Taps, w.EdgeTypes)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Positions: randomPositions(rng, g.Nodes)}
		var last, all int
		withProgress := o
		withProgress.Progress = func(done, total int) {
			if done <= last || done > total {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last, all = done, total
		}
		tiles, err := newTilesForm(engine, w, p, g, withProgress)
		if err != nil {
			t.Fatal(err)
		}
		defer tiles.close()
		edges, err := newEdgesForm(engine, w, p, g, o)
		if err != nil {
			t.Fatal(err)
		}
		defer edges.close()
		var results [2][][]float32
		for i, f := range []form{tiles, edges} {
			tr, err := testTrajectory(p, w.Scaling, states)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.predict(t.Context(), tr, 6); err != nil {
				t.Fatal(err)
			}
			results[i] = resultsOf(tr)
		}
		if last != all || all < layers*p.edges {
			t.Errorf("progress ended at %d of %d in %d passes over %d edges", last, all, layers, p.edges)
		}
		for n, name := range p.parameters {
			if d := distance(results[0][n], results[1][n]); d > 5e-6 {
				t.Errorf("seed %d, %d layers, %s: the forms differ by %.1e", seed, layers, name, d)
			}
		}
		// The comparison means something: positions matter.
		if layers > 1 {
			moved, err := newTilesForm(engine, w, p, g, Options{Positions: randomPositions(rng, g.Nodes)})
			if err != nil {
				t.Fatal(err)
			}
			defer moved.close()
			tr, err := testTrajectory(p, w.Scaling, states)
			if err != nil {
				t.Fatal(err)
			}
			if err := moved.predict(t.Context(), tr, 6); err != nil {
				t.Fatal(err)
			}
			if d := distance(resultsOf(tr)[5], results[1][5]); d < 1e-4 {
				t.Errorf("%d layers: other positions change the result by %.1e only", layers, d)
			}
		}
	}
}

// The number of workers does not change a bit of the result.
func TestTilesDeterministic(t *testing.T) {
	w := importWeights(t, "nino_no_posw")
	f := loadFixture(t, "c_gpt2_v256")
	g := f.nino(t)
	p, err := newPlan(g, w.Taps, w.EdgeTypes)
	if err != nil {
		t.Fatal(err)
	}
	form, err := newTilesForm(runtimetest.Engine(t), w, p, g, Options{Positions: f.floats(t, "pos")})
	if err != nil {
		t.Fatal(err)
	}
	defer form.close()
	states := f.states(t)
	var first [][]float32
	for _, workers := range []int{1, 2, 7} {
		form.workers = workers
		tr, err := testTrajectory(p, w.Scaling, states)
		if err != nil {
			t.Fatal(err)
		}
		if err := form.predict(t.Context(), tr, 40); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = resultsOf(tr)
		}
		for n := range first {
			if distance(first[n], resultsOf(tr)[n]) != 0 {
				t.Errorf("%d workers: %s differs", workers, p.parameters[n])
			}
		}
	}
}

// More words than the table has rows are refused.
func TestTokensRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	g, _ := mixedGraph()
	w := randomWeights(t, rng, Config{Variant: VariantGNN, Width: 8, Layers: 2, Context: 5, Horizons: 2, Taps: 9, EdgeTypes: 15, Positions: 8, Words: 50, Scaling: ScaleLayerwise})
	_, err := New(runtimetest.Engine(t), w, g, Options{Positions: randomPositions(rng, g.Nodes)})
	if err == nil || !strings.Contains(err.Error(), `"words" embeds 50 words, the weights know positions of 49`) {
		t.Errorf("error %v", err)
	}
}

// Every operator set computes the same, and impossible horizons are errors.
func TestEdgesOpsets(t *testing.T) {
	engine := runtimetest.Engine(t)
	w := importWeights(t, "nino_no_posw")
	f := loadFixture(t, "a_fm16")
	var first []float32
	for opset := int64(MinOpset); opset <= MaxOpset; opset++ {
		m, err := EdgesModel(w, opset)
		if err != nil {
			t.Fatal(err)
		}
		if v := m.OpsetVersion(""); v != opset {
			t.Errorf("opset %d, asked for %d", v, opset)
		}
		s, err := engine.NewSession(m, ort.SessionOptions{})
		if err != nil {
			t.Fatalf("opset %d: %v", opset, err)
		}
		defer s.Close()
		pred := runEdges(t, s, f, 20)
		if first == nil {
			first = pred
		}
		if d := distance(first, pred); d != 0 {
			t.Errorf("opset %d differs by %.1e", opset, d)
		}
	}
	for _, opset := range []int64{MinOpset - 1, MaxOpset + 1} {
		if _, err := EdgesModel(w, opset); err == nil {
			t.Errorf("opset %d was accepted", opset)
		}
		if _, err := TileModels(w, opset); err == nil {
			t.Errorf("tiles: opset %d was accepted", opset)
		}
	}
	for _, c := range []string{"nino_no_posw", "nino_mlp"} {
		s := newSession(t, importWeights(t, c))
		for _, k := range []int64{-1, 0, 41} {
			if _, err := s.Run(context.Background(), edgeInputsOf(t, s, f, k)); err == nil {
				t.Errorf("%s: horizon %d was accepted", c, k)
			}
		}
	}
	if _, err := TileModels(importWeights(t, "nino_mlp"), DefaultOpset); err == nil || !strings.Contains(err.Error(), `"gnn"`) {
		t.Errorf("tiles of the MLP: error %v", err)
	}
}

// The exported models say what they are.
func TestMetadata(t *testing.T) {
	w := importWeights(t, "nino_no_posw")
	m, err := EdgesModel(w, DefaultOpset)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		configKey: `"scaling":"layerwise"`, configKey + ".form": "edges", configKey + ".schedule": "p = 2, period = 1000",
	} {
		if v, _ := m.Meta(key); !strings.Contains(v, want) {
			t.Errorf("%s: %q, expected %q in it", key, v, want)
		}
	}
}
