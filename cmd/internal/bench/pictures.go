package bench

import (
	"context"
	"slices"

	"ninox/cmd/internal/accelerate"
	"ninox/cmd/internal/analysis"
	"ninox/cmd/internal/job"
	"ninox/cmd/internal/method"
	"ninox/nino"
	"ninox/training/bench"
	"ninox/training/plot"
)

// pictures are those of the runs with the first seed, task by task.
func (b *benchRun) pictures(ctx context.Context) ([]plot.Picture, error) {
	engine, err := b.app.Engine(ctx)
	if err != nil {
		return nil, err
	}
	networks, err := b.networks()
	if err != nil {
		return nil, err
	}
	var out []plot.Picture
	for _, t := range b.protocol.Tasks {
		if keptStates(t) == "" {
			continue
		}
		s := analysis.Subject{Task: t.Title, Period: t.Period, Networks: networks}
		for i, m := range b.protocol.Methods {
			r := bench.Run{Task: t.Name, Method: m.Name, LR: b.rates[t.Name][m.Name], Seed: b.protocol.Seeds[0]}
			s.Runs = append(s.Runs, analysis.Run{Name: m.Title(), Dir: b.runDir(r), Color: i % plot.Colors})
		}
		base, err := accelerate.Parse(ctx, b.app, arguments(b.protocol, t, b.protocol.Base(), "run", 0))
		if err != nil {
			return nil, err
		}
		quiet := *b.app
		quiet.Quiet = true
		j, err := job.Prepare(ctx, &quiet, base.Source, base.Options)
		if err != nil {
			return nil, err
		}
		if s.Graph, err = method.GraphOf(j.Artifacts); err != nil {
			return nil, err
		}
		p, err := analysis.Pictures(ctx, engine, s)
		if err != nil {
			return nil, err
		}
		out = append(out, p...)
	}
	return out, nil
}

// networks are the weights of the methods, each file once.
func (b *benchRun) networks() ([]*nino.Weights, error) {
	var out []*nino.Weights
	var seen []string
	for _, m := range b.protocol.Methods {
		if kind, err := method.Lookup(m.Method); err != nil || !kind.Nowcasts() {
			continue
		}
		w, origin, err := nino.ImportOrEmbedded(m.Weights, m.Method)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(seen, origin) {
			seen, out = append(seen, origin), append(out, w)
		}
	}
	return out, nil
}
