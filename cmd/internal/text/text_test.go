package text

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, newCommand, args...)
}

func TestFlags(t *testing.T) {
	for _, k := range []struct {
		args []string
		want options
	}{
		{[]string{"m.onnx"}, options{Model: "m.onnx"}},
		{[]string{"m.onnx", "--elide", "8"}, options{Model: "m.onnx", Elide: 8}},
		{[]string{"m.onnxtxt", "-o", "m.onnx", "--overwrite"}, options{Model: "m.onnxtxt", Out: "m.onnx", Overwrite: true}},
		{[]string{"m.onnx", "--out", "m.txt", "--elide", "1"}, options{Model: "m.onnx", Out: "m.txt", Elide: 1}},
	} {
		got, err := parse(t, k.args...)
		if err != nil || !reflect.DeepEqual(got, k.want) {
			t.Errorf("%v: options %+v, %v, expected %+v", k.args, got, err, k.want)
		}
	}
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "out", "elide", "overwrite":
		default:
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"accepts 1 arg":                     {},
		"--elide -1: expected at least 0":   {"m.onnx", "--elide", "-1"},
		"--elide is for texts, and n.onnx ": {"m.onnx", "--elide", "1", "-o", "n.onnx"},
		"--overwrite goes with -o":          {"m.onnx", "--overwrite"},
	} {
		if _, err := parse(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, expected one that says %q", args, err, want)
		}
	}
}
