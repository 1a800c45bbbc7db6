package meta

import (
	"context"
	"fmt"
	"text/tabwriter"

	"ninox/cmd/internal/app"
	"ninox/nino"
	"ninox/nino/meta"
	ort "ninox/runtime"
)

// trial trains the tasks of the held-out runs anew and prints after how many
// steps each contender is where plain training ends up.
func (o *evalOptions) trial(ctx context.Context, a *app.App, engine *ort.Engine, store *meta.Store, networks map[string]*nino.Weights) error {
	runs, err := meta.Trial(ctx, engine, store, meta.Contenders(networks, o.Weights), meta.TrialOptions{
		Steps: o.Trial, Spacing: o.Spacing, Threads: a.Threads,
		Progress: func(r meta.TrialRun) {
			a.Notef("%s of %s by %s: %d steps in %.0f s, best test loss %.4f", r.Run, r.Set, r.Method, o.Trial, r.Seconds, r.Best())
		},
	})
	if err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(runs)
	}
	t := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "run\tmethod\tsteps\tof plain\tbest loss\t")
	var plain meta.TrialRun
	for _, r := range runs {
		name := ""
		if r.Run != plain.Run { // plain training comes first
			plain, name = r, r.Set+" "+r.Run
		}
		target := plain.Best()
		steps, share := "–", "–"
		if n := r.Steps(target); n > 0 {
			steps, share = fmt.Sprint(n), fmt.Sprintf("%.2f", float64(n)/float64(plain.Steps(target)))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.4f\t\n", name, r.Method, steps, share, r.Best())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "steps until the test loss is as low as plain training ever gets it in %d steps; a test every %d\n", o.Trial, runs[0].Every)
	return err
}
