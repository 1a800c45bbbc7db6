package meta

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/method"
	"ninox/nino/meta"
	ort "ninox/runtime"
	"ninox/training"
)

func (o *trainOptions) registerL2O(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&o.L2O.Rounds, "rounds", 2, "l2o: rounds of message passing")
	f.IntVar(&o.L2O.Unroll, "unroll", 20, "l2o: steps for which tasks are trained on from states of the store")
	f.Float64Var(&o.L2O.Sigma, "sigma", 0.03, "l2o: deviation by which weights are moved to either side")
}

// Flags that other methods do not know, and that L2O does not.
var (
	l2oFlags   = []string{"rounds", "unroll", "sigma"}
	otherFlags = []string{"init", "windows", "spacing", "horizons", "slice", "values", "weight-decay", "clip-norm", "ema"}
)

// settleL2O gives L2O its own defaults of the common flags.
func (o *trainOptions) settleL2O(c *cobra.Command) {
	if o.Method != method.L2O {
		return
	}
	for flag, d := range map[string]struct {
		v         *int
		otherwise int
	}{"width": {&o.Width, 8}, "iterations": {&o.Iterations, 1000}, "runs": {&o.Runs, 2}, "eval-every": {&o.ValidateEvery, 100}, "checkpoint-every": {&o.CheckpointEvery, 50}} {
		if !c.Flags().Changed(flag) {
			*d.v = d.otherwise
		}
	}
}

func (o *trainOptions) checkL2O(c *cobra.Command, f *app.Faults) {
	foreign := l2oFlags
	if o.Method == method.L2O {
		foreign = otherFlags
	}
	for _, flag := range foreign {
		if c.Flags().Changed(flag) {
			f.Addf("--%s: not for --method %s", flag, o.Method)
		}
	}
	if o.L2O.Rounds < 0 || o.L2O.Unroll < 1 || !(o.L2O.Sigma > 0) {
		f.Addf("--rounds %d, --unroll %d, --sigma %v: expected at least 0, at least 1, above 0", o.L2O.Rounds, o.L2O.Unroll, o.L2O.Sigma)
	}
}

func trainL2O(ctx context.Context, a *app.App, engine *ort.Engine, store *meta.Store, o trainOptions) error {
	l := o.L2O
	l.Dir, l.Resume, l.Width, l.Iterations, l.Pairs, l.LR = o.Dir, o.Resume, o.Width, o.Iterations, o.Runs, o.LR
	l.ValidateEvery, l.CheckpointEvery, l.Seed, l.Progress = o.ValidateEvery, o.CheckpointEvery, a.Seed, a.Progress()
	w, err := meta.TrainL2O(ctx, engine, store, l)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: the same command with --resume", training.ErrInterrupted)
	}
	if err != nil {
		return err
	}
	a.Notef("l2o: %d weights in %s/%s", len(w.Vector), o.Dir, meta.WeightsFile)
	return nil
}
