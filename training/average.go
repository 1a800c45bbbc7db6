package training

import (
	"errors"
	"fmt"

	"ninox/onnxgraph/weights"
)

// Averager acts on the parameters between optimizer steps: it averages them for
// tests and for the result, or moves them. Values of this package are EMA, LAWA,
// Lookahead and EMANesterov.
type Averager interface {
	Name() string
	String() string // name and settings, for the record
	// Every is the number of steps from one call of After to the next.
	Every() int
	// After takes the parameters after a step, counted from 1, and keeps them. It
	// returns those from which training goes on, nil for the same.
	After(step int, params *weights.Set) (next *weights.Set, err error)
	// Result is what is tested and kept at the end, nil for the parameters that
	// are trained.
	Result() *weights.Set
	// State is what a checkpoint needs to continue, and SetState takes it back.
	State() *weights.Set
	SetState(*weights.Set) error
}

// Evaluated is a Stepper whose optimizer tests and keeps other parameters than
// those it computes gradients at. *Executor is one.
type Evaluated interface {
	// Result is nil where the parameters are the same.
	Result() (*weights.Set, error)
}

// average tells the averager about a step and moves the parameters as it says.
func (l *loop) average(step int) error {
	a := l.Averager
	if a == nil || step%a.Every() != 0 {
		return nil
	}
	params, err := l.Trainer.State()
	if err != nil {
		return err
	}
	next, err := a.After(step, params)
	if err == nil && next != nil {
		err = l.Trainer.SetState(next)
	}
	if err != nil {
		return fmt.Errorf("%s after step %d: %w", a.Name(), step, err)
	}
	return nil
}

// result is what the run would leave behind now, nil where that is the
// parameters as they are trained.
func (l *loop) result() (*weights.Set, error) {
	if l.Averager != nil {
		return l.Averager.Result(), nil
	}
	if t, ok := l.Trainer.(Evaluated); ok {
		return t.Result()
	}
	return nil, nil
}

// atResult calls f while the trainer holds the result of the run.
func (l *loop) atResult(f func() error) error {
	r, err := l.result()
	if err != nil {
		return err
	}
	if r == nil {
		return f()
	}
	trained, err := l.Trainer.State()
	if err != nil {
		return err
	}
	if err := l.Trainer.SetState(r); err != nil {
		return err
	}
	return errors.Join(f(), l.Trainer.SetState(trained))
}

// averaged is the average's part of a checkpoint.
func (l *loop) averaged() *weights.Set {
	if l.Averager == nil {
		return &weights.Set{}
	}
	return l.Averager.State()
}

// setAveraged takes it back.
func (l *loop) setAveraged(s *weights.Set) error {
	if l.Averager == nil || len(s.Names()) == 0 {
		return nil
	}
	return l.Averager.SetState(s)
}
