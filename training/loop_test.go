package training

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph/weights"
	"ninox/training/data"
)

func mustRun(t *testing.T, c Config) *Summary {
	t.Helper()
	s, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustMetrics(t *testing.T, dir string) []Metric {
	t.Helper()
	m, err := ReadMetrics(filepath.Join(dir, metricsFile))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRun(t *testing.T) {
	c, f := fakeConfig(t)
	c.KeepStates = []int{1, 40}
	s := mustRun(t, c)
	if s.Method != "none" || s.Steps != 40 || f.steps != 40 || *s.Target != 85 {
		t.Errorf("summary %+v after %d steps", s, f.steps)
	}
	var steps, evals []int
	for _, m := range mustMetrics(t, c.Dir) {
		switch {
		case m.Loss != nil:
			steps = append(steps, m.Step)
		case m.EvalAccuracy != nil:
			evals = append(evals, m.Step)
		}
	}
	if len(steps) != 40 || steps[0] != 1 || steps[39] != 40 {
		t.Errorf("losses of steps %v, expected 1 to 40", steps)
	}
	if !slices.Equal(evals, []int{4, 8, 12, 16, 20, 24, 28, 32, 36, 40}) {
		t.Errorf("evaluations after steps %v, expected every 4", evals)
	}
	first := -1
	for _, m := range mustMetrics(t, c.Dir) {
		if m.EvalAccuracy != nil && *m.EvalAccuracy >= 85 && first < 0 {
			first = m.Step
		}
	}
	if s.StepsToTarget == nil || *s.StepsToTarget != first {
		t.Errorf("steps to target %v, metrics say %d", s.StepsToTarget, first)
	}
	// The evaluation, in batches of 10 with a remainder of 1, is that of the whole.
	b := mustValues(t, c.Test)
	loss, _, _ := f.forward(b)
	if math.Abs(loss-*s.Final.Loss) > 1e-12 {
		t.Errorf("test loss %v, computed at once %v", *s.Final.Loss, loss)
	}
	for _, name := range []string{configFile, metricsFile, summaryFile, reportFile, curvesFile, finalState, "states/step_000001.safetensors", "states/step_000040.safetensors", "checkpoints/latest"} {
		if _, err := os.Stat(filepath.Join(c.Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(c.Dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

// comparable is what two runs must share to the last bit: all but times.
func comparable(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	final, err := os.ReadFile(filepath.Join(dir, finalState))
	if err != nil {
		t.Fatal(err)
	}
	b.Write(final)
	for _, m := range mustMetrics(t, dir) {
		m.Seconds = 0
		if m.Nowcast != nil {
			m.Nowcast.Seconds = 0
		}
		writeMetric(t, &b, m)
	}
	r, err := ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Summary.WallSeconds, r.Summary.StepMilliseconds, r.Summary.LoopShare = 0, 0, 0
	if r.Summary.Safeguard != nil {
		r.Summary.Safeguard.Seconds = 0
	}
	for i := range r.Summary.Nowcasts {
		r.Summary.Nowcasts[i].Seconds = 0
	}
	writeMetric(t, &b, r.Summary)
	return b.String()
}

func TestResumeIsExact(t *testing.T) {
	unguarded := func(c Config) Config { c, _ = withNowcasts(c); return c }
	for name, k := range map[string]struct {
		with  func(Config) Config
		stops [][]int
	}{
		"nowcasts":     {unguarded, [][]int{{1}, {7}, {9}, {12}, {15}, {16}, {30}, {36}, {3, 10, 8}}},
		"safeguard":    {func(c Config) Config { return guarded(c, func(p []float32) { p[2] = 50 }) }, [][]int{{19}, {20}, {21}, {22}, {5, 15}, {20, 1}}},
		"ema":          {averaging(func(*weights.Set) Averager { return EMA(0.9) }), [][]int{{1}, {16}, {3, 20}}},
		"lawa":         {averaging(func(*weights.Set) Averager { return LAWA(4, 3) }), [][]int{{1}, {15}, {22}}},
		"lookahead":    {averaging(func(s *weights.Set) Averager { return Lookahead(6, 0.5, s) }), [][]int{{1}, {18}, {16, 9}}},
		"ema-nesterov": {averaging(func(s *weights.Set) Averager { return EMANesterov(0.9, 0.5, s) }), [][]int{{1}, {16}, {31}}},
	} {
		t.Run(name, func(t *testing.T) {
			whole, _ := fakeConfig(t)
			whole = k.with(whole)
			mustRun(t, whole)
			want := comparable(t, whole.Dir)
			if len(mustMetrics(t, whole.Dir)) != 50 {
				t.Fatal("the uninterrupted run is incomplete")
			}
			for _, stops := range k.stops {
				c, _ := fakeConfig(t)
				for i, stop := range stops {
					interrupt(t, k.with(c), stop, i > 0)
				}
				last := k.with(c)
				last.Trainer, last.Resume = newFakeTrainer(), true
				mustRun(t, last)
				if comparable(t, c.Dir) != want {
					t.Errorf("interrupted at calls %v and resumed, the run ends differently", stops)
				}
			}
		})
	}
}

// interrupt runs until the trainer is called for the given time.
func interrupt(t *testing.T, c Config, stop int, resume bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := newFakeTrainer()
	if resume { // resuming must not depend on what the trainer held
		f.w[0], f.m[0], f.updates = 7, 7, 7
	}
	f.before = func(_ *fakeTrainer, call int) {
		if call == stop {
			cancel()
		}
	}
	c.Trainer, c.Resume = f, resume
	if _, err := Run(ctx, c); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("stopped at call %d: error %v, expected ErrInterrupted", stop, err)
	}
}

func TestInterruptedEvaluation(t *testing.T) {
	whole, _ := fakeConfig(t)
	mustRun(t, whole)
	c, f := fakeConfig(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.inEval = func() {
		if f.steps == 8 {
			cancel()
		}
	}
	if _, err := Run(ctx, c); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("error %v, expected ErrInterrupted", err)
	}
	f.inEval, c.Resume = nil, true
	mustRun(t, c)
	if comparable(t, c.Dir) != comparable(t, whole.Dir) {
		t.Error("interrupted in an evaluation and resumed, the run ends differently")
	}
}

// brokenData fails once a sample is asked for that cannot be read.
type brokenData struct {
	data.Dataset
	sample int // -1: mended
}

func (b *brokenData) Batch(indices []int, into []data.Buffer) error {
	if slices.Contains(indices, b.sample) {
		return &data.FileError{File: "x.bin", Record: int64(b.sample), Offset: -1, Err: errors.New("the file ends there")}
	}
	return b.Dataset.Batch(indices, into)
}

// Data that cannot be read in the middle of a run ends it with a checkpoint; once
// it is mended, the run goes on as if nothing had been.
func TestUnreadableData(t *testing.T) {
	whole, _ := fakeConfig(t)
	mustRun(t, whole)
	c, f := fakeConfig(t)
	train := c.Train
	order := data.Order{Samples: train.Len(), Batch: c.Batch, Shuffle: true, Seed: c.Seed}
	c.Train = &brokenData{train, order.Epoch(0)[order.Batch*int(order.PerEpoch())-1]}
	_, err := Run(context.Background(), c)
	var broken *DataError
	if !errors.As(err, &broken) || broken.Step != int(order.PerEpoch())-1 || f.steps != broken.Step || !strings.Contains(err.Error(), "x.bin: record") {
		t.Fatalf("error %v after %d steps, expected one of the data before step %d", err, f.steps, order.PerEpoch())
	}
	c.Train, c.Resume = train, true
	mustRun(t, c)
	if comparable(t, c.Dir) != comparable(t, whole.Dir) {
		t.Error("stopped by unreadable data and resumed, the run ends differently")
	}
}

func TestNowcastSteps(t *testing.T) {
	c, f := fakeConfig(t)
	c, n := withNowcasts(c)
	c.NoShuffle = true
	type snapshot struct{ w, m []float32 }
	seen := map[int]snapshot{} // state before an update, by step
	f.before = func(f *fakeTrainer, call int) {
		step := call + (call-1)/9 // every tenth step is no call of Step
		seen[step] = snapshot{slices.Clone(f.w), slices.Clone(f.m)}
	}
	s := mustRun(t, c)
	if f.steps != 36 || f.updates != 36 {
		t.Errorf("%d optimizer steps and %d updates in 40 steps with 4 nowcasts, expected 36", f.steps, f.updates)
	}
	if !slices.Equal(n.ks, []int{4, 3, 1, 1}) {
		t.Errorf("horizons %v, expected [4 3 1 1]", n.ks)
	}
	for i, states := range n.states {
		if len(states) != 5 {
			t.Fatalf("nowcast %d got %d states, expected 5", i, len(states))
		}
		for j, st := range states[:4] {
			got, err := st.Floats("w")
			if err != nil {
				t.Fatal(err)
			}
			if step := 10*i + 2*(j+1); !slices.Equal(got, seen[step].w) {
				t.Errorf("nowcast %d: state %d is not that before the update of step %d", i, j, step)
			}
		}
	}
	// After the nowcast of step 10, step 11 starts from the prediction with the
	// moments as they were.
	want, err := (&fakeNowcaster{}).Nowcast(context.Background(), n.states[0], 4)
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Floats("w")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen[11].w, w) {
		t.Error("step 11 does not start from the predicted parameters")
	}
	if slices.Equal(seen[11].m, seen[9].m) || slices.Max(seen[11].m) == 0 {
		t.Error("the moments of step 9 did not survive the nowcast")
	}
	if len(s.Nowcasts) != 4 || !s.Nowcasts[0].Accepted || s.Nowcasts[0].Step != 10 || s.Nowcasts[0].K != 4 || s.Nowcasts[0].LossAfter == nil {
		t.Errorf("nowcasts %+v", s.Nowcasts)
	}
	m := mustMetrics(t, c.Dir)
	i := slices.IndexFunc(m, func(m Metric) bool { return m.Step == 10 })
	if m[i].Nowcast == nil || *m[i].Loss != m[i].Nowcast.LossBefore {
		t.Errorf("metrics of step 10: %+v, expected the nowcast and the loss before it", m[i])
	}
	// The nowcast consumes its batch: step 11 sees the same one as plain training.
	plain, p := fakeConfig(t)
	plain.NoShuffle = true
	mustRun(t, plain)
	if f.firstRow[9] != p.firstRow[10] {
		t.Error("step 11 sees another batch than without nowcasts")
	}
}

// Without the safeguard every finite prediction is kept.
func TestUnguarded(t *testing.T) {
	for _, k := range []struct {
		name   string
		value  float32
		reason string // "" where the nowcast is kept
	}{
		{"bad", 50, ""},
		{"not finite", float32(math.NaN()), "not finite"},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, f := fakeConfig(t)
			c, n := withNowcasts(c)
			c.Steps, c.Target = 10, nil
			n.edit = func(p []float32) { p[2] = k.value }
			got := mustRun(t, c).Nowcasts[0]
			kept := k.reason == ""
			if got.Accepted != kept || !strings.Contains(got.Reason, k.reason) || got.Trial != nil {
				t.Errorf("nowcast %+v", got)
			}
			if (f.w[2] == k.value) != kept {
				t.Errorf("the prediction is kept: %v", !kept)
			}
			if !kept && f.steps != 10 {
				t.Errorf("%d optimizer steps, expected an ordinary one in place of the nowcast", f.steps)
			}
		})
	}
}

// guarded has nowcasts at steps 20 and 40, each on trial for two steps, of which
// the second counts.
func guarded(c Config, edit func([]float32)) Config {
	c, n := withNowcasts(c)
	c.Period, c.Safeguard, c.Target, n.edit = 20, true, nil, edit
	return c
}

func TestSafeguard(t *testing.T) {
	bad := func(p []float32) { p[2] = 2.6 }
	for _, k := range []struct {
		name    string
		steps   int
		lossOf  func(call int, loss float64) float64 // nil: the true losses
		reason  string                               // "" where the nowcast is kept
		trial   int                                  // steps of the trial, -1 where there is none
		updates int64                                // that the final parameters have seen
	}{
		{"the loss stays high", 25, nil, "after 2 steps the loss on other minibatches is", 2, 19 + 3},
		{"it helps", 25, nil, "", 2, 24},
		{"the loss is lost", 25, func(call int, loss float64) float64 {
			if call == 20 {
				return math.NaN()
			}
			return loss
		}, "the loss is NaN at step 21", -1, 19 + 4},
		{"the run ends in the trial", 21, nil, "after 1 steps the loss on other minibatches is", 1, 19},
		{"the run ends with the jump", 20, nil, "no steps follow", -1, 19},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, f := fakeConfig(t)
			kept := k.reason == ""
			edit := bad
			if kept {
				edit = nil // the line itself
			}
			c = guarded(c, edit)
			c.Steps, f.lossOf = k.steps, k.lossOf
			s := mustRun(t, c)
			got := s.Nowcasts[0]
			if got.Accepted != kept || !strings.Contains(got.Reason, k.reason) || *got.LossAfter <= got.LossBefore != kept {
				t.Errorf("nowcast %+v", got)
			}
			if k.trial < 0 != (got.Trial == nil) || k.trial > 0 && got.Trial.Steps != k.trial {
				t.Errorf("trial %+v, expected %d steps", got.Trial, k.trial)
			}
			if f.w[2] > 1 {
				t.Errorf("a predicted parameter of 2.6 became %v", f.w[2])
			}
			if f.updates != k.updates {
				t.Errorf("%d updates, expected %d", f.updates, k.updates)
			}
			if math.IsNaN(s.Final.TrainLoss) {
				t.Error("the final loss is NaN")
			}
		})
	}
	c, _ := fakeConfig(t)
	c = guarded(c, nil)
	c.Period = 5
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "Period is 5, expected at least 10") {
		t.Errorf("a period without room for a trial: %v", err)
	}
}

