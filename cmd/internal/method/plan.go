package method

import (
	"cmp"
	"fmt"

	"ninox/cmd/internal/job"
	"ninox/nino"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
)

// Plan is a method made ready for a job.
type Plan struct {
	Method Method
	Job    *job.Job       // the job, with another optimizer where the method says so
	Run    job.RunOptions // all but the folder
	close  []func()
}

// Close frees what the plan holds.
func (p *Plan) Close() {
	for _, f := range p.close {
		f()
	}
}

// setup is what a method is made from.
type setup struct {
	*Options
	engine *ort.Engine
}

// Plan makes the method ready for a job. Close the plan after its runs.
func (m Method) Plan(engine *ort.Engine, j *job.Job, o Options) (*Plan, error) {
	p := &Plan{Method: m, Job: j, Run: job.RunOptions{Method: m.Name, Period: o.Period, Record: map[string]any{}}}
	if err := m.prepare(p, &setup{&o, engine}); err != nil {
		p.Close()
		return nil, err
	}
	p.Run.Label = p.label(Baseline(j))
	return p, nil
}

// Baseline is what plain training of a job is called: "adam".
func Baseline(j *job.Job) string { return j.Artifacts.Config.Kind }

// label is what a run of the plan is called: "adam + nino", or "muon".
func (p *Plan) label(base string) string {
	switch p.Method.Kind {
	case Plain:
		return base
	case Optimizer:
		return p.Method.Name
	}
	return base + " + " + p.Method.Name
}

func nothing(*Plan, *setup) error { return nil }

// line prepares a nowcast along a straight line.
func line(fit func() *nino.Linear) func(*Plan, *setup) error {
	return func(p *Plan, s *setup) error {
		l := fit().Over(s.context())
		horizon := cmp.Or(s.Horizon, p.Method.horizon)
		p.nowcasts(s, l, horizon, []training.Alternative{{Nowcaster: l, Share: 0.5}, {Nowcaster: l, Share: 0.25}, {Nowcaster: training.MeanOfStates(l.Context()), Share: 1}})
		return nil
	}
}

// nowcasts adds nowcasts, and the candidates of the safeguard.
func (p *Plan) nowcasts(s *setup, n training.Nowcaster, horizon int, more []training.Alternative) {
	power := nino.DefaultPower
	if p.Method.fixed {
		power = 0
	}
	if s.Power != nil {
		power = *s.Power
	}
	r := &p.Run
	r.Nowcaster, r.Safeguard, r.Moments = n, s.Safeguard == on, s.Moments
	r.Horizons = nino.Horizons(horizon, p.Job.Steps, s.Period, power)
	if r.Safeguard {
		r.Alternatives = more
	}
}

func ema(p *Plan, s *setup) error {
	p.Run.Averager = func(*weights.Set) training.Averager { return training.EMA(cmp.Or(s.Decay, 0.999)) }
	return nil
}

func lawa(p *Plan, s *setup) error {
	every, states := cmp.Or(s.Every, max(1, s.Period/nino.DefaultContext)), cmp.Or(s.States, nino.DefaultContext)
	p.Run.Averager = func(*weights.Set) training.Averager { return training.LAWA(every, states) }
	return nil
}

func lookahead(p *Plan, s *setup) error {
	p.Run.Averager = func(start *weights.Set) training.Averager {
		return training.Lookahead(cmp.Or(s.Every, 5), cmp.Or(s.Ahead, 0.5), start)
	}
	return nil
}

func emaNesterov(p *Plan, s *setup) error {
	p.Run.Averager = func(start *weights.Set) training.Averager {
		return training.EMANesterov(cmp.Or(s.Decay, 0.99), cmp.Or(s.Ahead, 0.5), start)
	}
	return nil
}

// scheduleFree replaces the optimizer, with what it shares with the present one.
func scheduleFree(p *Plan, s *setup) error {
	return p.optimize(func(base training.Optimizer) training.Optimizer {
		return training.Optimizer{Kind: training.ScheduleFree, Warmup: p.Job.Warmup, WeightDecay: base.WeightDecay, ClipNorm: base.ClipNorm}
	})
}

// muon steps as long as AdamW does, so that both share the learning rate.
func muon(p *Plan, s *setup) error {
	return p.optimize(func(base training.Optimizer) training.Optimizer {
		return training.Optimizer{Kind: training.Muon, Adjust: training.MatchRMS, WeightDecay: base.WeightDecay, ClipNorm: base.ClipNorm}
	})
}

// optimize replaces the job's optimizer.
func (p *Plan) optimize(by func(base training.Optimizer) training.Optimizer) error {
	art, err := p.Job.Artifacts.WithOptimizer(by(p.Job.Artifacts.Config))
	if err != nil {
		return fmt.Errorf("--method %s: %w", p.Method.Name, err)
	}
	j := *p.Job
	j.Artifacts = art
	p.Job = &j
	return nil
}
