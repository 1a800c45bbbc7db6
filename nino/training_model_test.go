package nino

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// exampleInputs are the inputs of the edges model but for the horizon.
func exampleInputs(t *testing.T, c Config, ex *Example) values {
	t.Helper()
	var err error
	in := values{}
	in.floats(&err, inFeatures, ex.Features, ex.Edges, c.Taps*c.Context)
	in.ints(&err, inTypes, ex.Types, ex.Edges)
	if c.Variant == VariantGNN {
		in.ints(&err, inEdges, ex.Index, 2, ex.Edges)
		in.floats(&err, inPositions, ex.Positions, ex.Nodes, c.Positions)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// The training model must compute what the exported network computes, at the
// horizons it is asked for, in their order.
func TestTrainingModelForecast(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, variant := range []string{VariantGNN, VariantMLP} {
		t.Run(variant, func(t *testing.T) {
			c, err := NewConfig(variant, 16)
			if err != nil {
				t.Fatal(err)
			}
			w := randomWeights(t, rand.New(rand.NewPCG(7, 7)), c)
			g, states := smallTrajectory(t, c.Context+2)
			x, err := NewExamples(c, g)
			if err != nil {
				t.Fatal(err)
			}
			ex, err := x.Example(states[:c.Context], []*weights.Set{states[c.Context], nil, states[c.Context+1]}, c.Taps, 100)
			if err != nil {
				t.Fatal(err)
			}
			training, err := TrainingModel(w, DefaultOpset)
			if err != nil {
				t.Fatal(err)
			}
			horizons := []int64{7, 1, int64(c.Horizons)}
			outputs := c.Taps * len(horizons)
			weight := make([]float32, ex.Edges*outputs)
			for i := range weight {
				weight[i] = float32(i%7) / 4
			}
			in := exampleInputs(t, c, ex)
			defer in.close()
			edges, buildErr := EdgesModel(w, DefaultOpset)
			if err != nil || buildErr != nil {
				t.Fatal(err, buildErr)
			}
			session, err := engine.NewSession(edges, ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			ours, err := engine.NewSession(training, ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer ours.Close()
			in.floats(&err, inWeight, weight, ex.Edges, outputs)
			in.ints(&err, inHorizons, horizons, len(horizons))
			got, runErr := run(context.Background(), ours, in)
			if err != nil || runErr != nil {
				t.Fatal(err, runErr)
			}
			delete(in, inWeight)
			delete(in, inHorizons)
			for h, k := range horizons {
				in.ints(&err, inHorizon, []int64{k})
				want, runErr := run(context.Background(), session, in)
				if err != nil || runErr != nil {
					t.Fatal(err, runErr)
				}
				for i, v := range want[outPred] {
					n := i*len(horizons) + h
					if d := math.Abs(float64(got[outForecast][n] - weight[n]*v)); d > 1e-5 {
						t.Fatalf("k %d, number %d: %v, expected %v", k, i, got[outForecast][n], weight[n]*v)
					}
				}
			}
		})
	}
}

func TestExampleTargets(t *testing.T) {
	c, err := NewConfig(VariantGNN, 8)
	if err != nil {
		t.Fatal(err)
	}
	g, states := smallTrajectory(t, c.Context+1)
	x, err := NewExamples(c, g)
	if err != nil {
		t.Fatal(err)
	}
	future := []*weights.Set{nil, states[c.Context]}
	ex, err := x.Example(states[:c.Context], future, c.Taps, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	elements := 0
	for _, name := range x.Parameters() {
		elements += states[0].Get(name).DataSize()
	}
	if ex.ValidCount != elements {
		t.Errorf("%d targets, the model has %d parameters", ex.ValidCount, elements)
	}
	for i, valid := range ex.Valid {
		if valid && i%len(future) != 1 {
			t.Fatalf("target %d is of state %d to come, only 2 is known", i, i%len(future)+1)
		}
	}
	// Targets are scaled like the newest state: an unchanged future equals it.
	same, err := x.Example(states[:c.Context], []*weights.Set{states[c.Context-1]}, c.Taps, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	for i, valid := range same.Valid {
		edge, f := i/c.Taps, i%c.Taps
		if newest := same.Features[edge*c.Taps*c.Context+f*c.Context+c.Context-1]; valid && same.Target[i] != newest {
			t.Fatalf("target %d is %v, the newest state %v", i, same.Target[i], newest)
		}
	}
	none, err := x.Example(states[:c.Context], future, c.Taps, 0)
	if err != nil || none.ValidCount != 0 {
		t.Errorf("%d targets within a limit of 0 (%v)", none.ValidCount, err)
	}
	if _, err := x.Example(states[:2], nil, c.Taps, 1); err == nil {
		t.Error("two states make an example")
	}
}

// A slice has at most so many nodes of each layer, and its edges are those of
// the whole between them, with the same features and targets.
func TestSlice(t *testing.T) {
	c, err := NewConfig(VariantGNN, 8)
	if err != nil {
		t.Fatal(err)
	}
	g, states := smallTrajectory(t, c.Context+1)
	whole, err := NewExamples(c, g)
	if err != nil {
		t.Fatal(err)
	}
	const most = 3
	sliced := whole.Slice(rand.New(rand.NewPCG(1, 1)), most)
	if sliced.nodes >= whole.nodes || sliced.Edges() >= whole.Edges() {
		t.Fatalf("%d of %d nodes, %d of %d edges: nothing was left out", sliced.nodes, whole.nodes, sliced.Edges(), whole.Edges())
	}
	if whole.Slice(rand.New(rand.NewPCG(1, 1)), whole.nodes) != whole {
		t.Error("a slice of everything is not the whole")
	}
	for i := range sliced.plan.pieces {
		p := &sliced.plan.pieces[i]
		here := 0
		for j := range p.source.Count {
			if sliced.number[p.source.Node(j)] >= 0 {
				here++
			}
		}
		if p.kind != neuralgraph.EdgeSelfLoop && here > most {
			t.Errorf("piece %d has %d sources", i, here)
		}
	}
	future := []*weights.Set{states[c.Context]}
	all, err := whole.Example(states[:c.Context], future, c.Taps, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	part, err := sliced.Example(states[:c.Context], future, c.Taps, 1e6)
	if err != nil {
		t.Fatal(err)
	}
	old := make([]int64, sliced.nodes) // number in the whole of each node of the slice
	for n, now := range sliced.number {
		if now >= 0 {
			old[now] = int64(n)
			for k := range c.Positions {
				if part.Positions[int(now)*c.Positions+k] != all.Positions[n*c.Positions+k] {
					t.Fatalf("node %d: other positions", n)
				}
			}
		}
	}
	next := 0 // the slice keeps the order of the edges
	for e := range all.Edges {
		if next == part.Edges || old[part.Index[next]] != all.Index[e] || old[part.Index[part.Edges+next]] != all.Index[all.Edges+e] || part.Types[next] != all.Types[e] ||
			!slices.Equal(part.Features[next*c.Taps*c.Context:(next+1)*c.Taps*c.Context], all.Features[e*c.Taps*c.Context:(e+1)*c.Taps*c.Context]) {
			continue
		}
		if !slices.Equal(part.Target[next*c.Taps:(next+1)*c.Taps], all.Target[e*c.Taps:(e+1)*c.Taps]) {
			t.Fatalf("edge %d: other targets", e)
		}
		next++
	}
	if next != part.Edges {
		t.Errorf("edge %d of the slice is not in the whole", next)
	}
}

// smallTrajectory is n random states of the mixed graph's parameters.
func smallTrajectory(t *testing.T, n int) (*neuralgraph.NiNo, []*weights.Set) {
	t.Helper()
	g, dims := mixedGraph()
	rng := rand.New(rand.NewPCG(5, 5))
	var states []*weights.Set
	for len(states) < n {
		states = append(states, randomStates(rng, dims)...)
	}
	return g, states[:n]
}
