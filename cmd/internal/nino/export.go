package nino

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino"
	"ninox/onnxgraph"
)

type exportOptions struct {
	Out       string
	Weights   string
	Form      string
	Precision string
	Opset     int64
	Overwrite bool
}

// exports are the forms of the network as ONNX.
var exports = map[string]func(*nino.Weights, int64) (*onnxgraph.Model, error){
	"edges": nino.EdgesModel,
}

var forms, precisions = []string{"edges"}, []string{"fp32"}

func newExport(a *app.App, run func(context.Context, *app.App, exportOptions) error) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export -o F.onnx --weights W",
		Short: "Write the network as an ONNX model",
		Long: `Writes the network for any ONNX runtime. In the form "edges" it reads a neural graph edge by edge:
edge_index int64[2,E] (source, target), edge_type int64[E], edge_attr float[E,F*5] (scaled states,
oldest first, F up to 9), pos float[N,8], token int64[N] (only with word positions) and the horizon
k int64[]; pred float[E,F] is the newest scaled state plus the prediction.`,
		Example: `  ninox nino export --weights nino.safetensors -o nino.onnx`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	f.StringVar(&o.Weights, "weights", "", "network weights (required)")
	f.StringVar(&o.Form, "form", "edges", "edges: any graph, edge by edge")
	f.StringVar(&o.Precision, "precision", "fp32", "fp32")
	f.Int64Var(&o.Opset, "opset", nino.DefaultOpset, "operator set of the model")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace an existing file")
	app.Choices(cmd, "form", forms)
	app.Choices(cmd, "precision", precisions)
	return cmd
}

func (o *exportOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("-o F.onnx is missing: the file to write")
	}
	needWeights(&f, o.Weights)
	f.OneOf("form", o.Form, forms)
	f.OneOf("precision", o.Precision, precisions)
	if o.Opset < nino.MinOpset || o.Opset > nino.MaxOpset {
		f.Addf("--opset %d: expected %d to %d", o.Opset, nino.MinOpset, nino.MaxOpset)
	}
	return f.Err(c)
}

// Exported is the machine-readable output.
type Exported struct {
	Path    string `json:"path"`
	Form    string `json:"form"`
	Opset   int64  `json:"opset"`
	Variant string `json:"variant"`
	Nodes   int    `json:"nodes"`
}

func runExport(_ context.Context, a *app.App, o exportOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	w, err := nino.Import(o.Weights)
	if err != nil {
		return err
	}
	m, err := exports[o.Form](w, o.Opset)
	if err != nil {
		return err
	}
	if err := m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite}); err != nil {
		return err
	}
	r := Exported{Path: o.Out, Form: o.Form, Opset: o.Opset, Variant: w.Variant, Nodes: len(m.Graph.Nodes)}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written  %s (%s, form %s, opset %d, %d nodes)\n", r.Path, r.Variant, r.Form, r.Opset, r.Nodes)
	return err
}
