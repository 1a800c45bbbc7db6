package meta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ninox/models"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/training"
	"ninox/training/data"
)

// CollectOptions say how Collect works.
type CollectOptions struct {
	Workers int // runs at a time, one thread each; at least 1
	// Shard i of Shards makes every Shards-th run, from number i on; Shards 0
	// makes all.
	Shard, Shards int
	// Progress is told of each run that ends; err is of runs that failed, which
	// do not stop the others. It is called from one goroutine at a time.
	Progress func(Progress)
}

// Progress is the state of a collection after a run.
type Progress struct {
	Task        Task
	Seconds     float64 // that the run took
	Accuracy    float64 // at its end, on the test data, percent
	Done, Total int     // runs of this shard, those found in the store included
	Remaining   time.Duration
	Err         error
}

// Estimate is what a collection will take, stated before it starts.
type Estimate struct {
	Runs, Present int   // of this shard
	Bytes         int64 // of the runs that are missing
	Parameters    int   // of the largest network
}

// shard lists the runs of a plan that belong to a shard.
func (o CollectOptions) shard(p *Plan) []Task {
	var out []Task
	for i, t := range p.Tasks() {
		if o.Shards <= 1 || i%o.Shards == o.Shard {
			out = append(out, t)
		}
	}
	return out
}

// Estimate builds every missing run's network and adds up what its states take.
func (p *Plan) Estimate(ctx context.Context, s *Store, o CollectOptions) (Estimate, error) {
	var e Estimate
	source := &dataSource{}
	for _, t := range o.shard(p) {
		e.Runs++
		if s.Has(t.ID()) {
			e.Present++
			continue
		}
		a, err := t.artifacts(ctx, source)
		if err != nil {
			return e, fmt.Errorf("plan: set %q, run %s: %w", t.Set, t.ID(), err)
		}
		n := 0
		for _, q := range a.Checkpoint.Trainable {
			n += int(q.Len())
		}
		e.Parameters = max(e.Parameters, n)
		e.Bytes += int64(t.States()) * int64(2*n+4)
	}
	return e, nil
}

