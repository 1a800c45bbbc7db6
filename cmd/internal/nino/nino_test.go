package nino

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/internal/testenv"
	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// parse runs a command whose run function only records its options.
func parse[O any](t *testing.T, make func(*app.App, func(context.Context, *app.App, O) error) *cobra.Command, args ...string) (O, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, make, args...)
}

// flagTest is a flag's value and what it leads to.
type flagTest[O any] struct {
	value string
	get   func(o O) any
	want  any
}

// testFlags sets every flag of a command, beside the required arguments base.
func testFlags[O any](t *testing.T, make func(*app.App, func(context.Context, *app.App, O) error) *cobra.Command, base []string, tests map[string]flagTest[O]) {
	t.Helper()
	make(&app.App{}, nil).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		if k.get == nil {
			continue
		}
		got, err := parse(t, make, append(base, "--"+name+"="+k.value)...)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s %s: got %v, %v, expected %v", name, k.value, k.get(got), err, k.want)
		}
	}
}

func TestFlags(t *testing.T) {
	testFlags(t, newImport, []string{"f.pt", "-o", "w"}, map[string]flagTest[importOptions]{
		"out":       {"x", func(o importOptions) any { return o.Out }, "x"},
		"overwrite": {"true", func(o importOptions) any { return o.Overwrite }, true},
	})
	testFlags(t, newExport, []string{"-o", "f", "--weights", "w"}, map[string]flagTest[exportOptions]{
		"out":       {"x", func(o exportOptions) any { return o.Out }, "x"},
		"weights":   {"v", func(o exportOptions) any { return o.Weights }, "v"},
		"form":      {"tiles", func(o exportOptions) any { return o.Form }, "tiles"},
		"precision": {"int8", func(o exportOptions) any { return o.Precision }, "int8"},
		"model":     {"m", func(o exportOptions) any { return o.Model }, "m"},
		"licence":   {"MIT", func(o exportOptions) any { return o.Licence }, "MIT"},
		"card":      {"c", func(o exportOptions) any { return o.Card }, "c"},
		"opset":     {"21", func(o exportOptions) any { return o.Opset }, int64(21)},
		"overwrite": {"true", func(o exportOptions) any { return o.Overwrite }, true},
	})
	base := []string{"--model", "m", "--states", "0", "1", "2", "3", "4", "--weights", "w", "--k", "7", "-o", "out"}
	testFlags(t, newStep, base, map[string]flagTest[stepOptions]{
		"model":     {"x", func(o stepOptions) any { return o.Model }, "x"},
		"weights":   {"v", func(o stepOptions) any { return o.Weights }, "v"},
		"k":         {"9", func(o stepOptions) any { return o.K }, 9},
		"out":       {"x", func(o stepOptions) any { return o.Out }, "x"},
		"method":    {"linefit", func(o stepOptions) any { return o.Method }, methodLinefit},
		"compat":    {"reference", func(o stepOptions) any { return o.Compat }, compatReference},
		"overwrite": {"true", func(o stepOptions) any { return o.Overwrite }, true},
		"memory":    {"2GB", func(o stepOptions) any { return o.Memory }, "2GB"},
		"peak":      {"true", func(o stepOptions) any { return o.Peak }, true},
		"states":    {}, // below
	})
	for _, args := range [][]string{base, {"--model", "m", "--states=0", "--states=1", "--states=2", "--states=3", "--states=4", "--weights", "w", "--k", "7", "-o", "out"}} {
		o, err := parse(t, newStep, args...)
		if want := []string{"0", "1", "2", "3", "4"}; err != nil || !reflect.DeepEqual(o.States, want) {
			t.Errorf("states %v, %v, expected %v", o.States, err, want)
		}
	}
}

