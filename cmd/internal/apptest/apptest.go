// Package apptest helps to test how commands parse their flags.
package apptest

import (
	"context"
	"io"
	"testing"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
)

// Parse runs the command that make builds around a run function which only
// records its options, and returns those.
func Parse[O any](t *testing.T, a *app.App, make func(*app.App, func(context.Context, *app.App, O) error) *cobra.Command, args ...string) (O, error) {
	t.Helper()
	var got O
	cmd := make(a, func(_ context.Context, _ *app.App, o O) error {
		got = o
		return nil
	})
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return got, cmd.ExecuteContext(t.Context())
}
