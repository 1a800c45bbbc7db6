package training

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	ort "ninox/runtime"
)

// ExecutorOptions configure an Executor; the zero value is ready to use.
type ExecutorOptions struct {
	// Threads for one step; 0: the engine's.
	Threads int
	// Workers over which a batch is split, each single-threaded and sharing the
	// parameters; 1 runs whole batches, 0 chooses.
	Workers int
	Seed    uint64       // of what the model draws in training, as Dropout does
	Log     *slog.Logger // nil is silent

	resident bool // keep the state in the device's memory, as on a GPU
}

// Executor trains: it holds parameters and optimizer state in buffers of ONNX
// Runtime and runs one step per call. Every state tensor has two buffers; a
// step reads one and writes the other, so nothing is copied between steps. On a
// GPU they lie in its memory, and are copied when somebody asks for them.
//
// An Executor is not safe for concurrent use.
type Executor struct {
	art    *Artifacts
	engine *ort.Engine
	opts   ExecutorOptions
	models stepModels
	log    *slog.Logger

	state *state
	step  int64 // updates made
	rate  []float32
	count []int64

	samples int64 // of the first batch
	isLarge *bool // of a step's results; nil until the first session

	computed time.Duration // of all steps, in runs of sessions

	batch int  // number of the batch in an accumulated step
	still bool // all draws are the same, while batches are compared

	whole     *wholeRunner // merged steps; nil until first used
	workers   map[int]*workerRunner
	split     int // number of workers that steps use; 0 until the first batch decides
	eval      *ort.Session
	evalDraws *draws // the same in every evaluation
	owned     closers
}

// NewExecutor prepares the artifacts for execution, with the parameters,
// moments and step of their checkpoint.
func NewExecutor(engine *ort.Engine, a *Artifacts, o ExecutorOptions) (*Executor, error) {
	if o.Threads < 0 || o.Workers < 0 {
		return nil, fmt.Errorf("executor: threads %d or workers %d is negative", o.Threads, o.Workers)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Threads == 0 {
		o.Threads = engine.Threads()
	}
	if engine.GPU() {
		o.resident = true
		if o.Workers == 0 {
			o.Workers = 1 // a GPU gains nothing from parts of a batch
		}
	}
	e := &Executor{
		art: a, engine: engine, opts: o, log: o.Log, workers: map[int]*workerRunner{},
		models: stepModels{art: a, slots: layoutOf(a.Params)},
		rate:   make([]float32, 1), count: make([]int64, 1),
	}
	var err error
	if e.state, err = newState(&e.owned, a, e.models.slots); err == nil {
		if o.resident {
			e.state.device, err = newResident(e)
		}
		if err == nil {
			err = e.restore(a.Checkpoint)
		}
	}
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("executor: %w", err)
	}
	return e, nil
}

// restore takes parameters, moments and step from a checkpoint.
func (e *Executor) restore(c *Checkpoint) error {
	for _, p := range e.art.Params {
		if err := e.state.set(p.Name, c.Tensor(p.Name)); err != nil {
			return err
		}
	}
	for _, name := range e.art.Buffers {
		if err := e.state.set(name, c.Tensor(name)); err != nil {
			return err
		}
	}
	for _, g := range c.Groups {
		e.step = g.Step
		for _, s := range g.States {
			for i, t := range s.Moments {
				name := momentum(s.Param, i)
				if !e.state.has(name) {
					break // a moment that this optimizer does not use
				}
				if err := e.state.set(name, t); err != nil {
					return err
				}
			}
		}
	}
	return e.state.written()
}

// Step runs forward, backward and update on one batch (a value for each of
// Artifacts.Inputs) and returns the loss before the update.
func (e *Executor) Step(ctx context.Context, batch map[string]*ort.Value, lr float64) (float64, error) {
	if err := e.checkBatch(batch); err != nil {
		return 0, err
	}
	e.batch = 0
	n, err := e.chooseWorkers(ctx, batch)
	if err != nil {
		return 0, err
	}
	e.rate[0], e.count[0] = float32(lr), e.step+1
	var loss float64
	if n == 1 {
		if e.whole == nil {
			if e.whole, err = newWholeRunner(e); err != nil {
				return 0, err
			}
		}
		loss, err = e.whole.run(ctx, batch)
	} else {
		loss, err = e.stepWorkers(ctx, n, batch)
	}
	if err != nil {
		return 0, err
	}
	e.state.flip()
	e.step++
	return loss, nil
}

