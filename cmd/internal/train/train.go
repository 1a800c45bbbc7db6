// Package train implements `ninox train`: plain training of training
// artifacts, of an ONNX model or of a task.
package train

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/training"
)

type options struct {
	job.Options
	Source  job.Source
	Explain bool
}

// NewCommand is `ninox train`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "train DIR|TASK|MODEL",
		Short: "Train artifacts, an ONNX model or a task, without nowcasting",
		Long: `Trains on ONNX Runtime and leaves a run folder: settings, metrics, checkpoints, final model
and weights, summary and report.

DIR holds training artifacts: those of 'ninox artifacts', or those of ONNX Runtime's own offline
tool. MODEL is an ONNX file, for which artifacts are derived on the way. TASK is a network of the
paper with its data and settings, or a language model of any size: gpt2:LAYERS,WIDTH,HEADS or
llama:LAYERS,WIDTH,HEADS, and then possibly vocab=N (default: that of the data), positions=N,
hidden=N, untied and, of llama, kv-heads=N.

An interrupt (Ctrl-C) finishes the step, writes a checkpoint and exits with 130; the same command
with --resume continues as if nothing had happened.`,
		Example: `  ninox train fm-16 --data embedded --steps 500
  ninox train llama:4,128,4,kv-heads=2 --data sotu --tokenizer gpt2-bpe --steps 1000
  ninox train artifacts/ --data npz:train.npz --steps 1000 --batch-size 32 --lr 3e-4 --out run
  ninox train model.onnx --data npz:train.npz --eval-data npz:test.npz --loss mse --steps 2000 --schedule cosine
  ninox train fm-16 --data embedded --steps 500 --out run-fm-16 --resume`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: job.CompleteSource,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if o.Source, err = job.ParseSource(args[0]); err != nil {
				return err
			}
			var f app.Faults
			o.Check(c, o.Source, &f)
			if err := f.Err(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	o.Register(cmd)
	cmd.Flags().BoolVar(&o.Explain, "explain", false, "say what memory a step needs, by phase, and train nothing")
	return cmd
}

func run(ctx context.Context, a *app.App, o options) error {
	o.Once = true
	if o.Explain {
		return explain(ctx, a, o)
	}
	if o.Out == "" {
		o.Out = job.FreshDir(o.Source.Name())
	}
	if err := o.CheckOut(o.Out); err != nil {
		return err
	}
	j, err := job.Prepare(ctx, a, o.Source, o.Options)
	if err != nil {
		return err
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	s, err := j.Run(ctx, engine, job.RunOptions{Dir: o.Out, Resume: o.Resume, Label: o.Source.Name()})
	if err != nil {
		return err
	}
	return print(a, o.Out, s)
}

// explain prints what a step needs in memory.
func explain(ctx context.Context, a *app.App, o options) error {
	j, err := job.Prepare(ctx, a, o.Source, o.Options)
	if err != nil {
		return err
	}
	r, err := training.Explain(j.Artifacts, int64(j.Batch))
	if err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	rows := [][]string{{"parameters and optimizer state, twice", megabytes(r.State())}, {"constants", megabytes(r.Frozen)}, {fmt.Sprintf("a batch of %d", r.Batch), megabytes(r.Data)}}
	for _, p := range r.Phases {
		rows = append(rows, []string{fmt.Sprintf("%s, %d nodes", p.Name, p.Nodes), megabytes(p.Peak)})
	}
	rows = append(rows, []string{"of forward kept for backward", megabytes(r.Kept)}, []string{"peak of a step", megabytes(r.Total())},
		[]string{"a test of a batch", megabytes(r.Evaluation)}, []string{"a whole run, with tests and the program", megabytes(r.Run())})
	if n := len(r.Unknown); n > 0 {
		rows = append(rows, []string{"results of unknown size, not counted", fmt.Sprint(n)})
	}
	return job.WriteTable(a.Out, rows)
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.3f MB", float64(bytes)/1e6) }

// print says how the run ended and where its files are.
func print(a *app.App, dir string, s *training.Summary) error {
	if a.JSON {
		return a.WriteJSON(s)
	}
	rows := [][]string{
		{"steps", fmt.Sprint(s.Steps)},
		{"seconds", fmt.Sprintf("%.1f", s.WallSeconds)},
		{"training loss", fmt.Sprintf("%.4f", s.Final.TrainLoss)},
	}
	if s.Final.Loss != nil {
		rows = append(rows, []string{"test loss", fmt.Sprintf("%.4f", *s.Final.Loss)})
	}
	if s.Final.Accuracy != nil {
		rows = append(rows, []string{"test accuracy", fmt.Sprintf("%.2f %%", *s.Final.Accuracy)})
	}
	if s.Target != nil {
		reached := "not reached"
		if s.StepsToTarget != nil {
			reached = fmt.Sprint(*s.StepsToTarget)
		}
		rows = append(rows, []string{fmt.Sprintf("steps to %s %g", s.TargetMetric, *s.Target), reached})
	}
	if err := job.WriteTable(a.Out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.Out, "model   %s\nreport  %s\n", filepath.Join(dir, "final.onnx"), filepath.Join(dir, "report.html"))
	return err
}
