// Package root assembles the ninox command from its verbs.
package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/accelerate"
	"ninox/cmd/internal/app"
	"ninox/cmd/internal/artifacts"
	"ninox/cmd/internal/bench"
	"ninox/cmd/internal/check"
	"ninox/cmd/internal/convert"
	"ninox/cmd/internal/data"
	"ninox/cmd/internal/graph"
	"ninox/cmd/internal/lora"
	"ninox/cmd/internal/meta"
	"ninox/cmd/internal/nino"
	"ninox/cmd/internal/runtime"
	"ninox/cmd/internal/text"
	"ninox/cmd/internal/train"
	"ninox/cmd/internal/trainable"
	"ninox/cmd/internal/version"
	"ninox/cmd/internal/weights"
)

// Main runs the command line and returns the exit code. Interrupts cancel the
// context of the running command; a second one kills the process.
func Main(a *app.App, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	cmd := New(a)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if err != nil && !errors.Is(err, app.ErrDifferent) {
		fmt.Fprintln(a.Err, "ninox:", err)
	}
	return app.ExitCode(err)
}

// New is the ninox command with all its verbs.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ninox",
		Short: "Train neural networks in fewer steps: Adam plus NiNo, on any ONNX model",
		Long: `ninox derives the neuron graph and the training graph of an ONNX model, trains it on
ONNX Runtime and, once in 1,000 steps, lets the NiNo network predict where the parameters
will be many steps later.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the model is unsupported or its certificate
fails, 130 interrupted with a valid checkpoint written.`,
		Example: `  ninox accelerate                        # the demo: embedded data, both curves, a report
  ninox accelerate fm-16 --data fashion-mnist:DIR --weights nino.safetensors --out run
  ninox graph model.onnx`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetIn(a.In)
	cmd.SetOut(a.Out)
	cmd.SetErr(a.Err)
	f := cmd.PersistentFlags()
	f.BoolVar(&a.JSON, "json", false, "machine-readable output on stdout")
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "no progress on stderr")
	f.StringVar(&a.LogLevel, "log-level", "warn", "debug, info, warn or error")
	f.StringVar(&a.Device, "device", "cpu", "cpu or cuda[:N]")
	f.IntVar(&a.Threads, "threads", 0, "processor threads; 0 means all")
	f.Uint64Var(&a.Seed, "seed", 1, "seed of every random choice")
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return app.Usagef("%w (see '%s --help')", err, c.CommandPath())
	})
	cmd.AddCommand(
		accelerate.NewCommand(a), artifacts.NewCommand(a), bench.NewCommand(a), check.NewCommand(a), convert.NewCommand(a), data.NewCommand(a), graph.NewCommand(a), lora.NewCommand(a),
		meta.NewCommand(a), nino.NewCommand(a), runtime.NewCommand(a), text.NewCommand(a), train.NewCommand(a), trainable.NewCommand(a), version.NewCommand(a), weights.NewCommand(a),
	)
	cmd.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return a.Check(c) }
	cmd.InitDefaultCompletionCmd()
	cmd.InitDefaultHelpCmd()
	markUsageErrors(cmd)
	return cmd
}

// markUsageErrors makes errors about positional arguments, and calls of a
// group without a verb, count as wrong usage.
func markUsageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return app.Usagef("%w (see '%s --help')", err, c.CommandPath())
			}
			return nil
		}
	}
	if !cmd.Runnable() {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			hint := ""
			if s := c.SuggestionsFor(args[0]); len(s) > 0 {
				hint = fmt.Sprintf("; did you mean %s?", strings.Join(s, " or "))
			}
			return app.Usagef("unknown command %q for %q%s", args[0], c.CommandPath(), hint)
		}
		cmd.Args = cobra.ArbitraryArgs
		cmd.SuggestionsMinimumDistance = 2
	}
	for _, sub := range cmd.Commands() {
		markUsageErrors(sub)
	}
}
