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
		"view":      {[]string{"--view", "operators"}, func(o options) any { return o.View }, "operators"},
		"expand":    {[]string{"--expand"}, func(o options) any { return o.Expand }, true},
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
	for file, want := range map[string]string{"a.svg": "svg", "a.HTM": "html", "a.gv": "dot", "a.png": "png", "a.txt": "text", "graph": "text", "d/a.json": "json"} {
		if got, err := parse(t, &app.App{}, "m.onnx", "-o", file); err != nil || got.Format != want {
			t.Errorf("-o %s: format %q, %v, expected %s", file, got.Format, err, want)
		}
	}
	if got, err := parse(t, &app.App{}, "m.onnx", "-o", "a.svg", "--format", "dot"); err != nil || got.Format != "dot" {
		t.Errorf("--format against a suffix: %q, %v", got.Format, err)
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
	for _, want := range []string{`--format "bmp": expected one of `, `--view "axons": expected one of neurons, operators`, "--overwrite goes with -o"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if _, err := parse(t, &app.App{}, "m.onnx", "-o", "graph.bmp"); app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), "-o graph.bmp: no format has the suffix .bmp; say --format") {
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
