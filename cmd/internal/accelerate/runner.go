package accelerate

import (
	"context"
	"fmt"
	"path/filepath"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/cmd/internal/method"
	ort "ninox/runtime"
	"ninox/training"
)

// runner runs the trainings of one invocation.
type runner struct {
	app    *app.App
	plan   *method.Plan
	plain  *job.Job // without the method
	engine *ort.Engine
	out    string

	weights string // of --weights
}

// one is a single run, into the run folder.
func (r *runner) one(ctx context.Context) error {
	rec, err := r.accelerated(ctx, r.plain.Resume)
	if err != nil {
		return err
	}
	return r.finish(ctx, Summary{Summary: rec.Summary}, []training.RunRecord{rec})
}

// compare is plain training into the folder baseline, then the accelerated run
// into the run folder. A resumed comparison takes up whichever was under way.
func (r *runner) compare(ctx context.Context, baseline string) error {
	plain := job.RunOptions{Dir: baseline, Resume: r.plain.Resume && job.HasRun(baseline), Label: method.Baseline(r.plain)}
	if err := r.baseline(ctx, plain); err != nil {
		return err
	}
	fast, err := r.accelerated(ctx, r.plain.Resume && job.HasRun(r.out))
	if err != nil {
		return err
	}
	base, err := r.read(plain)
	if err != nil {
		return err
	}
	c := Compare(base, fast)
	return r.finish(ctx, Summary{Summary: fast.Summary, Baseline: &base.Summary, Comparison: &c}, []training.RunRecord{base, fast})
}

// accelerated is the run by the method.
func (r *runner) accelerated(ctx context.Context, resume bool) (training.RunRecord, error) {
	o := r.plan.Run
	o.Dir, o.Resume = r.out, resume
	if _, err := r.plan.Job.Run(ctx, r.engine, o); err != nil {
		return training.RunRecord{}, err
	}
	return r.read(o)
}

// baseline runs plain training, unless a resumed comparison has it already.
func (r *runner) baseline(ctx context.Context, o job.RunOptions) error {
	if o.Resume {
		if done, err := training.ReadRun(o.Dir); err == nil && done.Summary.Steps == r.plain.Steps {
			r.app.Notef("%s: done before, %d steps", o.Label, done.Summary.Steps)
			return nil
		}
	}
	_, err := r.plain.Run(ctx, r.engine, o)
	return err
}

func (r *runner) read(o job.RunOptions) (training.RunRecord, error) {
	rec, err := training.ReadRun(o.Dir)
	rec.Name, rec.Note = o.Label, r.plain.Split.Note
	return rec, err
}

// finish writes the joint summary and report, and prints the table.
func (r *runner) finish(ctx context.Context, s Summary, runs []training.RunRecord) error {
	if err := writeSummary(filepath.Join(r.out, "summary.json"), s); err != nil {
		return err
	}
	report := filepath.Join(r.out, "report.html")
	if err := training.WriteReport(report, runs, r.pictures(ctx, runs)...); err != nil {
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
