package convert

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
)

func TestFlags(t *testing.T) {
	tests := map[string]struct {
		value string
		get   func(o options) any
		want  any
	}{
		"out":               {"new.onnx", func(o options) any { return o.Out }, "new.onnx"},
		"opset":             {"17", func(o options) any { return o.Opset }, int64(17)},
		"lower":             {"true", func(o options) any { return o.Lower }, true},
		"transpose-weights": {"true", func(o options) any { return o.TransposeWeights }, true},
		"overwrite":         {"true", func(o options) any { return o.Overwrite }, true},
	}
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		got, err := apptest.Parse(t, &app.App{}, newCommand, "m.onnx", "--out=o", "--"+name+"="+k.value)
		if err != nil || got.Model != "m.onnx" || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s %s: got %v, %v, expected %v", name, k.value, k.get(got), err, k.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"m.onnx --opset 99", "-o FILE is missing"},
		{"m.onnx --opset 99", "--opset 99: expected 1 to"},
		{"m.onnx -o n.onnx --opset 0", "--opset 0: expected 1 to"},
		{"m.onnx -o n.onnx --opset 11 --lower", "--opset 11: --lower needs 13"},
	} {
		_, err := apptest.Parse(t, &app.App{}, newCommand, strings.Fields(c.args)...)
		if app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, expected one of usage that says %q", c.args, err, c.want)
		}
	}
}
