package nino

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// compareStates returns the largest difference and the distance relative to
// the reference's update.
func compareStates(t testing.TB, got, want, newest *weights.Set) (largest, relative float64) {
	t.Helper()
	var off, update float64
	for _, name := range want.Names() {
		w, err := want.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := got.Floats(name)
		if err != nil || !slices.Equal(got.Get(name).Shape(), want.Get(name).Shape()) {
			t.Fatalf("%s: %v", name, err)
		}
		n, err := newest.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, distance(g, w))
		for i := range w {
			off += math.Pow(float64(g[i])-float64(w[i]), 2)
			update += math.Pow(float64(w[i])-float64(n[i]), 2)
		}
	}
	return largest, math.Sqrt(off / update)
}

// The step on the reference's graph, with its node positions, predicts the
// reference's parameters.
func TestStepReference(t *testing.T) {
	for _, checkpoint := range []string{"nino_no_posw", "nino_mlp"} {
		w := importWeights(t, checkpoint)
		for _, name := range cases {
			f := loadFixture(t, name)
			n, err := New(runtimetest.Engine(t), w, f.nino(t), Options{Positions: f.floats(t, "pos")})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			states := f.states(t)
			for _, k := range testHorizons {
				got, err := n.Nowcast(context.Background(), states, k)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got.Names(), states[4].Names()) {
					t.Errorf("%s: names %v, expected those of the state", name, got.Names())
				}
				want := readSet(t, filepath.Join(f.dir, fmt.Sprintf("pred_%s_k%d.safetensors", checkpoint, k)))
				largest, relative := compareStates(t, got, want, states[4])
				t.Logf("%s %s k=%d: parameters off by %.1e, %.1e of the update", checkpoint, name, k, largest, relative)
				if largest > 1.5e-6 || relative > 5e-6 {
					t.Errorf("%s %s k=%d: parameters off by %.1e, %.1e of the update", checkpoint, name, k, largest, relative)
				}
			}
		}
	}
}

func TestStepRefuses(t *testing.T) {
	f := loadFixture(t, "a_fm16")
	w := importWeights(t, "nino_no_posw")
	engine := runtimetest.Engine(t)
	n, err := New(engine, w, f.nino(t), Options{Positions: f.floats(t, "pos")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	states := f.states(t)
	without := &weights.Set{}
	reshaped := states[1].Clone()
	for _, name := range states[2].Names() {
		if name != "fc.2.weight" {
			without.Add(name, states[2].Get(name))
		}
	}
	reshaped.AddFloats("fc.0.bias", []int64{4, 4}, make([]float32, 16))
	faulty := []*weights.Set{states[0], reshaped, without, states[3], states[4]}
	cases := []struct {
		states []*weights.Set
		k      int
		want   []string
	}{
		{states[:4], 1, []string{"4 states, the network wants 5"}},
		{states, 0, []string{"horizon 0", "1 to 40"}},
		{states, 41, []string{"horizon 41"}},
		{faulty, 1, []string{`"fc.2.weight": state 2`, `"fc.0.bias": state 1 has shape [4 4]`}},
	}
	for _, c := range cases {
		_, err := n.Nowcast(context.Background(), c.states, c.k)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, expected %q", err, want)
			}
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.Nowcast(cancelled, states, 1); err == nil {
		t.Error("a cancelled step returned parameters")
	}
	if _, err := New(engine, w, f.nino(t), Options{Positions: make([]float32, 7)}); err == nil {
		t.Error("seven positions were accepted")
	}
}

// Graphs whose numbers do not fit are refused instead of read out of bounds.
func TestPlanRefuses(t *testing.T) {
	good := func() neuralgraph.Block {
		return neuralgraph.Block{Parameter: "w", Type: neuralgraph.EdgeLinear, Taps: 1, SourceStride: 2, TargetStride: 1,
			Source: neuralgraph.Span{First: 0, Count: 2}, Target: neuralgraph.Span{First: 2, Count: 2}}
	}
	cases := map[string]func(*neuralgraph.Block){
		"node 4 of 4":       func(b *neuralgraph.Block) { b.Target.First = 3 },
		"node -1 of 4":      func(b *neuralgraph.Block) { b.Source.First = -1 },
		"an index of 1":     func(b *neuralgraph.Block) { b.Source.Index = []int32{0} },
		"edge type 15":      func(b *neuralgraph.Block) { b.Type = 15 },
		"diagonal of 2":     func(b *neuralgraph.Block) { b.Diagonal, b.Target.Count = true, 1 },
		"negative offset":   func(b *neuralgraph.Block) { b.Offset = -1 },
		"1 taps with 2":     func(b *neuralgraph.Block) { b.TapOffsets = []int64{0, 1} },
		"0 taps":            func(b *neuralgraph.Block) { b.Taps = 0 },
		"0 nodes at one":    func(b *neuralgraph.Block) { b.Source.Count = 0 },
		"negative offset o": func(b *neuralgraph.Block) { b.TapOffsets = []int64{-1} },
	}
	for want, spoil := range cases {
		b := good()
		spoil(&b)
		if _, err := newPlan(&neuralgraph.NiNo{Nodes: 4, Blocks: []neuralgraph.Block{b}}, 9, 15); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	b := good()
	b.TargetStride = 2 // elements up to number 4 of a parameter with 4
	p, err := newPlan(&neuralgraph.NiNo{Nodes: 4, Blocks: []neuralgraph.Block{b}}, 9, 15)
	if err != nil {
		t.Fatal(err)
	}
	s := &weights.Set{}
	s.AddFloats("w", []int64{2, 2}, make([]float32, 4))
	if _, err := testTrajectory(p, ScaleLayerwise, []*weights.Set{s, s}); err == nil || !strings.Contains(err.Error(), "places 4 elements up to number 5") {
		t.Errorf("error %v", err)
	}
}

// A kernel with more taps than the network is split over parallel edges.
func TestPlanSplitsTaps(t *testing.T) {
	b := neuralgraph.Block{Parameter: "conv", Type: neuralgraph.EdgeConv, Taps: 25, SourceStride: 25, TargetStride: 50,
		Source: neuralgraph.Span{First: 0, Count: 2}, Target: neuralgraph.Span{First: 2, Count: 3}}
	p, err := newPlan(&neuralgraph.NiNo{Nodes: 5, Blocks: []neuralgraph.Block{b}}, 9, 15)
	if err != nil {
		t.Fatal(err)
	}
	var taps []int
	seen := map[int64]bool{}
	for i := range p.pieces {
		x := &p.pieces[i]
		if x.parameter < 0 {
			continue
		}
		taps = append(taps, len(x.taps))
		for s := range 2 {
			for d := range 3 {
				for _, o := range x.taps {
					seen[x.element(s, d)+o] = true
				}
			}
		}
	}
	if !slices.Equal(taps, []int{9, 9, 7}) || len(seen) != 150 || p.edges != 3*6+5 || p.widest != 9 {
		t.Errorf("pieces of %v taps, %d elements, %d edges", taps, len(seen), p.edges)
	}
}
