// Package bench implements `ninox bench`: methods compared by what it takes
// them to reach a target, by a protocol that is fixed before anything runs.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/training/bench"
)

type options struct {
	Suite       string
	Tasks       []string
	Methods     []string
	Data        []string
	EvalData    []string
	Tokenizer   []string
	Weights     []string
	With        []string
	Seeds       int
	Steps       int
	Period      int
	EvalEvery   int
	EvalSamples int
	Target      string
	Tune        string
	Grid        []float64
	Workers     int
	Plan        bool
	Out         string
}

// asked says whether the invocation names something to compare; otherwise it
// goes on with what --out holds.
func (o *options) asked() bool { return o.Suite != "" || len(o.Tasks) > 0 }

// NewCommand is `ninox bench`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bench --tasks TASK,… --methods METHOD,… --out DIR",
		Short: "Compare methods by steps, seconds and bytes to a target",
		Long: `Trains every task with every method and several seeds, and compares what it takes to reach a
target: the best test metric of plain training with a learning rate that was searched for. What
is compared, and how, is written to DIR/protocol.json before anything runs. Runs go into
DIR/runs, each as 'ninox accelerate' makes it, several at a time. DIR/report.html, DIR/table.md
and DIR/results.json have the results, beside the paper's figures where it has any.

The same command, or 'ninox bench --out DIR', continues a bench that was stopped; finished runs
are not repeated.

A method is one of 'ninox accelerate --method', or an optimizer; flags of 'ninox accelerate' may
follow, each after a colon: nino:horizon-power=1, nino:weights=other.safetensors,
none:schedule=cosine, muon:lr=0.02. Plain training (none) is always part of it. A task is one that
'ninox train' knows, an ONNX file or a folder of training artifacts.`,
		Example: `  ninox bench --suite small --out bench
  ninox bench --tasks fm-16 --data embedded --methods linefit,nino --weights nino=nino.safetensors --steps 1000 --period 200 --out bench
  ninox bench --tasks fm-16,c10-16 --data c10-16=cifar10-jpeg:FILE --methods linefit,linefit:schedule=cosine --tune each --seeds 5 --out bench
  ninox bench --out bench`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Suite, "suite", "", "small (minutes on two cores) or full (the paper's tasks): tasks, methods and steps, as far as other flags do not say otherwise")
	f.StringSliceVar(&o.Tasks, "tasks", nil, "tasks, ONNX files or folders of artifacts")
	f.StringSliceVar(&o.Methods, "methods", nil, "methods, with flags after colons; or all")
	f.StringArrayVar(&o.Data, "data", nil, "TASK=SPEC, or SPEC for all tasks; may be repeated (default: each task's own data)")
	f.StringArrayVar(&o.EvalData, "eval-data", nil, "TASK=SPEC, or SPEC: data to test on, where --data brings no test part")
	f.StringArrayVar(&o.Tokenizer, "tokenizer", nil, "TASK=FILE, or FILE: tokenizer of --data text")
	f.StringArrayVar(&o.Weights, "weights", nil, "METHOD=FILE, or FILE for all networks, in place of the program's; may be repeated")
	f.StringArrayVar(&o.With, "with", nil, "FLAG=VALUE of 'ninox accelerate' for every run; may be repeated")
	f.IntVar(&o.Seeds, "seeds", bench.MinSeeds, "seeds of each method, counted from --seed")
	f.IntVar(&o.Steps, "steps", 0, "steps of every run (default: those of the suite or task)")
	f.IntVar(&o.Period, "period", 0, "steps from one nowcast to the next (default: that of the suite, else 1000)")
	f.IntVar(&o.EvalEvery, "eval-every", 0, "steps between two tests (default: a fiftieth of --steps)")
	f.IntVar(&o.EvalSamples, "eval-samples", 0, "test on this many samples (default: those of the suite, else all)")
	f.StringVar(&o.Target, "target", bench.TargetTuned, "tuned: the level that the base reaches with every seed; paper: that of the paper")
	f.StringVar(&o.Tune, "tune", bench.TuneBase, "whose learning rate is searched for: base, each (of all methods), none")
	f.Float64SliceVar(&o.Grid, "grid", []float64{0.3, 1, 3}, "learning rates of the search, relative to that of the task")
	f.IntVar(&o.Workers, "workers", 0, "runs at a time, each in a process with its share of the cores (default: one for each core)")
	f.BoolVar(&o.Plan, "plan", false, "write the protocol and list the runs, but run nothing")
	f.StringVarP(&o.Out, "out", "o", "", "folder of the bench")
	app.Choices(cmd, "suite", suiteNames())
	app.Choices(cmd, "target", []string{bench.TargetTuned, bench.TargetPaper})
	app.Choices(cmd, "tune", []string{bench.TuneBase, bench.TuneEach, bench.TuneNone})
	return cmd
}

