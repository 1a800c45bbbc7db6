package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"ninox/nino"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
	"ninox/training/data"
)

// L2OOptions say how a learned optimizer is trained. Fields without a remark may
// stay zero.
type L2OOptions struct {
	Dir    string // run folder: metrics.jsonl, checkpoint.safetensors, weights.safetensors; required
	Resume bool   // continue from the folder's checkpoint

	nino.L2OConfig         // default width 8, two rounds
	Iterations     int     // default 1,000
	Pairs          int     // pairs of trainings in an iteration; default 2
	Unroll         int     // steps of each; default 20
	Sigma          float64 // deviation by which weights are moved; default 0.03
	LR             float64 // at the start of half a cosine that ends at a tenth; default 3e-3

	Seed            uint64
	ValidateEvery   int // iterations between two measurements on held-out runs; default 100
	CheckpointEvery int // default 50
	Progress        io.Writer
}

func (o L2OOptions) defaults() (L2OOptions, error) {
	if o.L2OConfig == (nino.L2OConfig{}) {
		o.Rounds = 2
	}
	for _, d := range []struct {
		v         *int
		otherwise int
	}{{&o.Width, 8}, {&o.Iterations, 1000}, {&o.Pairs, 2}, {&o.Unroll, 20}, {&o.ValidateEvery, 100}, {&o.CheckpointEvery, 50}} {
		if *d.v == 0 {
			*d.v = d.otherwise
		}
		if *d.v < 0 {
			return o, fmt.Errorf("negative number %d", *d.v)
		}
	}
	if o.Sigma == 0 {
		o.Sigma = 0.03
	}
	if o.LR == 0 {
		o.LR = 3e-3
	}
	if !(o.Sigma > 0) || !(o.LR > 0) {
		return o, fmt.Errorf("deviation %v, learning rate %v: expected above 0", o.Sigma, o.LR)
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Dir == "" {
		return o, errors.New("no folder")
	}
	return o, nil
}

// L2OMetric is a line of metrics.jsonl: mean losses over unrolled trainings, at
// random since the last line, and on held-out runs beside Adam's.
type L2OMetric struct {
	Iteration int      `json:"iteration"`
	Loss      float64  `json:"loss"`
	Seconds   float64  `json:"seconds"`
	HeldOut   *float64 `json:"held_out,omitempty"`
	Adam      *float64 `json:"adam,omitempty"`
}

// TrainL2O fits a learned optimizer to the tasks of a store's runs by evolution
// strategies: the tasks are trained on from stored states by networks whose
// weights are moved to either side at random, and the difference of their mean
// losses is the slope. Iteration i does the same whatever was interrupted
// before.
func TrainL2O(ctx context.Context, engine *ort.Engine, s *Store, o L2OOptions) (*nino.L2OWeights, error) {
	o, err := o.defaults()
	if err != nil {
		return nil, fmt.Errorf("meta train: %w", err)
	}
	t := &l2oTrainer{options: o, engine: engine, source: &dataSource{}, began: time.Now()}
	defer t.close()
	if err := t.open(ctx, s); err != nil {
		return nil, fmt.Errorf("meta train: %w", err)
	}
	if err := t.loop(ctx); err != nil {
		return nil, fmt.Errorf("meta train: %w", errors.Join(err, t.save()))
	}
	return t.weights, t.weights.Write(t.path(WeightsFile), true)
}

// l2oTrainer is a training in progress. Its state are the weights, the moments of
// Adam that moves them, and the iteration.
type l2oTrainer struct {
	options        L2OOptions
	engine         *ort.Engine
	source         *dataSource
	train, heldOut []*l2oTask
	weights        *nino.L2OWeights
	first, second  []float32
	iteration      int // done
	began          time.Time
	sum            float64
	count          int
}

// l2oTask is a run of the store, trained on from its states.
type l2oTask struct {
	*Trajectory
	exec  *training.Executor
	rule  *nino.L2O
	art   *training.Artifacts
	split *data.Split
}

func (t *l2oTask) close() {
	if t.rule != nil {
		t.rule.Close()
	}
	if t.exec != nil {
		t.exec.Close()
	}
	t.Close()
}

func (t *l2oTrainer) close() {
	for _, task := range append(t.train, t.heldOut...) {
		task.close()
	}
}

func (t *l2oTrainer) path(name string) string { return filepath.Join(t.options.Dir, name) }

func (t *l2oTrainer) open(ctx context.Context, s *Store) (err error) {
	o := t.options
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(t.path(checkpointFile)); err == nil && !o.Resume {
		return fmt.Errorf("%s holds a training; resume it or choose another folder", o.Dir)
	}
	if t.weights, err = nino.InitialL2O(o.L2OConfig, o.Seed); err != nil {
		return err
	}
	t.first, t.second = make([]float32, len(t.weights.Vector)), make([]float32, len(t.weights.Vector))
	if o.Resume {
		if err := t.restore(); err != nil {
			return err
		}
	}
	ids, err := s.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		task, err := t.task(ctx, s, id)
		if err != nil {
			return fmt.Errorf("run %s: %w", id, err)
		}
		if task.Task.HeldOut {
			t.heldOut = append(t.heldOut, task)
		} else {
			t.train = append(t.train, task)
		}
	}
	if len(t.train) == 0 {
		return fmt.Errorf("store %s has no run for training", s.Dir())
	}
	return nil
}

