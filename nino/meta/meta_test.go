package meta

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/nino"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// smallPlan is two short runs to train on and one that is held out.
const smallPlan = `{"schema": "ninox.meta.plan/1", "seed": 3, "sets": [
	{"name": "train", "count": 4, "data": ["embedded"], "samples": [600], "classes": [5], "label_noise": [0.1], "shift": [1],
	 "kernel": [3], "hidden": [[4, 4]], "strides": [[2, 2]], "norm": ["", "batch"], "optimizer": ["adam"], "lr": [0.003], "batch": [16], "steps": 60, "every": 2},
	{"name": "test", "count": 1, "held_out": true, "data": ["embedded"], "samples": [600],
	 "kernel": [3], "hidden": [[4, 4]], "strides": [[2, 2]], "optimizer": ["adam"], "lr": [0.003], "batch": [16], "steps": 60, "every": 2}]}`

func plan(t *testing.T, text string) *Plan {
	t.Helper()
	p, err := ParsePlan([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func store(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files are the contents of a store's files.
func files(t *testing.T, s *Store) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(s.Dir(), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = b
	}
	return out
}

// Whatever shards and interruptions made a store, its files are the same.
func TestCollectIsIdempotent(t *testing.T) {
	engine := runtimetest.Engine(t)
	ctx, p := context.Background(), plan(t, smallPlan)
	whole, parts := store(t), store(t)
	if err := Collect(ctx, engine, p, whole, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(ctx)
	err := Collect(stopped, engine, p, parts, CollectOptions{Workers: 1, Progress: func(Progress) { cancel() }})
	if err == nil {
		t.Fatal("a cancelled collection ends without an error")
	}
	// What a killed process leaves.
	id := p.Tasks()[2].ID()
	if err := os.WriteFile(parts.path(id, trajectorySuffix+partSuffix), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := parts.IDs()
	if err != nil || len(before) != 1 {
		t.Fatalf("runs after the interruption: %v, %v, expected 1", before, err)
	}
	for i := range 2 {
		if err := Collect(ctx, engine, p, parts, CollectOptions{Workers: 1, Shard: i, Shards: 2}); err != nil {
			t.Fatal(err)
		}
	}
	a, b := files(t, whole), files(t, parts)
	if len(a) != 10 || len(b) != 10 {
		t.Fatalf("%d and %d files, expected a trajectory and a model for each of 5 runs", len(a), len(b))
	}
	for name, content := range a {
		if !bytes.Equal(content, b[name]) {
			t.Errorf("%s differs", name)
		}
	}
	e, err := p.Estimate(ctx, parts, CollectOptions{})
	if err != nil || e.Runs != 5 || e.Present != 5 || e.Bytes != 0 {
		t.Errorf("estimate of a complete store: %+v, %v", e, err)
	}
}

func TestStoreFindsDamage(t *testing.T) {
	engine := runtimetest.Engine(t)
	p, s := plan(t, smallPlan), store(t)
	if err := Collect(context.Background(), engine, p, s, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	id := p.Tasks()[0].ID()
	path := s.path(id, trajectorySuffix)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := func() error {
		r, err := s.Open(id)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.State(r.States() - 1)
		return err
	}
	if err := last(); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]struct {
		bytes []byte
		want  string
	}{
		"cut":    {good[:len(good)-1], "bytes, expected"},
		"state":  {flipped(good, len(good)-9), "the checksum does not match"},
		"header": {flipped(good, 20), "the header's checksum does not match"},
		"magic":  {flipped(good, 0), "no trajectory file"},
		"empty":  {nil, "no trajectory file"},
	} {
		if err := os.WriteFile(path, damage.bytes, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := last(); err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s: error %v, expected %q", name, err, damage.want)
		}
	}
}

func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1
	return c
}

func TestPlanRefuses(t *testing.T) {
	for change, want := range map[[2]string]string{
		{`"count": 4`, `"count": 0`}:                    "count 0",
		{`ninox.meta.plan/1`, `other`}:                  `schema "other"`,
		{`"name": "test"`, `"name": "train"`}:           "appears twice",
		{`"every": 2}`, `"every": 7}`}:                  "expected a multiple",
		{`"lr": [0.003]`, `"lr": [-1]`}:                 "lr -1",
		{`"lr": [0.003]`, `"rate": [1]`}:                "unknown field",
		{`"optimizer": ["adam"]`, `"optimizer": ["x"]`}: `optimizer "x"`,
		{`"label_noise": [0.1]`, `"label_noise": [2]`}:  "label_noise 2",
	} {
		_, err := ParsePlan([]byte(strings.ReplaceAll(smallPlan, change[0], change[1])))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", change[1], err, want)
		}
	}
}

// A longer plan contains the runs of a shorter one.
func TestPlanGrows(t *testing.T) {
	short := plan(t, smallPlan).Tasks()
	long := plan(t, strings.Replace(smallPlan, `"count": 4`, `"count": 5`, 1)).Tasks()
	ids := map[string]bool{}
	for _, task := range long {
		ids[task.ID()] = true
	}
	for _, task := range short {
		if !ids[task.ID()] {
			t.Errorf("run %+v is not in the longer plan", task)
		}
	}
	if len(ids) != 6 {
		t.Errorf("%d different runs, expected 6", len(ids))
	}
}

func smallTraining(dir string, iterations int) TrainOptions {
	return TrainOptions{
		Dir: dir, Width: 32, LR: 1e-2, Iterations: iterations, Runs: 2, Windows: 1, Spacing: []int{2}, Horizons: 40, Seed: 1,
		ValidateEvery: 50, CheckpointEvery: 10, EMA: 0.9,
	}
}

// Training lowers the loss, its forecasts of a run that it has not seen are
// better than straight lines, and a training that was stopped ends with the
// same weights.
func TestTrain(t *testing.T) {
	engine := runtimetest.Engine(t)
	ctx, p, s := context.Background(), plan(t, smallPlan), store(t)
	if err := Collect(ctx, engine, p, s, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	for _, variant := range []string{nino.VariantGNN, nino.VariantMLP} {
		o := smallTraining(filepath.Join(t.TempDir(), "whole"), 250)
		o.Variant = variant
		w, err := Train(ctx, engine, s, o)
		if err != nil {
			t.Fatal(err)
		}
		if first, last := losses(t, o.Dir); !(last < 0.85*first) {
			t.Errorf("%s: loss %v in the first 50 iterations, %v in the last", variant, first, last)
		}
		f, err := Evaluate(ctx, engine, w, s, EvaluateOptions{Horizons: []int{1, 20}, Spacing: 2, Windows: 3})
		if err != nil {
			t.Fatal(err)
		}
		if got, line := f.Error(MethodNetwork, 20), f.Error(MethodLinefit, 20); !(got < line) || f.Windows != 3 {
			t.Errorf("%s: error %v on %d windows that were held out, linefit has %v", variant, got, f.Windows, line)
		}
		stopped, cancel := context.WithCancel(ctx)
		defer cancel()
		part := o
		part.Dir = filepath.Join(t.TempDir(), "part")
		part.ValidateEvery = 105
		part.Progress = writerFunc(func() { cancel() })
		if _, err := Train(stopped, engine, s, part); err == nil {
			t.Fatal("a cancelled training ends without an error")
		}
		if _, meta, err := weights.ReadSafetensors(filepath.Join(part.Dir, checkpointFile)); err != nil || meta[iterationKey] != "105" {
			t.Errorf("checkpoint of iteration %s (%v), expected that of the interruption", meta[iterationKey], err)
		}
		part.Resume, part.Progress = true, nil
		again, err := Train(ctx, engine, s, part)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range w.Tensors.Names() {
			a, _ := w.Tensors.Floats(name)
			b, _ := again.Tensors.Floats(name)
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("%s: %s differs after a resumed training", variant, name)
				}
			}
		}
		part.LR = 1
		if _, err := Train(ctx, engine, s, part); err == nil || !strings.Contains(err.Error(), "other settings") {
			t.Errorf("error %v, expected the checkpoint to be refused", err)
		}
	}
}

// Weights of WNN and of naive graphs say what they are, and a training that starts
// from weights, even narrower ones, begins with their forecasts, not with those of
// random ones.
func TestTrainMethodsAndStarts(t *testing.T) {
	engine := runtimetest.Engine(t)
	ctx, s := context.Background(), store(t)
	if err := Collect(ctx, engine, plan(t, smallPlan), s, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	train := func(change func(*TrainOptions)) *nino.Weights {
		t.Helper()
		o := smallTraining(filepath.Join(t.TempDir(), "run"), 1)
		change(&o)
		if _, err := Train(ctx, engine, s, o); err != nil {
			t.Fatal(err)
		}
		w, err := nino.Import(filepath.Join(o.Dir, WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if w := train(func(o *TrainOptions) { o.Variant, o.Scaling = nino.VariantMLP, nino.ScaleMinMaxParameter }); w.Scaling != nino.ScaleMinMaxParameter || w.Naive() {
		t.Errorf("weights of WNN scale by %s", w.Scaling)
	}
	if w := train(func(o *TrainOptions) { o.Naive = true }); !w.Naive() || w.Scaling != nino.ScaleLayerwise {
		t.Error("weights for naive graphs do not say so")
	}
	learned := train(func(o *TrainOptions) { o.Iterations = 250 })
	wider := train(func(o *TrainOptions) { o.Width, o.Init, o.LR = 64, learned, 1e-4 })
	off := func(w *nino.Weights) float64 {
		f, err := Evaluate(ctx, engine, w, s, EvaluateOptions{Horizons: []int{20}, Spacing: 2})
		if err != nil {
			t.Fatal(err)
		}
		return f.Error(MethodNetwork, 20)
	}
	raw := train(func(o *TrainOptions) { o.Width = 64 })
	if a, b, c := off(learned), off(wider), off(raw); !(math.Abs(a-b) < 0.1*math.Abs(c-a)) {
		t.Errorf("error %v, %v after widening, %v with random weights", a, b, c)
	}
	o := smallTraining(t.TempDir(), 1)
	o.Width, o.Init = 48, learned
	if _, err := Train(ctx, engine, s, o); err == nil || !strings.Contains(err.Error(), "multiple") {
		t.Errorf("error %v, expected width 48 to be refused", err)
	}
}

// A batch that is not finite is left out: no weight changes, and training goes
// on.
func TestTrainLeavesOutNonFinite(t *testing.T) {
	engine := runtimetest.Engine(t)
	ctx, s := context.Background(), store(t)
	if err := Collect(ctx, engine, plan(t, smallPlan), s, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	o, err := smallTraining(t.TempDir(), 10).defaults()
	if err != nil {
		t.Fatal(err)
	}
	c, err := nino.NewConfig(nino.VariantGNN, o.Width)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trainer{options: o, config: c, engine: engine}
	defer tr.close()
	if err := tr.open(s); err != nil {
		t.Fatal(err)
	}
	step := func(i int, poison float32) *weights.Set {
		drew, err := tr.train.sample(o.sampling(), i)
		if err != nil {
			t.Fatal(err)
		}
		values, err := tr.train.batch(drew)
		if err != nil {
			t.Fatal(err)
		}
		values["edge_attr"].Floats()[0] += poison
		if err := tr.step(ctx, drawn{iteration: i, values: values}); err != nil {
			t.Fatal(err)
		}
		state, err := tr.exec.State()
		if err != nil {
			t.Fatal(err)
		}
		return state.Clone()
	}
	before := step(0, 0)
	after := step(1, float32(math.Inf(1)))
	last := step(2, 0)
	moved := false
	for _, name := range before.Names() {
		a, _ := before.Floats(name)
		b, _ := after.Floats(name)
		c, _ := last.Floats(name)
		if !slices.Equal(a, b) {
			t.Errorf("%s changed by a batch that is not finite", name)
		}
		moved = moved || !slices.Equal(b, c)
	}
	if !moved || tr.skipped != 1 || tr.count != 2 {
		t.Errorf("moved %v, %d skipped, %d trained on, expected 1 and 2", moved, tr.skipped, tr.count)
	}
}

// losses are the first and the last of a training's metrics.
func losses(t *testing.T, dir string) (first, last float64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, metricsFile))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var m TrainMetric
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		if last = m.Loss; i == 0 {
			first = m.Loss
		}
	}
	return first, last
}

type writerFunc func()

func (f writerFunc) Write(b []byte) (int, error) { f(); return len(b), nil }

func TestExtrapolate(t *testing.T) {
	if got := extrapolate([]float32{1, 3, 5, 7, 9}, 3); got != 15 {
		t.Errorf("line: %v, expected 15", got)
	}
	if got := extrapolate([]float32{0, 0, 1, 0, 0}, 10); got != 0.2 {
		t.Errorf("symmetric: %v, expected the mean 0.2", got)
	}
}

// Language models of both families are trained on text, followed and forecast.
func TestLanguageRuns(t *testing.T) {
	engine := runtimetest.Engine(t)
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("Of Man's first disobedience, and the fruit ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	const set = `{"name": "FAMILY", "count": 1, "held_out": HELD, "data": ["text:FILE"], "family": ["FAMILY"], "layers": [1], "width": [8], "heads": [2], "kv_heads": [1],
		"length": [8], "optimizer": ["adamw"], "lr": [0.01], "batch": [8], "steps": 200, "every": 2}`
	one := func(family, held string) string {
		return strings.NewReplacer("FAMILY", family, "HELD", held, "FILE", text).Replace(set)
	}
	p, s := plan(t, `{"schema": "ninox.meta.plan/1", "seed": 1, "sets": [`+one("gpt2", "false")+","+one("llama", "true")+"]}"), store(t)
	accuracy := map[string]float64{}
	o := CollectOptions{Workers: 1, Progress: func(p Progress) { accuracy[p.Task.Language.Family] = p.Accuracy }}
	if err := Collect(context.Background(), engine, p, s, o); err != nil {
		t.Fatal(err)
	}
	for _, family := range []string{"gpt2", "llama"} {
		if accuracy[family] < 30 { // of 256 bytes; the text has 22
			t.Errorf("%s: accuracy %v %%", family, accuracy[family])
		}
	}
	if _, err := Train(context.Background(), engine, s, smallTraining(filepath.Join(t.TempDir(), "out"), 20)); err != nil {
		t.Error(err)
	}
}
