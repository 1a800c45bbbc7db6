package training

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// workerRunner computes gradients on parts of a batch in parallel: one
// single-threaded session, run concurrently, so that each worker stays in its
// core's cache. A second, small session sums the gradients and updates.
type workerRunner struct {
	e       *Executor
	workers []*worker
	shares  []*ort.Value // weight of each worker's gradient, one float each

	update  [2]*ort.Binding // by the side that is read; without and with accumulated gradients
	updAcc  [2]*ort.Binding
	addSide [2]*ort.Binding // running sum: side read, other side written
	acc     map[string]*pair
	accCur  int
}

type worker struct {
	sides [2]*ort.Binding
	loss  []float32
	share []float32
	grads map[string]*ort.Value // by slot name
	draws *draws
}

// runner returns the runner of n workers, made when first used.
func (e *Executor) runner(n int) (*workerRunner, error) {
	if r := e.workers[n]; r != nil {
		return r, nil
	}
	s, d, err := e.drawingSession(e.models.gradients(), threadsOf(e.opts, n), n)
	if err != nil {
		return nil, err
	}
	r := &workerRunner{e: e}
	for k := range n {
		w, share, err := e.newWorker(s, d[k])
		if err != nil {
			return nil, err
		}
		r.workers = append(r.workers, w)
		r.shares = append(r.shares, share)
	}
	e.workers[n] = r
	return r, nil
}

func (e *Executor) newWorker(s *ort.Session, d *draws) (*worker, *ort.Value, error) {
	w := &worker{loss: make([]float32, 1), share: []float32{1}, grads: map[string]*ort.Value{}, draws: d}
	loss, err := e.floats([]int64{}, w.loss)
	if err != nil {
		return nil, nil, err
	}
	share, err := e.floats([]int64{1}, w.share)
	if err != nil {
		return nil, nil, err
	}
	for _, sl := range e.models.slots {
		if w.grads[sl.name], err = e.floats(sl.dims, make([]float32, sl.len())); err != nil {
			return nil, nil, err
		}
	}
	for side := range w.sides {
		b, err := e.binding(s)
		if err != nil {
			return nil, nil, err
		}
		w.sides[side] = b
		if err := errors.Join(e.state.bind(b, side, e.state.slotNames(false), false), e.state.bindChain(b, side), d.bind(b)); err != nil {
			return nil, nil, err
		}
		if err := b.Output(e.art.LossName, loss); err != nil {
			return nil, nil, err
		}
		for _, sl := range e.models.slots {
			if err := b.Output(sl.grad(), w.grads[sl.name]); err != nil {
				return nil, nil, err
			}
		}
	}
	return w, share, nil
}

// gradients runs forward and backward on all workers and returns the loss of
// the batch: the mean over its samples.
func (r *workerRunner) gradients(ctx context.Context, batch map[string]*ort.Value) (float64, error) {
	parts := []map[string]*ort.Value{batch}
	sizes := []int64{1}
	if n := len(r.workers); n > 1 {
		var err error
		if parts, sizes, err = splitBatch(batch, n); err != nil {
			return 0, err
		}
		defer closeParts(parts)
	}
	total := int64(0)
	for _, s := range sizes {
		total += s
	}
	for k, w := range r.workers {
		r.e.fillDraws(w.draws, k)
		w.share[0] = float32(float64(sizes[k]) / float64(total))
	}
	if err := r.e.computing(func() error { return r.runParts(ctx, parts) }); err != nil {
		return 0, err
	}
	loss := 0.0
	for k, w := range r.workers {
		loss += float64(w.loss[0]) * float64(sizes[k]) / float64(total)
	}
	return loss, nil
}

// runParts runs the workers side by side, the last one on this goroutine.
func (r *workerRunner) runParts(ctx context.Context, parts []map[string]*ort.Value) error {
	errs := make([]error, len(r.workers))
	run := func(k int) { errs[k] = r.workers[k].run(ctx, r.e.state.cur, parts[k]) }
	last := len(r.workers) - 1
	var wg sync.WaitGroup
	for k := range last {
		wg.Go(func() { run(k) })
	}
	run(last)
	wg.Wait()
	return errors.Join(errs...)
}

