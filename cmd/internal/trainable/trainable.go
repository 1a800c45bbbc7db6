// Package trainable implements `ninox trainable`: which parameters of a model
// can be trained, and which operators stand in the way of the others.
package trainable

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
)

type options struct {
	job.ModelOptions
	Model string
}

// NewCommand is `ninox trainable`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "trainable MODEL",
		Short: "Say which parameters of a model can be trained, and what blocks the others",
		Long: `Lists every parameter: trainable, frozen by --train or --freeze, a statistic that training updates,
constant (no gradient reaches it), of a type without gradient, or blocked, with the operators that
block it and the change of the model that would help. Then every kind of operator: whether gradients
pass through it, and if not, why.`,
		Example: `  ninox trainable model.onnx
  ninox trainable model.onnx --freeze 'embed.*' --loss mse
  ninox trainable model.onnx --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			var f app.Faults
			o.Check(&f)
			if err := f.Err(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	o.Register(cmd)
	return cmd
}

func run(_ context.Context, a *app.App, o options) error {
	r, err := Analyse(a, o.Model, o.ModelOptions)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	return r.print(a)
}

// print writes the report for people: the parameters, the operators, and a
// line that sums up.
func (r *Report) print(a *app.App) error {
	rows := [][]string{}
	for _, p := range r.Parameters {
		text := p.State
		if p.Reason != "" {
			text += ": " + p.Reason
		}
		if p.Remedy != "" {
			text += " (" + p.Remedy + ")"
		}
		rows = append(rows, []string{p.Name, p.Type, text})
	}
	rows = append(rows, []string{}, []string{"operator", "nodes", "gradient"})
	for _, o := range r.Operators {
		text := o.Gradient
		if o.Reason != "" {
			text += ": " + o.Reason
		}
		if o.Remedy != "" {
			text += " (" + o.Remedy + ")"
		}
		rows = append(rows, []string{o.Op, fmt.Sprint(o.Nodes), text})
	}
	if _, err := fmt.Fprintln(a.Out, "parameters"); err != nil {
		return err
	}
	if err := job.WriteColumns(a.Out, rows); err != nil {
		return err
	}
	var blocked strings.Builder
	if r.Blocked > 0 {
		fmt.Fprintf(&blocked, ", %d blocked", r.Blocked)
	}
	_, err := fmt.Fprintf(a.Out, "\n%d of %d parameters trainable%s\n", r.Trainable, r.Total, blocked.String())
	return err
}
