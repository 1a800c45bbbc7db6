package accelerate

import (
	"context"
	"path/filepath"

	"ninox/cmd/internal/analysis"
	"ninox/cmd/internal/method"
	"ninox/nino"
	"ninox/training"
	"ninox/training/plot"
)

// pictures are those of a comparison that kept states. What keeps them from
// being drawn is said, but does not spoil the run.
func (r *runner) pictures(ctx context.Context, runs []training.RunRecord) []plot.Picture {
	if len(runs) < 2 || len(r.plain.KeepStates) == 0 {
		return nil
	}
	s := analysis.Subject{Task: r.plain.Source.Name(), Period: r.plan.Run.Period, Runs: []analysis.Run{
		{Name: runs[0].Name, Dir: filepath.Join(r.out, "baseline"), Color: 0}, {Name: runs[1].Name, Dir: r.out, Color: 1},
	}}
	out, err := r.draw(ctx, s)
	if err != nil {
		r.app.Notef("report without pictures of the states: %v", err)
	}
	return out
}

func (r *runner) draw(ctx context.Context, s analysis.Subject) ([]plot.Picture, error) {
	var err error
	if s.Graph, err = method.GraphOf(r.plain.Artifacts); err != nil {
		return nil, err
	}
	if r.plan.Method.Nowcasts() {
		w, _, err := nino.ImportOrEmbedded(r.weights, r.plan.Method.Name)
		if err != nil {
			return nil, err
		}
		s.Networks = append(s.Networks, w)
	}
	return analysis.Pictures(ctx, r.engine, s)
}
