package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training/data"
)

// Alternative is a further candidate of the safeguard: a nowcast by another
// method, or less far.
type Alternative struct {
	Nowcaster Nowcaster
	Share     float64 // of the horizon that is due; the result is at least 1
}

// Candidate is how a prediction, or the parameters as they are, did on minibatches
// held out from the steps so far.
type Candidate struct {
	Method string   `json:"method"` // "keep" for the parameters as they are
	K      int      `json:"k,omitempty"`
	Loss   *float64 `json:"loss"` // null where it is not finite
}

const (
	candidateKeep = "keep"
	// heldOut is the number of minibatches that candidates are scored on: those of
	// the steps to come, a trial later.
	heldOut = 4
)

// MeanOfStates is the nowcaster whose prediction is the mean of the states: it denoises
// rather than foresees.
func MeanOfStates(context int) Nowcaster { return meanState(context) }

type meanState int

func (meanState) Name() string   { return "average" }
func (m meanState) Context() int { return int(m) }

func (m meanState) Nowcast(_ context.Context, states []*weights.Set, _ int) (*weights.Set, error) {
	return meanOf(states)
}

// candidates are the nowcaster itself and the alternatives, boldest first.
func (l *loop) candidates() []Alternative {
	return append([]Alternative{{l.Nowcaster, 1}}, l.Alternatives...)
}

// chooseCandidate scores candidates on minibatches held out, from the boldest on
// that the account allows, and takes the first that is plausible.
func (l *loop) chooseCandidate(ctx context.Context, r *Nowcast, states []*weights.Set) (*weights.Set, error) {
	begin := time.Now()
	defer func() { r.Seconds = time.Since(begin).Seconds() }()
	if !l.account.affords(l.trialSteps()) {
		l.account.Held = nil
		r.K = 0
		r.Reason = "earlier nowcasts did not help, and the safeguard may not waste more steps"
		return nil, nil
	}
	held, release, err := l.heldOut(ctx, r.Step+l.trialSteps())
	if err != nil {
		return nil, err
	}
	defer release()
	newest := states[len(states)-1]
	if err := l.score(ctx, r, Candidate{Method: candidateKeep}, held); err != nil {
		return nil, err
	}
	if keep := r.Candidates[0].Loss; keep != nil {
		l.account.Held = append(l.account.Held, *keep)
	}
	all := l.candidates()
	for _, a := range all[min(l.account.Caution, len(all)-1):] {
		c := Candidate{Method: a.Nowcaster.Name(), K: max(1, int(math.Round(a.Share*float64(r.K))))}
		predicted, err := l.consider(ctx, r, a.Nowcaster, c, states, held)
		if err != nil {
			return nil, errors.Join(err, l.Trainer.SetState(newest))
		}
		if l.account.plausible(r.Candidates[len(r.Candidates)-1], r.Candidates[0].Loss) {
			r.Method, r.K = c.Method, c.K
			return predicted, l.Trainer.SetState(newest)
		}
	}
	r.Reason = "every candidate is far worse than the parameters as they are"
	return nil, l.Trainer.SetState(newest)
}

// consider makes the prediction of a candidate and scores it. It leaves it in the
// trainer.
func (l *loop) consider(ctx context.Context, r *Nowcast, n Nowcaster, c Candidate, states []*weights.Set, held []map[string]*ort.Value) (*weights.Set, error) {
	predicted, err := predict(ctx, n, states, c.K)
	if err != nil {
		return nil, err
	}
	if notFinite(predicted) != "" {
		r.Candidates = append(r.Candidates, c)
		return predicted, nil
	}
	if err := l.Trainer.SetState(predicted); err != nil {
		return nil, fmt.Errorf("nowcast with %s: %w", n.Name(), err)
	}
	return predicted, l.score(ctx, r, c, held)
}

// plausible says whether a candidate is worth a trial: its loss is not above that
// of the network at its start, or not above twice that of the parameters as they
// are, keep. Beyond that the loss at once does not tell which candidate is best:
// the bolder the jump, the higher it is, and the more it may gain.
func (a *account) plausible(c Candidate, keep *float64) bool {
	if c.Loss == nil || keep == nil {
		return c.Loss != nil
	}
	return *c.Loss <= max(a.Start, *keep+math.Abs(*keep))
}

// score adds a candidate with the loss at the present parameters.
func (l *loop) score(ctx context.Context, r *Nowcast, c Candidate, held []map[string]*ort.Value) error {
	loss, err := l.evalLoss(ctx, held)
	if err != nil {
		return err
	}
	l.cost.Evaluations += len(held)
	if !math.IsNaN(loss) && !math.IsInf(loss, 0) {
		c.Loss = &loss
	}
	r.Candidates = append(r.Candidates, c)
	return nil
}

// heldOut are the minibatches that the steps will be made with after a trial
// that ends with the given one.
// release frees them.
func (l *loop) heldOut(ctx context.Context, until int) (batches []map[string]*ort.Value, release func(), err error) {
	loader, err := data.NewLoader(l.train, data.LoaderOptions{
		Batch: l.perBatch, Shuffle: !l.NoShuffle, Seed: l.Seed, Start: int64(until) * int64(l.Accumulate), Hold: heldOut, Depth: 1,
	})
	if err != nil {
		return nil, nil, err
	}
	release = func() {
		for _, b := range batches {
			closeValues(b)
		}
		loader.Close()
	}
	for range heldOut {
		b, err := loader.Next(ctx)
		var v map[string]*ort.Value
		if err == nil {
			v, err = valuesOf(b, l.perBatch)
		}
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("minibatches of the safeguard: %w", err)
		}
		batches = append(batches, v)
	}
	return batches, release, nil
}
