package meta

import (
	"context"
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/nino/meta"
)

type evalOptions struct {
	Store   string
	Weights []string
	Cache   string
	Types   bool
	Trial   int
	meta.EvaluateOptions
}

func newEval(a *app.App, run func(context.Context, *app.App, evalOptions) error) *cobra.Command {
	var o evalOptions
	cmd := &cobra.Command{
		Use:   "eval STORE",
		Short: "Measure the forecasts of network weights on the runs of a store that are held out",
		Long: `The error is the mean absolute difference between forecast and what the run did, in standard deviations
of the parameter's tensor, beside that of Linefit and of no change at all. --trial N shows what forecasts
are good for: the tasks of the runs are trained anew for N steps, and what counts is after how many steps
the test loss is as low as plain training gets it.`,
		Example: `  ninox meta eval trajectories --weights nino-32/weights.safetensors
  ninox meta eval trajectories --weights a.safetensors,b.safetensors --horizons 1,5,20,40
  ninox meta eval trajectories --weights a.safetensors,b.safetensors --trial 4000`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Store = args[0]
			var f app.Faults
			if len(o.Weights) == 0 {
				f.Addf("--weights is missing")
			}
			if o.Spacing < 1 || o.Windows < 1 {
				f.Addf("--spacing %d, --windows %d: expected at least 1", o.Spacing, o.Windows)
			}
			if o.Trial < 0 || o.Trial > 0 && o.Types {
				f.Addf("--trial %d: expected at least 0, and not --types", o.Trial)
			}
			if err := f.Err(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	cacheFlag(cmd, &o.Cache)
	f := cmd.Flags()
	f.StringSliceVarP(&o.Weights, "weights", "w", nil, "weights of the network, .safetensors or the reference's .pt")
	f.IntSliceVar(&o.Horizons, "horizons", []int{1, 5, 20, 40}, "how many intervals ahead")
	f.IntVar(&o.Spacing, "spacing", 200, "steps of an interval")
	f.IntVar(&o.Windows, "windows", 4, "windows of each run")
	f.BoolVar(&o.Types, "types", false, "a table for each type of layer, too")
	f.IntVar(&o.Trial, "trial", 0, "in place of forecasts: train the tasks of the runs for so many steps, plainly and with nowcasts")
	return cmd
}

// evaluation is the result for one file of weights.
type evaluation struct {
	Weights  string             `json:"weights"`
	Runs     int                `json:"runs"`
	Windows  int                `json:"windows"`
	Forecast []meta.ForecastRow `json:"forecast"`
}

func runEval(ctx context.Context, a *app.App, o evalOptions) error {
	store, err := fetchStore(ctx, a, o.Store, o.Cache)
	if err != nil {
		return err
	}
	defer store.Close()
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	networks := map[string]*nino.Weights{}
	for _, path := range o.Weights {
		if networks[path], _, err = nino.ImportOrEmbedded(path, ""); err != nil {
			return err
		}
	}
	if o.Trial > 0 {
		return o.trial(ctx, a, engine, store, networks)
	}
	var results []evaluation
	var forecasts []*meta.Forecast
	for _, path := range o.Weights {
		w := networks[path]
		f, err := meta.Evaluate(ctx, engine, w, store, o.EvaluateOptions)
		if err != nil {
			return err
		}
		results, forecasts = append(results, evaluation{path, f.Runs, f.Windows, f.Rows}), append(forecasts, f)
	}
	if a.JSON {
		return a.WriteJSON(results)
	}
	kinds := []int{meta.AllTypes}
	if o.Types {
		kinds = append(kinds, forecasts[0].Types()...)
	}
	for _, kind := range kinds {
		if err := o.table(a.Out, forecasts, kind); err != nil {
			return err
		}
	}
	last := forecasts[len(forecasts)-1]
	_, err = fmt.Fprintf(a.Out, "mean absolute error in standard deviations; %d windows of %d runs, %d steps an interval\n", last.Windows, last.Runs, o.Spacing)
	return err
}

// table prints the errors on edges of one type: a row for each file of weights
// and for what they are compared with.
func (o *evalOptions) table(w io.Writer, forecasts []*meta.Forecast, kind int) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	title := "horizon"
	if kind != meta.AllTypes {
		title = neuralgraph.EdgeType(kind).Name() + ", horizon"
	}
	fmt.Fprintf(t, "%s\t", title)
	for _, k := range o.Horizons {
		fmt.Fprintf(t, "%d\t", k)
	}
	fmt.Fprintln(t)
	row := func(name, method string, f *meta.Forecast) {
		fmt.Fprintf(t, "%s\t", name)
		for _, k := range o.Horizons {
			if e := f.ErrorOn(method, k, kind); math.IsNaN(e) { // no run is long enough
				fmt.Fprint(t, "–\t")
			} else {
				fmt.Fprintf(t, "%.4f\t", e)
			}
		}
		fmt.Fprintln(t)
	}
	for i, f := range forecasts {
		row(o.Weights[i], meta.MethodNetwork, f)
	}
	for _, m := range []string{meta.MethodLinefit, meta.MethodNewest} {
		row(m, m, forecasts[len(forecasts)-1])
	}
	return t.Flush()
}
