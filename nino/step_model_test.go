package nino

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// runStepModel runs a model of the whole step on states.
func runStepModel(t testing.TB, s *ort.Session, shapes map[string][]int64, states []*weights.Set, k int) map[string][]float32 {
	t.Helper()
	in := values{}
	defer in.close()
	var err error
	for name, dims := range shapes {
		var all []float32
		full := []int{len(states)}
		for _, d := range dims {
			full = append(full, int(d))
		}
		for _, state := range states {
			v, stateErr := state.Floats(name)
			if stateErr != nil {
				t.Fatal(stateErr)
			}
			all = append(all, v...)
		}
		in.floats(&err, name, all, full...)
	}
	in.ints(&err, inHorizon, []int64{int64(k)})
	out, runErr := run(t.Context(), s, in)
	if err != nil || runErr != nil {
		t.Fatal(err, runErr)
	}
	return out
}

// A model of the whole step predicts what the step predicts: for every
// variant, in both forms, at every scaling, in every operator set's spelling.
func TestStepModelAgrees(t *testing.T) {
	engine := runtimetest.Engine(t)
	rng := rand.New(rand.NewPCG(41, 42))
	g, shapes := mixedGraph()
	states := randomStates(rng, shapes)
	list := variants()
	for method := range map[string]bool{"min-max": true, "min-max-param": true, "none": true} {
		v := list[1]
		v.name, v.args, v.want.Scaling = method, map[string]string{"scale_method": method}, referenceScalings[method]
		list = append(list, v)
	}
	opsets := []int64{MinOpset, DefaultOpset, MaxOpset}
	for i, v := range list {
		w := v.weights(t)
		n, err := New(engine, w, g, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := n.Nowcast(t.Context(), states, 4)
		n.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []Form{FormEdges, FormTiles} {
			o := ExportOptions{Form: form, Graph: g, Shapes: shapes, Opset: opsets[i%len(opsets)]}
			if w.Variant == VariantMLP && form == FormTiles {
				continue
			}
			m, err := Export(w, o)
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			s, err := engine.NewSession(m, ort.SessionOptions{})
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			got := runStepModel(t, s, shapes, states, 4)
			s.Close()
			for name := range shapes {
				x, err := want.Floats(name)
				if err != nil {
					t.Fatal(err)
				}
				if d := distance(x, got[name+nextSuffix]); !(d < 2e-5) {
					t.Errorf("%s, %s: %s is off by %.1e", v.name, form, name, d)
				}
			}
		}
	}
}

// On the reference's graphs and positions a model of the whole step, in either
// form, gives the reference's parameters, with both checkpoints, at all horizons.
func TestStepModelReference(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, name := range cases {
		f := loadFixture(t, name)
		states, graph := f.states(t), f.nino(t)
		for _, checkpoint := range []string{"nino_no_posw", "nino_mlp"} {
			w := importWeights(t, checkpoint)
			for _, form := range []Form{FormEdges, FormTiles} {
				if w.Variant == VariantMLP && form == FormTiles {
					continue
				}
				m, err := Export(w, ExportOptions{Form: form, Graph: graph, Shapes: f.dims, Positions: f.floats(t, "pos")})
				if err != nil {
					t.Fatal(err)
				}
				s, err := engine.NewSession(m, ort.SessionOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range testHorizons {
					want := readSet(t, filepath.Join(f.dir, fmt.Sprintf("pred_%s_k%d.safetensors", checkpoint, k)))
					got := runStepModel(t, s, f.dims, states, k)
					for param := range f.dims {
						x, err := want.Floats(param)
						if err != nil {
							t.Fatal(err)
						}
						if d := distance(x, got[param+nextSuffix]); !(d < 2e-6) {
							t.Errorf("%s, %s, %s, k = %d: %s is off by %.1e", checkpoint, name, form, k, param, d)
						}
					}
				}
				s.Close()
			}
		}
	}
}

func TestStepModelRefuses(t *testing.T) {
	g, shapes := mixedGraph()
	w := variants()[1].weights(t)
	with := func(name string, dims ...int64) map[string][]int64 {
		out := map[string][]int64{}
		for n, d := range shapes {
			out[n] = d
		}
		if out[name] = dims; dims == nil {
			delete(out, name)
		}
		return out
	}
	for want, o := range map[string]ExportOptions{
		`the shape of parameter "big" is missing`:       {Graph: g, Shapes: with("big")},
		`parameter "odd": the neural graph places 40`:   {Graph: g, Shapes: with("odd", 7)},
		`parameter "k": the name is taken`:              {Graph: &neuralgraph.NiNo{Nodes: 2, Blocks: []neuralgraph.Block{{Parameter: "k", Type: neuralgraph.EdgeLinear, Source: neuralgraph.Span{Count: 1}, Target: neuralgraph.Span{First: 1, Count: 1}, Taps: 1}}}, Shapes: map[string][]int64{"k": {1}}},
		"neural graph without nodes":                    {Graph: &neuralgraph.NiNo{}},
		`form "dots", expected "edges" or "tiles"`:      {Graph: g, Shapes: shapes, Form: "dots"},
		`precision "fp8", expected one of ["fp32" "fp1`: {Graph: g, Shapes: shapes, Precision: "fp8"},
	} {
		if _, err := Export(w, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

// precisionLimits bound what storing the weights in fewer bits changes in a
// prediction, as a share of the update's norm. docs/NINO.md has what is seen.
var precisionLimits = map[Precision]float64{FP16: 0.002, BF16: 0.02, INT8: 0.05}

// The precisions are measured on the states of real trainings.
func TestPrecisionOnTrajectories(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, checkpoint := range []string{"nino_no_posw", "nino_mlp"} {
		w := importWeights(t, checkpoint)
		for _, name := range cases {
			f := loadFixture(t, name)
			g, states := f.nino(t), f.states(t)
			form := FormTiles
			if w.Variant == VariantMLP {
				form = FormEdges
			}
			predictions := map[Precision]map[int]map[string][]float32{}
			for _, p := range Precisions() {
				m, err := Export(w, ExportOptions{Form: form, Graph: g, Shapes: f.dims, Precision: p})
				if err != nil {
					t.Fatal(err)
				}
				s, err := engine.NewSession(m, ort.SessionOptions{})
				if err != nil {
					t.Fatal(err)
				}
				predictions[p] = map[int]map[string][]float32{}
				for _, k := range []int{1, 40} {
					predictions[p][k] = runStepModel(t, s, f.dims, states, k)
				}
				s.Close()
			}
			for _, k := range []int{1, 40} {
				exact := predictions[FP32][k]
				for _, p := range []Precision{FP16, BF16, INT8} {
					var off, update float64
					for param, v := range predictions[p][k] {
						newest, err := states[4].Floats(strings.TrimSuffix(param, nextSuffix))
						if err != nil {
							t.Fatal(err)
						}
						for i, x := range exact[param] {
							off += math.Pow(float64(v[i]-x), 2)
							update += math.Pow(float64(x-newest[i]), 2)
						}
					}
					share := math.Sqrt(off / update)
					t.Logf("%s, %s, k = %d, %s: off by %.3f %% of the update", checkpoint, name, k, p, 100*share)
					if !(share < precisionLimits[p]) || share == 0 {
						t.Errorf("%s, %s, k = %d, %s: off by %.3f %% of the update", checkpoint, name, k, p, 100*share)
					}
				}
			}
		}
	}
}
