// Package nino implements `ninox nino`: weights of the NiNo network, the
// network as ONNX, and single nowcasts over checkpoints of any framework.
package nino

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino"
)

// NewCommand is `ninox nino` with its verbs.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nino",
		Short: "NiNo weights, the network as ONNX, and single nowcasts",
		Long: `NiNo predicts where parameters will be many training steps later, from their past five states
and the neural graph of the model. Weights of ninox's own are part of the program; 'ninox nino import'
makes others from the files that the paper's authors publish.`,
	}
	cmd.AddCommand(newImport(a, runImport), newInfo(a, runInfo), newExport(a, runExport), newStep(a, runStep))
	return cmd
}

// checkOutput refuses to replace a file unless asked to, before any work is done.
func checkOutput(path string, overwrite bool) error {
	if overwrite {
		return nil
	}
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s exists; --overwrite replaces it", path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// Description is the machine-readable description of weights.
type Description struct {
	Path string `json:"path"`
	nino.Config
	Parameters int               `json:"parameters"` // weights of the network
	Tensors    int               `json:"tensors"`
	Settings   map[string]string `json:"settings"` // of the reference's network, as stored
}

func describe(path string, w *nino.Weights) Description {
	return Description{Path: path, Config: w.Config, Parameters: w.Parameters(), Tensors: w.Tensors.Len(), Settings: w.Args}
}

// printDescription prints a description for people.
func printDescription(a *app.App, d Description) error {
	name := "NiNo (message passing over the neural graph)"
	if d.Variant == nino.VariantMLP {
		name = "WNN+ (each parameter by itself)"
	}
	_, err := fmt.Fprintf(a.Out, `weights     %s
network     %s
size        %d layers of width %d, %d weights in %d tensors
context     %d past states
horizons    1 to %d (in intervals between states)
edges       %s
nodes       %s
scaling     %s
`, d.Path, name, d.Layers, d.Width, d.Parameters, d.Tensors, d.Context, d.Horizons, edgeFeatures(d.Config), nodeFeatures(d.Config), d.Scaling)
	lines := peculiarities(d.Config)
	if strings.EqualFold(d.Settings["improved_graph"], "false") {
		lines = append(lines, "trained on naive graphs of attention")
	}
	for _, line := range lines {
		if err == nil {
			_, err = fmt.Fprintf(a.Out, "            %s\n", line)
		}
	}
	return err
}

// edgeFeatures says what the network sees of an edge.
func edgeFeatures(c nino.Config) string {
	if c.Untyped {
		return fmt.Sprintf("%d taps, no types", c.Taps)
	}
	return fmt.Sprintf("%d taps, %d types", c.Taps, c.EdgeTypes)
}

// nodeFeatures says what it sees of a node.
func nodeFeatures(c nino.Config) string {
	var out []string
	if c.Positions > 0 && !c.Unplaced {
		out = append(out, fmt.Sprintf("%d Laplacian features", c.Positions))
	}
	if c.Words > 0 {
		out = append(out, fmt.Sprintf("word positions of %d tokens", c.Words-1))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// peculiarities is what sets a network apart from the paper's main one.
func peculiarities(c nino.Config) []string {
	var out []string
	if c.Towers > 0 {
		out = append(out, fmt.Sprintf("messages in %d towers", c.Towers))
	}
	if c.FinalUpdate {
		out = append(out, "edges are updated after the last layer, too")
	}
	if c.UpdateScale != 0 {
		out = append(out, fmt.Sprintf("predicted differences times %v", c.UpdateScale))
	}
	return out
}
