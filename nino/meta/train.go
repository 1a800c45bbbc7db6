package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"ninox/nino"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
)

// TrainOptions say how the network is trained. Fields without a remark may stay
// zero.
type TrainOptions struct {
	Dir    string // run folder: metrics.jsonl, checkpoint.safetensors, weights.safetensors; required
	Resume bool   // continue from the folder's checkpoint

	Variant    string        // default nino.VariantGNN
	Width      int           // default 128
	Scaling    nino.Scaling  // default nino.ScaleLayerwise
	Naive      bool          // read naive graphs of attention
	Init       *nino.Weights // start with these in place of random ones, widened to Width
	Iterations int           // default 20,000, as in the paper
	Runs       int           // runs of a batch; default 4
	Windows    int           // windows of each; default 4
	Spacing    []int         // steps between the states of a window; default 200
	Slice      int           // most nodes of a layer in an example, others are left out at random; default 256
	Values     int           // a batch with so many values on its edges is full, whatever the windows; default 40,000
	Horizons   int           // horizons that a batch is trained on, drawn from all; default 8, the paper takes all 40

	LR, MinLR   float64 // at the start and at the end of half a cosine; default 3e-3, 1e-6
	WeightDecay float64 // default 1e-2
	ClipNorm    float64 // default 5
	EMA         float64 // decay of the averaged weights, which are what training yields; default 0.999, negative: none

	Seed            uint64
	ValidateEvery   int // iterations between two measurements on held-out runs; default 1000
	CheckpointEvery int // iterations between two checkpoints; default 500
	Progress        io.Writer
}

