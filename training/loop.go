package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training/data"
)

// ErrInterrupted reports a run that was cancelled and left a checkpoint from
// which it can be resumed.
var ErrInterrupted = errors.New("interrupted; a checkpoint was written, resume continues from it")

// NonFiniteError reports a loss or parameter that is no longer a finite number.
type NonFiniteError struct {
	Step       int
	What       string // "the loss is NaN", `parameter "fc.0.weight" is not finite`
	Checkpoint int    // step of the last good checkpoint, 0 where there is none
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("training diverged: step %d: %s; %s (a lower learning rate may help)", e.Step, e.What, keptCheckpoint(e.Checkpoint))
}

// keptCheckpoint says which checkpoint is left after an error.
func keptCheckpoint(checkpoint int) string {
	if checkpoint == 0 {
		return "there is no checkpoint before it"
	}
	return fmt.Sprintf("the checkpoint of step %d is kept", checkpoint)
}

// StepError reports a step that the runtime could not make: memory ran out, or a
// GPU was lost. Nothing is known of the parameters then, so nothing is written.
type StepError struct {
	Step       int
	Err        error
	Checkpoint int // step of the last good checkpoint, 0 where there is none
}

func (e *StepError) Error() string {
	return fmt.Sprintf("step %d: %v; %s", e.Step, e.Err, keptCheckpoint(e.Checkpoint))
}

func (e *StepError) Unwrap() error { return e.Err }

// DataError reports data that could not be read in the middle of a run. The
// checkpoint of Step was written, from which the run can be resumed.
type DataError struct {
	Step int // completed
	Err  error
}

func (e *DataError) Error() string { return fmt.Sprintf("after step %d: %v", e.Step, e.Err) }

func (e *DataError) Unwrap() error { return e.Err }

// loop is a run in progress.
type loop struct {
	Config
	config   *runConfig
	train    data.Dataset // bound to the inputs
	perBatch int          // samples of train per batch
	loader   *data.Loader
	eval     *evaluator // nil without test data
	metrics  *metricsWriter
	progress progress
	values   map[*data.Batch]map[string]*ort.Value
	unlock   func() // gives the run directory free

	step      int    // completed
	digest    string // of the samples used so far, of a stream
	loss      float64
	earlier   float64 // seconds of the runs that this one resumes
	started   time.Time
	buffer    []*weights.Set // states for the next nowcast, oldest first
	recent    []float64      // losses of the latest steps, kept for the safeguard
	trial     *trial         // of the latest nowcast, nil where none is under way
	account   account        // of the safeguard
	cost      SafeguardCost
	durations stopwatch // of the optimizer steps
	overhead  overhead
	nowcasts  []Nowcast
	reached   *int // first step at which an evaluation reached the target
	last      *Evaluation
	lastStep  int    // step of last; -1 before the first
	ended     string // remark on data that ended before the last step
	best      *Best
	saved     int // step of the last checkpoint
	keepAfter map[int]bool
}

// Run trains as the configuration says and leaves the run directory complete:
// configuration, metrics, checkpoints, final weights, summary and report.
//
// Where ctx is cancelled, the step in progress is finished, a checkpoint is
// written and ErrInterrupted is returned with the summary so far; where data
// cannot be read, likewise, with a DataError. A resumed run continues exactly as if
// it had never been interrupted.
func Run(ctx context.Context, c Config) (*Summary, error) {
	l, err := newLoop(c)
	if err != nil {
		return nil, err
	}
	defer l.close()
	err = l.run(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = ErrInterrupted
		if failed := l.checkpoint(); failed != nil {
			err = fmt.Errorf("interrupted, but the checkpoint failed: %w", failed)
		}
	}
	var unreadable *data.FileError
	if errors.As(err, &unreadable) && l.step > 0 {
		err = &DataError{Step: l.step, Err: err}
		if failed := l.checkpoint(); failed != nil {
			err = errors.Join(err, fmt.Errorf("the checkpoint failed: %w", failed))
		}
	}
	if err != nil {
		l.progress.stop("")
		return l.summary(), errors.Join(err, l.metrics.sync())
	}
	return l.finish()
}

