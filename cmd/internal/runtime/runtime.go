// Package runtime implements `ninox runtime`: installing and describing the
// ONNX Runtime library that everything else runs on.
package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	ort "ninox/runtime"
)

// NewCommand is `ninox runtime` with its verbs.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runtime",
		Short: "Install or describe the ONNX Runtime library",
		Long: `ninox runs everything on ONNX Runtime. It takes the library that $NINOX_ORT_LIB names, else one
it installed earlier, else one of the system; else it installs one on first use, through pip or npm.`,
	}
	cmd.AddCommand(newInstall(a), newInfo(a))
	return cmd
}

type installOptions struct {
	GPU   bool
	Force bool
}

func newInstall(a *app.App) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Download ONNX Runtime into the cache (pinned version and SHA-256)",
		Example: `  ninox runtime install
  ninox runtime install --gpu      # the CUDA build`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runInstall(c.Context(), a, o) },
	}
	cmd.Flags().BoolVar(&o.GPU, "gpu", false, "the build with the CUDA provider")
	cmd.Flags().BoolVar(&o.Force, "force", false, "install again although it is there")
	return cmd
}

func runInstall(ctx context.Context, a *app.App, o installOptions) error {
	inst, err := ort.Install(ctx, ort.InstallOptions{GPU: o.GPU, Force: o.Force, Progress: a.Progress()})
	if err != nil {
		return err
	}
	if a.JSON {
		return json.NewEncoder(a.Out).Encode(inst)
	}
	_, err = fmt.Fprintf(a.Out, "ONNX Runtime %s (%s): %s\n", inst.Version, inst.Source, inst.Path)
	return err
}

func newInfo(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Say which ONNX Runtime is used, where it comes from and what it can run on",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runInfo(c.Context(), a) },
	}
}

func runInfo(ctx context.Context, a *app.App) error {
	info, err := ort.Info(ctx)
	if err != nil {
		return err
	}
	if a.JSON {
		return json.NewEncoder(a.Out).Encode(info)
	}
	_, err = fmt.Fprintf(a.Out, "version    %s\nlibrary    %s\nsource     %s\nproviders  %s\n",
		info.Version, info.Path, info.Source, strings.Join(info.Providers, ", "))
	return err
}
