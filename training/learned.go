package training

import (
	"context"
	"errors"
	"fmt"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// UpdateRule makes every step in place of an optimizer, from the gradients.
// *nino.L2O is one.
type UpdateRule interface {
	Name() string
	// Update returns the parameters after a step at a learning rate.
	Update(ctx context.Context, params, grads *weights.Set, lr float64) (*weights.Set, error)
	// Reset forgets all steps.
	Reset()
	// State is what the rule carries from step to step, and SetState takes it back.
	State() *weights.Set
	SetState(*weights.Set) error
}

// Learned is an Executor whose steps a rule makes. The optimizer of its
// artifacts takes no part; it should be one without moments.
type Learned struct {
	*Executor
	rule UpdateRule
}

// NewLearned lets a rule make the steps of an executor.
func NewLearned(e *Executor, rule UpdateRule) *Learned { return &Learned{e, rule} }

// Moments is the state of the rule.
func (l *Learned) Moments() (*weights.Set, error) { return l.rule.State(), nil }

// SetMoments takes it back.
func (l *Learned) SetMoments(s *weights.Set) error { return l.rule.SetState(s) }

// Step makes one step and returns the loss before it.
func (l *Learned) Step(ctx context.Context, batch map[string]*ort.Value, lr float64) (float64, error) {
	losses, err := l.StepAccumulated(ctx, []map[string]*ort.Value{batch}, lr)
	if err != nil {
		return 0, err
	}
	return losses[0], nil
}

// StepAccumulated makes one step with the sum of the gradients of several
// batches, and returns the loss of each.
func (l *Learned) StepAccumulated(ctx context.Context, batches []map[string]*ort.Value, lr float64) ([]float64, error) {
	params, err := l.State()
	if err != nil {
		return nil, err
	}
	losses, grads, err := l.gradients(ctx, batches)
	if err != nil {
		return losses, err
	}
	next, err := l.rule.Update(ctx, params, grads, lr)
	if err != nil {
		return losses, fmt.Errorf("%s: %w", l.rule.Name(), err)
	}
	l.state.flip() // to the running statistics that the batches wrote
	l.step, l.batch = l.step+1, 0
	return losses, l.SetState(next)
}

// gradients is the loss of each batch and the sum of their gradients. Running
// statistics are updated by every batch.
func (e *Executor) gradients(ctx context.Context, batches []map[string]*ort.Value) ([]float64, *weights.Set, error) {
	if len(batches) == 0 {
		return nil, nil, errors.New("step: no batches")
	}
	sum := &weights.Set{}
	for _, p := range e.art.Params {
		sum.AddFloats(p.Name, p.Dims, make([]float32, p.Len()))
	}
	var losses []float64
	for i, b := range batches {
		if err := e.checkBatch(b); err != nil {
			return losses, nil, err
		}
		n, err := e.chooseWorkers(ctx, b)
		if err != nil {
			return losses, nil, err
		}
		r, err := e.runner(n)
		if err == nil {
			err = e.state.chainBuffers(ctx, i == 0)
		}
		if err != nil {
			return losses, nil, err
		}
		e.batch = i
		loss, err := r.gradients(ctx, b)
		if err == nil {
			err = r.addTo(sum)
		}
		if err != nil {
			return losses, nil, fmt.Errorf("batch %d of %d: %w", i+1, len(batches), err)
		}
		losses = append(losses, loss)
	}
	return losses, sum, nil
}

// addTo adds the gradients that the workers computed last.
func (r *workerRunner) addTo(sum *weights.Set) error {
	for _, sl := range r.e.models.slots {
		at := int64(0)
		for _, p := range sl.params {
			to, err := sum.Floats(p.Name)
			if err != nil {
				return err
			}
			for _, w := range r.workers {
				for i, g := range w.grads[sl.name].Floats()[at : at+p.Len()] {
					to[i] += g * w.share[0]
				}
			}
			at += p.Len()
		}
	}
	return nil
}