// check reports everything that is wrong with the flags.
func (o *options) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("--out is missing")
	}
	if o.Seeds < bench.MinSeeds {
		f.Addf("--seeds %d: expected at least %d", o.Seeds, bench.MinSeeds)
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"steps", o.Steps}, {"period", o.Period}, {"eval-every", o.EvalEvery}, {"eval-samples", o.EvalSamples}, {"workers", o.Workers}} {
		if n.value < 0 || n.value == 0 && c.Flags().Changed(n.flag) {
			f.Addf("--%s %d: expected at least 1", n.flag, n.value)
		}
	}
	f.OneOf("suite", o.Suite, suiteNames())
	f.OneOf("target", o.Target, []string{bench.TargetTuned, bench.TargetPaper})
	f.OneOf("tune", o.Tune, []string{bench.TuneBase, bench.TuneEach, bench.TuneNone})
	for _, g := range o.Grid {
		if !(g > 0) {
			f.Addf("--grid %v: expected factors above 0", g)
		}
	}
	for _, w := range o.With {
		if name, _, ok := strings.Cut(w, "="); !ok || settled[name] {
			f.Addf("--with %q: expected FLAG=VALUE, a flag that the bench does not set itself", w)
		}
	}
	if o.asked() && o.Suite == "" && len(o.Methods) == 0 {
		f.Addf("--methods is missing")
	}
	if !o.asked() && len(o.Methods) > 0 {
		f.Addf("--methods: expected --tasks or --suite as well")
	}
	return f.Err(c)
}

// run makes or takes up a bench.
func run(ctx context.Context, a *app.App, o options) error {
	lock, err := lockDir(ctx, a, o.Out)
	if err != nil {
		return err
	}
	defer lock.Close()
	b := &benchRun{app: a, dir: o.Out, lock: lock, workers: o.Workers}
	if b.protocol, err = o.protocol(ctx, a); err != nil {
		return err
	}
	for _, l := range b.protocol.LeftOut {
		a.Notef("left out: %s", l)
	}
	if o.Plan {
		return b.list()
	}
	if err := b.all(ctx); err != nil {
		return err
	}
	return b.report(ctx)
}

// protocol is the one that --out holds, or else a new one, written there. Flags
// that ask for something else than what it says are an error.
func (o *options) protocol(ctx context.Context, a *app.App) (*bench.Protocol, error) {
	path := filepath.Join(o.Out, protocolFile)
	old, err := bench.ReadProtocol(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !o.asked():
		return nil, app.Usagef("--out %s: holds no bench to go on with; name --tasks and --methods, or a --suite", o.Out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && !o.asked():
		return old, nil
	}
	p, failed := o.settle(ctx, a)
	if failed != nil {
		return nil, failed
	}
	if err == nil {
		if d := p.Differences(old); len(d) > 0 {
			return nil, app.Usagef("--out %s: holds a bench with another protocol (%s); choose another folder, or go on with 'ninox bench --out %s'", o.Out, strings.Join(d, "; "), o.Out)
		}
		return old, nil
	}
	return p, bench.WriteJSON(path, p)
}

// Names inside the folder of a bench.
const (
	protocolFile = "protocol.json"
	resultsFile  = "results.json"
	tableFile    = "table.md"
	reportFile   = "report.html"
	runsDir      = "runs"
	lockFile     = "lock"
)

// list prints the runs that the protocol asks for.
func (b *benchRun) list() error {
	search := b.protocol.TuningRuns()
	for _, r := range search {
		if _, err := fmt.Fprintln(b.app.Out, filepath.ToSlash(filepath.Join(runsDir, r.ID()))); err != nil {
			return err
		}
	}
	n := len(b.protocol.Tasks) * len(b.protocol.Methods) * len(b.protocol.Seeds)
	b.app.Notef("%d runs of the search, then %d runs: %d tasks, %d methods, %d seeds", len(search), n, len(b.protocol.Tasks), len(b.protocol.Methods), len(b.protocol.Seeds))
	return nil
}
