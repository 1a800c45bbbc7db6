package meta

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino/meta"
)

type collectOptions struct {
	Plan    string
	Out     string
	Cache   string
	Workers int
	Index   string
	Shards  int
	DryRun  bool

	shard int
}

func newCollect(a *app.App, run func(context.Context, *app.App, collectOptions) error) *cobra.Command {
	var o collectOptions
	cmd := &cobra.Command{
		Use:   "collect PLAN",
		Short: "Make the training runs of a plan and keep their parameters every few steps",
		Long: `Every run is decided by the plan alone and named by what decides it. Runs that the store holds are
not made again, a killed collection loses only the runs under way, and several processes may share
the work: --shards says how many, --index or the scheduler which of them this is.`,
		Example: `  ninox meta collect plan.json --out trajectories
  ninox meta collect plan.json --out trajectories --dry-run
  ninox meta collect plan.json --out trajectories --shards 8 --index 0
  ninox meta collect plan.json --out 's3://bucket?prefix=trajectories/' --shards 8 --index 0`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Plan = args[0]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "store: a folder or the URL of a bucket")
	cacheFlag(cmd, &o.Cache)
	f.IntVar(&o.Workers, "workers", 0, "runs at a time, one thread each (default: --threads, or all)")
	f.StringVar(&o.Index, "index", "", "number of this process among --shards, from 0 (default: $JOB_COMPLETION_INDEX or $SLURM_ARRAY_TASK_ID)")
	f.IntVar(&o.Shards, "shards", 0, "processes that share the plan")
	f.BoolVar(&o.DryRun, "dry-run", false, "say what it would take, make no runs")
	return cmd
}

func (o *collectOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("--out is missing")
	}
	if o.Workers < 0 {
		f.Addf("--workers %d: expected at least 0", o.Workers)
	}
	if o.Shards < 0 {
		f.Addf("--shards %d: expected at least 0", o.Shards)
	}
	o.index(&f)
	return f.Err(c)
}

// indexVariables are where Kubernetes (Indexed Jobs) and Slurm (job arrays) say
// which of its processes this is.
var indexVariables = []string{"JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"}

func (o *collectOptions) index(f *app.Faults) {
	text, from := o.Index, "--index"
	for _, name := range indexVariables {
		if text == "" && o.Shards > 0 {
			text, from = os.Getenv(name), "$"+name
		}
	}
	switch n, err := strconv.Atoi(text); {
	case text == "" && o.Shards == 0:
	case text == "":
		f.Addf("--shards without --index, and neither $%s is set", strings.Join(indexVariables, " nor $"))
	case o.Shards == 0:
		f.Addf("--index without --shards")
	case err != nil || n < 0 || n >= o.Shards:
		f.Addf("%s %q: expected a number from 0 to %d", from, text, o.Shards-1)
	default:
		o.shard = n
	}
}

func runCollect(ctx context.Context, a *app.App, o collectOptions) error {
	plan, err := meta.ReadPlan(o.Plan)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, o.Out, o.Cache)
	if err != nil {
		return err
	}
	defer store.Close()
	options := meta.CollectOptions{Workers: o.workers(a), Shard: o.shard, Shards: o.Shards, Progress: func(p meta.Progress) { tell(a, p) }}
	e, err := plan.Estimate(ctx, store, options)
	if err != nil {
		return err
	}
	a.Notef("%d runs, %d in the store; the others take %s of disk", e.Runs, e.Present, size(e.Bytes))
	if o.DryRun || e.Present == e.Runs {
		return nil
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return err
	}
	return meta.Collect(ctx, engine, plan, store, options)
}

func (o *collectOptions) workers(a *app.App) int {
	for _, n := range []int{o.Workers, a.Threads} {
		if n > 0 {
			return n
		}
	}
	return goruntime.NumCPU()
}

// tell prints a line for a run that has ended.
func tell(a *app.App, p meta.Progress) {
	if p.Err != nil {
		a.Notef("[%d/%d] %s %s: %v", p.Done, p.Total, p.Task.Set, p.Task.ID(), p.Err)
		return
	}
	a.Notef("[%d/%d] %s %s: %d steps in %.0f s, %.1f %%; %s to go", p.Done, p.Total, p.Task.Set, p.Task.ID(), p.Task.Steps, p.Seconds, p.Accuracy, p.Remaining.Round(time.Second))
}

// size writes a size with a unit.
func size(n int64) string {
	const unit = 1024
	v, i := float64(n), 0
	for ; v >= unit && i < 4; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.3g %s", v, []string{"B", "KiB", "MiB", "GiB", "TiB"}[i])
}