func TestNonFiniteLoss(t *testing.T) {
	c, f := fakeConfig(t)
	f.lossOf = func(call int, loss float64) float64 {
		if call == 33 {
			return math.NaN()
		}
		return loss
	}
	_, err := Run(context.Background(), c)
	var diverged *NonFiniteError
	if !errors.As(err, &diverged) || diverged.Step != 33 || diverged.Checkpoint != 30 || !strings.Contains(err.Error(), "loss is NaN") {
		t.Fatalf("error %v, expected one about step 33 and the checkpoint of step 30", err)
	}
	s, err := readSnapshot(c.Dir, slog.New(slog.DiscardHandler))
	if err != nil || s.Step != 30 || notFinite(s.params) != "" {
		t.Errorf("checkpoint of step %d, %v", s.Step, err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, summaryFile)); err == nil {
		t.Error("a failed run has a summary")
	}

	c, f = fakeConfig(t)
	f.before = func(f *fakeTrainer, call int) {
		if call == 15 {
			f.m[0] = float32(math.Inf(1)) // shows in the parameters after the update only
		}
	}
	c.Test = nil
	if _, err := Run(context.Background(), c); !errors.As(err, &diverged) || diverged.Step != 15 {
		t.Errorf("error %v, expected the checkpoint of step 15 to be refused", err)
	}
}

