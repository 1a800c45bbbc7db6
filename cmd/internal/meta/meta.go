// Package meta implements `ninox meta`: collecting trajectories, training NiNo
// on them, and measuring its forecasts.
package meta

import (
	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
)

// NewCommand is `ninox meta` with its verbs.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "meta",
		Short: "Train NiNo itself: collect trajectories, train on them, evaluate",
	}
	cmd.AddCommand(newCollect(a, runCollect), newManifest(a, runManifest), newTrain(a, runTrain), newEval(a, runEval))
	return cmd
}