func (o TrainOptions) defaults() (TrainOptions, error) {
	if o.Variant == "" {
		o.Variant = nino.VariantGNN
	}
	if o.Scaling == "" {
		o.Scaling = nino.ScaleLayerwise
	}
	for _, d := range []struct {
		v         *int
		otherwise int
	}{{&o.Width, 128}, {&o.Iterations, 20000}, {&o.Runs, 4}, {&o.Windows, 4}, {&o.Horizons, 8}, {&o.Slice, 256}, {&o.Values, 40000}, {&o.ValidateEvery, 1000}, {&o.CheckpointEvery, 500}} {
		if *d.v == 0 {
			*d.v = d.otherwise
		}
		if *d.v < 0 {
			return o, fmt.Errorf("meta train: negative number %d", *d.v)
		}
	}
	for _, d := range []struct {
		v         *float64
		otherwise float64
	}{{&o.LR, 3e-3}, {&o.MinLR, 1e-6}, {&o.WeightDecay, 1e-2}, {&o.ClipNorm, 5}, {&o.EMA, 0.999}} {
		if *d.v == 0 {
			*d.v = d.otherwise
		}
	}
	if len(o.Spacing) == 0 {
		o.Spacing = []int{200}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Dir == "" {
		return o, errors.New("meta train: no folder")
	}
	return o, nil
}

func (o TrainOptions) sampling() sampling {
	return sampling{o.Seed, o.Runs, o.Windows, o.Spacing, o.Horizons, o.Slice, o.Values}
}

// Files of a training of the network.
const (
	metricsFile    = "metrics.jsonl"
	checkpointFile = "checkpoint.safetensors"
	WeightsFile    = "weights.safetensors" // what training yields
)

// TrainMetric is a line of metrics.jsonl.
type TrainMetric struct {
	Iteration  int           `json:"iteration"`
	Loss       float64       `json:"loss"`    // mean since the last line
	Skipped    int           `json:"skipped"` // batches without targets or finite loss since then
	Seconds    float64       `json:"seconds"`
	Validation []ForecastRow `json:"validation,omitempty"`
}

// Train fits a network to the windows of a store's runs and returns the
// averaged weights, which it also writes to Dir. Iteration i sees the same
// windows whatever was interrupted before.
func Train(ctx context.Context, engine *ort.Engine, s *Store, o TrainOptions) (*nino.Weights, error) {
	o, err := o.defaults()
	if err != nil {
		return nil, err
	}
	c, err := nino.NewConfig(o.Variant, o.Width)
	if err != nil {
		return nil, err
	}
	c.Scaling = o.Scaling
	if o.Horizons > c.Horizons {
		return nil, fmt.Errorf("meta train: %d horizons in a batch, the network has %d", o.Horizons, c.Horizons)
	}
	t := &trainer{options: o, config: c, engine: engine, began: time.Now()}
	defer t.close()
	if err := t.open(s); err != nil {
		return nil, fmt.Errorf("meta train: %w", err)
	}
	if err := t.loop(ctx); err != nil {
		return nil, fmt.Errorf("meta train: %w", err)
	}
	return t.finish()
}

type trainer struct {
	options TrainOptions
	config  nino.Config
	engine  *ort.Engine
	train   *windows
	heldOut *windows // nil: the store holds none
	exec    *training.Executor
	average *weights.Set // nil: no averaging
	initial *nino.Weights

	iteration int // done
	began     time.Time
	sum       float64
	count     int
	skipped   int
}

func (t *trainer) close() {
	for _, w := range []*windows{t.train, t.heldOut} {
		if w != nil {
			w.close()
		}
	}
	if t.exec != nil {
		t.exec.Close()
	}
}

func (t *trainer) open(s *Store) error {
	var err error
	if t.train, err = openWindows(s, t.config, t.options.Naive, false); err != nil {
		return err
	}
	if t.heldOut, err = openWindows(s, t.config, t.options.Naive, true); err != nil {
		fmt.Fprintf(t.options.Progress, "%v: no validation\n", err)
		t.heldOut = nil
	}
	if err := os.MkdirAll(t.options.Dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(t.path(checkpointFile)); err == nil && !t.options.Resume {
		return fmt.Errorf("%s holds a training; resume it or choose another folder", t.options.Dir)
	}
	start, err := t.start()
	if err != nil {
		return err
	}
	m, err := nino.TrainingModel(start, nino.DefaultOpset)
	if err != nil {
		return err
	}
	a, err := training.BuildArtifacts(m, ops.Registry(), training.ArtifactOptions{
		Loss: training.L1, Output: "forecast", Labels: "target", LearningRate: t.options.LR, Train: t.config.Trained(),
		Optimizer: training.Optimizer{Kind: training.AdamW, WeightDecay: t.options.WeightDecay, ClipNorm: t.options.ClipNorm, SkipNonFinite: true},
	})
	if err != nil {
		return err
	}
	// The whole graph is one sample: nothing to split over workers.
	if t.exec, err = training.NewExecutor(t.engine, a, training.ExecutorOptions{Workers: 1}); err != nil {
		return err
	}
	t.initial = start
	if t.options.EMA > 0 {
		if t.average, err = t.exec.State(); err != nil {
			return err
		}
	}
	if t.options.Resume {
		return t.restore()
	}
	return nil
}

// start makes the weights to begin with.
func (t *trainer) start() (*nino.Weights, error) {
	o, args := t.options, nino.Settings(t.config.Scaling, t.options.Naive)
	if o.Init == nil {
		return nino.Initial(t.config, args, o.Seed)
	}
	w, err := o.Init.Widen(o.Width, o.Seed)
	if err != nil {
		return nil, err
	}
	// The naive graph is the poorer one: what has seen the other knows all of it.
	if w.Config != t.config || w.Naive() && !o.Naive {
		return nil, fmt.Errorf("the initial weights are of a network %+v (naive graphs: %t), expected %+v (%t)", w.Config, w.Naive(), t.config, o.Naive)
	}
	return nino.NewWeights(w.Tensors, args)
}

func (t *trainer) path(name string) string { return filepath.Join(t.options.Dir, name) }

// rate is half a cosine.
func (t *trainer) rate(iteration int) float64 {
	o := t.options
	return o.MinLR + (o.LR-o.MinLR)*(1+math.Cos(math.Pi*float64(iteration)/float64(o.Iterations)))/2
}

func (t *trainer) loop(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o := t.options
	batches := t.train.ahead(ctx, o.sampling(), t.iteration, o.Iterations)
	for d := range batches {
		if err := t.step(ctx, d); err != nil {
			return errors.Join(err, t.saveInterrupted(ctx))
		}
		t.iteration = d.iteration + 1
		if t.iteration%o.ValidateEvery == 0 || t.iteration == o.Iterations {
			if err := t.report(ctx); err != nil {
				return err
			}
		}
		if t.iteration%o.CheckpointEvery == 0 || t.iteration == o.Iterations {
			if err := t.save(); err != nil {
				return err
			}
		}
	}
	return errors.Join(ctx.Err(), t.saveInterrupted(ctx))
}

// saveInterrupted writes a checkpoint where the training was cancelled.
func (t *trainer) saveInterrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return t.save()
}

// step trains on one batch. A batch without targets is left out, and so is one
// whose loss or gradient is not finite: it changes no weight.
func (t *trainer) step(ctx context.Context, d drawn) error {
	defer closeAll(d.values)
	if errors.Is(d.err, errNoTargets) {
		t.skipped++
		return nil
	}
	if d.err != nil {
		return d.err
	}
	loss, err := t.exec.Step(ctx, d.values, t.rate(d.iteration))
	if err != nil {
		return fmt.Errorf("iteration %d: %w", d.iteration+1, err)
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		fmt.Fprintf(t.options.Progress, "iteration %d: the loss is %v, left out\n", d.iteration+1, loss)
		t.skipped++
		return nil
	}
	t.sum, t.count = t.sum+loss, t.count+1
	return t.follow()
}

const averageEvery = 10 // iterations; the averaged weights change little between

// follow moves the averaged weights.
func (t *trainer) follow() error {
	if t.average == nil || t.exec.StepCount()%averageEvery != 0 {
		return nil
	}
	state, err := t.exec.State()
	if err != nil {
		return err
	}
	// Early on the average follows faster, so that the initial weights do not
	// linger in it.
	n := float64(t.exec.StepCount())
	keep := float32(math.Pow(min(t.options.EMA, n/(n+10)), averageEvery))
	for _, name := range t.average.Names() {
		mean, _ := t.average.Floats(name)
		now, err := state.Floats(name)
		if err != nil {
			return err
		}
		for i, x := range now {
			mean[i] = keep*mean[i] + (1-keep)*x
		}
	}
	return nil
}

// weights are the network as it stands: averaged, where that is asked for.
func (t *trainer) weights() (*nino.Weights, error) {
	state := t.average
	if state == nil {
		var err error
		if state, err = t.exec.State(); err != nil {
			return nil, err
		}
	}
	set := &weights.Set{}
	for _, name := range t.initial.Tensors.Names() {
		d := state.Get(name)
		if d == nil { // the last layer of message passing, which reaches no edge
			d = t.initial.Tensors.Get(name)
		}
		set.Add(name, d)
	}
	return nino.NewWeights(set.Clone(), t.initial.Args)
}

// report appends a line to the metrics and tells of it.
func (t *trainer) report(ctx context.Context) error {
	m := TrainMetric{Iteration: t.iteration, Loss: t.sum / float64(max(1, t.count)), Skipped: t.skipped, Seconds: time.Since(t.began).Seconds()}
	t.sum, t.count, t.skipped = 0, 0, 0
	text := ""
	if t.heldOut != nil {
		w, err := t.weights()
		if err != nil {
			return err
		}
		o, err := EvaluateOptions{Spacing: t.options.Spacing[0]}.defaults(t.config)
		if err != nil {
			return err
		}
		f, err := t.heldOut.evaluate(ctx, t.engine, w, o)
		if err != nil {
			return err
		}
		for _, r := range f.Rows {
			if r.Type == AllTypes {
				m.Validation = append(m.Validation, r)
			}
		}
		for _, k := range o.Horizons {
			text += fmt.Sprintf("  k %d: %.4f (linefit %.4f, newest %.4f)", k, f.Error(MethodNetwork, k), f.Error(MethodLinefit, k), f.Error(MethodNewest, k))
		}
	}
	fmt.Fprintf(t.options.Progress, "iteration %d: loss %.4f, %.0f s%s\n", m.Iteration, m.Loss, m.Seconds, text)
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(t.path(metricsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

// Parts of a checkpoint.
const (
	averagePrefix = "average/"
	iterationKey  = "iteration"
	settingsKey   = "settings"
)

// settings are what a checkpoint and the training that resumes it must share.
func (t *trainer) settings() (string, error) {
	o, initial := t.options, ""
	if o.Init != nil {
		initial = o.Init.Hash()
	}
	b, err := json.Marshal(map[string]any{
		"config": t.config, "iterations": o.Iterations, "runs": o.Runs, "windows": o.Windows, "spacing": o.Spacing, "horizons": o.Horizons, "slice": o.Slice, "values": o.Values,
		"lr": o.LR, "min_lr": o.MinLR, "weight_decay": o.WeightDecay, "clip_norm": o.ClipNorm, "ema": o.EMA, "seed": o.Seed,
		"naive": o.Naive, "init": initial, "store": t.train.ids(),
	})
	return string(b), err
}

// ids names the runs that are sampled from.
func (w *windows) ids() []string {
	var out []string
	for _, r := range w.runs {
		out = append(out, r.ID)
	}
	return out
}

func (t *trainer) save() error {
	set, err := t.exec.State()
	if err != nil {
		return err
	}
	moments, err := t.exec.Moments()
	if err != nil {
		return err
	}
	for _, name := range moments.Names() {
		set.Add(name, moments.Get(name))
	}
	if t.average != nil {
		for _, name := range t.average.Names() {
			set.Add(averagePrefix+name, t.average.Get(name))
		}
	}
	settings, err := t.settings()
	if err != nil {
		return err
	}
	meta := map[string]string{iterationKey: fmt.Sprint(t.iteration), settingsKey: settings, "updates": fmt.Sprint(t.exec.StepCount())}
	return weights.WriteSafetensors(t.path(checkpointFile), set, meta, true)
}

func (t *trainer) restore() error {
	set, meta, err := weights.ReadSafetensors(t.path(checkpointFile))
	if err != nil {
		return err
	}
	settings, err := t.settings()
	if err != nil {
		return err
	}
	if meta[settingsKey] != settings {
		return fmt.Errorf("%s is of other settings or another store:\n%s\nnow\n%s", t.path(checkpointFile), meta[settingsKey], settings)
	}
	var updates int64
	if _, err := fmt.Sscan(meta[iterationKey]+" "+meta["updates"], &t.iteration, &updates); err != nil {
		return fmt.Errorf("%s: iteration %q, updates %q", t.path(checkpointFile), meta[iterationKey], meta["updates"])
	}
	if err := errors.Join(t.exec.SetState(set), t.exec.SetMoments(set)); err != nil {
		return err
	}
	t.exec.SetStepCount(updates)
	if t.average == nil {
		return nil
	}
	for _, name := range t.average.Names() {
		d := set.Get(averagePrefix + name)
		if d == nil {
			return fmt.Errorf("%s: no averaged %q", t.path(checkpointFile), name)
		}
		t.average.Add(name, d)
	}
	return nil
}

func (t *trainer) finish() (*nino.Weights, error) {
	w, err := t.weights()
	if err != nil {
		return nil, err
	}
	return w, w.Write(t.path(WeightsFile), true)
}
