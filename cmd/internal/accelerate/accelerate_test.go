package accelerate

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/cmd/internal/train"
)

// parse runs the command with a run function that only records its options.
func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, newCommand, args...)
}

// The flags shared with train are tested there.
func TestFlags(t *testing.T) {
	power := 1.5
	tests := map[string]struct {
		args []string
		get  func(o options) any
		want any
	}{
		"method":         {[]string{"--method", "none"}, func(o options) any { return o.Method }, "none"},
		"weights":        {[]string{"--weights", "w"}, func(o options) any { return [2]string{o.Methods.Weights, o.Method} }, [2]string{"w", "nino"}},
		"period":         {[]string{"--period", "250"}, func(o options) any { return o.Methods.Period }, 250},
		"horizon":        {[]string{"--horizon", "7"}, func(o options) any { return o.Methods.Horizon }, 7},
		"horizon-power":  {[]string{"--horizon-power", "1.5"}, func(o options) any { return o.Methods.Power }, &power},
		"safeguard":      {[]string{"--safeguard", "off"}, func(o options) any { return o.Methods.Safeguard }, "off"},
		"moments":        {[]string{"--moments", "reset"}, func(o options) any { return o.Methods.Moments }, "reset"},
		"scaling":        {[]string{"--weights", "w", "--scaling", "minmax"}, func(o options) any { return o.Methods.Scaling }, "minmax"},
		"positions":      {[]string{"--weights", "w", "--positions", "off"}, func(o options) any { return o.Methods.Positions }, "off"},
		"word-positions": {[]string{"--weights", "w", "--word-positions", "off"}, func(o options) any { return o.Methods.WordPositions }, "off"},
		"edge-types":     {[]string{"--weights", "w", "--edge-types", "off"}, func(o options) any { return o.Methods.EdgeTypes }, "off"},
		"context":        {[]string{"--context", "4"}, func(o options) any { return o.Methods.Context }, 4},
		"layers":         {[]string{"--weights", "w", "--layers", "3"}, func(o options) any { return o.Methods.Layers }, 3},
		"width":          {[]string{"--weights", "w", "--width", "128"}, func(o options) any { return o.Methods.Width }, 128},
		"average-decay":  {[]string{"--method", "ema", "--average-decay", "0.99"}, func(o options) any { return o.Methods.Decay }, 0.99},
		"average-every":  {[]string{"--method", "lookahead", "--average-every", "6"}, func(o options) any { return o.Methods.Every }, 6},
		"average-states": {[]string{"--method", "lawa", "--average-states", "3"}, func(o options) any { return o.Methods.States }, 3},
		"ahead":          {[]string{"--method", "ema-nesterov", "--ahead", "2"}, func(o options) any { return o.Methods.Ahead }, 2.0},
		"no-baseline":    {[]string{"--no-baseline"}, func(o options) any { return o.NoBaseline }, true},
	}
	shared := train.NewCommand(&app.App{}).Flags()
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" && shared.Lookup(f.Name) == nil {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		got, err := parse(t, append([]string{"fm-16"}, k.args...)...)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s: got %v, %v, expected %v", name, k.get(got), err, k.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	got, err := parse(t, "fm-16")
	if err != nil || got.Demo || got.Method != "nino" || got.Methods.Period != 1000 || got.Methods.Safeguard != "on" || got.Data != "" || got.Methods.Power != nil {
		t.Errorf("fm-16: %+v, %v", got, err)
	}
	got, err = parse(t)
	if err != nil || !got.Demo || got.Source.Name() != "fm-16" || got.Data != "embedded" || got.Steps != demoSteps || got.Methods.Period != demoPeriod {
		t.Errorf("demo: %+v, %v", got, err)
	}
	got, err = parse(t, "--steps", "300", "--period", "100", "--data", "mnist")
	if err != nil || got.Steps != 300 || got.Methods.Period != 100 || got.Data != "mnist" {
		t.Errorf("demo with flags: %+v, %v", got, err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	for _, k := range []struct {
		args []string
		want []string
	}{
		{[]string{"--method", "magic", "--period", "7", "--horizon", "0", "--horizon-power", "-1", "--safeguard", "maybe", "--moments", "burn", "--context", "1", "--lr", "0"}, []string{
			`--method "magic": expected one of none, linefit, linefit+`, "--period 7: expected a multiple of 5", "--horizon 0", "--horizon-power -1",
			`--safeguard "maybe"`, `--moments "burn"`, "--context 1: expected at least 2", "--lr 0",
		}},
		{[]string{"--weights", "w", "--scaling", "log", "--positions", "no", "--word-positions", "no", "--edge-types", "no", "--layers", "0", "--width", "0"}, []string{
			`--scaling "log"`, `--positions "no"`, `--word-positions "no"`, `--edge-types "no"`, "--layers 0", "--width 0",
		}},
		{[]string{"--method", "ema", "--average-decay", "1", "--horizon", "3", "--ahead", "0.5"}, []string{"--average-decay 1", "--horizon: not for --method ema", "--ahead: not for --method ema"}},
		{[]string{"--method", "lookahead", "--average-every", "0", "--ahead", "1.5"}, []string{"--average-every 0", "--ahead 1.5"}},
		{[]string{"--method", "lawa", "--average-states", "0"}, []string{"--average-states 0"}},
		{[]string{"--method", "linefit", "--weights", "w"}, []string{"--weights: not for --method linefit"}},
		{[]string{"--period", "5"}, []string{"--period 5: the safeguard needs at least 10 steps"}},
		{[]string{"--steps", "900"}, []string{"the first nowcast is due at step 1000"}},
	} {
		_, err := parse(t, append([]string{"fm-16"}, k.args...)...)
		if app.ExitCode(err) != app.ExitUsage {
			t.Fatalf("%v: error %v, expected one of usage", k.args, err)
		}
		for _, want := range k.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: the error does not say %q:\n%v", k.args, want, err)
			}
		}
	}
}
