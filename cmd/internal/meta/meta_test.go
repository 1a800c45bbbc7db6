package meta

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
)

// flagTest is a value of a flag and what the options hold then.
type flagTest[O any] struct {
	value string
	get   func(O) any
	want  any
}

// checkFlags parses every flag of a command; each must have a test. args are
// what the command needs besides, companion what a flag needs.
func checkFlags[O any](t *testing.T, make func(*app.App, func(context.Context, *app.App, O) error) *cobra.Command, args []string, companion map[string]string, tests map[string]flagTest[O]) {
	t.Helper()
	make(&app.App{}, nil).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		line := append(append([]string(nil), args...), "--"+name+"="+k.value)
		if with := companion[name]; with != "" {
			line = append(line, with)
		}
		got, err := apptest.Parse(t, &app.App{}, make, line...)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s %s: got %v, %v, expected %v", name, k.value, k.get(got), err, k.want)
		}
	}
}

func TestCollectFlags(t *testing.T) {
	checkFlags(t, newCollect, []string{"plan.json", "--out=s"}, map[string]string{"index": "--shards=4", "shards": "--index=2"}, map[string]flagTest[collectOptions]{
		"out":     {"t", func(o collectOptions) any { return o.Out }, "t"},
		"cache":   {"c", func(o collectOptions) any { return o.Cache }, "c"},
		"workers": {"3", func(o collectOptions) any { return o.Workers }, 3},
		"index":   {"3", func(o collectOptions) any { return o.shard }, 3},
		"shards":  {"5", func(o collectOptions) any { return o.Shards }, 5},
		"dry-run": {"true", func(o collectOptions) any { return o.DryRun }, true},
	})
}

// Schedulers say in the environment which process of how many this is.
func TestCollectIndexFromEnvironment(t *testing.T) {
	for _, name := range indexVariables {
		t.Run(name, func(t *testing.T) {
			for _, other := range indexVariables {
				t.Setenv(other, "")
			}
			t.Setenv(name, "2")
			o, err := apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--out=s", "--shards=3")
			if err != nil || o.shard != 2 {
				t.Errorf("shard %d, %v, expected 2", o.shard, err)
			}
			if o, err = apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--out=s", "--shards=3", "--index=1"); err != nil || o.shard != 1 {
				t.Errorf("shard %d, %v, expected that of --index, 1", o.shard, err)
			}
			if o, err = apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--out=s"); err != nil || o.Shards != 0 {
				t.Errorf("%d shards, %v, expected none without --shards", o.Shards, err)
			}
		})
	}
}

func TestManifestFlags(t *testing.T) {
	checkFlags(t, newManifest, []string{"slurm", "plan.json", "--out=s", "--shards=4"}, nil, map[string]flagTest[manifestOptions]{
		"out":     {"t", func(o manifestOptions) any { return o.Out }, "t"},
		"shards":  {"5", func(o manifestOptions) any { return o.Shards }, 5},
		"workers": {"3", func(o manifestOptions) any { return o.Workers }, 3},
		"image":   {"i", func(o manifestOptions) any { return o.Image }, "i"},
		"claim":   {"c", func(o manifestOptions) any { return o.Claim }, "c"},
		"secret":  {"k", func(o manifestOptions) any { return o.Secret }, "k"},
	})
}

