package nino

import (
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

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
		tr, err := testTrajectory(p, w.Scaling, states)
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
		edges, tiled := session(ExportOptions{}), session(ExportOptions{Form: FormTiles})
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
		for _, side := range []int{16, 64} {
			c := newTiling(p, side)
			tiles := len(c.kinds)
			cells := make([]float32, len(c.cells)*columns)
			for i, e := range c.cells {
				if e >= 0 {
					copy(cells[i*columns:], features[e*columns:(e+1)*columns])
				}
			}
			in := values{}
			in.floats(&err, inTileFeatures, cells, tiles, side, side, columns)
			in.ints(&err, inTileTypes, c.kinds, tiles)
			in.ints(&err, inTileSources, c.sources, tiles, side)
			in.ints(&err, inTileTargets, c.targets, tiles, side)
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
			got, runErr := run(t.Context(), tiled, in)
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
			for i, e := range c.cells {
				if e >= 0 {
					take(e, got[outTilePred], i)
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
