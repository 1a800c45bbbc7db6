package train

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/cmd/internal/job"
	"ninox/training"
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
		"data":             {"npz:x.npz", func(o options) any { return o.Data }, "npz:x.npz"},
		"eval-data":        {"embedded", func(o options) any { return o.EvalData }, "embedded"},
		"tokenizer":        {"gpt2", func(o options) any { return o.Reading.Tokenizer }, "gpt2"},
		"seq-len":          {"64", func(o options) any { return o.Reading.Length }, 64},
		"image-size":       {"224x160", func(o options) any { return o.ImageSize }, "224x160"},
		"steps":            {"70", func(o options) any { return o.Steps }, 70},
		"batch-size":       {"16", func(o options) any { return o.Batch }, 16},
		"accumulate":       {"4", func(o options) any { return o.Accumulate }, 4},
		"no-shuffle":       {"true", func(o options) any { return o.NoShuffle }, true},
		"lr":               {"3e-4", func(o options) any { return o.LR }, 3e-4},
		"schedule":         {"cosine", func(o options) any { return o.Schedule }, "cosine"},
		"warmup":           {"9", func(o options) any { return o.Warmup }, 9},
		"target":           {"loss:0.5", func(o options) any { return o.Target }, "loss:0.5"},
		"keep-states":      {"1,5,20", func(o options) any { return o.KeepStates }, []int{1, 5, 20}},
		"eval-every":       {"10", func(o options) any { return o.EvalEvery }, 10},
		"eval-samples":     {"12", func(o options) any { return o.EvalSamples }, 12},
		"checkpoint-every": {"11", func(o options) any { return o.CheckpointEvery }, 11},
		"keep-last":        {"5", func(o options) any { return o.KeepLast }, 5},
		"keep-best":        {"true", func(o options) any { return o.KeepBest }, true},
		"stop-at-target":   {"true", func(o options) any { return o.StopAtTarget }, true},
		"workers":          {"2", func(o options) any { return o.Workers }, 2},
		"out":              {"r", func(o options) any { return o.Out }, "r"},
		"resume":           {"true", func(o options) any { return o.Resume }, true},
		"explain":          {"true", func(o options) any { return o.Explain }, true},
		"overwrite":        {"true", func(o options) any { return o.Overwrite }, true},
	}
	shared := &cobra.Command{} // its flags are tested in package job
	new(job.ModelOptions).Register(shared)
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok && f.Name != "help" && shared.Flags().Lookup(f.Name) == nil {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	for name, k := range tests {
		source := "text:x"
		if name == "image-size" {
			source = "images:x"
		}
		got, err := parse(t, "bytes-3-64", "--data="+source, "--out=o", "--"+name+"="+k.value)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("--%s %s: got %v, %v, expected %v", name, k.value, k.get(got), err, k.want)
		}
	}
}

func TestSources(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, d := range []string{"artifacts", "empty", "fm-16"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{filepath.Join("artifacts", training.TrainingFile), "net.onnx"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := []string{"--data", "embedded", "--steps", "1"}
	for arg, want := range map[string]string{"artifacts": "artifacts", "net.onnx": "net", "FM/16": "fm-16", "fm-16": "fm-16"} {
		got, err := parse(t, append([]string{arg}, run...)...)
		if err != nil || got.Source.Name() != want {
			t.Errorf("%s: %+v, %v", arg, got.Source, err)
		}
	}
	for arg, want := range map[string]string{
		"empty":        "holds no training artifacts",
		"missing.onnx": "missing.onnx: no such file",
		"a/b":          "a/b: no such file",
		"resnet":       "no file, no folder and no task; tasks are fm-16, c10-16",
	} {
		if _, err := parse(t, append([]string{arg}, run...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", arg, err, want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("net.onnx", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := parse(t, "net.onnx", "--loss", "huber", "--optimizer", "adagrad", "--batch-size", "0", "--accumulate", "-1", "--lr", "-1", "--schedule", "step",
		"--warmup", "-2", "--target", "good", "--resume", "--overwrite", "--weight-decay", "-1", "--clip-norm", "NaN", "--momentum", "0.9",
		"--freeze", "[", "--keep-states", "0", "--eval-data", "imagenet", "--workers", "-1", "--eval-every", "0", "--checkpoint-every", "0", "--keep-last", "0")
	if app.ExitCode(err) != app.ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{
		`--loss "huber": expected one of cross-entropy, mse`, `--optimizer "adagrad": expected one of adamw, adam, sgd, lion, muon`, "--batch-size 0", "--accumulate -1",
		"--lr -1", `--schedule "step": expected one of constant, cosine, linear, wsd`, "--warmup -2", `--target "good"`, "exclude each other",
		"--resume needs --out", "--weight-decay -1", "--clip-norm NaN", "--momentum: an option of --optimizer sgd, muon", `"["`, "--keep-states 0", "--steps is missing",
		"--data is missing", `--eval-data: data "imagenet"`, "--workers -1", "--eval-every 0", "--checkpoint-every 0", "--keep-last 0", "train --help",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestArtifactsSettleTheModel(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, training.TrainingFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := parse(t, dir, "--data", "embedded", "--steps", "1", "--loss", "mse", "--freeze", "x")
	for _, want := range []string{"--loss: the artifacts", "--freeze: the artifacts"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}