func TestRunDirectoryIsSafe(t *testing.T) {
	c, _ := fakeConfig(t)
	foreign := filepath.Join(c.Dir, "notes.txt")
	if err := os.WriteFile(foreign, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, c)
	before := comparable(t, c.Dir)
	if _, err := Run(context.Background(), c); !errors.Is(err, ErrRunExists) || !strings.Contains(err.Error(), c.Dir) {
		t.Errorf("error %v, expected ErrRunExists", err)
	}
	if comparable(t, c.Dir) != before {
		t.Error("the refused run changed the directory")
	}
	c.Overwrite, c.Steps = true, 4
	mustRun(t, c)
	if n := len(mustMetrics(t, c.Dir)); n != 5 {
		t.Errorf("%d lines of metrics after overwriting with a run of 4 steps, expected 5", n)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("overwriting removed a file that no run wrote")
	}
	c.Overwrite, c.Resume, c.LR, c.Batch = false, true, 1, 8
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "lr is 1, was 0.01") || !strings.Contains(err.Error(), "batch_size is 8, was 16") {
		t.Errorf("error %v, expected both differing settings", err)
	}
	c.Dir = t.TempDir()
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "nothing to resume") {
		t.Errorf("error %v, expected nothing to resume", err)
	}
}

func TestProlong(t *testing.T) {
	c, _ := fakeConfig(t)
	mustRun(t, c)
	c.Resume, c.Steps = true, 50
	if s := mustRun(t, c); s.Steps != 50 {
		t.Errorf("%d steps after prolonging 40 to 50", s.Steps)
	}
	m := mustMetrics(t, c.Dir)
	for i := 1; i < len(m); i++ {
		if m[i].Step < m[i-1].Step || m[i].Step == m[i-1].Step && (m[i].Loss != nil) == (m[i-1].Loss != nil) {
			t.Fatalf("metrics lines %d and %d are of steps %d and %d", i, i+1, m[i-1].Step, m[i].Step)
		}
	}
}