func newLoop(c Config) (*loop, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &loop{Config: c, values: map[*data.Batch]map[string]*ort.Value{}, lastStep: -1, keepAfter: map[int]bool{}}
	for _, s := range c.KeepStates {
		l.keepAfter[s] = true
	}
	if l.train, err = data.Bind(c.Train, c.Inputs); err != nil {
		return nil, err
	}
	unit := data.Unit(l.train)
	if l.perBatch = c.Batch / unit; c.Batch%unit != 0 {
		return nil, fmt.Errorf("data %s: batches of %d, but %d rows belong together", l.train.Name(), c.Batch, unit)
	}
	if c.Test != nil {
		if l.eval, err = newEvaluator(&l.Config); err != nil {
			return nil, err
		}
	}
	if l.config, err = l.Config.record(); err != nil {
		return nil, err
	}
	if l.unlock, err = openRunDir(c); err != nil {
		return nil, err
	}
	if err := l.open(); err != nil {
		l.unlock()
		return nil, err
	}
	return l, nil
}

// open takes up the run of the directory, where it resumes one, and opens the
// records and the data.
func (l *loop) open() error {
	c := &l.Config
	if c.Nowcaster != nil && c.Safeguard {
		l.account.Left = c.wastable()
	}
	if c.Resume {
		if err := l.restore(); err != nil {
			return err
		}
	}
	if err := writeJSON(l.path(configFile), l.config); err != nil {
		return err
	}
	var err error
	if l.metrics, err = openMetrics(l.path(metricsFile)); err != nil {
		return err
	}
	before, err := ReadMetrics(l.path(metricsFile))
	if err == nil {
		l.metrics.events, err = openEvents(l.path(eventsFile), before, l.earlier)
	}
	if err != nil {
		return errors.Join(err, l.metrics.close())
	}
	l.loader, err = data.NewLoader(l.train, data.LoaderOptions{
		Batch: l.perBatch, Shuffle: !c.NoShuffle, Seed: c.Seed, Start: int64(l.step) * int64(c.Accumulate), Hold: c.Accumulate, Digest: l.digest,
	})
	if err != nil {
		return errors.Join(err, l.metrics.close())
	}
	return nil
}

func (l *loop) path(elem ...string) string { return filepath.Join(append([]string{l.Dir}, elem...)...) }

// restore takes up the state of the last checkpoint.
func (l *loop) restore() error {
	var old runConfig
	if err := readJSON(l.path(configFile), &old); err != nil {
		return err
	}
	if err := l.config.checkResume(&old); err != nil {
		return fmt.Errorf("run directory %s: %w", l.Dir, err)
	}
	if l.config.Train.changed(old.Train) {
		l.Log.Warn("files of the training data have changed since the run began; it goes on with them", "data", l.config.Train.Name)
	}
	s, err := readSnapshot(l.Dir, l.Log)
	if err != nil {
		return err
	}
	if s == nil {
		l.Log.Info("the run has no checkpoint yet and starts over", "dir", l.Dir)
		return truncateMetrics(l.path(metricsFile), 0)
	}
	if s.Step > l.Steps {
		return fmt.Errorf("run directory %s: has made %d steps already, more than the %d asked for", l.Dir, s.Step, l.Steps)
	}
	if err := errors.Join(l.Trainer.SetState(s.params), l.Trainer.SetMoments(s.moments), l.setBuffers(s.buffers), l.setAveraged(s.average)); err != nil {
		return fmt.Errorf("run directory %s: checkpoint of step %d: %w", l.Dir, s.Step, err)
	}
	l.Trainer.SetStepCount(s.Updates)
	l.step, l.saved, l.buffer, l.nowcasts = s.Step, s.Step, s.states, s.Nowcasts
	l.digest = s.Digest
	l.recent, l.trial, l.best = s.Recent, s.trial, s.Best
	if s.Account != nil {
		l.account, l.cost = *s.Account, *s.Cost
	}
	l.earlier, l.reached, l.last, l.lastStep = s.Seconds, s.StepsToTarget, s.Evaluation, s.EvalStep
	if s.Loss != nil {
		l.loss = *s.Loss
	}
	return truncateMetrics(l.path(metricsFile), l.step)
}

// setBuffers restores what a Buffered trainer keeps.
func (l *loop) setBuffers(s *weights.Set) error {
	if b, ok := l.Trainer.(Buffered); ok {
		return b.SetBuffers(s)
	}
	return nil
}

// fullState is a copy of the parameters and of the running statistics, as far
// as the trainer has any.
func (l *loop) fullState() (*weights.Set, error) {
	all, err := l.Trainer.State()
	if err != nil {
		return nil, err
	}
	buffers, err := l.buffers()
	if err != nil {
		return nil, err
	}
	return joined(all, buffers), nil
}

