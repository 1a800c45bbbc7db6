package training

import (
	"context"
	"fmt"
	"math"
	"time"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// collect keeps the parameters before the update of every step that a nowcast
// looks back on, and says whether the step itself is a nowcast: with a period
// of 1000 and 5 states, states are taken at steps 200, 400, 600, 800 and 1000,
// and step 1000 is the nowcast.
func (l *loop) collect(step int) (due bool, err error) {
	if l.Nowcaster == nil || step%(l.Period/l.Nowcaster.Context()) != 0 {
		return false, nil
	}
	s, err := l.Trainer.State()
	if err != nil {
		return false, fmt.Errorf("state of step %d: %w", step, err)
	}
	l.buffer = append(l.buffer, s)
	return step%l.Period == 0, nil
}

// nowcast replaces the parameters by a prediction from the states collected,
// unless that is not finite or makes the loss so. Under the safeguard the
// prediction is one of several candidates, and is then on trial. The collected
// states are dropped either way.
func (l *loop) nowcast(ctx context.Context, step int, batches []map[string]*ort.Value) (*Nowcast, error) {
	states := l.buffer
	l.buffer = nil
	r := &Nowcast{Step: step, K: l.Horizons[min(step/l.Period, len(l.Horizons))-1]}
	var err error
	if r.LossBefore, err = l.evalLoss(ctx, batches); err != nil {
		return nil, err
	}
	if math.IsNaN(r.LossBefore) || math.IsInf(r.LossBefore, 0) {
		return nil, &NonFiniteError{step, fmt.Sprintf("the loss is %v", r.LossBefore), l.saved}
	}
	predicted, err := l.choose(ctx, r, states)
	if err != nil {
		return nil, err
	}
	if predicted != nil {
		err = l.tryParameters(ctx, r, states[len(states)-1], predicted, batches)
	}
	if err != nil {
		return nil, err
	}
	l.Log.Info("nowcast", "step", step, "k", r.K, "method", r.Method, "seconds", r.Seconds, "accepted", r.Accepted, "reason", r.Reason)
	l.progress.nowcast(*r)
	return r, nil
}

// choose makes the prediction, nil where there is none to go on with; the record
// then says why. Without the safeguard there is one candidate.
func (l *loop) choose(ctx context.Context, r *Nowcast, states []*weights.Set) (*weights.Set, error) {
	if l.Safeguard {
		return l.chooseCandidate(ctx, r, states)
	}
	start := time.Now()
	predicted, err := predict(ctx, l.Nowcaster, states, r.K)
	r.Seconds = time.Since(start).Seconds()
	if err != nil {
		return nil, err
	}
	if name := notFinite(predicted); name != "" {
		r.Reason = fmt.Sprintf("the predicted %q is not finite", name)
		return nil, nil
	}
	return predicted, nil
}

func predict(ctx context.Context, n Nowcaster, states []*weights.Set, k int) (*weights.Set, error) {
	predicted, err := n.Nowcast(ctx, states, k)
	if err != nil {
		return nil, fmt.Errorf("nowcast with %s: %w", n.Name(), err)
	}
	return predicted, nil
}

// tryParameters puts predicted parameters in, and takes them out again where
// the loss is no longer finite. Where they stay, the optimizer's moments become
// what Moments says.
func (l *loop) tryParameters(ctx context.Context, r *Nowcast, before, predicted *weights.Set, batches []map[string]*ort.Value) error {
	var t *trial
	if l.Safeguard {
		var err error
		if t, err = l.openTrial(r.Step); err != nil {
			return err
		}
	}
	if err := l.Trainer.SetState(predicted); err != nil {
		return fmt.Errorf("nowcast with %s: %w", l.Nowcaster.Name(), err)
	}
	after, err := l.evalLoss(ctx, batches)
	if err != nil {
		return err
	}
	if math.IsNaN(after) || math.IsInf(after, 0) {
		r.Reason = fmt.Sprintf("the loss becomes %v", after)
		return l.Trainer.SetState(before)
	}
	r.Accepted, r.LossAfter, l.trial = true, &after, t
	return l.adjustMoments(r.LossBefore, after)
}

// evalLoss is the mean loss of the batches at the present parameters.
func (l *loop) evalLoss(ctx context.Context, batches []map[string]*ort.Value) (float64, error) {
	var losses []float64
	for _, b := range batches {
		loss, out, err := l.Trainer.Eval(ctx, b)
		if err != nil {
			return 0, err
		}
		closeValues(out)
		losses = append(losses, loss)
	}
	return mean(losses), nil
}
