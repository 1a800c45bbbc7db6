// Package graph implements `ninox graph`: the neuron graph of a model, its
// certificate, and what changed between two models.
package graph

import (
	"fmt"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// NewCommand is `ninox graph`.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "graph MODEL",
		Short: "Show the neuron graph of a model, and verify it",
	}
	cmd.AddCommand(newDiff(a))
	return cmd
}

// view is a model in standard form, with its neuron graph.
type view struct {
	model *onnxgraph.Model
	graph *neuralgraph.Graph
}

// read analyses a model file.
func read(file string) (*view, error) {
	m, err := onnxgraph.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &view{m, g}, nil
}