// Wrong usage is told as such, all faults at once.
func TestUsage(t *testing.T) {
	cases := map[string]struct {
		err  error
		want []string
	}{}
	add := func(name string, err error, want ...string) {
		cases[name] = struct {
			err  error
			want []string
		}{err, want}
	}
	_, err := parse(t, newImport, "f.pt")
	add("import", err, "-o W.safetensors is missing")
	_, err = parse(t, newExport, "--form", "dots", "--precision", "fp8", "--opset", "9")
	add("export", err, "-o F.onnx", `--form "dots"`, `--precision "fp8"`, "--opset 9: expected 16 to")
	_, err = parse(t, newExport, "--form", "reference", "--opset", "18", "--weights", "w", "-o", "w.onnx")
	add("reference", err, `--opset is for ONNX models`, `-o w.onnx: the form "reference"`)
	_, err = parse(t, newStep, "--method", "guess", "--compat", "me", "--states", "a", "b")
	add("step", err, "--model", "--states: 2 files, expected 5", "--k 0", "-o OUT", `--method "guess"`, `--compat "me"`)
	_, err = parse(t, newStep, "stray")
	add("stray", err, `unexpected argument "stray"`)
	for name, c := range cases {
		var usage *app.UsageError
		if !errors.As(c.err, &usage) {
			t.Errorf("%s: %v is no usage error", name, c.err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, c.err, want)
			}
		}
	}
}

// testApp is an App with captured streams.
func testApp(json bool) (a *app.App, out, progress *bytes.Buffer) {
	out, progress = &bytes.Buffer{}, &bytes.Buffer{}
	return &app.App{Out: out, Err: progress, JSON: json, LogLevel: "warn", Device: "cpu"}, out, progress
}

func TestImportInfoExport(t *testing.T) {
	dir := t.TempDir()
	w := filepath.Join(dir, "w.safetensors")
	a, out, _ := testApp(true)
	o := importOptions{From: testenv.Shared(t, "fixtures/weights/nino_mlp_h32.pt"), Out: w}
	if err := runImport(t.Context(), a, o); err != nil {
		t.Fatal(err)
	}
	var d Description
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Path != w || d.Variant != nino.VariantMLP || d.Width != 32 || d.Tensors != 11 || d.Parameters != 5160 || d.Settings["hid"] != "32" {
		t.Errorf("described as %+v", d)
	}
	if err := runImport(t.Context(), a, o); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("import over a file: %v", err)
	}
	o.Overwrite = true
	if err := runImport(t.Context(), a, o); err != nil {
		t.Errorf("import with --overwrite: %v", err)
	}
	text, out, _ := testApp(false)
	if err := runInfo(t.Context(), text, w); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WNN+", "4 layers of width 32", "1 to 40", "layerwise"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("info %q lacks %q", out, want)
		}
	}
	file := filepath.Join(dir, "n.onnx")
	if err := runExport(t.Context(), text, exportOptions{Out: file, Weights: w, Form: "edges", Opset: 20}); err != nil {
		t.Fatal(err)
	}
	if m, err := onnxgraph.ReadFile(file); err != nil || m.OpsetVersion("") != 20 {
		t.Errorf("exported model: %v", err)
	}
	tiles := exportOptions{Out: filepath.Join(dir, "tiles.onnx"), Weights: w, Form: "tiles", Opset: 18}
	if err := runExport(t.Context(), text, tiles); err == nil || !strings.Contains(err.Error(), `variant "gnn"`) {
		t.Errorf("tiles of the MLP: %v", err)
	}
}

