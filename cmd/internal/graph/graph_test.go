package graph

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/neuralgraph/certify"
	"ninox/onnxgraph"
)

// parse runs the command with a run function that only records its options.
func parse(t *testing.T, a *app.App, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, a, newCommand, args...)
}

func TestFlags(t *testing.T) {
	tests := map[string]struct {
		args []string
		get  func(o options) any
		want any
	}{
		"format":    {[]string{"--format", "json"}, func(o options) any { return o.Format }, "json"},
		"view":      {[]string{"--view", "neurons"}, func(o options) any { return o.View }, "neurons"},
		"out":       {[]string{"-o", "f"}, func(o options) any { return o.Out }, "f"},
		"verify":    {[]string{"--verify"}, func(o options) any { return o.Verify }, true},
		"overwrite": {[]string{"-o", "f", "--overwrite"}, func(o options) any { return o.Overwrite }, true},
	}
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		got, err := parse(t, &app.App{}, append([]string{"m.onnx"}, k.args...)...)
		if err != nil || got.Model != "m.onnx" || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s: got %v, %v, expected %v", name, k.get(got), err, k.want)
		}
	}
	if got, _ := parse(t, &app.App{}, "m.onnx"); got.Format != "text" {
		t.Errorf("format %q, expected text", got.Format)
	}
	if got, _ := parse(t, &app.App{JSON: true}, "m.onnx"); got.Format != "json" {
		t.Errorf("format %q with --json, expected json", got.Format)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(t, &app.App{}, "m.onnx", "--format", "bmp", "--view", "axons", "--overwrite")
	if app.ExitCode(err) != app.ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{`--format "bmp": expected one of `, `--view "axons": expected one of neurons`, "--overwrite goes with -o"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if _, err := parse(t, &app.App{}, "m.onnx", "--verify", "--format", "dot"); err == nil || !strings.Contains(err.Error(), "formats text, json and html, not of dot") {
		t.Errorf("error %v", err)
	}
}

func TestVerdict(t *testing.T) {
	changed := certify.Control{Changed: true}
	for _, k := range []struct {
		cert *certify.Certificate
		bad  bool
	}{
		{nil, false},
		{&certify.Certificate{Groups: 2, Passed: 2, NegativeControl: changed}, false},
		{&certify.Certificate{}, false}, // nothing to permute
		{&certify.Certificate{Groups: 2, Passed: 1, Failed: []string{"g1"}, NegativeControl: changed}, true},
		{&certify.Certificate{Groups: 2, Passed: 2}, true},
	} {
		if err := verdict(k.cert); errors.Is(err, app.ErrCertificate) != k.bad || !k.bad && err != nil {
			t.Errorf("%+v: %v", k.cert, err)
		}
	}
}

// model is y = x·w with a parameter of the given name and values.
func model(t *testing.T, param string, opType string, w ...float32) *view {
	t.Helper()
	b := onnxgraph.NewBuilder("m", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(2)})
	y := b.Named("y", opType, []string{x, b.Init(onnxgraph.Floats(param, []int64{2, int64(len(w)) / 2}, w))})
	b.Output(y, onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	v, err := analyse(m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCompare(t *testing.T) {
	a := model(t, "w", "MatMul", 1, 2, 3, 4)
	if d := compare(a, model(t, "w", "MatMul", 1, 2, 3, 4)); len(d) > 0 {
		t.Errorf("equal models differ: %+v", d)
	}
	d := compare(a, model(t, "w", "MatMul", 1, 2, 3, 4.5))
	if len(d) != 1 || d[0].Kind != "parameter" || d[0].Name != "w" || d[0].MaxDiff == nil || *d[0].MaxDiff != 0.5 || d[0].text() != "other values, by up to 0.5" {
		t.Errorf("another value: %+v", d)
	}
	texts := map[string]string{}
	for _, c := range compare(a, model(t, "v", "MatMul", 1, 2, 3, 4, 5, 6)) {
		texts[c.Kind+" "+c.Name] = c.text()
	}
	for what, want := range map[string]string{"parameter w": "removed: float[2,2]", "parameter v": "added: float[2,3]"} {
		if texts[what] != want {
			t.Errorf("%s: %q, expected %q (all: %v)", what, texts[what], want, texts)
		}
	}
	texts = map[string]string{}
	for _, c := range compare(a, model(t, "w", "Add", 1, 2, 3, 4)) {
		texts[c.Kind+" "+c.Name] = c.text()
	}
	if texts["operator MatMul"] != "removed: 1 nodes" || texts["operator Add"] != "added: 1 nodes" {
		t.Errorf("operators: %v", texts)
	}
}
