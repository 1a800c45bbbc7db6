package nino

import (
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// tiled cuts the pieces of a plan that are dense into tiles of side by side
// nodes, and leaves the others in a list.
type tiled struct {
	side                   int
	columns                int
	types, sources, target []int64
	features               []float32
	edge                   [][]int // number of the edge of each cell, -1 where there is none
	list                   []int   // numbers of the other edges
}

func newTiled(p *plan, index []int64, features []float32, columns, side int) *tiled {
	t := &tiled{side: side, columns: columns}
	number := 0
	for i := range p.pieces {
		x := &p.pieces[i]
		first := number
		number += x.edges()
		if x.diagonal || x.source.Count < 2 || x.target.Count < 2 {
			for e := first; e < number; e++ {
				t.list = append(t.list, e)
			}
			continue
		}
		for s0 := 0; s0 < x.source.Count; s0 += side {
			for t0 := 0; t0 < x.target.Count; t0 += side {
				t.add(x, first, s0, t0, features)
			}
		}
	}
	return t
}

func (t *tiled) add(x *piece, first, s0, t0 int, features []float32) {
	t.types = append(t.types, int64(x.kind))
	cells := make([]int, 0, t.side*t.side)
	block := make([]float32, t.side*t.side*t.columns)
	for _, end := range []struct {
		out   *[]int64
		first int
		count int
		node  func(int) int
	}{{&t.sources, s0, x.source.Count, x.source.Node}, {&t.target, t0, x.target.Count, x.target.Node}} {
		for i := end.first; i < end.first+t.side; i++ {
			n := -1
			if i < end.count {
				n = end.node(i)
			}
			*end.out = append(*end.out, int64(n))
		}
	}
	for i := s0; i < s0+t.side; i++ {
		for j := t0; j < t0+t.side; j++ {
			if i >= x.source.Count || j >= x.target.Count {
				cells = append(cells, -1)
				continue
			}
			e := first + i*x.target.Count + j
			copy(block[len(cells)*t.columns:], features[e*t.columns:(e+1)*t.columns])
			cells = append(cells, e)
		}
	}
	t.edge = append(t.edge, cells)
	t.features = append(t.features, block...)
}

// The tiles form as one model gives the numbers of the edges form, with full
// tiles and others, whatever their size and whatever is listed instead.
func TestTilesFormAgrees(t *testing.T) {
	engine := runtimetest.Engine(t)
	rng := rand.New(rand.NewPCG(31, 32))
	g, dims := mixedGraph()
	states := randomStates(rng, dims)
	pos := randomPositions(rng, g.Nodes)
	for _, v := range variants() {
		w := v.weights(t)
		if w.Variant != VariantGNN {
			continue
		}
		p, err := newPlan(g, w.Taps, w.EdgeTypes)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := newTrajectory(p, w.Scaling, states)
		if err != nil {
			t.Fatal(err)
		}
		columns := p.widest * w.Context
		features := make([]float32, p.edges*columns)
		p.each(func(e int, x *piece, i, j int) { tr.features(x, i, j, features[e*columns:(e+1)*columns]) })
		index, types := p.lists()
		session := func(o ExportOptions) *ort.Session {
			m, err := Export(w, o)
			if err != nil {
				t.Fatal(err)
			}
			s, err := engine.NewSession(m, ort.SessionOptions{})
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			t.Cleanup(s.Close)
			return s
		}
		edges, tiles := session(ExportOptions{}), session(ExportOptions{Form: FormTiles})
		common := func(in values, err *error) {
			in.floats(err, inPositions, pos, g.Nodes, 8)
			in.ints(err, inHorizon, []int64{5})
			if w.Words > 0 {
				tokens, tokenErr := p.tokens(w.Words)
				if tokenErr != nil {
					t.Fatal(tokenErr)
				}
				in.ints(err, inTokens, tokens, g.Nodes)
			}
		}
		in := values{}
		in.ints(&err, inEdges, index, 2, p.edges)
		in.ints(&err, inTypes, types, p.edges)
		in.floats(&err, inFeatures, features, p.edges, columns)
		common(in, &err)
		want, runErr := run(t.Context(), edges, in)
		if err != nil || runErr != nil {
			t.Fatal(err, runErr)
		}
		in.close()
		for _, side := range []int{3, 64} {
			c := newTiled(p, index, features, columns, side)
			in := values{}
			in.floats(&err, inTileFeatures, c.features, len(c.edge), side, side, columns)
			in.ints(&err, inTileTypes, c.types, len(c.edge))
			in.ints(&err, inTileSources, c.sources, len(c.edge), side)
			in.ints(&err, inTileTargets, c.target, len(c.edge), side)
			listed := make([]int64, 2*len(c.list))
			var kinds []int64
			var rest []float32
			for i, e := range c.list {
				listed[i], listed[len(c.list)+i] = index[e], index[p.edges+e]
				kinds = append(kinds, types[e])
				rest = append(rest, features[e*columns:(e+1)*columns]...)
			}
			in.ints(&err, inEdges, listed, 2, len(c.list))
			in.ints(&err, inTypes, kinds, len(c.list))
			in.floats(&err, inFeatures, rest, len(c.list), columns)
			common(in, &err)
			got, runErr := run(t.Context(), tiles, in)
			if err != nil || runErr != nil {
				t.Fatalf("%s: %v %v", v.name, err, runErr)
			}
			in.close()
			pred := make([]float32, len(want[outPred]))
			take := func(e int, from []float32, at int) {
				copy(pred[e*p.widest:(e+1)*p.widest], from[at*p.widest:(at+1)*p.widest])
			}
			for i, e := range c.list {
				take(e, got[outPred], i)
			}
			for b, cells := range c.edge {
				for i, e := range cells {
					if e >= 0 {
						take(e, got[outTilePred], b*side*side+i)
					}
				}
			}
			if d := distance(pred, want[outPred]); !(d < 2e-5) {
				t.Errorf("%s, tiles of %d: the forms differ by %.1e", v.name, side, d)
			}
		}
	}
}

// Every operator set and precision loads, and stored types are those asked for.
func TestExportPrecisions(t *testing.T) {
	engine := runtimetest.Engine(t)
	v := variants()[0]
	w := v.weights(t)
	for _, form := range []Form{FormEdges, FormTiles} {
		for precision, d := range map[Precision]onnxgraph.DType{FP32: onnxgraph.Float, FP16: onnxgraph.Float16, BF16: onnxgraph.BFloat16, INT8: onnxgraph.Int8} {
			for _, opset := range []int64{MinOpset, DefaultOpset, MaxOpset} {
				m, err := Export(w, ExportOptions{Form: form, Precision: precision, Opset: opset})
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range m.Graph.Initializers {
					if len(x.Dims) == 2 && x.Len() > 100 && x.DType != d && x.Name != "out.bias" {
						t.Errorf("%s, %s: %s is stored as %s", form, precision, x.Name, x.DType)
					}
				}
				s, err := engine.NewSession(m, ort.SessionOptions{})
				if err != nil {
					t.Fatalf("%s, %s, opset %d: %v", form, precision, opset, err)
				}
				s.Close()
			}
		}
	}
	for _, o := range []ExportOptions{{Opset: MinOpset - 1}, {Opset: MaxOpset + 1}, {Precision: "fp8"}, {Form: "dots"}} {
		if _, err := Export(w, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
