// Package accelerate implements `ninox accelerate`, the main job: training
// with nowcasts, beside plain training for comparison.
package accelerate

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/cmd/internal/method"
	"ninox/models"
)

// The demo: what runs without a source.
const (
	demoTask   = "fm-16"
	demoData   = "embedded"
	demoSteps  = 2000
	demoPeriod = 500
	demoEval   = 50
)

type options struct {
	job.Options
	Source     job.Source
	Demo       bool
	Method     string // settled by resolve
	Methods    method.Options
	NoBaseline bool

	method method.Method
}

// NewCommand is `ninox accelerate`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "accelerate [DIR|MODEL|TASK]",
		Short: "Train in fewer steps: Adam plus nowcasts, compared with Adam alone",
		Long: `Trains twice from the same start: plainly, into RUN/baseline, and by a method, into RUN. Nowcasts
predict, once every --period steps, the parameters many steps ahead from five past states.
RUN/report.html shows both curves, RUN/summary.json has the figures. Without an argument, a demo
runs on a subset of FashionMNIST that is part of the program.

Methods:
` + method.Table() + `
Any of them goes with any --schedule. Without --weights, nino takes those that are part of the program;
'ninox nino import' makes weights from the reference's files, 'ninox meta train' trains them anew.`,
		Example: `  ninox accelerate
  ninox accelerate fm-16 --data fashion-mnist:DIR --weights nino.safetensors --steps 4000 --out run
  ninox accelerate model.onnx --data npz:train.npz --eval-data npz:test.npz --steps 5000 --weights nino.safetensors
  ninox accelerate fm-16 --data embedded --steps 2000 --period 500 --method linefit --no-baseline`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: job.CompleteSource,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.resolve(c, args); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	o.Register(cmd)
	o.Methods.Register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Method, "method", "", "one of those above (default: nino with weights, given or part of the program, else linefit)")
	f.BoolVar(&o.NoBaseline, "no-baseline", false, "leave out the plain training that the result is compared with")
	app.Choices(cmd, "method", method.Names())
	return cmd
}

// resolve fills in the options and reports everything that is wrong with them.
func (o *options) resolve(c *cobra.Command, args []string) error {
	var err error
	if len(args) == 1 {
		o.Source, err = job.ParseSource(args[0])
	} else {
		err = o.demo(c)
	}
	if err != nil {
		return err
	}
	var f app.Faults
	o.Check(c, o.Source, &f)
	f.OneOf("method", o.Method, method.Names())
	o.method = method.Default()
	if named, err := method.Lookup(o.Method); err == nil {
		o.method = named
	}
	o.Method = o.method.Name
	steps := o.Steps
	if steps == 0 && o.Source.Task != nil {
		steps = o.Source.Task.Steps
	}
	o.Methods.Check(c, o.method, steps, &f)
	return f.Err(c)
}

// demo sets what runs without a source, as far as flags do not say otherwise.
func (o *options) demo(c *cobra.Command) error {
	t, err := models.Lookup(demoTask)
	if err != nil {
		return err
	}
	o.Demo, o.Source = true, job.Source{Task: &t}
	if o.Data == "" {
		o.Data = demoData
	}
	for flag, set := range map[string]func(){
		"steps": func() { o.Steps = demoSteps }, "period": func() { o.Methods.Period = demoPeriod }, "eval-every": func() { o.EvalEvery = demoEval },
	} {
		if !c.Flags().Changed(flag) {
			set()
		}
	}
	return nil
}

// run trains and compares.
func run(ctx context.Context, a *app.App, o options) error {
	if o.Out == "" {
		o.Out = job.FreshDir(o.Source.Name())
	}
	baseline := filepath.Join(o.Out, "baseline")
	if err := o.CheckOut(o.Out, baseline); err != nil {
		return err
	}
	a.Notef("%s", o.intention())
	o.Once = o.method.Kind == method.Plain || o.NoBaseline && (o.method.Kind != method.Nowcast || o.Methods.Safeguard == "off")
	j, err := job.Prepare(ctx, a, o.Source, o.Options)
	if err != nil {
		return err
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	p, err := o.method.Plan(engine, j, o.Methods)
	if err != nil {
		return err
	}
	defer p.Close()
	r := runner{app: a, plan: p, plain: j, engine: engine, out: o.Out, weights: o.Methods.Weights}
	if o.NoBaseline || o.method.Kind == method.Plain {
		return r.one(ctx)
	}
	return r.compare(ctx, baseline)
}

// intention is one line that says what is about to run.
func (o *options) intention() string {
	var s strings.Builder
	if o.Demo {
		s.WriteString("demo: ")
	}
	fmt.Fprintf(&s, "%s, ", o.Source.Name())
	if o.method.Kind == method.Plain {
		s.WriteString("plain training")
	} else {
		s.WriteString("method " + o.Method)
	}
	fmt.Fprintf(&s, ", into %s", o.Out)
	return s.String()
}
