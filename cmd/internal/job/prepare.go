package job

import (
	"cmp"
	"context"
	"fmt"

	"ninox/cmd/internal/app"
	"ninox/training"
	"ninox/training/data"
)

const (
	defaultBatch = 128
	defaultLR    = 1e-3
)

// Job is a training that is ready to run, several times if need be.
type Job struct {
	Options
	Source    Source
	Artifacts *training.Artifacts
	Split     *data.Split
	Goal      *training.Target // nil: none

	app *app.App
}

// Prepare reads data and model and fills in the defaults of the source. What
// does not fit together is found here, before anything runs.
func Prepare(ctx context.Context, a *app.App, src Source, o Options) (*Job, error) {
	j := &Job{Options: o, Source: src, app: a}
	j.warmup = j.Warmup
	if err := j.open(ctx); err != nil {
		return nil, err
	}
	if err := j.readEvalData(ctx); err != nil {
		return nil, err
	}
	j.limitTest()
	j.LR = cmp.Or(j.LR, j.Artifacts.LearningRate(), defaultLR)
	if err := j.fitBatch(); err != nil {
		return nil, err
	}
	var err error
	if j.Goal, err = j.goal(); err != nil {
		return nil, err
	}
	switch {
	case j.KeepBest && j.Split.Test == nil:
		return nil, app.Usagef("--keep-best: there is no data to test on; give --eval-data")
	case j.StopAtTarget && (j.Goal == nil || j.Split.Test == nil):
		return nil, app.Usagef("--stop-at-target: expected a --target, and data to test on")
	}
	return j, nil
}

// open reads data and artifacts of the source.
func (j *Job) open(ctx context.Context) error {
	var err error
	switch src := j.Source; {
	case src.Task != nil:
		return j.openTask(ctx)
	case src.Model != "":
		if j.Artifacts, err = j.ArtifactsOf(j.app, src.Model, j.LR); err != nil {
			return err
		}
	default:
		if j.Artifacts, err = training.LoadArtifacts(src.Dir); err != nil {
			return err
		}
	}
	j.Split, err = j.read(ctx, func() (*data.Split, error) { return data.OpenWith(ctx, j.Data, j.Reading) })
	return err
}

// read opens --data: a stream, or with open.
func (j *Job) read(ctx context.Context, open func() (*data.Split, error)) (*data.Split, error) {
	if !data.IsStream(j.Data) {
		return open()
	}
	if !j.Once {
		return nil, app.Usagef("--data %s: a stream comes once, but would be needed several times; write it to a file (accelerate needs it once with --no-baseline --safeguard off)", j.Data)
	}
	j.NoShuffle = true
	return data.OpenStream(ctx, j.Data, j.app.In, j.Reading)
}

func (j *Job) openTask(ctx context.Context) error {
	t := j.Source.Task
	j.Loss, j.Optimizer = cmp.Or(j.Loss, t.Loss), cmp.Or(j.Optimizer, t.Optimizer)
	j.LR, j.Batch, j.Steps = cmp.Or(j.LR, t.LR), cmp.Or(j.Batch, t.Batch), cmp.Or(j.Steps, t.Steps)
	var err error
	if t.Decay > 0 {
		j.WeightDecay = cmp.Or(j.WeightDecay, t.Decay)
	}
	if j.Split, err = j.read(ctx, func() (*data.Split, error) { return t.Open(ctx, j.Data, j.Reading) }); err != nil {
		if j.Data == "" && t.Length == 0 {
			err = fmt.Errorf("%w; or try --data embedded", err)
		}
		return err
	}
	network, err := t.WithVocabulary(j.Split.Vocabulary)
	if err != nil {
		return err
	}
	m, err := network.Model(j.app.Seed)
	if err != nil {
		return err
	}
	j.Artifacts, err = j.ModelOptions.Artifacts(m, j.LR, j.app.Seed)
	return err
}

// readEvalData replaces the test part by that of --eval-data, or by all of it
// where it has no parts.
func (j *Job) readEvalData(ctx context.Context) error {
	if j.EvalData == "" {
		return nil
	}
	s, err := data.OpenWith(ctx, j.EvalData, j.Reading)
	if err != nil {
		return err
	}
	split := *j.Split
	split.Test = s.Test
	if s.Test == nil {
		split.Test = s.Train
	}
	j.Split = &split
	return nil
}

// limitTest leaves of the test part what --eval-samples asks for.
func (j *Job) limitTest() {
	if j.EvalSamples > 0 && j.Split.Test != nil {
		split := *j.Split
		split.Test = data.Spread(split.Test, j.EvalSamples)
		j.Split = &split
	}
}

// fitBatch checks that the data fits the model's inputs and settles the batch
// size, in rows of the column that has most (data.Unit).
func (j *Job) fitBatch() error {
	train, err := data.Bind(j.Split.Train, j.Artifacts.BatchInputs())
	if err != nil {
		return err
	}
	if j.Split.Test != nil {
		if _, err := data.Bind(j.Split.Test, j.Artifacts.BatchInputs()); err != nil {
			return err
		}
	}
	unit := data.Unit(train)
	for i, in := range j.Artifacts.BatchInputs() {
		s := in.Type.Shape
		if len(s) == 0 || !s[0].IsKnown() {
			continue
		}
		fixed := max(1, int(s[0].Value)/train.Columns()[i].RowsOf(1)) * unit
		if j.Batch != 0 && j.Batch != fixed {
			return app.Usagef("--batch-size %d: the model's input %q is %s, so batches have %d samples", j.Batch, in.Name, in.Type, fixed)
		}
		j.Batch = fixed
	}
	if s, ok := j.Split.Train.(*data.Stream); ok {
		j.Batch = cmp.Or(j.Batch, s.FirstRows())
		return nil
	}
	rows := train.Len() * unit
	j.Batch = cmp.Or(j.Batch, max(unit, min(defaultBatch, rows)/unit*unit))
	if j.Batch > rows {
		return app.Usagef("--batch-size %d: the data has only %d samples", j.Batch, rows)
	}
	return nil
}

// Metric is what a target is about where it does not say: accuracy of a
// classification, else the loss.
func (j *Job) Metric() string {
	if j.Split.Vocabulary == 0 && (j.Artifacts.LossKind == training.CrossEntropy || j.Split.Classes > 0) {
		return training.MetricAccuracy
	}
	return training.MetricLoss
}

// goal is the target: the one asked for, or that of the task on its own data.
func (j *Job) goal() (*training.Target, error) {
	if j.Target != "" {
		return parseTarget(j.Target, j.Metric())
	}
	if t := j.Source.Task; t != nil && t.Target > 0 && j.Split.Name == t.Data {
		return &training.Target{Metric: t.Metric, Value: t.Target}, nil
	}
	return nil, nil
}
