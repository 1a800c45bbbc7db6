package training

import (
	"errors"
	"fmt"
	"math"

	"ninox/onnxgraph/weights"
)

// trial is a nowcast under the safeguard: training has gone on from the
// predicted parameters, and what stood before can still be restored.
//
// A nowcast cannot be judged by the loss at the moment of the jump. The jump
// overshoots along the few directions in which the loss is steep, so that the
// loss is often several times as high as before; the optimizer corrects these
// directions within some tens of steps, and only then does the way gained
// along the flat ones show. So the mean training loss at the end of the trial
// is compared with the line through the losses before the nowcast: with its end,
// to decide whether the nowcast stays, and with its continuation over the trial,
// to decide whether it helped.
//
// Steps of the trial are steps of the run. Where the nowcast helps the safeguard
// costs nothing but its evaluations; where it does not, the steps of the trial are
// what it costs, and the account limits them.
type trial struct {
	trialMeta
	params, moments, buffers *weights.Set // before the nowcast
}

type trialMeta struct {
	Until   int       `json:"until"`   // the last step of the trial
	Updates int64     `json:"updates"` // of the optimizer, before the nowcast
	Before  []float64 `json:"before"`  // losses of the steps before the nowcast
	After   []float64 `json:"after"`   // losses since
}

// TrialRecord is how a nowcast did in its trial.
type TrialRecord struct {
	Steps    int     `json:"steps"`         // how long the trial was
	Before   float64 `json:"loss_before"`   // training loss before the nowcast
	Expected float64 `json:"loss_expected"` // what it would have come to without the nowcast
	After    float64 `json:"loss_after"`    // mean training loss at the end of the trial
	Helped   bool    `json:"helped"`        // After is below Expected
}

// account limits the steps that the safeguard may waste, and remembers how
// bold it may be. It is part of every checkpoint.
type account struct {
	Left    int     `json:"left"`    // steps that may still be wasted
	Caution int     `json:"caution"` // candidates that are left out, from the boldest on
	Start   float64 `json:"start"`   // mean loss of the first steps, 0 before these
}

// SafeguardCost is what the safeguard has cost.
type SafeguardCost struct {
	Trials      int     `json:"trials"`
	WastedSteps int     `json:"wasted_steps"` // of trials that did not help, part of the run's steps
	Evaluations int     `json:"evaluations"`  // of minibatches, forward only, besides the run's steps
	Seconds     float64 `json:"seconds"`      // of nowcasts, their candidates and evaluations
}

// trialSteps is the length of a trial, and trialWindow the number of steps at its
// end over which losses are averaged. A trial ends before the next state is
// collected, so that no state stems from parameters that are given up.
func (c *Config) trialSteps() int  { return max(1, c.Period/c.Nowcaster.Context()/2) }
func (c *Config) trialWindow() int { return max(1, c.trialSteps()/2) }

// wastable is the number of steps that the safeguard may waste: a hundredth of the
// run's, and one trial at least.
func (c *Config) wastable() int { return max(c.trialSteps(), c.Steps/100) }

func (a *account) affords(steps int) bool { return a.Left >= steps }

// book notes the outcome of a trial. One that helped pays for another that may
// fail; after one that did not, the next candidate is less bold.
func (a *account) book(helped bool, steps, limit int) {
	if helped {
		a.Left, a.Caution = min(a.Left+steps, limit), max(0, a.Caution-1)
	} else {
		a.Left, a.Caution = a.Left-steps, a.Caution+1
	}
}

// openTrial notes what stood before a nowcast at the given step. It is called
// before the prediction is put in.
func (l *loop) openTrial(step int) (*trial, error) {
	t := &trial{trialMeta: trialMeta{Until: step + l.trialSteps(), Updates: l.Trainer.StepCount(), Before: append([]float64{}, l.recent...)}}
	var errs [3]error
	t.params, errs[0] = l.Trainer.State()
	t.moments, errs[1] = l.Trainer.Moments()
	t.buffers, errs[2] = l.buffers()
	return t, errors.Join(errs[:]...)
}

// remember keeps the losses of the latest steps, for the next trial and for
// the one under way.
func (l *loop) remember(loss float64) {
	if l.Nowcaster == nil || !l.Safeguard {
		return
	}
	if l.trial != nil {
		l.trial.After = append(l.trial.After, loss)
		return
	}
	l.recent = append(l.recent, loss)
	if extra := len(l.recent) - 2*l.trialSteps(); extra > 0 {
		l.recent = append([]float64{}, l.recent[extra:]...)
	}
	if l.account.Start == 0 && len(l.recent) == l.trialWindow() {
		l.account.Start = mean(l.recent)
	}
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
		reason = t.verdict(l.trialWindow(), n)
	}
	helped := reason == "" && (n.Trial == nil || n.Trial.Helped)
	l.account.book(helped, l.trialSteps(), l.wastable())
	l.cost.Trials++
	if !helped {
		l.cost.WastedSteps += len(t.After)
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
	l.recent = t.Before
	l.Log.Info("nowcast undone", "step", step, "nowcast", n.Step, "reason", n.Reason)
	l.progress.nowcast(*n)
	return n, nil
}

// verdict says why a nowcast is to be undone, "" where it stays: the mean loss
// rose by more than its standard error. A nowcast before any step, or one that
// no step follows, is judged by its own batch.
func (t *trial) verdict(window int, n *Nowcast) string {
	after := t.After[max(0, len(t.After)-window):]
	if len(after) == 0 || len(t.Before) == 0 {
		if n.LossAfter != nil && *n.LossAfter > n.LossBefore {
			return "the loss of the batch rises, and no steps follow"
		}
		return ""
	}
	before := courseOf(t.Before)
	a, b := before.end, mean(after)
	expected := a + min(0, before.slope)*(float64(len(t.After))-float64(len(after)-1)/2)
	n.Trial = &TrialRecord{Steps: len(t.After), Before: a, Expected: expected, After: b, Helped: b < expected}
	if b-a <= math.Sqrt(before.variance+variance(after)/float64(len(after))) {
		return ""
	}
	return fmt.Sprintf("after %d steps the training loss is %.4f, before it was %.4f", len(t.After), b, a)
}

// course is a least squares line through losses, one a step.
type course struct {
	end, slope float64 // its value at the last step, and its rise a step
	variance   float64 // of end
}

func courseOf(losses []float64) course {
	n := float64(len(losses))
	middle, m := (n-1)/2, mean(losses)
	squares, products := 0.0, 0.0
	for i, x := range losses {
		d := float64(i) - middle
		squares += d * d
		products += d * (x - m)
	}
	if len(losses) < 3 {
		return course{end: m, variance: variance(losses) / n}
	}
	c := course{slope: products / squares}
	c.end = m + c.slope*middle
	rest := make([]float64, len(losses))
	for i, x := range losses {
		rest[i] = x - c.slope*(float64(i)-middle)
	}
	c.variance = variance(rest) * (1/n + middle*middle/squares)
	return c
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
