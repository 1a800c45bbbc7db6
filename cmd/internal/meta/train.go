package meta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/method"
	"ninox/nino"
	"ninox/nino/meta"
	"ninox/training"
)

type trainOptions struct {
	Store  string
	Method string
	From   string
	Cache  string
	L2O    meta.L2OOptions // of --method l2o
	meta.TrainOptions
}

func newTrain(a *app.App, run func(context.Context, *app.App, trainOptions) error) *cobra.Command {
	var o trainOptions
	cmd := &cobra.Command{
		Use:   "train STORE",
		Short: "Train the network on the trajectories of a store",
		Long: `Fits NiNo (or another of the methods) to windows of five past states: the loss is the mean absolute error of the scaled
parameters over all horizons. The runs of the store that are held out measure the forecast on the way.
OUT/weights.safetensors is what 'accelerate --weights' and 'nino step --weights' take.`,
		Example: `  ninox meta train trajectories --out nino-32 --width 32
  ninox meta train trajectories --out nino-32 --width 32 --resume
  ninox meta train trajectories --out nino-128 --width 128 --init nino-32/weights.safetensors --lr 1e-3
  ninox meta train trajectories --out wnn --method wnn+
  ninox meta train trajectories --out l2o --method l2o`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Store = args[0]
			o.settleL2O(c)
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	cacheFlag(cmd, &o.Cache)
	f := cmd.Flags()
	f.StringVarP(&o.Dir, "out", "o", "", "folder of the training")
	f.StringVar(&o.Method, "method", method.Nino, "what to train: "+strings.Join(methods, ", "))
	f.IntVar(&o.Width, "width", 128, "width of the hidden layers")
	f.StringVar(&o.From, "init", "", "weights to start from in place of random ones; narrower ones are widened")
	f.IntVar(&o.Iterations, "iterations", 20000, "updates")
	f.IntVar(&o.Runs, "runs", 4, "runs in a batch")
	f.IntVar(&o.Windows, "windows", 4, "windows of each of them")
	f.IntSliceVar(&o.Spacing, "spacing", []int{200}, "steps between the states of a window; of several, one is drawn for each")
	f.IntVar(&o.Horizons, "horizons", 8, "horizons that a batch is trained on, drawn from all")
	f.IntVar(&o.Slice, "slice", 256, "most nodes of a layer in an example; others are left out at random")
	f.IntVar(&o.Values, "values", 40000, "a batch with so many values on its edges is full, whatever the windows")
	f.Float64Var(&o.LR, "lr", 3e-3, "learning rate at the start of a cosine")
	f.Float64Var(&o.WeightDecay, "weight-decay", 1e-2, "decoupled weight decay")
	f.Float64Var(&o.ClipNorm, "clip-norm", 5, "scale gradients down to this norm")
	f.Float64Var(&o.EMA, "ema", 0.999, "decay of the averaged weights, the result; negative: the last ones are")
	f.IntVar(&o.ValidateEvery, "eval-every", 1000, "iterations between two tests on the runs that are held out")
	f.IntVar(&o.CheckpointEvery, "checkpoint-every", 500, "iterations between two checkpoints")
	f.BoolVar(&o.Resume, "resume", false, "continue the training in --out")
	o.registerL2O(cmd)
	app.Choices(cmd, "method", methods)
	return cmd
}

// networks are the methods that are trained: variant, scaling and graphs.
var networks = map[string]struct {
	variant string
	scaling nino.Scaling
	naive   bool
}{
	method.Nino:      {nino.VariantGNN, nino.ScaleLayerwise, false},
	method.NinoNaive: {nino.VariantGNN, nino.ScaleLayerwise, true},
	method.WNN:       {nino.VariantMLP, nino.ScaleMinMaxParameter, false},
	method.WNNPlus:   {nino.VariantMLP, nino.ScaleLayerwise, false},
}

var methods = append(slices.Sorted(maps.Keys(networks)), method.L2O)

func (o *trainOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Dir == "" {
		f.Addf("--out is missing")
	}
	f.OneOf("method", o.Method, methods)
	for _, n := range []struct {
		flag  string
		value int
	}{{"width", o.Width}, {"iterations", o.Iterations}, {"runs", o.Runs}, {"windows", o.Windows}, {"horizons", o.Horizons}, {"slice", o.Slice}, {"values", o.Values}, {"eval-every", o.ValidateEvery}, {"checkpoint-every", o.CheckpointEvery}} {
		if n.value < 1 {
			f.Addf("--%s %d: expected at least 1", n.flag, n.value)
		}
	}
	o.checkL2O(c, &f)
	for _, n := range o.Spacing {
		if n < 1 {
			f.Addf("--spacing %d: expected at least 1", n)
		}
	}
	if !(o.LR > 0) || !(o.WeightDecay >= 0) || !(o.ClipNorm >= 0) || !(o.EMA < 1) {
		f.Addf("--lr %v, --weight-decay %v, --clip-norm %v, --ema %v: expected above 0, at least 0, at least 0, below 1", o.LR, o.WeightDecay, o.ClipNorm, o.EMA)
	}
	return f.Err(c)
}

func runTrain(ctx context.Context, a *app.App, o trainOptions) error {
	store, err := fetchStore(ctx, a, o.Store, o.Cache)
	if err != nil {
		return err
	}
	defer store.Close()
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	if o.Method == method.L2O {
		return trainL2O(ctx, a, engine, store, o)
	}
	n := networks[o.Method]
	o.Variant, o.Scaling, o.Naive = n.variant, n.scaling, n.naive
	if o.From != "" {
		if o.Init, _, err = nino.ImportOrEmbedded(o.From, ""); err != nil {
			return err
		}
	}
	o.Seed, o.Progress = a.Seed, a.Progress()
	w, err := meta.Train(ctx, engine, store, o.TrainOptions)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: the same command with --resume", training.ErrInterrupted)
	}
	if err != nil {
		return err
	}
	a.Notef("%s: %d weights in %s/%s", o.Method, w.Parameters(), o.Dir, meta.WeightsFile)
	return nil
}
