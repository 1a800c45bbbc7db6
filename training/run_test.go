package training

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ninox/models"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/data"
)

// realConfig is a run of 24 steps of FM/16 on the embedded images, with an
// evaluation every 8 steps and a checkpoint every 10.
func realConfig(t testing.TB, o ExecutorOptions) Config {
	t.Helper()
	split, err := data.Open(context.Background(), "embedded")
	if err != nil {
		t.Fatal(err)
	}
	a := mustArtifacts(t, formulaModel(t, "fm-16"), ArtifactOptions{Optimizer: Optimizer{Kind: Adam}})
	return Config{
		Dir: filepath.Join(t.TempDir(), "run"), Trainer: mustExecutor(t, a, o), Artifacts: a, Task: "fm-16",
		Train: data.Head(split.Train, 1000), Test: data.Head(split.Test, 150), EvalBatch: 100,
		Steps: 24, Batch: 48, Seed: 3, LR: 6e-3, EvalEvery: 8, CheckpointEvery: 10, KeepStates: []int{1, 24},
		Target: &Target{MetricAccuracy, 20},
	}
}

// normModel is a network with batch normalization.
func normModel(t testing.TB) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("norm", 17)
	n := onnxgraph.Sym("n")
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(3), onnxgraph.Known(6), onnxgraph.Known(6)})
	next := uint64(0)
	param := func(name string, offset float64, dims ...int64) string {
		v := make([]float32, onnxgraph.Floats(name, dims, nil).Len())
		for i := range v {
			v[i] = float32(offset + symmetric(next)/4)
			next++
		}
		return b.Init(onnxgraph.Floats(name, dims, v))
	}
	x = b.Op("Conv", []string{x, param("conv.weight", 0, 4, 3, 3, 3)})
	x = b.Op("BatchNormalization", []string{x, param("norm.weight", 1, 4), param("norm.bias", 0, 4), param("norm.running_mean", 0, 4), param("norm.running_var", 1, 4)})
	x = b.Op("Flatten", []string{b.Op("GlobalAveragePool", []string{b.Op("Relu", []string{x})})})
	b.Output(b.Named("logits", "Gemm", []string{x, param("fc.weight", 0, 4, 3), param("fc.bias", 0, 3)}), onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(3)})
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// normConfig is a run of a network with batch normalization, on random images.
func normConfig(t testing.TB, o ExecutorOptions) Config {
	t.Helper()
	const samples = 200
	images, labels := make([]float32, samples*108), make([]int64, samples)
	for i := range labels {
		labels[i] = int64(i % 3)
		for p := range 108 {
			images[i*108+p] = float32(symmetric(1<<20+uint64(i*108+p))) + float32(labels[i])*float32(p%3)
		}
	}
	s := &weights.Set{}
	s.AddFloats("x", []int64{samples, 3, 6, 6}, images)
	s.Add("labels", weights.DenseInt64s([]int64{samples}, labels))
	d, err := data.NewArrays("random", s)
	if err != nil {
		t.Fatal(err)
	}
	a := mustArtifacts(t, normModel(t), ArtifactOptions{})
	if !slices.Equal(a.Buffers, []string{"norm.running_mean", "norm.running_var"}) {
		t.Fatalf("running statistics are %q", a.Buffers)
	}
	return Config{
		Dir: filepath.Join(t.TempDir(), "run"), Trainer: mustExecutor(t, a, o), Artifacts: a,
		Train: d, Test: data.Head(d, 30), Steps: 24, Batch: 16, Seed: 3, LR: 1e-2, EvalEvery: 8, CheckpointEvery: 10,
	}
}