func (w *worker) run(ctx context.Context, side int, batch map[string]*ort.Value) error {
	b := w.sides[side]
	for name, v := range batch {
		if err := b.Input(name, v); err != nil {
			return err
		}
	}
	return b.Run(ctx)
}

// apply updates the state from the workers' gradients, plus the running sum
// where accumulated is set.
func (r *workerRunner) apply(ctx context.Context, accumulated bool) error {
	sides := &r.update
	if accumulated {
		sides = &r.updAcc
	}
	if sides[0] == nil {
		m, err := r.e.models.update(len(r.workers), accumulated)
		if err != nil {
			return err
		}
		if err := r.bindUpdate(m, sides); err != nil {
			return err
		}
	}
	b := sides[r.e.state.cur]
	if accumulated {
		for _, sl := range r.e.models.slots {
			if err := b.Input(accName+sl.grad(), r.acc[sl.name].value[r.accCur]); err != nil {
				return err
			}
		}
	}
	return r.e.computing(func() error { return b.Run(ctx) })
}

func (r *workerRunner) bindUpdate(m *onnxgraph.Model, sides *[2]*ort.Binding) error {
	s, err := r.e.session(m, 1)
	if err != nil {
		return err
	}
	for side := range sides {
		b, err := r.e.binding(s)
		if err != nil {
			return err
		}
		if err := r.e.state.bind(b, side, r.e.state.slotNames(true), true); err != nil {
			return err
		}
		if err := r.e.bindClock(b); err != nil {
			return err
		}
		if err := r.bindGrads(b); err != nil {
			return err
		}
		sides[side] = b
	}
	return nil
}

// bindGrads binds what the workers wrote.
func (r *workerRunner) bindGrads(b *ort.Binding) error {
	for k, w := range r.workers {
		if err := b.Input(fmt.Sprintf(shareName, k), r.shares[k]); err != nil {
			return err
		}
		for _, sl := range r.e.models.slots {
			if err := b.Input(workerGrad(sl, k), w.grads[sl.name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// addUp adds the workers' gradients to the running sum, after clearing it
// where first is set.
func (r *workerRunner) addUp(ctx context.Context, first bool) error {
	if r.acc == nil {
		if err := r.newAccumulator(); err != nil {
			return err
		}
	}
	if first {
		for _, p := range r.acc {
			clear(p.data[r.accCur])
		}
	}
	if err := r.e.computing(func() error { return r.addSide[r.accCur].Run(ctx) }); err != nil {
		return err
	}
	r.accCur = 1 - r.accCur
	return nil
}

func (r *workerRunner) newAccumulator() error {
	m, err := r.e.models.accumulate(len(r.workers))
	if err != nil {
		return err
	}
	s, err := r.e.session(m, 1)
	if err != nil {
		return err
	}
	acc := map[string]*pair{}
	for _, sl := range r.e.models.slots {
		p := &pair{}
		for side := range p.data {
			p.data[side] = make([]float32, sl.len())
			if p.value[side], err = r.e.floats(sl.dims, p.data[side]); err != nil {
				return err
			}
		}
		acc[sl.name] = p
	}
	for side := range r.addSide {
		b, err := r.e.binding(s)
		if err != nil {
			return err
		}
		if err := r.bindGrads(b); err != nil {
			return err
		}
		for _, sl := range r.e.models.slots {
			if err := b.Input(accName+sl.grad(), acc[sl.name].value[side]); err != nil {
				return err
			}
			if err := b.Output(accName+sl.grad()+updatedSuffix, acc[sl.name].value[1-side]); err != nil {
				return err
			}
		}
		r.addSide[side] = b
	}
	r.acc = acc
	return nil
}

func (e *Executor) stepWorkers(ctx context.Context, n int, batch map[string]*ort.Value) (float64, error) {
	r, err := e.runner(n)
	if err != nil {
		return 0, err
	}
	loss, err := r.gradients(ctx, batch)
	if err != nil {
		return 0, err
	}
	return loss, r.apply(ctx, false)
}
