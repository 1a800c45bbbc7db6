package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"ninox/onnxgraph/weights"
)

// trial is a nowcast under the safeguard: training has gone on from the
// predicted parameters, and what stood before can still be restored.
//
// A nowcast cannot be judged by the loss at the moment of the jump. The jump
// overshoots along the few directions in which the loss is steep, so that the
// loss is often several times as high as before; the optimizer corrects these
// directions within some tens of steps, and only then does the way gained
// along the flat ones show. So the loss at the end of the trial is compared with
// that before the nowcast, on the same minibatches, held out from the steps so
// far, and at a few points of both, so that the noise of the steps is known. The
// nowcast is undone where the loss has risen by more than that; it helped where
// the loss is below the line through the losses before it.
//
// Steps of the trial are steps of the run. Where the nowcast stays the safeguard
// costs nothing but its evaluations; where it is undone, the steps of the trial are
// what it costs, and the account limits them.
type trial struct {
	trialMeta
	params, moments, buffers *weights.Set // before the nowcast
}

type trialMeta struct {
	Until   int       `json:"until"`   // the last step of the trial
	Updates int64     `json:"updates"` // of the optimizer, before the nowcast
	Course  []float64 `json:"course"`  // training losses of the steps before the nowcast
	Steps   int       `json:"steps"`   // since the nowcast
	Before  []float64 `json:"before"`  // losses on the minibatches held out
	After   []float64 `json:"after"`
}

// TrialRecord is how a nowcast did in its trial. Losses are on minibatches held
// out.
type TrialRecord struct {
	Steps    int     `json:"steps"`         // how long the trial was
	Before   float64 `json:"loss_before"`   // before the nowcast
	Expected float64 `json:"loss_expected"` // what it would have come to without the nowcast
	After    float64 `json:"loss_after"`    // at the end of the trial
	Helped   bool    `json:"helped"`        // After is below Expected
}

// account limits the steps that the safeguard may waste, and remembers how
// bold it may be. It is part of every checkpoint.
type account struct {
	Left    int       `json:"left"`           // steps that may still be wasted
	Caution int       `json:"caution"`        // candidates that are left out, from the boldest on
	Start   float64   `json:"start"`          // mean loss of the first steps, 0 before these
	Held    []float64 `json:"held,omitempty"` // losses on minibatches held out, of the steps before the next nowcast
}

// SafeguardCost is what the safeguard has cost.
type SafeguardCost struct {
	Trials      int     `json:"trials"`
	WastedSteps int     `json:"wasted_steps"` // of nowcasts that were undone, part of the run's steps
	Evaluations int     `json:"evaluations"`  // of minibatches, forward only, besides the run's steps
	Seconds     float64 `json:"seconds"`      // of nowcasts, their candidates and evaluations
}

// trialSteps is the length of a trial, and trialWindow the number of steps at its
// end over which losses are measured. A trial ends before the next state is
// collected, so that no state stems from parameters that are given up.
func (c *Config) trialSteps() int  { return max(1, c.Period/c.Nowcaster.Context()/2) }
func (c *Config) trialWindow() int { return max(1, c.trialSteps()/4) }

// wastable is the number of steps that the safeguard may waste: a hundredth of the
// run's, and one trial at least.
func (c *Config) wastable() int { return max(c.trialSteps(), c.Steps/100) }

func (a *account) affords(steps int) bool { return a.Left >= steps }

// book notes the outcome of a trial. A nowcast that stays pays for another that
// may be undone; after one that is undone, the next candidate is less bold.
func (a *account) book(kept bool, steps, limit int) {
	if kept {
		a.Left, a.Caution = min(a.Left+steps, limit), max(0, a.Caution-1)
	} else {
		a.Left, a.Caution = a.Left-steps, a.Caution+1
	}
}

// openTrial notes what stood before a nowcast at the given step. It is called
// before the prediction is put in.
func (l *loop) openTrial(step int) (*trial, error) {
	t := &trial{trialMeta: trialMeta{
		Until: step + l.trialSteps(), Updates: l.Trainer.StepCount(), Course: append([]float64{}, l.recent...), Before: l.account.Held,
	}}
	l.account.Held = nil
	var errs [3]error
	t.params, errs[0] = l.Trainer.State()
	t.moments, errs[1] = l.Trainer.Moments()
	t.buffers, errs[2] = l.buffers()
	return t, errors.Join(errs[:]...)
}