// What a network has and lacks is told.
func TestPrintDescription(t *testing.T) {
	a, out, _ := testApp(false)
	c := nino.Config{Variant: nino.VariantGNN, Positions: 8, Words: 51, Taps: 9, Unplaced: true, Untyped: true, Towers: 4, FinalUpdate: true, UpdateScale: 0.5}
	if err := printDescription(a, Description{Config: c, Settings: map[string]string{"improved_graph": "False"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"9 taps, no types", "nodes       word positions of 50 tokens\n", "4 towers", "after the last layer", "times 0.5", "naive graphs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	if got := nodeFeatures(nino.Config{}); got != "none" {
		t.Errorf("nodes without features have %q", got)
	}
}

// An exported model describes itself, in every form and precision, and fewer
// bits make a smaller file.
func TestExportMetadata(t *testing.T) {
	weights := testenv.Shared(t, "fixtures/weights/nino_no_posw.pt")
	model := testenv.Shared(t, "fixtures/nino/a_fm16/model.onnx")
	dir := t.TempDir()
	card := filepath.Join(dir, "card.md")
	if err := os.WriteFile(card, []byte("Trained on nothing."), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"edges", "tiles"} {
		size := int64(math.MaxInt64)
		for _, precision := range []string{"fp32", "bf16", "int8"} {
			a, out, _ := testApp(true)
			o := exportOptions{Out: filepath.Join(dir, form+precision), Weights: weights, Form: form, Precision: precision, Opset: 17, Card: card, Licence: "MIT"}
			if err := runExport(t.Context(), a, o); err != nil {
				t.Fatal(err)
			}
			var r Exported
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if r.Bytes >= size || r.Precision != precision || r.Form != form || r.Opset != 17 {
				t.Errorf("%+v after %d bytes", r, size)
			}
			size = r.Bytes
			m, err := onnxgraph.ReadFile(o.Out)
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{
				"": `"horizons":40`, ".form": form, ".precision": precision, ".licence": "MIT", ".card": "Trained on nothing.",
				".scaling": "1e-6", ".schedule": "period = 1000", ".features": "f*context+t", ".edge_types": `"self-loop":13`, ".positions": "Laplacian", ".horizons": "1 to 40",
			} {
				if got, _ := m.Meta("ninox.nino" + key); !strings.Contains(got, want) {
					t.Errorf("%s, %s: metadata %q is %q, expected %q in it", form, precision, "ninox.nino"+key, got, want)
				}
			}
		}
		a, _, _ := testApp(false)
		o := exportOptions{Out: filepath.Join(dir, form+"step"), Weights: weights, Form: form, Precision: "fp32", Opset: 18, Model: model}
		if err := runExport(t.Context(), a, o); err != nil {
			t.Fatal(err)
		}
		m, err := onnxgraph.ReadFile(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Graph.Inputs) != 9 || m.Graph.Outputs[7].Name != m.Graph.Inputs[7].Name+".next" {
			t.Errorf("%s: a step model with inputs %v", form, m.Graph.Inputs)
		}
	}
}

// Weights that were trained on naive graphs get one.
func TestExportNaive(t *testing.T) {
	dir := t.TempDir()
	w, err := nino.Import(testenv.Shared(t, "fixtures/weights/nino_no_posw.pt"))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]int64{}
	for _, improved := range []string{"True", "False"} {
		w.Args["improved_graph"] = improved
		path := filepath.Join(dir, improved)
		if err := w.Write(path, false); err != nil {
			t.Fatal(err)
		}
		a, _, _ := testApp(false)
		o := exportOptions{Out: path + ".onnx", Weights: path, Form: "tiles", Precision: "fp32", Opset: 18, Model: testenv.Shared(t, "fixtures/nino/c_gpt2_v256/model.onnx")}
		if err := runExport(t.Context(), a, o); err != nil {
			t.Fatal(err)
		}
		m, err := onnxgraph.ReadFile(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		nodes[improved] = m.Graph.Initializer("positions").Dims[0]
	}
	if nodes["False"] >= nodes["True"] {
		t.Errorf("a naive graph of %d nodes, the other has %d", nodes["False"], nodes["True"])
	}
}

// The reference gets its weights back.
func TestExportReference(t *testing.T) {
	dir := t.TempDir()
	from := testenv.Shared(t, "fixtures/weights/nino_mlp_h32.pt")
	want, err := nino.Import(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w.pt", "w.safetensors"} {
		a, _, _ := testApp(false)
		o := exportOptions{Out: filepath.Join(dir, name), Weights: from, Form: formReference}
		if err := runExport(t.Context(), a, o); err != nil {
			t.Fatal(err)
		}
		got, err := nino.Import(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s differs from what it was made of", name)
		}
	}
}

// linearCase writes a model y = x·w + b with states whose numbers lie on lines.
func linearCase(t *testing.T) stepOptions {
	t.Helper()
	dir := t.TempDir()
	b := onnxgraph.NewBuilder("linear", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(1, 2))
	w := b.Init(onnxgraph.Floats("w", []int64{2, 3}, make([]float32, 6)))
	bias := b.Init(onnxgraph.Floats("b", []int64{3}, make([]float32, 3)))
	b.Output(b.Named("y", "Gemm", []string{x, w, bias}), onnxgraph.Float, onnxgraph.StaticShape(1, 3))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	o := stepOptions{Model: filepath.Join(dir, "m.onnx"), K: 3, Out: filepath.Join(dir, "out.safetensors"), Method: methodLinefit}
	if err := m.WriteFile(o.Model, onnxgraph.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		s := &weights.Set{}
		v := float32(i)
		s.AddFloats("w", []int64{2, 3}, []float32{v, 2 * v, 3 * v, -v, 0, 1})
		s.AddFloats("b", []int64{3}, []float32{v, 0, 0})
		s.Add("steps", weights.DenseInt64s([]int64{1}, []int64{int64(i)}))
		path := filepath.Join(dir, fmt.Sprintf("s%d.safetensors", i))
		if err := weights.WriteSafetensors(path, s, map[string]string{"format": "pt"}, false); err != nil {
			t.Fatal(err)
		}
		o.States = append(o.States, path)
	}
	return o
}

func TestStep(t *testing.T) {
	o := linearCase(t)
	a, out, progress := testApp(true)
	if err := runStep(t.Context(), a, o); err != nil {
		t.Fatal(err)
	}
	var r Step
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r.Matched, []string{"w", "b"}) || r.Parameters != 9 || !reflect.DeepEqual(r.Copied, []string{"steps"}) || r.Missing == nil || len(r.Missing) != 0 || r.K != 3 {
		t.Errorf("report %+v", r)
	}
	if want := "copied from the newest state: steps"; !strings.Contains(progress.String(), want) {
		t.Errorf("progress %q lacks %q", progress, want)
	}
	s, meta, err := weights.ReadSafetensors(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := s.Floats("w"); err != nil || !reflect.DeepEqual(w[:4], []float32{7, 14, 21, -7}) {
		t.Errorf("predicted %v, %v", w, err)
	}
	if meta["format"] != "pt" || !strings.Contains(meta["ninox.nowcast"], "linefit") {
		t.Errorf("metadata %v", meta)
	}
	if err := runStep(t.Context(), a, o); err == nil || !strings.Contains(err.Error(), "exists; --overwrite") {
		t.Errorf("step over a file: %v", err)
	}
}

func TestStepRefuses(t *testing.T) {
	rewrite := func(t *testing.T, o stepOptions, s *weights.Set) {
		t.Helper()
		for _, path := range o.States {
			if err := weights.WriteSafetensors(path, s, nil, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		spoil func(t *testing.T, o *stepOptions)
		want  string
		usage bool
	}{
		"wrong shape": {func(t *testing.T, o *stepOptions) {
			s := &weights.Set{}
			s.AddFloats("w", []int64{4, 2}, make([]float32, 8))
			s.AddFloats("b", []int64{1}, make([]float32, 1))
			rewrite(t, *o, s)
		}, "\"w\" has shape [2 3] in the model, [4 2] in the states\nparameter \"b\" has shape [3]", false},
		"no name in common": {func(t *testing.T, o *stepOptions) {
			s := &weights.Set{}
			s.AddFloats("layer.w", []int64{1}, make([]float32, 1))
			rewrite(t, *o, s)
		}, "no array of the states is a parameter of the model, by name or by value; the states hold layer.w, the model's parameters are w, b", false},
		"infinite states": {func(t *testing.T, o *stepOptions) {
			s := &weights.Set{}
			s.AddFloats("w", []int64{2, 3}, []float32{1, 2, 3, 4, 5, float32(math.Inf(1))})
			s.AddFloats("b", []int64{3}, make([]float32, 3))
			rewrite(t, *o, s)
		}, "the prediction is not finite", false},
		"no state": {func(_ *testing.T, o *stepOptions) { o.States[2] += ".absent" }, "s2.safetensors.absent", false},
		"no model": {func(_ *testing.T, o *stepOptions) { o.Model += ".absent" }, "m.onnx.absent", false},
		"WNN weights": {func(t *testing.T, o *stepOptions) {
			o.Method, o.Weights = methodNino, testenv.Shared(t, "fixtures/weights/nino_mlp_h32.pt")
		}, `holds weights of the variant "mlp"`, true},
		"far horizon": {func(t *testing.T, o *stepOptions) {
			o.Method, o.Weights, o.K = methodWNN, testenv.Shared(t, "fixtures/weights/nino_mlp_h32.pt"), 41
		}, "predicts 1 to 40", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := linearCase(t)
			c.spoil(t, &o)
			a, _, _ := testApp(false)
			err := runStep(t.Context(), a, o)
			var usage *app.UsageError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &usage) != c.usage {
				t.Errorf("error %v, expected %q", err, c.want)
			}
			if _, err := os.Stat(o.Out); err == nil {
				t.Error("a file was written")
			}
		})
	}
}

// Long lists are cut.
func TestListed(t *testing.T) {
	many := make([]string, 23)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	if got := listed(many); !strings.HasSuffix(got, "18, 19 and 3 more") {
		t.Errorf("listed %q", got)
	}
}