// Collect makes the runs of a plan that the store lacks. A run that fails is
// left out and reported; the error joins all of them. A killed or cancelled
// collection loses only the runs under way.
func Collect(ctx context.Context, engine *ort.Engine, p *Plan, s *Store, o CollectOptions) error {
	if o.Workers < 1 {
		return fmt.Errorf("collect: %d workers, expected at least 1", o.Workers)
	}
	if o.Shards > 0 && (o.Shard < 0 || o.Shard >= o.Shards) {
		return fmt.Errorf("collect: shard %d of %d", o.Shard, o.Shards)
	}
	c := &collector{engine: engine, store: s, options: o, source: &dataSource{}, began: time.Now()}
	var missing []Task
	for _, t := range o.shard(p) {
		c.total++
		if s.Has(t.ID()) {
			c.done++
			continue
		}
		missing = append(missing, t)
	}
	c.present = c.done
	queue := make(chan Task)
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(func() {
			for t := range queue {
				c.report(c.run(ctx, t))
			}
		})
	}
	for _, t := range missing {
		select {
		case queue <- t:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	return errors.Join(append(c.errs, ctx.Err())...)
}

type collector struct {
	engine  *ort.Engine
	store   *Store
	options CollectOptions
	source  *dataSource
	began   time.Time

	mu                   sync.Mutex
	done, present, total int
	errs                 []error
}

// report counts a run and tells of it.
func (c *collector) report(p Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Err != nil {
		if errors.Is(p.Err, context.Canceled) {
			return
		}
		c.errs = append(c.errs, fmt.Errorf("run %s of set %q: %w", p.Task.ID(), p.Task.Set, p.Err))
	}
	c.done++
	p.Done, p.Total = c.done, c.total
	if made := c.done - c.present; made > 0 {
		p.Remaining = time.Since(c.began) / time.Duration(made) * time.Duration(c.total-c.done)
	}
	if c.options.Progress != nil {
		c.options.Progress(p)
	}
}

// run makes one run.
func (c *collector) run(ctx context.Context, t Task) Progress {
	start := time.Now()
	accuracy, err := c.collect(ctx, t)
	return Progress{Task: t, Seconds: time.Since(start).Seconds(), Accuracy: accuracy, Err: err}
}

// collect makes a run, unless an earlier collection was killed between making
// it and sending it to the bucket.
func (c *collector) collect(ctx context.Context, t Task) (accuracy float64, err error) {
	if !c.store.complete(t.ID()) {
		if accuracy, err = c.make(ctx, t); err != nil {
			return 0, err
		}
	}
	return accuracy, c.store.upload(ctx, t.ID())
}

func (c *collector) make(ctx context.Context, t Task) (accuracy float64, err error) {
	split, err := t.split(ctx, c.source)
	if err != nil {
		return 0, err
	}
	a, err := t.artifacts(ctx, c.source)
	if err != nil {
		return 0, err
	}
	exec, err := training.NewExecutor(c.engine, a, training.ExecutorOptions{Threads: 1, Workers: 1})
	if err != nil {
		return 0, err
	}
	defer exec.Close()
	model, err := a.Inference(nil)
	if err != nil {
		return 0, err
	}
	var parameters []parameterShape
	for _, p := range a.Checkpoint.Trainable {
		parameters = append(parameters, parameterShape{p.Name, p.Dims})
	}
	w, err := c.store.create(t, model, parameters)
	if err != nil {
		return 0, err
	}
	if err := t.follow(ctx, exec, a, split.Train, w); err != nil {
		w.abort()
		return 0, err
	}
	test, err := newTest(ctx, a, split.Test, testPredictions)
	if err != nil {
		w.abort()
		return 0, err
	}
	defer test.close()
	if accuracy, err = test.accuracy(ctx, exec); err != nil {
		w.abort()
		return 0, err
	}
	return accuracy, w.finish()
}

// split is the run's data.
func (t Task) split(ctx context.Context, source *dataSource) (*data.Split, error) {
	if t.Language != nil {
		return source.open(ctx, t.Data, t.Language.Length)
	}
	return t.images(ctx, source)
}

// artifacts builds the run's network and derives its training.
func (t Task) artifacts(ctx context.Context, source *dataSource) (*training.Artifacts, error) {
	split, err := t.split(ctx, source)
	if err != nil {
		return nil, err
	}
	m, err := t.model(split)
	if err != nil {
		return nil, err
	}
	return training.BuildArtifacts(m, ops.Registry(), training.ArtifactOptions{
		Loss: training.CrossEntropy, LearningRate: t.LR, Optimizer: training.Optimizer{Kind: t.Optimizer, WeightDecay: t.WeightDecay},
	})
}

// model builds the run's network in the sizes that its data decides.
func (t Task) model(split *data.Split) (*onnxgraph.Model, error) {
	if l := t.Language; l != nil {
		if split.Vocabulary == 0 {
			return nil, fmt.Errorf("data %s: expected text:FILES for a language model", t.Data)
		}
		return models.Transformer{
			Name: l.Family, Family: l.Family, Vocab: split.Vocabulary, Positions: l.Length,
			Layers: l.Layers, Width: l.Width, Heads: l.Heads, KVHeads: l.KVHeads,
		}.Model(t.Seed)
	}
	n, shape := t.Network, split.Train.Columns()[0].Shape
	n.Channels, n.Side, n.Classes = int(shape[0]), int(shape[1]), split.Classes
	return n.Model(t.Seed)
}

// feed turns batches of a data set into runtime values, which are made once and
// filled again.
type feed struct {
	loader *data.Loader
	values map[*data.Batch]map[string]*ort.Value
}

func newFeed(d data.Dataset, inputs []*onnxgraph.Value, o data.LoaderOptions) (*feed, error) {
	bound, err := data.Bind(d, inputs)
	if err != nil {
		return nil, err
	}
	l, err := data.NewLoader(bound, o)
	if err != nil {
		return nil, err
	}
	return &feed{l, map[*data.Batch]map[string]*ort.Value{}}, nil
}

func (f *feed) next(ctx context.Context, samples int) (map[string]*ort.Value, error) {
	b, err := f.loader.Next(ctx)
	if err != nil {
		return nil, err
	}
	if v, ok := f.values[b]; ok {
		return v, nil
	}
	v := map[string]*ort.Value{}
	f.values[b] = v
	for i, c := range b.Columns {
		dims := append([]int64{int64(samples)}, c.Shape...)
		if c.DType == onnxgraph.Float {
			v[c.Name], err = ort.FloatValue(dims, b.Buffers[i].Floats)
		} else {
			v[c.Name], err = ort.Int64Value(dims, b.Buffers[i].Int64s)
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (f *feed) close() {
	f.loader.Close()
	for _, batch := range f.values {
		for _, v := range batch {
			v.Close()
		}
	}
}

// follow trains and keeps the states.
func (t Task) follow(ctx context.Context, exec *training.Executor, a *training.Artifacts, train data.Dataset, w *writer) error {
	keep := func(step int) error {
		if step%t.Every != 0 {
			return nil
		}
		state, err := exec.State()
		if err != nil {
			return err
		}
		return w.add(state)
	}
	if err := keep(0); err != nil {
		return err
	}
	return t.steps(ctx, exec, a, train, t.Steps, keep)
}

// steps trains for n steps and calls after with the number of steps made.
func (t Task) steps(ctx context.Context, exec *training.Executor, a *training.Artifacts, train data.Dataset, n int, after func(step int) error) error {
	f, err := newFeed(train, a.BatchInputs(), data.LoaderOptions{Batch: t.Batch, Shuffle: true, Seed: t.Seed})
	if err != nil {
		return err
	}
	defer f.close()
	for step := 1; step <= n; step++ {
		batch, err := f.next(ctx, t.Batch)
		if err != nil {
			return err
		}
		loss, err := exec.Step(ctx, batch, t.LR)
		if err != nil {
			return err
		}
		if loss != loss {
			return fmt.Errorf("step %d: %w", step, errDiverged)
		}
		if err := after(step); err != nil {
			return err
		}
	}
	return nil
}

var errDiverged = errors.New("the loss is NaN")

const testPredictions = 1000 // at least, on the test data, for the record

// test is the first test samples as one batch, of so many predictions. A sample of a language model has a
// prediction for each token.
type test struct {
	*feed
	batch          map[string]*ort.Value
	output, labels string
}

func newTest(ctx context.Context, a *training.Artifacts, samples data.Dataset, predictions int) (*test, error) {
	each := 1
	for _, size := range samples.Columns()[1].Shape {
		each *= int(size)
	}
	n := min((predictions+each-1)/each, samples.Len())
	f, err := newFeed(data.Head(samples, n), a.BatchInputs(), data.LoaderOptions{Batch: n})
	if err != nil {
		return nil, err
	}
	batch, err := f.next(ctx, n)
	if err != nil {
		f.close()
		return nil, err
	}
	return &test{f, batch, a.Output, a.Labels}, nil
}

// loss is the mean loss.
func (t *test) loss(ctx context.Context, exec *training.Executor) (float64, error) {
	loss, out, err := exec.Eval(ctx, t.batch)
	closeAll(out)
	return loss, err
}

// accuracy is in percent.
func (t *test) accuracy(ctx context.Context, exec *training.Executor) (float64, error) {
	_, out, err := exec.Eval(ctx, t.batch)
	if err != nil {
		return 0, err
	}
	defer closeAll(out)
	logits, labels := out[t.output].Floats(), t.batch[t.labels].Int64s()
	classes, right := len(logits)/len(labels), 0
	for i, label := range labels {
		row, best := logits[i*classes:(i+1)*classes], 0
		for c, x := range row {
			if x > row[best] {
				best = c
			}
		}
		if int64(best) == label {
			right++
		}
	}
	return 100 * float64(right) / float64(len(labels)), nil
}

// dataSource opens each data set once.
type dataSource struct {
	mu     sync.Mutex
	splits map[string]*data.Split
}

// open opens a data set, text in sequences of length tokens.
func (s *dataSource) open(ctx context.Context, spec string, length int) (*data.Split, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprint(length, spec)
	if split, ok := s.splits[key]; ok {
		return split, nil
	}
	split, err := data.OpenWith(ctx, spec, data.Options{Length: length})
	if err != nil {
		return nil, err
	}
	if s.splits == nil {
		s.splits = map[string]*data.Split{}
	}
	s.splits[key] = split
	return split, nil
}
