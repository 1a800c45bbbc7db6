package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	"ninox/models"
	"ninox/training"
)

func taskSource(t *testing.T, name string) Source {
	t.Helper()
	task, err := models.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Task: &task}
}

func prepare(t *testing.T, o Options) (*Job, error) {
	t.Helper()
	return Prepare(context.Background(), &app.App{Seed: 1, LogLevel: "warn"}, taskSource(t, "fm-16"), o)
}

func TestTaskDefaults(t *testing.T) {
	j, err := prepare(t, Options{Data: "embedded"})
	if err != nil {
		t.Fatal(err)
	}
	if j.LR != 6e-3 || j.Batch != 128 || j.Steps != 10000 || j.Artifacts.Config.Kind != "adam" || j.Artifacts.LossKind != "cross-entropy" {
		t.Errorf("lr %v, batch %d, steps %d, %s, %s", j.LR, j.Batch, j.Steps, j.Artifacts.Config.Kind, j.Artifacts.LossKind)
	}
	// The task's target was measured on all of FashionMNIST.
	if j.Goal != nil {
		t.Errorf("target %+v on the subset", j.Goal)
	}
	j, err = prepare(t, Options{Data: "embedded", LR: 0.5, Batch: 7, Steps: 3, Target: "80", ModelOptions: ModelOptions{Optimizer: "sgd", Momentum: 0.9}})
	if err != nil {
		t.Fatal(err)
	}
	if j.LR != 0.5 || j.Batch != 7 || j.Steps != 3 || j.Artifacts.Config.Momentum != 0.9 || *j.Goal != (training.Target{Metric: "accuracy", Value: 80}) {
		t.Errorf("flags do not go before the task: %+v", j.Options)
	}
}

func TestEvalSamples(t *testing.T) {
	for samples, want := range map[int]int{0: 2000, 500: 500, 9000: 2000} {
		j, err := prepare(t, Options{Data: "embedded", EvalSamples: samples})
		if err != nil || j.Split.Test.Len() != want || j.Split.Train.Len() != 12000 {
			t.Errorf("--eval-samples %d: %v, %v", samples, j, err)
		}
	}
}

func TestSeedDecidesTheStart(t *testing.T) {
	first := func(seed uint64) byte {
		j, err := Prepare(context.Background(), &app.App{Seed: seed, LogLevel: "warn"}, taskSource(t, "fm-16"), Options{Data: "embedded"})
		if err != nil {
			t.Fatal(err)
		}
		return j.Artifacts.Checkpoint.Trainable[0].Data[0]
	}
	if first(1) != first(1) || first(1) == first(2) {
		t.Error("the initial parameters do not follow from the seed")
	}
}

func TestMisfits(t *testing.T) {
	t.Setenv("NINOX_DATA", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	for _, k := range []struct {
		o    Options
		want string
	}{
		{Options{Data: "embedded", Batch: 100000}, "the data has only 12000 samples"},
		{Options{Data: "embedded", EvalData: "npz:missing.npz"}, "missing.npz"},
		{Options{Data: "cifar10"}, "data cifar10: not found"},
	} {
		if _, err := prepare(t, k.o); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%+v: error %v, expected %q", k.o, err, k.want)
		}
	}
	_, err := Prepare(context.Background(), &app.App{LogLevel: "warn"}, taskSource(t, "c100-32"), Options{})
	if err == nil || !strings.Contains(err.Error(), "or try --data embedded") {
		t.Errorf("error %v, expected the way out", err)
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]training.Target{
		"89.5":        {Metric: "loss", Value: 89.5},
		"accuracy:70": {Metric: "accuracy", Value: 70},
		"loss:1e-3":   {Metric: "loss", Value: 1e-3},
	} {
		got, err := parseTarget(text, training.MetricLoss)
		if err != nil || *got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"good", "f1:3", "loss:", "NaN"} {
		if _, err := parseTarget(text, training.MetricLoss); app.ExitCode(err) != app.ExitUsage {
			t.Errorf("%s: error %v, expected one of usage", text, err)
		}
	}
}

func TestOutputFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	if d := FreshDir("x"); d != "run-x" {
		t.Errorf("first folder %q", d)
	}
	for _, d := range []string{"run-x", "run-x-2"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if d := FreshDir("x"); d != "run-x-3" {
		t.Errorf("folder %q, expected the next free one", d)
	}
	var o Options
	if err := o.CheckOut("run-x"); err != nil {
		t.Errorf("an empty folder is refused: %v", err)
	}
	for _, f := range []string{filepath.Join("run-x", "config.json"), "file"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.CheckOut("run-x-2", "run-x"); !errors.Is(err, training.ErrRunExists) || !strings.Contains(err.Error(), "--overwrite replaces it") {
		t.Errorf("error %v, expected the run to be kept", err)
	}
	for _, o := range []Options{{Resume: true}, {Overwrite: true}} {
		if err := o.CheckOut("run-x"); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := o.CheckOut("file"); err == nil || !strings.Contains(err.Error(), "expected a folder") {
		t.Errorf("error %v", err)
	}
}

func TestExplain(t *testing.T) {
	o := Options{Out: "run"}
	for err, want := range map[error]string{
		training.ErrInterrupted:                                "the same command with --out run --resume",
		training.ErrRunExists:                                  "--resume continues it",
		&training.DataError{Step: 3, Err: errors.New("x.png")}: "after step 3: x.png\na checkpoint was written",
		&training.StepError{Step: 9, Checkpoint: 5, Err: errors.New("the GPU is gone")}: "step 9: the GPU is gone; the checkpoint of step 5 is kept\nthe same command with --out run --resume continues",
		&training.NonFiniteError{Step: 9, Checkpoint: 5}:                                filepath.Join("run", "baseline", "checkpoints", "step_000005.safetensors"),
	} {
		if got := o.explain(err, filepath.Join("run", "baseline")); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v, expected %q", err, got, want)
		}
	}
	if o.explain(nil, "run") != nil {
		t.Error("an explanation without an error")
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string][2]int{"224": {224, 224}, "24x32": {24, 32}} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "24x", "x", "9999", "1x2x3", "-3"} {
		if _, err := parseSize(text); app.ExitCode(err) != app.ExitUsage {
			t.Errorf("%s: error %v, expected one of usage", text, err)
		}
	}
}
