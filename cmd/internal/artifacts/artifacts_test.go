package artifacts

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/cmd/internal/job"
)

// parse runs the command with a run function that only records its options.
func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, newCommand, args...)
}

func TestFlags(t *testing.T) {
	tests := map[string]struct {
		value string
		get   func(o options) any
		want  any
	}{
		"out":       {"d", func(o options) any { return o.Out }, "d"},
		"lr":        {"0.1", func(o options) any { return o.LR }, 0.1},
		"form":      {"upstream", func(o options) any { return o.Form }, "upstream"},
		"overwrite": {"true", func(o options) any { return o.Overwrite }, true},
	}
	shared := &cobra.Command{} // its flags are tested in package job
	new(job.ModelOptions).Register(shared)
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" && shared.Flags().Lookup(f.Name) == nil {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		got, err := parse(t, "m.onnx", "--out=o", "--"+name+"="+k.value)
		if err != nil || got.Model != "m.onnx" || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s %s: got %v, %v, expected %v", name, k.value, k.get(got), err, k.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(t, "m.onnx", "--form", "tiles", "--lr", "0", "--loss", "hinge")
	if app.ExitCode(err) != app.ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{"-o DIR is missing", "--lr 0", `--loss "hinge"`, `--form "tiles": expected one of upstream, loop`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}
