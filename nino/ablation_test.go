package nino

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/models"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// trail is five states of a task's network, moving, and makes its nowcaster.
func trail(t *testing.T, task string) (states []*weights.Set, build func(*Weights, Options) *Nowcaster) {
	t.Helper()
	k, err := models.Lookup(task)
	if err != nil {
		t.Fatal(err)
	}
	m, err := k.Model(1)
	if err != nil {
		t.Fatal(err)
	}
	for s := range DefaultContext {
		set := &weights.Set{}
		for i, p := range m.Graph.Initializers {
			v, err := p.AsFloats()
			if err != nil {
				t.Fatal(err)
			}
			v = slices.Clone(v)
			for j := range v {
				v[j] += 0.01 * float32(s) * float32((i+j)%7-3)
			}
			set.AddFloats(p.Name, p.Dims, v)
		}
		states = append(states, set)
	}
	g := ownGraph(t, m, states[0].Names())
	return states, func(w *Weights, o Options) *Nowcaster {
		if o.Positions != nil { // none at all
			o.Positions = make([]float32, g.Nodes*w.Positions)
		}
		n, err := New(runtimetest.Engine(t), w, g, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		return n
	}
}

// What is left out changes the prediction, and nothing else does.
func TestAblation(t *testing.T) {
	states, build := trail(t, "fm-16")
	predict := func(w *Weights) []float32 {
		t.Helper()
		out, err := build(w, Options{}).Nowcast(t.Context(), states, 10)
		if err != nil {
			t.Fatal(err)
		}
		v, err := out.Floats(states[0].Names()[0])
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	w := importWeights(t, "nino_no_posw")
	base := predict(w)
	for name, a := range map[string]Ablation{
		"nothing":       {},
		"same settings": {Context: w.Context, Layers: w.Layers, Width: w.Width, Scaling: w.Scaling},
		"positions":     {NoPositions: true},
		"edge types":    {NoEdgeTypes: true},
		"scaling":       {Scaling: ScaleMinMax},
	} {
		out, err := a.Apply(w)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		changes := name != "nothing" && name != "same settings"
		if got := predict(out); slices.Equal(got, base) == changes {
			t.Errorf("without %s the prediction changes: %v", name, !changes)
		}
	}
	if got := predict(w); !slices.Equal(got, base) {
		t.Error("an ablation changed the weights themselves")
	}
}

// A graph without positions predicts what the ablation does with any.
func TestAblatedPositions(t *testing.T) {
	states, build := trail(t, "fm-16")
	w := importWeights(t, "nino_no_posw")
	out, err := (Ablation{NoPositions: true}).Apply(w)
	if err != nil {
		t.Fatal(err)
	}
	predict := func(n *Nowcaster) *weights.Set {
		p, err := n.Nowcast(t.Context(), states, 5)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	zero := build(w, Options{Positions: []float32{}})
	got, want := predict(build(out, Options{})), predict(zero)
	for _, name := range states[0].Names() {
		a, _ := got.Floats(name)
		b, _ := want.Floats(name)
		if distance(a, b) > 1e-6 {
			t.Errorf("%s differs by %g", name, distance(a, b))
		}
	}
}

// Written weights remember an ablation of the scaling.
func TestAblatedScalingIsWritten(t *testing.T) {
	w := importWeights(t, "nino_mlp")
	for _, scaling := range Scalings() {
		out, err := (Ablation{Scaling: scaling}).Apply(w)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "w.safetensors")
		if err := out.Write(path, false); err != nil {
			t.Fatal(err)
		}
		if again, err := Import(path); err != nil || again.Scaling != scaling {
			t.Errorf("%s: read back as %+v (%v)", scaling, again, err)
		}
	}
}

func TestAblationErrors(t *testing.T) {
	gnn, mlp := importWeights(t, "nino_no_posw"), importWeights(t, "nino_mlp")
	for _, k := range []struct {
		a    Ablation
		w    *Weights
		want []string
	}{
		{Ablation{Context: 7, Layers: 9, Width: 31}, gnn, []string{"states 5, not 7", "layers 3, not 9", "width 128, not 31", "ninox meta train"}},
		{Ablation{Scaling: "log"}, gnn, []string{`scaling "log", expected one of`, "layerwise"}},
		{Ablation{NoWordPositions: true}, gnn, []string{"no word positions"}},
		{Ablation{NoPositions: true}, mlp, []string{"without a graph"}},
	} {
		_, err := k.a.Apply(k.w)
		for _, want := range k.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, expected %q", k.a, err, want)
			}
		}
	}
}

// The program has networks for all methods that need one, and a card of each.
func TestEmbedded(t *testing.T) {
	for _, name := range EmbeddedNames() {
		w, origin, err := ImportOrEmbedded(name, "")
		if err != nil {
			t.Fatal(err)
		}
		graph, layered := !strings.HasPrefix(name, "wnn"), name != "wnn"
		if (w.Variant == VariantGNN) != graph || (w.Scaling == ScaleLayerwise) != layered || w.Naive() != (name == "nino-naive") {
			t.Errorf("%s is a %s, scaling %s, naive %v", origin, w.Variant, w.Scaling, w.Naive())
		}
		if !strings.Contains(EmbeddedCard(), "`"+name+"`") {
			t.Errorf("the card does not speak of %s", name)
		}
	}
	if w, err := ReadL2O(""); err != nil || w.Width != 8 || !strings.Contains(EmbeddedCard(), "`l2o`") {
		t.Errorf("l2o: %+v, %v", w, err)
	}
	if w, _, err := ImportOrEmbedded("", DefaultEmbedded); err != nil || w.Width != 32 {
		t.Errorf("by default %+v, %v", w, err)
	}
	if _, err := Embedded("other"); err == nil || !strings.Contains(err.Error(), "expected one of nino, nino-128") {
		t.Errorf("error %v", err)
	}
	mine := filepath.Join(t.TempDir(), "wnn")
	t.Chdir(filepath.Dir(mine))
	if err := os.WriteFile(mine, []byte("not weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, origin, err := ImportOrEmbedded("wnn", ""); err == nil || origin != "wnn" {
		t.Errorf("a file with the name of a network: %q, %v", origin, err)
	}
}