// dropoutConfig is a run of two layers with Dropout between them.
func dropoutConfig(t testing.TB, o ExecutorOptions) Config {
	t.Helper()
	b := onnxgraph.NewBuilder("dropout", 17)
	n := onnxgraph.Sym("n")
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(fakeFeatures)})
	weight := func(name string, in, out int64) string {
		v := make([]float32, in*out)
		for i := range v {
			v[i] = float32(symmetric(uint64(i)+uint64(out)<<20)) / 2
		}
		return b.Init(onnxgraph.Floats(name, []int64{in, out}, v))
	}
	h := b.Op("Relu", []string{b.Op("MatMul", []string{x, weight("w0", fakeFeatures, 32)})})
	h = b.Op("Dropout", []string{h, b.Const(onnxgraph.Scalar("ratio", 0.25))})
	b.Output(b.Named("logits", "MatMul", []string{h, weight("w1", 32, fakeClasses)}), onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(fakeClasses)})
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	a := mustArtifacts(t, m, ArtifactOptions{})
	s := &weights.Set{}
	clouds := fakeData(t, 200, 1)
	buf := data.NewBatch(clouds.Columns(), 200)
	all := make([]int, 200)
	for i := range all {
		all[i] = i
	}
	if err := clouds.Batch(all, buf.Buffers); err != nil {
		t.Fatal(err)
	}
	for i, c := range clouds.Columns() {
		if c.Name == "x" {
			s.AddFloats("x", []int64{200, fakeFeatures}, buf.Buffers[i].Floats)
		} else {
			s.Add("labels", weights.DenseInt64s([]int64{200}, buf.Buffers[i].Int64s))
		}
	}
	d, err := data.NewArrays("clouds", s)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Dir: filepath.Join(t.TempDir(), "run"), Trainer: mustExecutor(t, a, o), Artifacts: a,
		Train: d, Test: data.Head(d, 30), Steps: 24, Batch: 32, Seed: 3, LR: 1e-2, EvalEvery: 8, CheckpointEvery: 10,
	}
}

// variants are ways to run that must all be resumable to the last bit.
var variants = map[string]func(t testing.TB) Config{
	"whole batches": func(t testing.TB) Config { return realConfig(t, ExecutorOptions{Workers: 1}) },
	"two workers":   func(t testing.TB) Config { return realConfig(t, ExecutorOptions{Workers: 2}) },
	"accumulated": func(t testing.TB) Config {
		c := realConfig(t, ExecutorOptions{Workers: 2})
		c.Accumulate = 2
		return c
	},
	"schedule and nowcasts": func(t testing.TB) Config {
		c := realConfig(t, ExecutorOptions{Workers: 1})
		c.Schedule, c.Warmup = ScheduleCosine, 5
		c.Nowcaster, c.Period, c.Horizons, c.Safeguard = lastState{}, 10, []int{1}, true
		return c
	},
	"dropout": func(t testing.TB) Config { return dropoutConfig(t, ExecutorOptions{Workers: 1, Seed: 3}) },
	"dropout on two workers, accumulated, nowcasts": func(t testing.TB) Config {
		c := dropoutConfig(t, ExecutorOptions{Workers: 2, Seed: 3})
		c.Accumulate = 2
		c.Nowcaster, c.Period, c.Horizons, c.Safeguard = lastState{}, 10, []int{1}, true
		return c
	},
	"schedule-free": func(t testing.TB) Config {
		c := realConfig(t, ExecutorOptions{Workers: 1})
		a, err := c.Artifacts.WithOptimizer(Optimizer{Kind: ScheduleFree})
		if err != nil {
			t.Fatal(err)
		}
		c.Trainer, c.Artifacts = mustExecutor(t, a, ExecutorOptions{Workers: 1}), a
		return c
	},
	"batch normalization": func(t testing.TB) Config { return normConfig(t, ExecutorOptions{}) },
	"batch normalization accumulated": func(t testing.TB) Config {
		c := normConfig(t, ExecutorOptions{})
		c.Accumulate = 3
		return c
	},
}

// lastState nowcasts half a step further along the last two states.
type lastState struct{}

func (lastState) Name() string { return "last" }
func (lastState) Context() int { return 5 }

func (lastState) Nowcast(_ context.Context, states []*weights.Set, _ int) (*weights.Set, error) {
	out := states[len(states)-1].Clone()
	for _, name := range out.Names() {
		v, err := out.Floats(name)
		if err != nil {
			return nil, err
		}
		before, err := states[len(states)-2].Floats(name)
		if err != nil {
			return nil, err
		}
		for i := range v {
			v[i] += 0.5 * (v[i] - before[i])
		}
	}
	return out, nil
}

// interrupting cancels a run when a step begins.
type interrupting struct {
	*Executor
	at     int64
	cancel func()
}

func (i interrupting) Step(ctx context.Context, b map[string]*ort.Value, lr float64) (float64, error) {
	if i.StepCount()+1 == i.at {
		i.cancel()
	}
	return i.Executor.Step(ctx, b, lr)
}

func (i interrupting) StepAccumulated(ctx context.Context, b []map[string]*ort.Value, lr float64) ([]float64, error) {
	if i.StepCount()+1 == i.at {
		i.cancel()
	}
	return i.Executor.StepAccumulated(ctx, b, lr)
}