// joined adds the arrays of a second set to the first.
func joined(all, more *weights.Set) *weights.Set {
	for _, name := range more.Names() {
		all.Add(name, more.Get(name))
	}
	return all
}

func (l *loop) buffers() (*weights.Set, error) {
	if b, ok := l.Trainer.(Buffered); ok {
		return b.Buffers()
	}
	return &weights.Set{}, nil
}

func (l *loop) close() {
	l.loader.Close()
	for _, batch := range l.values {
		for _, v := range batch {
			v.Close()
		}
	}
	if err := l.metrics.close(); err != nil {
		l.Log.Warn("closing the metrics", "error", err)
	}
	l.unlock()
}

func (l *loop) seconds() float64 { return l.earlier + time.Since(l.started).Seconds() }

func (l *loop) run(ctx context.Context) error {
	l.started = time.Now()
	l.progress = newProgress(l.Progress, l.Label, l.step, l.Steps)
	if err := l.evaluateIfDue(ctx); err != nil {
		return err
	}
	for l.step < l.Steps && !(l.StopAtTarget && l.reached != nil) {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := l.one(ctx, l.step+1)
		if errors.Is(err, data.ErrEnd) {
			return l.endOfData(ctx)
		}
		if err != nil {
			return err
		}
		l.step++
		if err := l.afterStep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// endOfData ends a run whose data, a stream, has ended: as if the steps so far had
// been all that were asked for.
func (l *loop) endOfData(ctx context.Context) error {
	if l.step == 0 {
		return fmt.Errorf("data %s: it ends before the first step, which takes %d samples", l.train.Name(), l.perBatch*l.Accumulate)
	}
	l.ended, l.Steps = fmt.Sprintf("; there the data ended, %d steps were asked for", l.Steps), l.step
	return l.evaluateIfDue(ctx)
}

// one makes one step, counted from 1: a nowcast where one is due and accepted,
// an ordinary optimizer step otherwise.
func (l *loop) one(ctx context.Context, step int) error {
	l.overhead.begin(l.Trainer)
	batches := make([]map[string]*ort.Value, l.Accumulate)
	digest := ""
	for i := range batches {
		b, err := l.loader.Next(ctx)
		if err != nil {
			return err
		}
		if batches[i], err = l.batchValues(b); err != nil {
			return err
		}
		digest = b.Digest
	}
	l.digest = digest
	// A step that has begun is finished, so that parameters and moments belong
	// together when the run is interrupted.
	ctx = context.WithoutCancel(ctx)
	due, err := l.collect(step)
	if err != nil {
		return err
	}
	var record *Nowcast
	lr := 0.0
	if due {
		if record, err = l.nowcast(ctx, step, batches); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		l.nowcasts = append(l.nowcasts, *record)
		l.cost.Seconds += record.Seconds
		l.loss = record.LossBefore
	}
	if record == nil || !record.Accepted {
		lr = l.learningRate(step)
		start := time.Now()
		if l.loss, err = l.update(ctx, batches, lr); err != nil {
			return &StepError{step, err, l.saved}
		}
		l.durations.add(time.Since(start))
		if err := l.remember(ctx, step, l.loss); err != nil {
			return err
		}
		if err := l.average(step); err != nil {
			return err
		}
	}
	undone, err := l.settle(step, l.loss)
	switch {
	case err != nil:
		return err
	case undone != nil:
		record = undone
		if math.IsNaN(l.loss) || math.IsInf(l.loss, 0) {
			l.loss = mean(l.recent)
		}
	case math.IsNaN(l.loss) || math.IsInf(l.loss, 0):
		return &NonFiniteError{step, fmt.Sprintf("the loss is %v", l.loss), l.saved}
	}
	loss := l.loss
	l.progress.step(step, loss)
	if err := l.metrics.add(Metric{Step: step, Loss: &loss, LR: lr, Seconds: l.seconds(), Nowcast: record}); err != nil {
		return err
	}
	if record == nil {
		l.overhead.end(l.Trainer)
	}
	return nil
}

// update is an ordinary optimizer step; the loss is the mean over the batches.
func (l *loop) update(ctx context.Context, batches []map[string]*ort.Value, lr float64) (float64, error) {
	if len(batches) == 1 {
		return l.Trainer.Step(ctx, batches[0], lr)
	}
	losses, err := l.Trainer.(Accumulator).StepAccumulated(ctx, batches, lr)
	return mean(losses), err
}

// afterStep does what is due between two steps: states, evaluation, checkpoint.
func (l *loop) afterStep(ctx context.Context) error {
	if l.keepAfter[l.step] {
		s, err := l.fullState()
		if err == nil {
			err = writeState(l.path(statesDir, fmt.Sprintf(snapshotLayout, l.step)), s, nil)
		}
		if err != nil {
			return fmt.Errorf("state of step %d: %w", l.step, err)
		}
	}
	if err := l.evaluateIfDue(ctx); err != nil {
		return err
	}
	if l.step%l.CheckpointEvery == 0 && l.step < l.Steps {
		return l.checkpoint()
	}
	return nil
}

// evaluateIfDue evaluates after every EvalEvery steps and after the last, unless
// that was done before an interruption.
func (l *loop) evaluateIfDue(ctx context.Context) error {
	if l.eval == nil || l.step == 0 || l.lastStep == l.step || (l.step%l.EvalEvery != 0 && l.step != l.Steps) {
		return nil
	}
	var e Evaluation
	err := l.atResult(func() (err error) {
		e, err = l.eval.run(ctx)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("evaluation after step %d: %w", l.step, err)
	}
	if math.IsNaN(e.Loss) || math.IsInf(e.Loss, 0) {
		return &NonFiniteError{l.step, fmt.Sprintf("the test loss is %v", e.Loss), l.saved}
	}
	l.last, l.lastStep = &e, l.step
	if l.Target != nil && l.reached == nil && l.Target.Reached(e) {
		at := l.step
		l.reached = &at
	}
	improved := l.best == nil || e.better(l.best.Evaluation)
	if improved {
		l.best = &Best{l.step, e}
	}
	l.progress.evaluated(e)
	if err := l.metrics.add(Metric{Step: l.step, EvalLoss: &e.Loss, EvalAccuracy: e.Accuracy, Seconds: l.seconds()}); err != nil || !improved || !l.KeepBest {
		return err
	}
	return l.saveBest()
}

// saveBest keeps the evaluation just made: its weights, and a checkpoint.
func (l *loop) saveBest() error {
	err := l.atResult(func() error {
		state, err := l.fullState()
		if err != nil {
			return err
		}
		return writeState(l.path(bestState), state, nil)
	})
	if err != nil {
		return err
	}
	s, err := l.snapshot()
	if err != nil {
		return err
	}
	return s.writeFile(l.path(checkpointsDir, bestFile))
}

// checkpoint writes a snapshot of the run after the last completed step.
func (l *loop) checkpoint() error {
	s, err := l.snapshot()
	if err != nil {
		return err
	}
	if err := s.write(l.Dir, l.KeepLast); err != nil {
		return err
	}
	l.saved = l.step
	return nil
}

// snapshot is the state of the run after the last completed step. The metrics up
// to there are on the disk.
func (l *loop) snapshot() (*snapshot, error) {
	params, err := l.Trainer.State()
	if err != nil {
		return nil, err
	}
	if name := notFinite(params); name != "" {
		return nil, &NonFiniteError{l.step, fmt.Sprintf("parameter %q is not finite", name), l.saved}
	}
	moments, err := l.Trainer.Moments()
	if err != nil {
		return nil, err
	}
	buffers, err := l.buffers()
	if err != nil {
		return nil, err
	}
	if err := l.metrics.sync(); err != nil {
		return nil, err
	}
	s := &snapshot{params: params, moments: moments, buffers: buffers, average: l.averaged(), states: l.buffer, snapshotMeta: snapshotMeta{
		Step: l.step, Digest: l.digest, Updates: l.Trainer.StepCount(), Seconds: l.seconds(), StepsToTarget: l.reached,
		Evaluation: l.last, EvalStep: l.lastStep, Best: l.best, Nowcasts: slices.Clone(l.nowcasts), Recent: l.recent,
	}, trial: l.trial}
	if l.step > 0 {
		s.Loss = &l.loss
	}
	if l.Nowcaster != nil && l.Safeguard {
		s.Account, s.Cost = &l.account, &l.cost
	}
	return s, nil
}

// batchValues are the runtime values that alias the buffers of a batch.
func (l *loop) batchValues(b *data.Batch) (map[string]*ort.Value, error) {
	if v, ok := l.values[b]; ok {
		return v, nil
	}
	v, err := valuesOf(b, l.perBatch)
	if err != nil {
		return nil, err
	}
	l.values[b] = v
	return v, nil
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}
