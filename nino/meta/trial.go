package meta

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"ninox/nino"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
)

// TrialOptions say how the tasks of held-out runs are trained anew.
type TrialOptions struct {
	Steps     int // of each run; required
	Spacing   int // steps between states, a nowcast comes after as many as the network looks back on; default 200
	EvalEvery int // steps between two tests; default a fortieth of the run
	Threads   int // of a run; 0: all
	Progress  func(TrialRun)
}

func (o TrialOptions) defaults() (TrialOptions, error) {
	if o.Spacing == 0 {
		o.Spacing = 200
	}
	if o.EvalEvery == 0 {
		o.EvalEvery = max(1, o.Steps/40)
	}
	if o.Steps < 1 || o.Spacing < 1 || o.EvalEvery < 1 || o.EvalEvery > o.Steps {
		return o, fmt.Errorf("trial: %d steps, states %d apart, a test every %d", o.Steps, o.Spacing, o.EvalEvery)
	}
	return o, nil
}

// Contender is a way of training that takes part in a trial: by the paper's
// rule, every nowcast is kept.
type Contender struct {
	Name    string
	Weights *nino.Weights // nil: Linefit, or no nowcasts where Plain is set
	Plain   bool
}

const trialPredictions = 5000 // of a test

// linefitHorizon is how far Linefit predicts, always, as 'accelerate' has it.
const linefitHorizon = 4

// Contenders are plain training, which comes first, Linefit, and networks by
// name.
func Contenders(networks map[string]*nino.Weights, order []string) []Contender {
	out := []Contender{{Name: "none", Plain: true}, {Name: MethodLinefit}}
	for _, name := range order {
		out = append(out, Contender{Name: name, Weights: networks[name]})
	}
	return out
}

// TrialRun is a task trained by one contender.
type TrialRun struct {
	Run     string    `json:"run"` // in the store
	Set     string    `json:"set"`
	Method  string    `json:"method"`
	Every   int       `json:"every"`  // steps between the losses
	Losses  []float64 `json:"losses"` // on the test data, up to where the run diverges
	Seconds float64   `json:"seconds"`
}

// Best is the lowest loss.
func (r *TrialRun) Best() float64 {
	best := math.Inf(1)
	for _, l := range r.Losses {
		best = min(best, l)
	}
	return best
}

// Steps is the number of steps after which a test first shows the loss or less, 0
// if none does.
func (r *TrialRun) Steps(loss float64) int {
	for i, l := range r.Losses {
		if l <= loss {
			return (i + 1) * r.Every
		}
	}
	return 0
}

// Trial trains the tasks of the store's held-out runs anew, each from the same
// parameters and on the same batches by every contender.
func Trial(ctx context.Context, engine *ort.Engine, s *Store, contenders []Contender, o TrialOptions) ([]TrialRun, error) {
	o, err := o.defaults()
	if err != nil {
		return nil, err
	}
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	source := &dataSource{}
	var out []TrialRun
	for _, id := range ids {
		t, err := s.Open(id)
		if err != nil {
			return out, err
		}
		for _, c := range contenders {
			if !t.Task.HeldOut {
				break
			}
			r, err := t.trial(ctx, engine, source, c, o)
			if err != nil {
				t.Close()
				return out, fmt.Errorf("trial of run %s by %s: %w", id, c.Name, err)
			}
			if o.Progress != nil {
				o.Progress(r)
			}
			out = append(out, r)
		}
		t.Close()
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("trial: store %s holds out no run", s.Dir())
	}
	return out, nil
}

// nowcasts makes the contender's nowcasts of a trajectory's model, and their
// horizons over the run; nil for plain training.
func (c Contender) nowcasts(engine *ort.Engine, t *Trajectory, o TrialOptions) (n training.Nowcaster, horizons []int, closer func(), err error) {
	nothing := func() {}
	switch {
	case c.Plain:
		return nil, nil, nothing, nil
	case c.Weights == nil:
		line := nino.Linefit()
		return line, nino.Horizons(linefitHorizon, o.Steps, o.Spacing*line.Context(), 0), nothing, nil
	}
	g := t.Graph
	if c.Weights.Naive() {
		g = g.Naive()
	}
	net, err := nino.New(engine, c.Weights, g, nino.Options{})
	if err != nil {
		return nil, nil, nothing, err
	}
	return net, nino.Horizons(net.Horizons(), o.Steps, o.Spacing*net.Context(), nino.DefaultPower), net.Close, nil
}

// trial trains the task of a run.
func (t *Trajectory) trial(ctx context.Context, engine *ort.Engine, source *dataSource, c Contender, o TrialOptions) (TrialRun, error) {
	began := time.Now()
	r := TrialRun{Run: t.ID, Set: t.Task.Set, Method: c.Name, Every: o.EvalEvery}
	n, horizons, closer, err := c.nowcasts(engine, t, o)
	if err != nil {
		return r, err
	}
	defer closer()
	split, err := t.Task.split(ctx, source)
	if err != nil {
		return r, err
	}
	a, err := t.Task.artifacts(ctx, source)
	if err != nil {
		return r, err
	}
	exec, err := training.NewExecutor(engine, a, training.ExecutorOptions{Threads: o.Threads, Workers: 1})
	if err != nil {
		return r, err
	}
	defer exec.Close()
	test, err := newTest(ctx, a, split.Test, trialPredictions)
	if err != nil {
		return r, err
	}
	defer test.close()
	look := &lookback{nowcaster: n, spacing: o.Spacing, horizons: horizons}
	err = t.Task.steps(ctx, exec, a, split.Train, o.Steps, func(step int) error {
		if err := look.after(ctx, exec, step); err != nil {
			return err
		}
		if step%o.EvalEvery != 0 {
			return nil
		}
		loss, err := test.loss(ctx, exec)
		r.Losses = append(r.Losses, loss)
		return err
	})
	r.Seconds = time.Since(began).Seconds()
	if errors.Is(err, errDiverged) {
		return r, nil
	}
	return r, err
}

// lookback keeps the states of a run, and replaces its parameters whenever there
// are as many as the nowcaster wants.
type lookback struct {
	nowcaster training.Nowcaster // nil: nothing is kept
	spacing   int
	horizons  []int
	states    []*weights.Set
}

func (l *lookback) after(ctx context.Context, exec *training.Executor, step int) error {
	if l.nowcaster == nil || step%l.spacing != 0 {
		return nil
	}
	state, err := exec.State()
	if err != nil {
		return err
	}
	if l.states = append(l.states, state); len(l.states) < l.nowcaster.Context() {
		return nil
	}
	k := l.horizons[min(step/(l.spacing*len(l.states)), len(l.horizons))-1]
	next, err := l.nowcaster.Nowcast(ctx, l.states, k)
	l.states = nil
	if err != nil {
		return err
	}
	return exec.SetState(next)
}