func TestTrainFlags(t *testing.T) {
	checkFlags(t, newTrain, []string{"store", "--out=d"}, map[string]string{"rounds": "--method=l2o", "unroll": "--method=l2o", "sigma": "--method=l2o"}, map[string]flagTest[trainOptions]{
		"cache":            {"c", func(o trainOptions) any { return o.Cache }, "c"},
		"rounds":           {"3", func(o trainOptions) any { return o.L2O.Rounds }, 3},
		"unroll":           {"5", func(o trainOptions) any { return o.L2O.Unroll }, 5},
		"sigma":            {"0.5", func(o trainOptions) any { return o.L2O.Sigma }, 0.5},
		"out":              {"e", func(o trainOptions) any { return o.Dir }, "e"},
		"method":           {"wnn+", func(o trainOptions) any { return o.Method }, "wnn+"},
		"init":             {"w", func(o trainOptions) any { return o.From }, "w"},
		"width":            {"32", func(o trainOptions) any { return o.Width }, 32},
		"iterations":       {"70", func(o trainOptions) any { return o.Iterations }, 70},
		"runs":             {"5", func(o trainOptions) any { return o.Runs }, 5},
		"horizons":         {"40", func(o trainOptions) any { return o.Horizons }, 40},
		"slice":            {"100", func(o trainOptions) any { return o.Slice }, 100},
		"values":           {"999", func(o trainOptions) any { return o.Values }, 999},
		"windows":          {"6", func(o trainOptions) any { return o.Windows }, 6},
		"spacing":          {"100,200", func(o trainOptions) any { return o.Spacing }, []int{100, 200}},
		"lr":               {"1e-2", func(o trainOptions) any { return o.LR }, 1e-2},
		"weight-decay":     {"0.5", func(o trainOptions) any { return o.WeightDecay }, 0.5},
		"clip-norm":        {"2", func(o trainOptions) any { return o.ClipNorm }, 2.0},
		"ema":              {"0.9", func(o trainOptions) any { return o.EMA }, 0.9},
		"eval-every":       {"11", func(o trainOptions) any { return o.ValidateEvery }, 11},
		"checkpoint-every": {"12", func(o trainOptions) any { return o.CheckpointEvery }, 12},
		"resume":           {"true", func(o trainOptions) any { return o.Resume }, true},
	})
}

func TestEvalFlags(t *testing.T) {
	checkFlags(t, newEval, []string{"store"}, map[string]string{"cache": "--weights=w", "horizons": "--weights=w", "spacing": "--weights=w", "trial": "--weights=w", "types": "--weights=w", "windows": "--weights=w"}, map[string]flagTest[evalOptions]{
		"cache":    {"c", func(o evalOptions) any { return o.Cache }, "c"},
		"weights":  {"a,b", func(o evalOptions) any { return o.Weights }, []string{"a", "b"}},
		"horizons": {"2,3", func(o evalOptions) any { return o.Horizons }, []int{2, 3}},
		"spacing":  {"100", func(o evalOptions) any { return o.Spacing }, 100},
		"trial":    {"50", func(o evalOptions) any { return o.Trial }, 50},
		"types":    {"true", func(o evalOptions) any { return o.Types }, true},
		"windows":  {"7", func(o evalOptions) any { return o.Windows }, 7},
	})
}

func TestRefusals(t *testing.T) {
	refuse := func(err error, want ...string) {
		t.Helper()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) || app.ExitCode(err) != app.ExitUsage {
				t.Errorf("error %v, expected one of usage with %q", err, w)
			}
		}
	}
	_, err := apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--workers=-1", "--shards=2", "--index=2")
	refuse(err, "--out is missing", "--workers -1", `--index "2": expected a number from 0 to 1`)
	_, err = apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--out=s", "--index=1")
	refuse(err, "--index without --shards")
	_, err = apptest.Parse(t, &app.App{}, newCollect, "plan.json", "--out=s", "--shards=3")
	refuse(err, "neither $JOB_COMPLETION_INDEX nor $SLURM_ARRAY_TASK_ID is set")
	_, err = apptest.Parse(t, &app.App{}, newManifest, "pbs", "plan.json", "--shards=0", "--workers=0")
	refuse(err, `"pbs": expected kubernetes or slurm`, "--out is missing", "--shards 0", "--workers 0")
	_, err = apptest.Parse(t, &app.App{}, newManifest, "kubernetes", "plan.json", "--shards=2", "--out=store")
	refuse(err, "--image is missing", "--claim is missing")
	_, err = apptest.Parse(t, &app.App{}, newManifest, "kubernetes", "plan.json", "--shards=2", "--out=s3://b", "--image=i", "--claim=c")
	refuse(err, "--claim c: s3://b is a bucket")
	_, err = apptest.Parse(t, &app.App{}, newTrain, "store", "--method=l2o", "--width=0", "--spacing=0", "--lr=0")
	refuse(err, "--out is missing", "--method", "--width 0", "--spacing 0", "--lr 0")
	_, err = apptest.Parse(t, &app.App{}, newEval, "store", "--windows=0", "--trial=-1")
	refuse(err, "--weights is missing", "--windows 0", "--trial -1")
}