// task prepares a run. Its optimizer is one without moments: it takes no part.
func (t *l2oTrainer) task(ctx context.Context, s *Store, id string) (*l2oTask, error) {
	run, err := s.Open(id)
	if err != nil {
		return nil, err
	}
	task := &l2oTask{Trajectory: run}
	a, err := run.Task.artifacts(ctx, t.source)
	if err == nil {
		task.art, err = a.WithOptimizer(training.Optimizer{Kind: training.SGD})
	}
	if err == nil {
		task.split, err = run.Task.split(ctx, t.source)
	}
	if err == nil {
		task.exec, err = training.NewExecutor(t.engine, task.art, training.ExecutorOptions{Workers: 1})
	}
	if err == nil {
		task.rule, err = nino.NewL2O(t.engine, t.weights, run.Graph)
	}
	if err != nil {
		task.close()
		return nil, err
	}
	return task, nil
}

// worstLoss stands for a loss that is not finite.
const worstLoss = 20

// unroll is the mean loss of so many steps from a stored state, by the weights.
func (t *l2oTask) unroll(ctx context.Context, w *nino.L2OWeights, state, steps int, seed uint64) (float64, error) {
	start, err := t.State(state)
	if err == nil {
		err = errors.Join(t.exec.SetState(start), t.rule.SetWeights(w))
	}
	if err != nil {
		return 0, err
	}
	t.rule.Reset()
	f, err := newFeed(t.split.Train, t.art.BatchInputs(), data.LoaderOptions{Batch: t.Task.Batch, Shuffle: true, Seed: seed})
	if err != nil {
		return 0, err
	}
	defer f.close()
	trainer, sum := training.NewLearned(t.exec, t.rule), 0.0
	for range steps {
		batch, err := f.next(ctx, t.Task.Batch)
		if err != nil {
			return 0, err
		}
		loss, err := trainer.Step(ctx, batch, t.Task.LR)
		if err != nil {
			return 0, err
		}
		if !(loss < worstLoss) {
			loss = worstLoss
		}
		sum += loss
	}
	return sum / float64(steps), nil
}