// remember keeps the loss of a step, for the next trial, and measures before the
// next nowcast and in the trial under way.
func (l *loop) remember(ctx context.Context, step int, loss float64) error {
	if l.Nowcaster == nil || !l.Safeguard || math.IsNaN(loss) || math.IsInf(loss, 0) {
		return nil
	}
	if t := l.trial; t != nil {
		t.Steps++
		if step == l.Steps || l.measures(t.Until-step) {
			return l.measure(ctx, t.Until, &t.After)
		}
		return nil
	}
	l.recent = append(l.recent, loss)
	if extra := len(l.recent) - 2*l.trialSteps(); extra > 0 {
		l.recent = append([]float64{}, l.recent[extra:]...)
	}
	if l.account.Start == 0 && len(l.recent) == l.trialWindow() {
		l.account.Start = mean(l.recent)
	}
	if left := l.Period - step%l.Period; l.measures(left) && l.account.affords(l.trialSteps()) {
		return l.measure(ctx, step+left+l.trialSteps(), &l.account.Held)
	}
	return nil
}

// measures says whether so many steps before a nowcast, or before the end of its
// trial, the loss is measured: a window before, in its middle, and at its end.
func (l *loop) measures(left int) bool {
	w := l.trialWindow()
	return left == 0 || left < l.Period && (left == w || left == w/2)
}

// measure adds the present loss on the minibatches held out of a trial that ends
// at the given step.
func (l *loop) measure(ctx context.Context, until int, to *[]float64) error {
	begin := time.Now()
	defer func() { l.cost.Seconds += time.Since(begin).Seconds() }()
	held, release, err := l.heldOut(ctx, until)
	if err != nil {
		return err
	}
	defer release()
	loss, err := l.evalLoss(ctx, held)
	l.cost.Evaluations += len(held)
	*to = append(*to, loss)
	return err
}

// settle ends a trial that is over, or cannot go on because the loss is no
// longer finite. It returns the record of a nowcast that was undone.
func (l *loop) settle(step int, loss float64) (*Nowcast, error) {
	t := l.trial
	finite := !math.IsNaN(loss) && !math.IsInf(loss, 0)
	if t == nil || finite && step < t.Until && step < l.Steps {
		return nil, nil
	}
	l.trial = nil
	n := &l.nowcasts[len(l.nowcasts)-1]
	reason := fmt.Sprintf("the loss is %v at step %d", loss, step)
	if finite {
		reason = t.verdict(n)
	}
	l.account.book(reason == "", l.trialSteps(), l.wastable())
	l.cost.Trials++
	if reason != "" {
		l.cost.WastedSteps += t.Steps
	}
	if reason == "" {
		l.recent = nil // the losses of the trial are no course to go by
		return nil, nil
	}
	n.Accepted, n.Reason = false, reason
	if err := errors.Join(l.Trainer.SetState(t.params), l.Trainer.SetMoments(t.moments), l.setBuffers(t.buffers)); err != nil {
		return nil, fmt.Errorf("undoing the nowcast of step %d: %w", n.Step, err)
	}
	l.Trainer.SetStepCount(t.Updates)
	l.recent = t.Course
	l.Log.Info("nowcast undone", "step", step, "nowcast", n.Step, "reason", n.Reason)
	l.progress.nowcast(*n)
	return n, nil
}

// verdict says why a nowcast is to be undone, "" where it stays: the loss rose by
// more than its standard error. A nowcast that no step follows is judged by its
// own batch.
func (t *trial) verdict(n *Nowcast) string {
	if len(t.After) == 0 {
		if n.LossAfter != nil && *n.LossAfter > n.LossBefore {
			return "the loss of the batch rises, and no steps follow"
		}
		return ""
	}
	a, b := mean(t.Before), mean(t.After)
	expected := a + min(0, slopeOf(t.Course))*float64(t.Steps)
	n.Trial = &TrialRecord{Steps: t.Steps, Before: a, Expected: expected, After: b, Helped: b < expected}
	if b-a <= math.Sqrt(variance(t.Before)/float64(len(t.Before))+variance(t.After)/float64(len(t.After))) {
		return ""
	}
	return fmt.Sprintf("after %d steps the loss on other minibatches is %.4f, before it was %.4f", t.Steps, b, a)
}

// slopeOf is the slope of the least squares line through losses, one a step.
func slopeOf(losses []float64) float64 {
	middle := float64(len(losses)-1) / 2
	squares, products := 0.0, 0.0
	for i, x := range losses {
		d := float64(i) - middle
		squares += d * d
		products += d * x
	}
	if squares == 0 {
		return 0
	}
	return products / squares
}

// variance is the unbiased one, 0 for a single value.
func variance(v []float64) float64 {
	if len(v) < 2 {
		return 0
	}
	m, sum := mean(v), 0.0
	for _, x := range v {
		sum += (x - m) * (x - m)
	}
	return sum / float64(len(v)-1)
}
