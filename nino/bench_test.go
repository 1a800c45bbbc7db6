package nino

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"ninox/models"
	"ninox/neuralgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// benchCase is a graph with states and positions.
type benchCase struct {
	graph     *neuralgraph.NiNo
	states    []*weights.Set
	positions []float32
}

func randomStates(rng *rand.Rand, dims map[string][]int64) []*weights.Set {
	var out []*weights.Set
	for range 5 {
		s := &weights.Set{}
		for _, name := range slices.Sorted(maps.Keys(dims)) {
			d := dims[name]
			n := int64(1)
			for _, x := range d {
				n *= x
			}
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			s.AddFloats(name, d, v)
		}
		out = append(out, s)
	}
	return out
}

func randomPositions(rng *rand.Rand, nodes int) []float32 {
	pos := make([]float32, nodes*8)
	for i := range pos {
		pos[i] = float32(rng.NormFloat64()) / 30
	}
	return pos
}

// dense is one linear layer.
func dense(rng *rand.Rand, in, out int) benchCase {
	g := &neuralgraph.NiNo{Nodes: in + out, Blocks: []neuralgraph.Block{{
		Parameter: "w", Type: neuralgraph.EdgeLinear, Taps: 1, SourceStride: 1, TargetStride: int64(in),
		Source: neuralgraph.Span{Count: in}, Target: neuralgraph.Span{First: in, Count: out},
	}}}
	return benchCase{g, randomStates(rng, map[string][]int64{"w": {int64(out), int64(in)}}), randomPositions(rng, g.Nodes)}
}

// task is a model of the registry.
func task(b *testing.B, rng *rand.Rand, name string) benchCase {
	t, err := models.Lookup(name)
	if err != nil {
		b.Fatal(err)
	}
	m, err := t.Model(1)
	if err != nil {
		b.Fatal(err)
	}
	dims := map[string][]int64{}
	var names []string
	for _, p := range m.Graph.Initializers {
		dims[p.Name] = p.Dims
		names = append(names, p.Name)
	}
	if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
		b.Fatal(err)
	}
	a, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		b.Fatal(err)
	}
	g, err := a.NiNo(names)
	if err != nil {
		b.Fatal(err)
	}
	return benchCase{g, randomStates(rng, dims), randomPositions(rng, g.Nodes)}
}

// BenchmarkStep measures whole steps of both forms, as nanoseconds per edge.
func BenchmarkStep(b *testing.B) {
	engine, w := runtimetest.Engine(b), importWeights(b, "nino_no_posw")
	rng := rand.New(rand.NewPCG(1, 0))
	fixed := func(name string) benchCase {
		f := loadFixture(b, name)
		return benchCase{f.nino(b), f.states(b), f.floats(b, "pos")}
	}
	cases := map[string]func() benchCase{
		"a_fm16": func() benchCase { return fixed("a_fm16") }, "c_gpt2_v256": func() benchCase { return fixed("c_gpt2_v256") },
		"fm-32":    func() benchCase { return task(b, rng, "fm-32") },
		"dense512": func() benchCase { return dense(rng, 512, 512) },
	}
	forms := map[string]func(p *plan, c benchCase) (form, error){
		"tiles": func(p *plan, c benchCase) (form, error) {
			return newTilesForm(engine, w, p, c.graph, Options{Positions: c.positions})
		},
		"edges": func(p *plan, c benchCase) (form, error) {
			return newEdgesForm(engine, w, p, c.graph, Options{Positions: c.positions})
		},
	}
	for name, make := range cases {
		c := make()
		p, err := newPlan(c.graph, w.Taps, w.EdgeTypes)
		if err != nil {
			b.Fatal(err)
		}
		for kind, open := range forms {
			b.Run(name+"/"+kind, func(b *testing.B) {
				f, err := open(p, c)
				if err != nil {
					b.Fatal(err)
				}
				defer f.close()
				for b.Loop() {
					tr, err := testTrajectory(p, w.Scaling, c.states)
					if err != nil {
						b.Fatal(err)
					}
					if err := f.predict(b.Context(), tr, 20); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(p.edges), "ns/edge")
				b.ReportMetric(float64(p.edges), "edges")
			})
		}
	}
}