// Interrupted, and resumed by a new executor, a run leaves the same final
// weights, metrics and summary, to the last bit, as one that went through.
func TestResumeOnRuntime(t *testing.T) {
	for name, config := range variants {
		t.Run(name, func(t *testing.T) {
			whole := config(t)
			mustRun(t, whole)
			want := comparable(t, whole.Dir)
			dir := filepath.Join(t.TempDir(), "run")
			for i, at := range []int64{3, 13, 20} {
				c := config(t)
				ctx, cancel := context.WithCancel(context.Background())
				c.Dir, c.Resume = dir, i > 0
				c.Trainer = interrupting{c.Trainer.(*Executor), at, cancel}
				if _, err := Run(ctx, c); !errors.Is(err, ErrInterrupted) {
					t.Fatalf("error %v, expected ErrInterrupted", err)
				}
				cancel()
			}
			c := config(t)
			c.Dir, c.Resume = dir, true
			mustRun(t, c)
			if comparable(t, dir) != want {
				t.Error("interrupted three times and resumed, the run ends differently")
			}
		})
	}
}

// killedRun names the variable that makes TestKilled the run to be killed.
const killedRun = "NINOX_TEST_KILLED_RUN"

// A run that is killed without warning is resumed from its last checkpoint and
// ends like one that went through.
func TestKilled(t *testing.T) {
	config := func() Config {
		c := realConfig(t, ExecutorOptions{Workers: 2})
		c.Steps, c.CheckpointEvery = 60, 7
		return c
	}
	if dir := os.Getenv(killedRun); dir != "" {
		c := config()
		c.Dir = dir
		_, err := Run(context.Background(), c)
		t.Fatalf("the run ended before it was killed: %v", err)
	}
	runtimetest.Engine(t) // installed here, where it may take its time
	whole := config()
	mustRun(t, whole)
	dir := filepath.Join(t.TempDir(), "killed")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), killedRun+"="+dir, "TMPDIR="+t.TempDir()) // a killed test leaves its folders
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if s, err := readSnapshot(dir, slog.New(slog.DiscardHandler)); err == nil && s != nil {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatal("the run to be killed writes no checkpoint")
		}
		time.Sleep(2 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the run was to be killed, it ended with %v", err)
	}
	c := config()
	c.Dir, c.Resume = dir, true
	mustRun(t, c)
	if comparable(t, dir) != comparable(t, whole.Dir) {
		t.Error("killed and resumed, the run ends differently")
	}
}

// killedNowcast names the variable that makes TestKilledInNowcast the run that
// kills itself.
const killedNowcast = "NINOX_TEST_KILLED_NOWCAST"

// fatal is a nowcaster that kills its own process, as kill -9 does, in one of its
// nowcasts.
type fatal struct {
	lastState
	left *int // nowcasts until then; negative: never
}

func (f fatal) Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	if *f.left--; *f.left == 0 {
		p, err := os.FindProcess(os.Getpid())
		if err != nil {
			return nil, err
		}
		if err := p.Kill(); err != nil {
			return nil, err
		}
		select {} // the signal is on its way
	}
	return f.lastState.Nowcast(ctx, states, k)
}

// A run that dies in the middle of a nowcast is resumed from a checkpoint that
// holds some of the states, and leaves the bytes of one that went through.
func TestKilledInNowcast(t *testing.T) {
	config := func(left int) Config {
		c := realConfig(t, ExecutorOptions{Workers: 2})
		c.Steps, c.CheckpointEvery = 80, 7
		c.Nowcaster, c.Period, c.Horizons, c.Safeguard = fatal{left: &left}, 20, []int{1}, true
		c.Alternatives = []Alternative{{MeanOfStates(5), 1}}
		return c
	}
	if dir := os.Getenv(killedNowcast); dir != "" {
		c := config(1)
		c.Dir = dir
		_, err := Run(context.Background(), c)
		t.Fatalf("the run ended before it was killed: %v", err)
	}
	runtimetest.Engine(t) // installed here, where it may take its time
	whole := config(-1)
	mustRun(t, whole)
	dir := filepath.Join(t.TempDir(), "killed")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledInNowcast$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), killedNowcast+"="+dir, "TMPDIR="+t.TempDir()) // a killed test leaves its folders
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the run was to be killed, it ended with %v", err)
	}
	if s, err := readSnapshot(dir, slog.New(slog.DiscardHandler)); err != nil || s == nil || s.Step != 14 || len(s.states) != 3 {
		t.Fatalf("the last checkpoint: %+v, %v; expected that of step 14 with 3 states", s, err)
	}
	c := config(-1)
	c.Dir, c.Resume = dir, true
	mustRun(t, c)
	if comparable(t, dir) != comparable(t, whole.Dir) {
		t.Error("killed and resumed, the run ends differently")
	}
	for _, name := range []string{finalState, finalModel} {
		a, errA := os.ReadFile(filepath.Join(dir, name))
		b, errB := os.ReadFile(filepath.Join(whole.Dir, name))
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Errorf("%s differs (%v, %v)", name, errA, errB)
		}
	}
}

