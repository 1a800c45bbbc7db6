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
	"ninox/models"
)

// Methods of nowcasting.
const (
	methodNone    = "none"
	methodNino    = "nino"
	methodWNN     = "wnn+"
	methodLinefit = "linefit"
)

var methods = []string{methodNone, methodNino, methodWNN, methodLinefit}

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
	Method     string // settled by check
	Weights    string
	Period     int
	Horizon    int
	Power      float64
	Safeguard  string
	NoBaseline bool
}

// NewCommand is `ninox accelerate`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "accelerate [DIR|MODEL|TASK]",
		Short: "Train in fewer steps: Adam plus nowcasts, compared with Adam alone",
		Long: `Trains twice from the same start: plainly, into RUN/baseline, and with nowcasts, into RUN. Once
every --period steps a nowcast predicts the parameters many steps ahead from five past states.
RUN/report.html shows both curves, RUN/summary.json has the figures. Without an argument, a demo
runs on a subset of FashionMNIST that is part of the program.

Methods: nino, the NiNo network over the model's neuron graph, with trained --weights ('ninox nino
import' makes them from the reference's files); wnn+, the paper's network without a graph, with
weights of that kind; linefit, a straight line through each parameter's states, which needs no
weights; none, plain training only.`,
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
	f := cmd.Flags()
	f.StringVar(&o.Method, "method", "", "nino, wnn+, linefit or none (default: nino with --weights, else linefit)")
	f.StringVar(&o.Weights, "weights", "", "weights of the network: safetensors, or the reference's .pt")
	f.IntVar(&o.Period, "period", 1000, "steps from one nowcast to the next")
	f.IntVar(&o.Horizon, "horizon", 0, "horizon of the first nowcast, in fifths of a period (default: the most that the weights know; linefit: "+fmt.Sprint(linefitHorizon)+")")
	f.Float64Var(&o.Power, "horizon-power", 2, "how fast the horizon falls to 1 over the run: 1 is straight, more is faster at first")
	f.StringVar(&o.Safeguard, "safeguard", "on", "on: undo a nowcast after which the training loss stays higher than before; off: keep all, as the paper does")
	f.BoolVar(&o.NoBaseline, "no-baseline", false, "leave out the plain training that the result is compared with")
	app.Choices(cmd, "method", methods)
	app.Choices(cmd, "safeguard", []string{"on", "off"})
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
	f.OneOf("method", o.Method, methods)
	f.OneOf("safeguard", o.Safeguard, []string{"on", "off"})
	if o.Method == "" {
		o.Method = methodLinefit
		if o.Weights != "" {
			o.Method = methodNino
		}
	}
	o.checkMethod(c, &f)
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
		"steps": func() { o.Steps = demoSteps }, "period": func() { o.Period = demoPeriod }, "eval-every": func() { o.EvalEvery = demoEval },
	} {
		if !c.Flags().Changed(flag) {
			set()
		}
	}
	return nil
}

func (o *options) checkMethod(c *cobra.Command, f *app.Faults) {
	network := o.Method == methodNino || o.Method == methodWNN
	if network && o.Weights == "" {
		f.Addf("--method %s needs --weights; 'ninox nino import' makes them from the reference's files, --method linefit needs none", o.Method)
	}
	if !network && o.Weights != "" {
		f.Addf("--weights are for --method nino or wnn+, not %s", o.Method)
	}
	if o.Period < states || o.Period%states != 0 {
		f.Addf("--period %d: expected a multiple of %d, the states of a nowcast", o.Period, states)
	}
	if o.Safeguard == "on" && o.Period > 0 && o.Period < 2*states {
		f.Addf("--period %d: the safeguard needs at least %d steps; choose --safeguard off", o.Period, 2*states)
	}
	if o.Horizon < 0 || o.Horizon == 0 && c.Flags().Changed("horizon") {
		f.Addf("--horizon %d: expected at least 1", o.Horizon)
	}
	if !(o.Power > 0) {
		f.Addf("--horizon-power %v: expected more than 0", o.Power)
	}
	steps := o.Steps
	if steps == 0 && o.Source.Task != nil {
		steps = o.Source.Task.Steps
	}
	if o.Method != methodNone && steps > 0 && steps < o.Period {
		f.Addf("--steps %d: the first nowcast is due at step %d; choose a smaller --period, or --method none", steps, o.Period)
	}
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
	j, err := job.Prepare(ctx, a, o.Source, o.Options)
	if err != nil {
		return err
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	p, release, err := o.plan(engine, j)
	if err != nil {
		return err
	}
	defer release()
	r := runner{app: a, job: j, engine: engine, out: o.Out}
	switch {
	case o.Method == methodNone:
		return r.one(ctx, job.RunOptions{Label: r.optimizer()})
	case o.NoBaseline:
		return r.one(ctx, p)
	}
	return r.compare(ctx, baseline, p)
}

// intention is one line that says what is about to run.
func (o *options) intention() string {
	var s strings.Builder
	if o.Demo {
		s.WriteString("demo: ")
	}
	fmt.Fprintf(&s, "%s, ", o.Source.Name())
	switch {
	case o.Method == methodNone:
		s.WriteString("plain training")
	case o.Method == methodLinefit && o.Demo:
		s.WriteString("method linefit (no --weights for nino)")
	default:
		s.WriteString("method " + o.Method)
	}
	fmt.Fprintf(&s, ", into %s", o.Out)
	return s.String()
}
