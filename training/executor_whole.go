package training

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// session makes a session that Close frees.
func (e *Executor) session(m *onnxgraph.Model, threads int) (*ort.Session, error) {
	s, err := e.engine.NewSession(m, ort.SessionOptions{Threads: threads, LeastMemory: e.large()})
	if err != nil {
		return nil, e.art.explainPrecision(err)
	}
	e.owned.add(func() { s.Close() })
	return s, nil
}

// largeStep is the size of results, in bytes, from which on memory decides how
// they are kept, and not the time to allocate them.
const largeStep = 32 << 20

// large says whether the results of a step on the first batch are. It is
// answered once, for all sessions.
func (e *Executor) large() bool {
	if e.isLarge == nil {
		r, err := Explain(e.art, max(e.samples, 1))
		large := err != nil || len(r.Unknown) > 0 || slices.ContainsFunc(r.Phases, func(p Phase) bool { return p.Peak >= largeStep })
		e.isLarge = &large
	}
	return *e.isLarge
}

// drawingSession makes a session whose model draws what the executor feeds it,
// for so many concurrent runs.
func (e *Executor) drawingSession(m *onnxgraph.Model, threads, runs int) (*ort.Session, []*draws, error) {
	operators, err := drawFromTables(m)
	if err != nil {
		return nil, nil, fmt.Errorf("random operators: %w", err)
	}
	s, err := e.session(m, threads)
	if err != nil {
		return nil, nil, err
	}
	out := make([]*draws, runs)
	for i := range out {
		if out[i], err = newDraws(&e.owned, operators); err != nil {
			return nil, nil, err
		}
	}
	return s, out, nil
}

// fillDraws draws for a worker's part of the batch at hand.
func (e *Executor) fillDraws(d *draws, worker int) {
	if e.still {
		d.still()
	} else {
		d.fill(e.opts.Seed, e.step+1, e.batch, worker)
	}
}

func (e *Executor) binding(s *ort.Session) (*ort.Binding, error) {
	b, err := s.Bind()
	if err != nil {
		return nil, err
	}
	e.owned.add(func() { b.Close() })
	return b, nil
}

func (e *Executor) floats(dims []int64, data []float32) (*ort.Value, error) {
	v, err := ort.FloatValue(dims, data)
	if err != nil {
		return nil, err
	}
	e.owned.add(func() { v.Close() })
	return v, nil
}

// bindClock binds the learning rate and the step count, whose buffers Step
// fills before each run.
func (e *Executor) bindClock(b *ort.Binding) error {
	rate, err := e.floats([]int64{1}, e.rate)
	if err != nil {
		return err
	}
	step, err := ort.Int64Value([]int64{1}, e.count)
	if err != nil {
		return err
	}
	e.owned.add(func() { step.Close() })
	if err := b.Input(rateName, rate); err != nil {
		return err
	}
	// Updates without bias correction do not depend on the step.
	return b.Input(stepName, step)
}

// wholeRunner runs merged steps on whole batches.
type wholeRunner struct {
	e     *Executor
	sides [2]*ort.Binding // by the side that is read
	loss  []float32
	draws *draws
}

func newWholeRunner(e *Executor) (*wholeRunner, error) {
	s, d, err := e.drawingSession(e.models.merged(), e.opts.Threads, 1)
	if err != nil {
		return nil, err
	}
	r := &wholeRunner{e: e, loss: make([]float32, 1), draws: d[0]}
	loss, err := e.floats([]int64{}, r.loss)
	if err != nil {
		return nil, err
	}
	for side := range r.sides {
		b, err := e.binding(s)
		if err != nil {
			return nil, err
		}
		r.sides[side] = b
		if err := e.state.bind(b, side, e.state.names, true); err != nil {
			return nil, err
		}
		if err := e.bindClock(b); err != nil {
			return nil, err
		}
		if err := errors.Join(b.Output(e.art.LossName, loss), r.draws.bind(b)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *wholeRunner) run(ctx context.Context, batch map[string]*ort.Value) (float64, error) {
	b := r.sides[r.e.state.cur]
	r.e.fillDraws(r.draws, 0)
	for name, v := range batch {
		if err := b.Input(name, v); err != nil {
			return 0, err
		}
	}
	if err := r.e.computing(func() error { return b.Run(ctx) }); err != nil {
		return 0, err
	}
	return float64(r.loss[0]), nil
}