// The final files agree: final.onnx computes the last evaluation's loss and
// accuracy from the parameters of final.safetensors.
func TestFinalModel(t *testing.T) {
	for _, name := range []string{"two workers", "batch normalization", "schedule-free"} {
		t.Run(name, func(t *testing.T) {
			c := variants[name](t)
			s := mustRun(t, c)
			m, err := onnxgraph.ReadFile(filepath.Join(c.Dir, finalModel))
			if err != nil {
				t.Fatal(err)
			}
			state, _, err := weights.ReadSafetensors(filepath.Join(c.Dir, finalState))
			if err != nil {
				t.Fatal(err)
			}
			for _, init := range m.Graph.Initializers {
				if state.Get(init.Name) == nil {
					continue
				}
				got, err := init.AsFloats()
				if err != nil {
					t.Fatal(err)
				}
				if want, err := state.Floats(init.Name); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s of the final model is not that of the final state (%v)", init.Name, err)
				}
			}
			for _, p := range append(c.Trainer.(*Executor).paramNames(), c.Artifacts.Buffers...) {
				if m.Graph.Initializer(p) == nil || state.Get(p) == nil {
					t.Errorf("%s is missing in the final model or state", p)
				}
			}
			if len(m.Graph.Inputs) != 1 || len(m.Graph.Outputs) != 1 {
				t.Fatalf("the final model has inputs %v and outputs %v", m.Graph.Inputs, m.Graph.Outputs)
			}
			session, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			test, err := data.Bind(c.Test, c.Artifacts.Training.Graph.Inputs[:2])
			if err != nil {
				t.Fatal(err)
			}
			b := mustValues(t, test)
			out, err := session.Run(context.Background(), map[string]*ort.Value{m.Graph.Inputs[0].Name: b[m.Graph.Inputs[0].Name]})
			if err != nil {
				t.Fatal(err)
			}
			logits, labels := out[m.Graph.Outputs[0].Name].Floats(), b["labels"].Int64s()
			hits, judged := countCorrect(logits, labels, nil)
			if acc := 100 * float64(hits) / float64(judged); acc != *s.Final.Accuracy {
				t.Errorf("accuracy of the final model %v, of the run %v", acc, *s.Final.Accuracy)
			}
		})
	}
}

// Training moves running statistics towards those of the data, and evaluation
// uses them.
func TestRunningStatistics(t *testing.T) {
	c := normConfig(t, ExecutorOptions{})
	e := c.Trainer.(*Executor)
	before, err := e.Buffers()
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, c)
	after, err := e.Buffers()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Artifacts.Buffers {
		a, err1 := before.Floats(name)
		b, err2 := after.Floats(name)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(a, b) {
			t.Errorf("%s did not move", name)
		}
	}
	loss := func() float64 {
		train, err := data.Bind(c.Train, c.Artifacts.Training.Graph.Inputs[:2])
		if err != nil {
			t.Fatal(err)
		}
		l, out, err := e.Eval(context.Background(), mustValues(t, train))
		if err != nil {
			t.Fatal(err)
		}
		closeValues(out)
		return l
	}
	now := loss()
	if err := e.SetBuffers(before); err != nil {
		t.Fatal(err)
	}
	if old := loss(); old == now {
		t.Error("evaluation ignores the running statistics")
	}
}

