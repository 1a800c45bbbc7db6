package accelerate

import (
	"context"
	"io"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
)

// Settings are what an invocation of the command asks for.
type Settings struct {
	job.Options
	Source  job.Source
	Method  string
	Weights string
	Period  int
}

// Parse reads the arguments of `ninox accelerate`, global flags aside, and
// reports what is wrong with them. It runs nothing.
func Parse(ctx context.Context, a *app.App, args []string) (Settings, error) {
	var s Settings
	cmd := newCommand(a, func(_ context.Context, _ *app.App, o options) error {
		s = Settings{Options: o.Options, Source: o.Source, Method: o.Method, Weights: o.Methods.Weights, Period: o.Methods.Period}
		return nil
	})
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return s, cmd.ExecuteContext(ctx)
}
