package accelerate

import (
	"context"
	"fmt"
	"path/filepath"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	ort "ninox/runtime"
	"ninox/training"
)

// runner runs the trainings of one invocation.
type runner struct {
	app    *app.App
	job    *job.Job
	engine *ort.Engine
	out    string
}

// optimizer is what plain training is called: "adam".
func (r *runner) optimizer() string { return r.job.Artifacts.Config.Kind }

// label is what a run is called: "adam" or "adam + nino".
func (r *runner) label(o job.RunOptions) string {
	if o.Nowcaster == nil {
		return r.optimizer()
	}
	return r.optimizer() + " + " + o.Nowcaster.Name()
}

// one is a single run, into the run folder.
func (r *runner) one(ctx context.Context, o job.RunOptions) error {
	o.Dir, o.Resume, o.Label = r.out, r.job.Resume, r.label(o)
	if _, err := r.job.Run(ctx, r.engine, o); err != nil {
		return err
	}
	rec, err := r.read(r.out, o)
	if err != nil {
		return err
	}
	return r.finish(Summary{Summary: rec.Summary}, []training.RunRecord{rec})
}

// compare is plain training into the folder baseline, then the accelerated run
// into the run folder. A resumed comparison takes up whichever was under way.
func (r *runner) compare(ctx context.Context, baseline string, o job.RunOptions) error {
	plain := job.RunOptions{Dir: baseline, Resume: r.job.Resume && job.HasRun(baseline), Label: r.optimizer()}
	if err := r.baseline(ctx, plain); err != nil {
		return err
	}
	o.Dir, o.Resume, o.Label = r.out, r.job.Resume && job.HasRun(r.out), r.label(o)
	if _, err := r.job.Run(ctx, r.engine, o); err != nil {
		return err
	}
	base, err := r.read(baseline, plain)
	if err != nil {
		return err
	}
	fast, err := r.read(r.out, o)
	if err != nil {
		return err
	}
	c := Compare(base, fast)
	return r.finish(Summary{Summary: fast.Summary, Baseline: &base.Summary, Comparison: &c}, []training.RunRecord{base, fast})
}

// baseline runs plain training, unless a resumed comparison has it already.
func (r *runner) baseline(ctx context.Context, o job.RunOptions) error {
	if o.Resume {
		if done, err := training.ReadRun(o.Dir); err == nil && done.Summary.Steps == r.job.Steps {
			r.app.Notef("%s: done before, %d steps", o.Label, done.Summary.Steps)
			return nil
		}
	}
	_, err := r.job.Run(ctx, r.engine, o)
	return err
}

func (r *runner) read(dir string, o job.RunOptions) (training.RunRecord, error) {
	rec, err := training.ReadRun(dir)
	rec.Name, rec.Note = r.label(o), r.job.Split.Note
	return rec, err
}

// finish writes the joint summary and report, and prints the table.
func (r *runner) finish(s Summary, runs []training.RunRecord) error {
	if err := writeSummary(filepath.Join(r.out, "summary.json"), s); err != nil {
		return err
	}
	report := filepath.Join(r.out, "report.html")
	if err := training.WriteReport(report, runs); err != nil {
		return err
	}
	if err := training.WriteCurves(filepath.Join(r.out, "curves.svg"), runs); err != nil {
		return err
	}
	if r.app.JSON {
		return r.app.WriteJSON(s)
	}
	if err := job.WriteTable(r.app.Out, table(s, runs)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.app.Out, "report: %s\n", report)
	return err
}
