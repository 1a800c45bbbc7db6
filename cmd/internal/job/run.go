package job

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	goruntime "runtime"

	"ninox/cmd/internal/version"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
)

// RunOptions distinguish the runs of one job.
type RunOptions struct {
	Dir       string
	Label     string // in progress messages; default the method
	Method    string // for the record; default that of the nowcaster or averager
	Resume    bool
	Averager  func(start *weights.Set) training.Averager // nil: no average
	Rule      training.UpdateRule                        // makes the steps; nil: the optimizer does
	Nowcaster training.Nowcaster                         // nil: no nowcasts
	Period    int
	Horizons  []int
	Safeguard bool
	// Alternatives and Moments are those of training.Config.
	Alternatives []training.Alternative
	Moments      string
	Record       map[string]any // further facts for config.json
}

// Run trains from the initial parameters and leaves a run folder. Errors say
// where to go on.
func (j *Job) Run(ctx context.Context, engine *ort.Engine, o RunOptions) (*training.Summary, error) {
	log, err := j.app.Logger()
	if err != nil {
		return nil, err
	}
	threads := j.app.Threads
	if threads == 0 {
		threads = goruntime.NumCPU()
	}
	exec, err := training.NewExecutor(engine, j.Artifacts, training.ExecutorOptions{Threads: threads, Workers: j.Workers, Seed: j.app.Seed, Log: log})
	if err != nil {
		return nil, err
	}
	defer exec.Close()
	record, err := j.record(ctx, threads)
	if err != nil {
		return nil, err
	}
	for k, v := range o.Record {
		record[k] = v
	}
	var averager training.Averager
	if o.Averager != nil {
		start, err := exec.State()
		if err != nil {
			return nil, err
		}
		averager = o.Averager(start)
	}
	var trainer training.Stepper = exec
	if o.Rule != nil {
		o.Rule.Reset()
		trainer = training.NewLearned(exec, o.Rule)
	}
	s, err := training.Run(ctx, training.Config{
		Method: o.Method, Averager: averager, Alternatives: o.Alternatives, Moments: o.Moments,
		Dir: o.Dir, Resume: o.Resume, Overwrite: j.Overwrite,
		Task: j.Source.Name(), Record: record, Trainer: trainer, Artifacts: j.Artifacts,
		Train: j.Split.Train, Test: j.Split.Test,
		Steps: j.Steps, Batch: j.Batch, Accumulate: j.Accumulate, NoShuffle: j.NoShuffle, Seed: j.app.Seed,
		LR: j.LR, Schedule: j.Schedule, Warmup: j.Warmup,
		EvalEvery: j.EvalEvery, Target: j.Goal, KeepStates: j.KeepStates, CheckpointEvery: j.CheckpointEvery, KeepLast: j.KeepLast, KeepBest: j.KeepBest, StopAtTarget: j.StopAtTarget,
		Nowcaster: o.Nowcaster, Period: o.Period, Horizons: o.Horizons, Safeguard: o.Safeguard,
		Progress: j.app.Progress(), Label: o.Label, Log: log,
	})
	return s, j.explain(err, o.Dir)
}

// record is what config.json says beyond the settings of the loop.
func (j *Job) record(ctx context.Context, threads int) (map[string]any, error) {
	info, err := ort.Info(ctx)
	if err != nil {
		return nil, err
	}
	v := version.Current()
	r := map[string]any{
		"ninox": v.Version, "onnx_runtime": info.Version, "platform": v.Platform,
		"device": j.app.Device, "threads": threads, "workers": j.Workers,
		"optimizer": j.Artifacts.Config.String(), "data": j.Data,
	}
	for key, value := range map[string]string{
		"revision": v.Revision, "loss": j.Artifacts.LossKind, "model": j.Source.Model, "artifacts": j.Source.Dir, "note": j.Split.Note,
	} {
		if value != "" {
			r[key] = value
		}
	}
	return r, nil
}

// explain adds to an error of the run in dir what the user can do about it.
func (o *Options) explain(err error, dir string) error {
	var diverged *training.NonFiniteError
	var unreadable *training.DataError
	var failed *training.StepError
	var busy *training.RunBusyError
	switch {
	case errors.As(err, &busy):
		return fmt.Errorf("%w\nwait until it ends, interrupt it, or choose another folder with --out", err)
	case errors.As(err, &unreadable):
		return fmt.Errorf("%w\na checkpoint was written; once the data is mended, the same command with --out %s --resume continues", err, o.Out)
	case errors.As(err, &failed) && failed.Checkpoint > 0:
		return fmt.Errorf("%w\nthe same command with --out %s --resume continues from it", err, o.Out)
	case errors.Is(err, training.ErrInterrupted):
		return fmt.Errorf("%w: the same command with --out %s --resume", err, o.Out)
	case errors.Is(err, training.ErrRunExists):
		return fmt.Errorf("%w\n--resume continues it, --overwrite replaces it", err)
	case errors.As(err, &diverged) && diverged.Checkpoint > 0:
		return fmt.Errorf("%w\nthe last good checkpoint is %s", err,
			filepath.Join(dir, "checkpoints", fmt.Sprintf("step_%06d.safetensors", diverged.Checkpoint)))
	}
	return err
}