// ComputeTime is the time that steps have spent in the runtime.
func (e *Executor) ComputeTime() time.Duration { return e.computed }

// computing runs what the runtime computes of a step.
func (e *Executor) computing(run func() error) error {
	start := time.Now()
	err := run()
	e.computed += time.Since(start)
	return err
}

// StepAccumulated makes one update with the sum of the gradients of several
// batches, as upstream accumulates, and returns the loss of each. Running
// statistics are updated by every batch, as PyTorch does.
func (e *Executor) StepAccumulated(ctx context.Context, batches []map[string]*ort.Value, lr float64) ([]float64, error) {
	if len(batches) == 0 {
		return nil, errors.New("step: no batches")
	}
	if len(batches) == 1 {
		loss, err := e.Step(ctx, batches[0], lr)
		return []float64{loss}, err
	}
	var losses []float64
	e.rate[0], e.count[0] = float32(lr), e.step+1
	for i, b := range batches {
		if err := e.checkBatch(b); err != nil {
			return losses, err
		}
		n, err := e.chooseWorkers(ctx, b)
		if err != nil {
			return losses, err
		}
		w, err := e.runner(n)
		if err != nil {
			return losses, err
		}
		if err := e.state.chainBuffers(ctx, i == 0); err != nil {
			return losses, err
		}
		e.batch = i
		loss, err := w.gradients(ctx, b)
		if err == nil {
			if i < len(batches)-1 {
				err = w.addUp(ctx, i == 0)
			} else {
				err = w.apply(ctx, true)
			}
		}
		if err != nil {
			return losses, fmt.Errorf("batch %d of %d: %w", i+1, len(batches), err)
		}
		losses = append(losses, loss)
	}
	e.state.flip()
	e.step, e.batch = e.step+1, 0
	return losses, nil
}

// checkBatch names every missing or surplus array of a batch. The first whole
// one tells how large steps are.
func (e *Executor) checkBatch(batch map[string]*ort.Value) error {
	var errs []error
	for _, name := range e.art.Inputs {
		if batch[name] == nil {
			errs = append(errs, fmt.Errorf("batch: input %q is missing", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(batch)) {
		if !slices.Contains(e.art.Inputs, name) {
			errs = append(errs, fmt.Errorf("batch: the model has no input %q, it expects %q", name, e.art.Inputs))
		}
	}
	if len(errs) == 0 && e.samples == 0 {
		e.samples = samples(batch)
	}
	return errors.Join(errs...)
}

// Eval runs the eval model on a batch of any size: the loss and the model's
// own outputs, which the caller closes.
func (e *Executor) Eval(ctx context.Context, batch map[string]*ort.Value) (float64, map[string]*ort.Value, error) {
	if err := e.checkBatch(batch); err != nil {
		return 0, nil, err
	}
	if e.eval == nil {
		s, d, err := e.drawingSession(e.models.eval(), e.opts.Threads, 1)
		if err != nil {
			return 0, nil, fmt.Errorf("eval: %w", err)
		}
		e.eval, e.evalDraws = s, d[0]
		e.evalDraws.fill(e.opts.Seed, 0, 0, 0)
	}
	in := maps.Clone(batch)
	for name, v := range e.state.parameters() {
		in[name] = v
	}
	if e.evalDraws != nil {
		in[drawsName] = e.evalDraws.value
	}
	out, err := e.eval.Run(ctx, in)
	if err != nil {
		return 0, nil, fmt.Errorf("eval: %w", err)
	}
	loss := out[e.art.LossName]
	if loss == nil || len(loss.Floats()) != 1 {
		return 0, nil, fmt.Errorf("eval: output %q is not a float scalar", e.art.LossName)
	}
	v := float64(loss.Floats()[0])
	loss.Close()
	delete(out, e.art.LossName)
	return v, out, nil
}

// StepCount is the number of updates made.
func (e *Executor) StepCount() int64 { return e.step }

// SetStepCount sets the number of updates made, which bias correction uses.
func (e *Executor) SetStepCount(n int64) { e.step = n }

// Workers is the number of workers that share a batch, 0 before the first step.
func (e *Executor) Workers() int { return e.split }

// Close frees sessions and buffers.
func (e *Executor) Close() { e.owned.close() }

// closers collects what to close, to be closed in reverse order.
type closers []func()

func (c *closers) add(f func()) { *c = append(*c, f) }

func (c *closers) close() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
	*c = nil
}

func threadsOf(o ExecutorOptions, workers int) int {
	if workers > 1 {
		return 1
	}
	return o.Threads
}