func (t *l2oTrainer) loop(ctx context.Context) error {
	o := t.options
	for t.iteration < o.Iterations {
		slope, err := t.slope(ctx)
		if err != nil {
			return err
		}
		t.move(slope)
		t.iteration++
		last := t.iteration == o.Iterations
		if t.iteration%o.ValidateEvery == 0 || last {
			if err := t.report(ctx); err != nil {
				return err
			}
		}
		if t.iteration%o.CheckpointEvery == 0 || last {
			if err := t.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// slope estimates the gradient of the mean loss by antithetic pairs.
func (t *l2oTrainer) slope(ctx context.Context) ([]float64, error) {
	o := t.options
	rng := rand.New(rand.NewPCG(o.Seed, uint64(t.iteration)))
	out := make([]float64, len(t.weights.Vector))
	for range o.Pairs {
		task := t.train[rng.IntN(len(t.train))]
		state, seed := max(0, rng.IntN(task.States()+task.States()/4)-task.States()/4), rng.Uint64()
		noise := make([]float64, len(out))
		for i := range noise {
			noise[i] = rng.NormFloat64()
		}
		var losses [2]float64
		for side, sign := range []float64{1, -1} {
			var err error
			if losses[side], err = task.unroll(ctx, t.moved(noise, sign*o.Sigma), state, o.Unroll, seed); err != nil {
				return nil, err
			}
			t.sum += losses[side]
			t.count++
		}
		// Relative to the loss, so that late states count like early ones.
		rise := (losses[0] - losses[1]) / (losses[0] + losses[1])
		for i, x := range noise {
			out[i] += rise * x / (o.Sigma * float64(o.Pairs))
		}
	}
	return out, nil
}

// moved are the weights by so much of a direction away.
func (t *l2oTrainer) moved(direction []float64, by float64) *nino.L2OWeights {
	w := &nino.L2OWeights{L2OConfig: t.weights.L2OConfig, Vector: make([]float32, len(direction))}
	for i, x := range t.weights.Vector {
		w.Vector[i] = x + float32(by*direction[i])
	}
	return w
}

// move makes a step of Adam.
func (t *l2oTrainer) move(slope []float64) {
	const beta1, beta2, epsilon = 0.9, 0.99, 1e-8
	n := float64(t.iteration + 1)
	rate := t.options.LR * (0.55 + 0.45*math.Cos(math.Pi*float64(t.iteration)/float64(t.options.Iterations)))
	for i, g := range slope {
		t.first[i] = float32(beta1*float64(t.first[i]) + (1-beta1)*g)
		t.second[i] = float32(beta2*float64(t.second[i]) + (1-beta2)*g*g)
		m, v := float64(t.first[i])/(1-math.Pow(beta1, n)), float64(t.second[i])/(1-math.Pow(beta2, n))
		t.weights.Vector[i] -= float32(rate * m / (math.Sqrt(v) + epsilon))
	}
}

const l2oStarts = 4 // states of a held-out run from which it is trained on

// report measures on held-out runs, beside Adam, and writes a line.
func (t *l2oTrainer) report(ctx context.Context) error {
	m := L2OMetric{Iteration: t.iteration, Loss: t.sum / float64(max(1, t.count)), Seconds: time.Since(t.began).Seconds()}
	t.sum, t.count = 0, 0
	adam, err := nino.InitialL2O(t.options.L2OConfig, t.options.Seed)
	if err != nil {
		return err
	}
	if len(t.heldOut) > 0 {
		m.HeldOut, m.Adam = new(float64), new(float64)
	}
	for _, task := range t.heldOut {
		for i := range l2oStarts {
			for w, to := range map[*nino.L2OWeights]*float64{t.weights: m.HeldOut, adam: m.Adam} {
				loss, err := task.unroll(ctx, w, i*(task.States()-1)/l2oStarts, 5*t.options.Unroll, uint64(i))
				if err != nil {
					return err
				}
				*to += loss / float64(l2oStarts*len(t.heldOut))
			}
		}
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.options.Progress, "iteration %d of %d: loss %.4f", m.Iteration, t.options.Iterations, m.Loss)
	if m.HeldOut != nil {
		fmt.Fprintf(t.options.Progress, ", held out %.4f (Adam %.4f)", *m.HeldOut, *m.Adam)
	}
	fmt.Fprintln(t.options.Progress)
	f, err := os.OpenFile(t.path(metricsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Arrays and metadata of a checkpoint.
const (
	l2oVector  = "weights"
	l2oFirst   = "first"
	l2oSecond  = "second"
	l2oOptions = "ninox.l2o.options"
	l2oDone    = "ninox.l2o.iteration"
)

// settings are what a training that goes on must have as before.
func (t *l2oTrainer) settings() string {
	o := t.options
	return fmt.Sprintf("width %d, rounds %d, iterations %d, pairs %d, unroll %d, sigma %g, lr %g, seed %d",
		o.Width, o.Rounds, o.Iterations, o.Pairs, o.Unroll, o.Sigma, o.LR, o.Seed)
}

func (t *l2oTrainer) save() error {
	set, dims := &weights.Set{}, []int64{int64(len(t.first))}
	set.AddFloats(l2oVector, dims, t.weights.Vector)
	set.AddFloats(l2oFirst, dims, t.first)
	set.AddFloats(l2oSecond, dims, t.second)
	meta := map[string]string{l2oOptions: t.settings(), l2oDone: fmt.Sprint(t.iteration)}
	return weights.WriteSafetensors(t.path(checkpointFile), set, meta, true)
}

func (t *l2oTrainer) restore() error {
	set, meta, err := weights.ReadSafetensors(t.path(checkpointFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil // interrupted before the first
	}
	if err != nil {
		return err
	}
	if was := meta[l2oOptions]; was != t.settings() {
		return fmt.Errorf("%s: the training began with %s, not %s", t.options.Dir, was, t.settings())
	}
	if _, err := fmt.Sscan(meta[l2oDone], &t.iteration); err != nil {
		return fmt.Errorf("%s: iteration %q", t.path(checkpointFile), meta[l2oDone])
	}
	for name, to := range map[string][]float32{l2oVector: t.weights.Vector, l2oFirst: t.first, l2oSecond: t.second} {
		v, err := set.Floats(name)
		if err == nil && len(v) != len(to) {
			err = fmt.Errorf("array %q has %d elements, expected %d", name, len(v), len(to))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.path(checkpointFile), err)
		}
		copy(to, v)
	}
	return nil
}