// A finished run can be resumed without effect, but not cut short.
func TestResumeFinished(t *testing.T) {
	c, _ := fakeConfig(t)
	mustRun(t, c)
	want := comparable(t, c.Dir)
	c.Resume = true
	mustRun(t, c)
	if comparable(t, c.Dir) != want {
		t.Error("resuming a finished run changed it")
	}
	c.Steps = 30
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "has made 40 steps already, more than the 30") {
		t.Errorf("error %v", err)
	}
	if comparable(t, c.Dir) != want {
		t.Error("the refused run changed the directory")
	}
}

func TestStopAtTarget(t *testing.T) {
	c, _ := fakeConfig(t)
	c.StopAtTarget = true
	s := mustRun(t, c)
	if s.StepsToTarget == nil || s.Steps != *s.StepsToTarget || s.Steps == 40 {
		t.Errorf("summary %+v, expected the run to end at its target", s)
	}
}

// The newest checkpoints stay, and that of the best evaluation with its weights,
// however often the run is interrupted.
func TestKeptCheckpoints(t *testing.T) {
	c, _ := fakeConfig(t)
	c.CheckpointEvery, c.KeepLast, c.KeepBest = 4, 3, true
	c.LR, c.Schedule = 0.3, ScheduleConstant // goes up and down
	interrupt(t, c, 10, false)
	c.Trainer, c.Resume = newFakeTrainer(), true
	s := mustRun(t, c)
	var names []string
	entries, err := os.ReadDir(filepath.Join(c.Dir, checkpointsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{bestFile, latestFile, "step_000032.safetensors", "step_000036.safetensors", "step_000040.safetensors"}
	if !slices.Equal(names, want) {
		t.Errorf("checkpoints %q, expected %q", names, want)
	}
	best := Best{}
	for _, m := range mustMetrics(t, c.Dir) {
		if m.EvalLoss == nil {
			continue
		}
		if e := (Evaluation{*m.EvalLoss, m.EvalAccuracy}); best.Step == 0 || e.better(best.Evaluation) {
			best = Best{m.Step, e}
		}
	}
	if s.Best == nil || s.Best.Step != best.Step || *s.Best.Accuracy != *best.Accuracy || best.Step == 40 {
		t.Fatalf("best %+v, expected %+v", s.Best, best)
	}
	b, err := decodeSnapshot(filepath.Join(c.Dir, checkpointsDir, bestFile))
	if err != nil || b.Step != best.Step {
		t.Fatalf("the best checkpoint is of step %d (%v), expected %d", b.Step, err, best.Step)
	}
	// A run that ends at that step ends with these weights.
	short, _ := fakeConfig(t)
	short.LR, short.Steps = c.LR, best.Step
	mustRun(t, short)
	final, err := os.ReadFile(filepath.Join(short.Dir, finalState))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(c.Dir, bestState)); err != nil || !bytes.Equal(got, final) {
		t.Errorf("the best weights are not those of step %d (%v)", best.Step, err)
	}
}

func TestAccumulate(t *testing.T) {
	c, f := fakeConfig(t)
	c.Accumulate, c.Steps, c.NoShuffle = 2, 2, true
	c.Batch = 10
	mustRun(t, c)
	row := func(i int) float32 { return mustValues(t, c.Train)["x"].Floats()[i*fakeFeatures] }
	if !slices.Equal(f.firstRow, []float32{row(0), row(10), row(20), row(30)}) || f.updates != 2 {
		t.Errorf("batches start with %v in %d updates", f.firstRow, f.updates)
	}
	ref := newFakeTrainer()
	first, _, _ := ref.forward(sliceValues(t, c.Train, 0, 10))
	second, _, _ := ref.forward(sliceValues(t, c.Train, 10, 10))
	if got := *mustMetrics(t, c.Dir)[0].Loss; math.Abs(got-(first+second)/2) > 1e-12 {
		t.Errorf("loss of step 1 is %v, expected the mean of %v and %v", got, first, second)
	}
}

// Where one sample has several labels, batches and accuracy count those.
func TestSeveralLabels(t *testing.T) {
	c, f := fakeConfig(t)
	plain := mustValues(t, c.Train)
	s := &weights.Set{}
	s.AddFloats("x", []int64{100, fakeFeatures}, plain["x"].Floats())
	s.Add("y", weights.DenseInt64s([]int64{100}, plain["y"].Int64s()))
	s.AddFloats("group", []int64{25}, make([]float32, 25)) // four rows belong together
	var err error
	if c.Train, err = data.NewArrays("groups", s); err != nil {
		t.Fatal(err)
	}
	c.Test, c.NoShuffle, c.Steps = c.Train, true, 8
	sum := mustRun(t, c)
	if row := f.firstRow[1]; row != plain["x"].Floats()[16*fakeFeatures] {
		t.Errorf("the second batch of 16 starts with %v", row)
	}
	_, logits, _ := f.forward(plain)
	hits, judged := countCorrect(logits, plain["y"].Int64s(), nil)
	if acc := 100 * float64(hits) / float64(judged); *sum.Final.Accuracy != acc {
		t.Errorf("accuracy %v, computed at once %v", *sum.Final.Accuracy, acc)
	}
	c.Dir, c.Batch = t.TempDir(), 10
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "batches of 10, but 4 rows belong together") {
		t.Errorf("error %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	_, err := Run(context.Background(), Config{Steps: -1, Schedule: "step", Target: &Target{Metric: "f1"}, Resume: true, Overwrite: true})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Dir is missing", "Trainer is missing", "Inputs is missing", "Train is missing", "Steps is -1", "LR is 0",
		`Schedule is "step", expected one of constant, cosine, linear, wsd`, `"f1"`, "exclude each other"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	c, _ := fakeConfig(t)
	c, _ = withNowcasts(c)
	c.Period, c.Horizons = 12, nil
	if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "multiple of the 5 states") || !strings.Contains(err.Error(), "Horizons is empty") {
		t.Errorf("error %v", err)
	}
}

func TestSchedules(t *testing.T) {
	for _, k := range []struct {
		schedule string
		warmup   int
		want     map[int]float64 // learning rate by step, of 1 at full
	}{
		{ScheduleConstant, 0, map[int]float64{1: 1, 100: 1}},
		{ScheduleConstant, 4, map[int]float64{1: 0.25, 4: 1, 5: 1}},
		{ScheduleLinear, 0, map[int]float64{1: 1, 51: 0.5, 100: 0.01}},
		{ScheduleCosine, 0, map[int]float64{1: 1, 51: 0.5, 26: (1 + math.Sqrt2/2) / 2}},
		{ScheduleWSD, 0, map[int]float64{1: 1, 81: 1, 91: 0.5, 100: 0.05}},
		{ScheduleLinear, 50, map[int]float64{25: 0.5, 50: 1, 51: 1, 76: 0.5}},
	} {
		c := Config{LR: 1, Steps: 100, Schedule: k.schedule, Warmup: k.warmup}
		for step, want := range k.want {
			if got := c.learningRate(step); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s with %d steps of warm-up: %v at step %d, expected %v", k.schedule, k.warmup, got, step, want)
			}
		}
	}
}

func TestProgressLines(t *testing.T) {
	c, _ := fakeConfig(t)
	c, _ = withNowcasts(c)
	var out bytes.Buffer
	c.Progress = &out
	mustRun(t, c)
	text := out.String()
	for _, want := range []string{"line: step 1/40  loss 0.", "line: step 10: nowcast, horizon 4: loss ", "line: step 40/40 ", "line: done: 40 steps in ", "target of 85 reached at step"} {
		if !strings.Contains(text, want) {
			t.Errorf("progress does not say %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n > 8 {
		t.Errorf("%d lines for a run of an instant:\n%s", n, text)
	}
}

// The loop's own cost per step: batch, bookkeeping and metrics around a trainer
// that does nothing.
func BenchmarkLoopOverhead(b *testing.B) {
	c, _ := fakeConfig(b)
	c.Trainer, c.Test, c.Steps, c.CheckpointEvery = idleTrainer{newFakeTrainer()}, nil, b.N, math.MaxInt
	b.ResetTimer()
	if _, err := Run(context.Background(), c); err != nil {
		b.Fatal(err)
	}
}
