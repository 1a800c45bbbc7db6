package method

import (
	"fmt"

	"ninox/nino"
	"ninox/training"
)

// learned lets a network make every step. Weight decay and the clipping of
// gradients are the optimizer's and go with it.
func learned(p *Plan, s *setup) error {
	w, err := p.l2oWeights(s)
	if err != nil {
		return err
	}
	g, err := GraphOf(p.Job.Artifacts)
	if err != nil {
		return fmt.Errorf("neuron graph of %s: %w", p.Job.Source.Name(), err)
	}
	rule, err := nino.NewL2O(s.engine, w, g)
	if err != nil {
		return err
	}
	p.close = append(p.close, rule.Close)
	p.Run.Rule = rule
	// The artifacts keep an optimizer, which takes no part: one without moments.
	return p.optimize(func(training.Optimizer) training.Optimizer { return training.Optimizer{Kind: training.SGD} })
}

// l2oWeights reads the weights, and records which they are.
func (p *Plan) l2oWeights(s *setup) (*nino.L2OWeights, error) {
	w, err := nino.ReadL2O(s.Weights)
	if err != nil {
		return nil, err
	}
	if s.Weights == "" {
		p.Run.Record["weights"] = "the program's " + L2O
		return w, nil
	}
	hash, err := training.FileHash(s.Weights)
	if err != nil {
		return nil, err
	}
	p.Run.Record["weights"] = map[string]string{"path": s.Weights, "sha256": hash}
	return w, nil
}