// A learning rate beyond all reason ends the run with an error that names the
// step, and leaves the last good checkpoint.
func TestDivergenceOnRuntime(t *testing.T) {
	c := realConfig(t, ExecutorOptions{})
	c.CheckpointEvery, c.Test, c.Target = 1, nil, nil
	c.Schedule, c.LR = ScheduleConstant, 1e25
	_, err := Run(context.Background(), c)
	var diverged *NonFiniteError
	if !errors.As(err, &diverged) || diverged.Step < 1 || diverged.Step > 5 {
		t.Fatalf("error %v, expected a NonFiniteError in the first steps", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, summaryFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a failed run has a summary")
	}
	for _, m := range mustMetrics(t, c.Dir) {
		if m.Loss != nil && (math.IsNaN(*m.Loss) || math.IsInf(*m.Loss, 0)) {
			t.Errorf("metrics of step %d: loss %v", m.Step, *m.Loss)
		}
	}
}

// A checkpoint that is not what was written is refused with the reason.
func TestDamagedCheckpoint(t *testing.T) {
	c, _ := fakeConfig(t)
	c.Steps = 16
	mustRun(t, c)
	sub := filepath.Join(c.Dir, checkpointsDir)
	latest := filepath.Join(sub, latestFile)
	both, err := os.ReadFile(latest)
	if err != nil {
		t.Fatal(err)
	}
	pointer, _, _ := bytes.Cut(both, []byte("\n")) // to the newest alone
	current := filepath.Join(sub, strings.Fields(string(pointer))[0])
	good, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	unhashed := []byte(filepath.Base(current) + "\n")
	for _, k := range []struct {
		name             string
		content, pointer []byte
		want             string
	}{
		{"a flipped bit", flipped, pointer, "is damaged: its SHA-256"},
		{"truncated", good[:len(good)/2], pointer, "is damaged"},
		{"truncated, without a hash", good[:len(good)/2], unhashed, filepath.Base(current)},
		{"empty", nil, unhashed, filepath.Base(current)},
		{"no checkpoint", []byte("hello, this is a text"), unhashed, filepath.Base(current)},
		{"an empty pointer", good, nil, "expected the name of a checkpoint"},
		{"a missing checkpoint", good, []byte("step_000007.safetensors\n"), "step_000007.safetensors"},
		{"a pointer out of the folder", good, []byte("../../" + finalState), "no such file"},
	} {
		t.Run(k.name, func(t *testing.T) {
			if err := errors.Join(os.WriteFile(current, k.content, 0o644), os.WriteFile(latest, k.pointer, 0o644)); err != nil {
				t.Fatal(err)
			}
			r := c
			r.Trainer, r.Resume, r.Steps = newFakeTrainer(), true, 20
			if _, err := Run(context.Background(), r); err == nil || !strings.Contains(err.Error(), k.want) {
				t.Errorf("error %v, expected %q", err, k.want)
			}
		})
	}
	// Where the one before is whole, the run goes on from there, and says so.
	for name, damage := range map[string]func() error{
		"cut short": func() error { return os.WriteFile(current, good[:len(good)/2], 0o644) },
		"missing":   func() error { return os.Remove(current) },
	} {
		var log bytes.Buffer
		r := c
		r.Trainer, r.Resume, r.Log = newFakeTrainer(), true, slog.New(slog.NewTextHandler(&log, nil))
		if err := errors.Join(os.WriteFile(latest, both, 0o644), damage()); err != nil {
			t.Fatal(err)
		}
		mustRun(t, r)
		if text := log.String(); !strings.Contains(text, "older checkpoint") || !strings.Contains(text, "step=15") || !strings.Contains(text, filepath.Base(current)) {
			t.Errorf("%s: the log says %q", name, text)
		}
		if got, err := os.ReadFile(current); err != nil || decodedStep(t, current) != 16 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	// The one before can be chosen by its name alone.
	if err := os.WriteFile(latest, []byte("step_000015.safetensors\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := c
	r.Trainer, r.Resume, r.Steps = newFakeTrainer(), true, 20
	if s := mustRun(t, r); s.Steps != 20 {
		t.Errorf("%d steps", s.Steps)
	}
}

func decodedStep(t *testing.T, path string) int {
	t.Helper()
	s, err := decodeSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	return s.Step
}

// A full disk, or a folder that cannot be written, ends the run with an error
// that names the file, and keeps what was written before.
func TestDiskErrors(t *testing.T) {
	t.Run("checkpoints", func(t *testing.T) {
		c, f := fakeConfig(t)
		sub := filepath.Join(c.Dir, checkpointsDir)
		f.before = func(_ *fakeTrainer, call int) {
			if call == 20 { // the checkpoint of step 15 is there, that of step 30 is to fail
				if err := errors.Join(os.Rename(sub, sub+".moved"), os.WriteFile(sub, nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err := Run(context.Background(), c)
		if err == nil || !strings.Contains(err.Error(), "checkpoint of step 30") || !strings.Contains(err.Error(), sub) {
			t.Errorf("error %v", err)
		}
		if err := errors.Join(os.Remove(sub), os.Rename(sub+".moved", sub)); err != nil {
			t.Fatal(err)
		}
		if s, err := readSnapshot(c.Dir, slog.New(slog.DiscardHandler)); err != nil || s.Step != 15 {
			t.Errorf("the checkpoint before: %+v, %v", s, err)
		}
		f.before, c.Resume = nil, true
		mustRun(t, c)
	})
	t.Run("metrics", func(t *testing.T) {
		if _, err := os.Stat("/dev/full"); err != nil {
			t.Skip("there is no /dev/full here")
		}
		w, err := openMetrics("/dev/full")
		if err != nil {
			t.Fatal(err)
		}
		err = w.add(Metric{Step: 1})
		if err = errors.Join(err, w.sync()); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("error %v, expected that there is no space left", err)
		}
		_ = w.f.Close()
	})
	t.Run("states", func(t *testing.T) {
		c, _ := fakeConfig(t)
		c.KeepStates = []int{3}
		path := filepath.Join(c.Dir, statesDir, fmt.Sprintf(snapshotLayout, 3))
		if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := Run(context.Background(), c)
		if !errors.Is(err, ErrRunExists) { // a folder of states that is not empty
			t.Errorf("error %v, expected ErrRunExists", err)
		}
	})
}

// A device that is lost in the middle of a step ends the run with the step and the
// checkpoint before it, from which it can be resumed.
func TestLostDevice(t *testing.T) {
	whole, _ := fakeConfig(t)
	mustRun(t, whole)
	c, f := fakeConfig(t)
	lost := errors.New("CUDA failure 999")
	f.fails = func(call int) error {
		if call != 20 {
			return nil
		}
		clear(f.w) // the device left nothing of them
		return lost
	}
	_, err := Run(context.Background(), c)
	var failed *StepError
	if !errors.As(err, &failed) || failed.Step != 20 || failed.Checkpoint != 15 || !errors.Is(err, lost) || !strings.Contains(err.Error(), "checkpoint of step 15 is kept") {
		t.Fatalf("error %v", err)
	}
	c.Trainer, c.Resume = newFakeTrainer(), true
	mustRun(t, c)
	if comparable(t, c.Dir) != comparable(t, whole.Dir) {
		t.Error("after a lost device and resumed, the run ends differently")
	}
}

// Directories that hold something else are never overwritten.
func TestOverwriteOnlyRuns(t *testing.T) {
	c, _ := fakeConfig(t)
	mine := filepath.Join(c.Dir, statesDir, "mine.txt")
	if err := errors.Join(os.MkdirAll(filepath.Dir(mine), 0o755), os.WriteFile(mine, []byte("mine"), 0o644)); err != nil {
		t.Fatal(err)
	}
	c.Overwrite = true
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "no config.json of a run") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error("a file that no run wrote is gone")
	}
}

func TestBatchErrors(t *testing.T) {
	a := mustArtifacts(t, formulaModel(t, "fm-16"), ArtifactOptions{})
	e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
	b := formulaBatches(t, 1, 8)[0]
	for name, edit := range map[string]func(map[string]*ort.Value){
		`input "labels" is missing`:        func(m map[string]*ort.Value) { delete(m, "labels") },
		`the model has no input "other"`:   func(m map[string]*ort.Value) { m["other"] = m["labels"] },
		`input "` + models.InputName + `"`: func(m map[string]*ort.Value) { m[models.InputName] = m["labels"] },
	} {
		bad := map[string]*ort.Value{}
		for k, v := range b {
			bad[k] = v
		}
		edit(bad)
		if _, err := e.Step(context.Background(), bad, 1e-3); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, expected %q", err, name)
		}
		if _, _, err := e.Eval(context.Background(), bad); err == nil {
			t.Errorf("evaluated a batch with: %s", name)
		}
	}
	if e.StepCount() != 0 {
		t.Errorf("%d steps counted", e.StepCount())
	}
	if _, err := e.Step(context.Background(), b, 1e-3); err != nil {
		t.Errorf("a good batch after bad ones: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	before, err := e.State()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(cancelled, b, 1e-3); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected that of the context", err)
	}
	after, err := e.State()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range before.Names() {
		x, _ := before.Floats(name)
		if y, err := after.Floats(name); err != nil || !slices.Equal(x, y) {
			t.Errorf("a cancelled step changed %s (%v)", name, err)
		}
	}
}
