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
	tests := map[string]struct {
		args []string
		get  func(o options) any
		want any
	}{
		"method":        {[]string{"--method", "none"}, func(o options) any { return o.Method }, "none"},
		"weights":       {[]string{"--weights", "w"}, func(o options) any { return [2]string{o.Weights, o.Method} }, [2]string{"w", "nino"}},
		"period":        {[]string{"--period", "250"}, func(o options) any { return o.Period }, 250},
		"horizon":       {[]string{"--horizon", "7"}, func(o options) any { return o.Horizon }, 7},
		"horizon-power": {[]string{"--horizon-power", "1.5"}, func(o options) any { return o.Power }, 1.5},
		"safeguard":     {[]string{"--safeguard", "off"}, func(o options) any { return o.Safeguard }, "off"},
		"no-baseline":   {[]string{"--no-baseline"}, func(o options) any { return o.NoBaseline }, true},
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
	if err != nil || got.Demo || got.Method != "linefit" || got.Period != 1000 || got.Safeguard != "on" || got.Data != "" || got.Power != 2 {
		t.Errorf("fm-16: %+v, %v", got, err)
	}
	got, err = parse(t)
	if err != nil || !got.Demo || got.Source.Name() != "fm-16" || got.Data != "embedded" || got.Steps != demoSteps || got.Period != demoPeriod {
		t.Errorf("demo: %+v, %v", got, err)
	}
	got, err = parse(t, "--steps", "300", "--period", "100", "--data", "mnist")
	if err != nil || got.Steps != 300 || got.Period != 100 || got.Data != "mnist" {
		t.Errorf("demo with flags: %+v, %v", got, err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(t, "fm-16", "--method", "magic", "--period", "7", "--horizon", "0", "--horizon-power", "0", "--safeguard", "maybe", "--lr", "0")
	if app.ExitCode(err) != app.ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{`--method "magic": expected one of none, nino, wnn+, linefit`, "--period 7: expected a multiple of 5", "--horizon 0", "--horizon-power 0", `--safeguard "maybe"`, "--lr 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	for _, k := range []struct {
		args []string
		want string
	}{
		{[]string{"--method", "nino"}, "--method nino needs --weights"},
		{[]string{"--method", "linefit", "--weights", "w"}, "--weights are for --method nino or wnn+, not linefit"},
		{[]string{"--period", "5"}, "--period 5: the safeguard needs at least 10 steps"},
		{[]string{"--steps", "900"}, "the first nowcast is due at step 1000"},
	} {
		if _, err := parse(t, append([]string{"fm-16"}, k.args...)...); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%v: error %v, expected %q", k.args, err, k.want)
		}
	}
}
