package bench

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/cmd/internal/method"
	"ninox/training"
	"ninox/training/bench"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, newCommand, args...)
}

func TestFlags(t *testing.T) {
	base := []string{"--tasks", "fm-16", "--methods", "linefit", "--out", "b"}
	tests := map[string]struct {
		args []string
		get  func(o options) any
		want any
	}{
		"suite":        {[]string{"--suite", "small"}, func(o options) any { return o.Suite }, "small"},
		"tasks":        {[]string{"--tasks", "fm-32,c10-16"}, func(o options) any { return o.Tasks }, []string{"fm-16", "fm-32", "c10-16"}},
		"methods":      {[]string{"--methods", "nino:schedule=cosine"}, func(o options) any { return o.Methods }, []string{"linefit", "nino:schedule=cosine"}},
		"data":         {[]string{"--data", "fm-16=embedded"}, func(o options) any { return o.Data }, []string{"fm-16=embedded"}},
		"eval-data":    {[]string{"--eval-data", "npz:x"}, func(o options) any { return o.EvalData }, []string{"npz:x"}},
		"tokenizer":    {[]string{"--tokenizer", "t"}, func(o options) any { return o.Tokenizer }, []string{"t"}},
		"weights":      {[]string{"--weights", "nino=w"}, func(o options) any { return o.Weights }, []string{"nino=w"}},
		"with":         {[]string{"--with", "safeguard=off"}, func(o options) any { return o.With }, []string{"safeguard=off"}},
		"seeds":        {[]string{"--seeds", "5"}, func(o options) any { return o.Seeds }, 5},
		"steps":        {[]string{"--steps", "50"}, func(o options) any { return o.Steps }, 50},
		"period":       {[]string{"--period", "10"}, func(o options) any { return o.Period }, 10},
		"eval-every":   {[]string{"--eval-every", "5"}, func(o options) any { return o.EvalEvery }, 5},
		"eval-samples": {[]string{"--eval-samples", "7"}, func(o options) any { return o.EvalSamples }, 7},
		"target":       {[]string{"--target", "paper"}, func(o options) any { return o.Target }, "paper"},
		"tune":         {[]string{"--tune", "each"}, func(o options) any { return o.Tune }, "each"},
		"grid":         {[]string{"--grid", "0.5,2"}, func(o options) any { return o.Grid }, []float64{0.5, 2}},
		"workers":      {[]string{"--workers", "3"}, func(o options) any { return o.Workers }, 3},
		"plan":         {[]string{"--plan"}, func(o options) any { return o.Plan }, true},
		"out":          {[]string{"--out", "x"}, func(o options) any { return o.Out }, "x"},
	}
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		got, err := parse(t, append(slices.Clone(base), k.args...)...)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s: got %v, %v, expected %v", name, k.get(got), err, k.want)
		}
	}
	got, err := parse(t, base...)
	if err != nil || got.Seeds != 3 || got.Target != "tuned" || got.Tune != "base" || len(got.Grid) != 3 || got.Steps != 0 {
		t.Errorf("defaults %+v, %v", got, err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := parse(t, "--tasks", "fm-16", "--suite", "huge", "--seeds", "2", "--steps", "0", "--period", "-1", "--target", "best", "--tune", "all", "--grid", "0", "--with", "seed=3", "--with", "nothing")
	if app.ExitCode(err) != app.ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{
		"--out is missing", `--suite "huge"`, "--seeds 2", "--steps 0", "--period -1", `--target "best"`, `--tune "all"`, "--grid 0", `--with "seed=3"`, `--with "nothing"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	for _, k := range []struct {
		args []string
		want string
	}{{[]string{"--tasks", "fm-16"}, "--methods is missing"}, {[]string{"--methods", "nino"}, "expected --tasks or --suite"}} {
		if _, err := parse(t, append(k.args, "--out", "b")...); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%v: error %v, expected %q", k.args, err, k.want)
		}
	}
}

func TestParseMethod(t *testing.T) {
	for spec, want := range map[string]bench.Method{
		"nino":                                 {Name: "nino", Method: "nino"},
		"nino:schedule=cosine:horizon-power=1": {Name: "nino:schedule=cosine:horizon-power=1", Method: "nino", Flags: []string{"schedule=cosine", "horizon-power=1"}},
		"nino:weights=a/b/w.safetensors:moments=reset": {Name: "nino:weights=w:moments=reset", Method: "nino", Weights: "a/b/w.safetensors", Flags: []string{"moments=reset"}},
		"muon:lr=0.02": {Name: "muon:lr=0.02", Method: "muon", LR: 0.02},
		"lion:lr=0.02": {Name: "lion:lr=0.02", Method: "none", Flags: []string{"optimizer=lion"}, LR: 0.02},
	} {
		got, err := parseMethod(spec)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", spec, got, err)
		}
	}
	for spec, want := range map[string]string{
		"magic": `method "magic": expected one of none`, "nino:weights=": `"weights="`, "nino:cosine": `"cosine": expected FLAG=VALUE`, "nino:steps=3": "a flag that the bench does not set itself",
		"nino:lr=0": `lr "0"`, "nino:lr=fast": `lr "fast"`,
	} {
		if _, err := parseMethod(spec); app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", spec, err, want)
		}
	}
}

func TestChoices(t *testing.T) {
	c := newChoices([]string{"fm-16=embedded", "text:a=b.txt", "gone=x"})
	if c.of("fm-16", "") != "embedded" || c.of("other", "") != "text:a=b.txt" || !reflect.DeepEqual(c.unused(), []string{"gone"}) {
		t.Errorf("%+v", c)
	}
	c = newChoices([]string{"nino=w", "/a=b/c"})
	if c.of("nino:schedule=cosine", "nino") != "w" || c.of("wnn+", "wnn+") != "/a=b/c" || c.unused() != nil {
		t.Errorf("%+v", c)
	}
}

func settle(t *testing.T, args ...string) (*bench.Protocol, error) {
	t.Helper()
	o, err := parse(t, append(args, "--out", "b")...)
	if err != nil {
		t.Fatal(err)
	}
	return o.settle(context.Background(), &app.App{Seed: 5, LogLevel: "warn"})
}

func TestSettle(t *testing.T) {
	p, err := settle(t, "--tasks", "fm-16", "--data", "embedded", "--methods", "linefit,none", "--steps", "200", "--period", "50", "--seeds", "4", "--with", "batch-size=64")
	if err != nil {
		t.Fatal(err)
	}
	k := p.Tasks[0]
	if k.Title != "FM/16" || k.LR != 6e-3 || k.Metric != training.MetricAccuracy || k.PaperData || k.PaperTarget == nil || *k.PaperTarget != 89.5 || k.Parameters != 14378 || k.EvalEvery != 4 || k.Batch != 64 || k.BatchBytes != 64*(28*28*4+8) {
		t.Errorf("task %+v", k)
	}
	if !strings.Contains(k.Note, "subset") || len(k.TrainHash) != 64 || k.TrainHash == k.TestHash {
		t.Errorf("data %+v", k)
	}
	if p.Base().Name != "none" || len(p.Methods) != 2 || !reflect.DeepEqual(p.Seeds, []uint64{5, 6, 7, 8}) || p.TuningSeed != 1005 {
		t.Errorf("%+v", p)
	}
	for args, want := range map[string]string{
		"--tasks fm-16 --data embedded --methods linefit:weights=wnn":               "linefit has no weights",
		"--tasks fm-16 --data embedded --methods linefit --weights nino=w":          "--weights nino: no such method among none, linefit",
		"--tasks fm-16 --data fm-32=embedded --data embedded --methods linefit":     "--data: no task fm-32",
		"--tasks fm-16 --data embedded --methods linefit:horizon=0":                 "method linefit:horizon=0: --horizon 0",
		"--tasks fm-16 --data embedded --methods linefit --steps 40 --period 50":    "the first nowcast is due at step 50",
		"--tasks nonsense --methods linefit":                                        `"nonsense" is no file, no folder and no task`,
		"--tasks fm-16 --data embedded --methods linefit,linefit":                   `method "linefit": expected a name of its own`,
		"--tasks bytes-3-64 --data embedded --methods linefit --with batch-size=-1": "--batch-size -1",
	} {
		if _, err := settle(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", args, err, want)
		}
	}
}

// A suite makes do with what there is and says what it leaves out; what was
// asked for by name must be there.
func TestSuites(t *testing.T) {
	t.Setenv("NINOX_DATA", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	p, err := settle(t, "--suite", "small")
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Join(p.LeftOut, "\n")
	for _, want := range []string{"c10-16: data cifar10: not found", "bytes-3-64: task bytes-3-64: expected text"} {
		if !strings.Contains(left, want) {
			t.Errorf("left out is %q, expected %q", left, want)
		}
	}
	if len(p.Tasks) != 2 || p.Methods[1].Name != "linefit" {
		t.Errorf("tasks %+v, methods %+v", p.Tasks, p.Methods)
	}
	p, err = settle(t, "--tasks", "fm-16", "--data", "embedded", "--methods", "all")
	if err != nil || len(p.Methods) != len(method.Names()) || len(p.LeftOut) > 0 {
		t.Errorf("all methods: %+v, %v", p, err)
	}
	text := filepath.Join(os.Getenv("NINOX_DATA"), "text")
	if err := os.Mkdir(text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(text, "a.txt"), []byte(strings.Repeat("a tale of two cities ", 500)), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err = settle(t, "--suite", "small", "--tasks", "bytes-3-64", "--steps", "200")
	if err != nil || len(p.Tasks) != 1 || p.Tasks[0].Steps != 200 || p.Tasks[0].Period != 40 || p.Tasks[0].Metric != training.MetricLoss {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := settle(t, "--suite", "small", "--tasks", "c10-16"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("error %v", err)
	}
}

// The runner tells runs that diverge from those that fail by what they say.
func TestDivergedText(t *testing.T) {
	if text := (&training.NonFiniteError{Step: 3, What: "the loss is NaN"}).Error(); !strings.Contains(text, divergedText) {
		t.Errorf("a run that diverges says %q", text)
	}
	var said tail
	for range 1000 {
		if _, err := said.Write([]byte("a line of progress\n")); err != nil {
			t.Fatal(err)
		}
	}
	if text := said.text(); len(text) > tailBytes || !strings.HasSuffix(text, "progress") {
		t.Errorf("%d bytes kept", len(text))
	}
}

func TestKeptStates(t *testing.T) {
	if got := keptStates(bench.Task{Period: 10, Steps: 20, Parameters: 10}); got != "2,4,6,8,9,10,12,14,16,18,19,20" {
		t.Errorf("states %s", got)
	}
	if got := keptStates(bench.Task{Period: 10, Steps: 20000, Parameters: 1 << 20}); got != "" {
		t.Errorf("%d characters of states of a large network", len(got))
	}
}
