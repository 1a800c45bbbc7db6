package nino

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph/weights"
)

// The reference's .pt files and their safetensors copies hold the same.

func TestImportReference(t *testing.T) {
	gnn := Config{Variant: VariantGNN, Width: 128, Layers: 3, Context: 5, Horizons: 40, Taps: 9, EdgeTypes: 15, Positions: 8, Scaling: ScaleLayerwise}
	mlp := Config{Variant: VariantMLP, Width: 128, Layers: 4, Context: 5, Horizons: 40, Taps: 1, EdgeTypes: 15, Scaling: ScaleLayerwise}
	narrow := mlp
	narrow.Width = 32
	for name, want := range map[string]Config{"nino_no_posw": gnn, "nino_mlp": mlp, "nino_mlp_h32": narrow} {
		w := importWeights(t, name)
		if w.Config != want {
			t.Errorf("%s: %+v, expected %+v", name, w.Config, want)
		}
		copied, err := ReadWeights(testenv.Shared(t, "fixtures/weights/"+name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		sameWeights(t, w, copied)
		path := filepath.Join(t.TempDir(), "w.safetensors")
		if err := w.Write(path, false); err != nil {
			t.Fatal(err)
		}
		again, err := ReadWeights(path)
		if err != nil {
			t.Fatal(err)
		}
		sameWeights(t, w, again)
		if !slices.Equal(again.Tensors.Names(), w.Tensors.Names()) {
			t.Errorf("%s: the order of the tensors changed", name)
		}
		if err := w.Write(path, false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("writing over a file: %v", err)
		}
	}
	if n := importWeights(t, "nino_no_posw").Parameters(); n != 549992 {
		t.Errorf("%d weights, the file holds 549992", n)
	}
}

func sameWeights(t *testing.T, a, b *Weights) {
	t.Helper()
	if a.Config != b.Config || !maps.Equal(a.Args, b.Args) || a.Tensors.Len() != b.Tensors.Len() {
		t.Errorf("%+v %v, expected %+v %v", b.Config, b.Args, a.Config, a.Args)
	}
	for _, n := range a.Tensors.Names() {
		x, y := a.Tensors.Get(n), b.Tensors.Get(n)
		if y == nil || !slices.Equal(x.Shape(), y.Shape()) || !reflect.DeepEqual(x.Data(), y.Data()) {
			t.Errorf("%s differs", n)
		}
	}
}

func TestNewWeightsRefuses(t *testing.T) {
	cases := []struct {
		checkpoint string
		spoil      func(s *weights.Set, args map[string]string) *weights.Set
		want       string
	}{
		{"nino_no_posw", func(s *weights.Set, _ map[string]string) *weights.Set { return &weights.Set{} }, `"edge_proj.fc.0.weight" is missing: no NiNo`},
		{"nino_no_posw", without("gnn.convs.2.edge_encoder.bias"), `"gnn.convs.2.edge_encoder.bias" is missing`},
		{"nino_no_posw", with("gnn.edge_update.2.lin1.weight", 128, 128), `"gnn.edge_update.2.lin1.weight" belongs to no network`},
		{"nino_no_posw", with("gnn.convs.1.lin.bias", 127), `"gnn.convs.1.lin.bias" has shape (127), expected [128]`},
		{"nino_no_posw", setting("act_name", "relu"), `act_name is "relu"`},
		{"nino_no_posw", setting("wte_pos_enc", "True"), `wte_pos_enc is "True"`},
		{"nino_no_posw", setting("ctx", "0"), `ctx is "0"`},
		{"nino_no_posw", setting("ctx", "7"), `"edge_proj.fc.0.weight" has shape (128, 45), expected [128 42]`},
		{"nino_no_posw", setting("scale_method", "log"), `scale_method is "log"`},
		{"nino_mlp", setting("gnn", "True"), `gnn is "True"`},
		{"nino_mlp", without("edge_mlp.fc.2.weight"), "layers"},
	}
	for _, c := range cases {
		w := importWeights(t, c.checkpoint)
		args := maps.Clone(w.Args)
		_, err := NewWeights(c.spoil(w.Tensors, args), args)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %q", err, c.want)
		}
	}
	w := importWeights(t, "nino_mlp")
	if _, err := NewWeights(w.Tensors, map[string]string{"scale_method": "min-max", "chunk_size": "7"}); err != nil {
		t.Errorf("a setting without effect: %v", err)
	}
}

func without(name string) func(*weights.Set, map[string]string) *weights.Set {
	return func(s *weights.Set, _ map[string]string) *weights.Set {
		out := &weights.Set{}
		for _, n := range s.Names() {
			if n != name {
				out.Add(n, s.Get(n))
			}
		}
		return out
	}
}

func with(name string, dims ...int64) func(*weights.Set, map[string]string) *weights.Set {
	return func(s *weights.Set, _ map[string]string) *weights.Set {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		s.AddFloats(name, dims, make([]float32, n))
		return s
	}
}

func setting(key, value string) func(*weights.Set, map[string]string) *weights.Set {
	return func(s *weights.Set, args map[string]string) *weights.Set {
		args[key] = value
		return s
	}
}

// Metadata that contradicts the tensors is an error.

func TestReadWeightsChecksMetadata(t *testing.T) {
	w := importWeights(t, "nino_mlp_h32")
	path := filepath.Join(t.TempDir(), "w.safetensors")
	meta := map[string]string{"gnn": "False", configKey: `{"variant":"mlp","width":64}`}
	if err := weights.WriteSafetensors(path, w.Tensors, meta, false); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWeights(path); err == nil || !strings.Contains(err.Error(), "Width:64") {
		t.Errorf("error %v", err)
	}
}

// rezip copies the records of a .pt file, changed by edit.

// A transposed view in a .pt file is read in row-major order.

// The scales of the reference follow from the states.
