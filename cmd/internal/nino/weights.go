package nino

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino"
)

type importOptions struct {
	From      string
	Out       string
	Overwrite bool
}

func newImport(a *app.App, run func(context.Context, *app.App, importOptions) error) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import F.pt|F.safetensors -o W.safetensors",
		Short: "Turn the reference's weights into ninox's, losslessly",
		Long: `Reads a file that torch.save wrote, without running anything in it: only tensors, numbers,
strings and dicts are read. Names and values of the tensors stay as they are, so that the reference
reads the result, too.`,
		Example: `  ninox nino import nino.pt -o nino.safetensors`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.From = args[0]
			var f app.Faults
			if o.Out == "" {
				f.Addf("-o W.safetensors is missing: the file to write")
			}
			if err := f.Err(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	cmd.Flags().StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	cmd.Flags().BoolVar(&o.Overwrite, "overwrite", false, "replace an existing file")
	return cmd
}

func runImport(_ context.Context, a *app.App, o importOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	w, err := nino.Import(o.From)
	if err != nil {
		return err
	}
	if err := w.Write(o.Out, o.Overwrite); err != nil {
		return err
	}
	return show(a, describe(o.Out, w))
}

func newInfo(a *app.App, run func(context.Context, *app.App, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   "info W",
		Short: "Describe network weights",
		Long: "Describes a file of weights, or those of the program: " + strings.Join(nino.EmbeddedNames(), ", ") + `.
A name of the program's serves wherever a command takes --weights.`,
		Example: `  ninox nino info nino.safetensors
  ninox nino info nino-128`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), a, args[0]) },
	}
}

func runInfo(_ context.Context, a *app.App, path string) error {
	w, origin, err := nino.ImportOrEmbedded(path, nino.DefaultEmbedded)
	if err != nil {
		return err
	}
	return show(a, describe(origin, w))
}

func show(a *app.App, d Description) error {
	if a.JSON {
		return a.WriteJSON(d)
	}
	return printDescription(a, d)
}
