package nino

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// Forms of the network as ONNX.
const (
	formEdges = "edges"
	formTiles = "tiles"
)

var forms, precisions = []string{formEdges, formTiles}, []string{"fp32"}

func newExport(a *app.App, run func(context.Context, *app.App, exportOptions) error) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export -o F.onnx --weights W",
		Short: "Write the network as an ONNX model",
		Long: `Writes the network for any ONNX runtime. In the form "edges" it reads a neural graph edge by edge:
edge_index int64[2,E] (source, target), edge_type int64[E], edge_attr float[E,F*5] (scaled states,
oldest first, F up to 9), pos float[N,8], token int64[N] (only with word positions) and the horizon
k int64[]; pred float[E,F] is the newest scaled state plus the prediction.

The form "tiles" is several models in a folder, for dense blocks of edges in passes: nodes0, then
pass0 (or diagonal) and nodes1, pass1 and nodes2, then predict. It is what ninox itself runs: nothing
is gathered or scattered, and no value is kept per edge.`,
		Example: `  ninox nino export --weights nino.safetensors -o nino.onnx
  ninox nino export --weights nino.safetensors --form tiles -o tiles`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file to write, for tiles a folder (required)")
	f.StringVar(&o.Weights, "weights", "", "network weights (required)")
	f.StringVar(&o.Form, "form", formEdges, "edges: any graph, edge by edge; tiles: dense blocks, in passes")
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
	Path    string   `json:"path"`
	Form    string   `json:"form"`
	Opset   int64    `json:"opset"`
	Variant string   `json:"variant"`
	Files   []string `json:"files"`
}

func runExport(_ context.Context, a *app.App, o exportOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	w, err := nino.Import(o.Weights)
	if err != nil {
		return err
	}
	r := Exported{Path: o.Out, Form: o.Form, Opset: o.Opset, Variant: w.Variant}
	write := map[string]func(*nino.Weights) ([]string, error){formEdges: o.edges, formTiles: o.tiles}[o.Form]
	if r.Files, err = write(w); err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written  %s (%s, form %s, opset %d)\n", strings.Join(r.Files, "\n         "), r.Variant, r.Form, r.Opset)
	return err
}

// edges writes one file.
func (o *exportOptions) edges(w *nino.Weights) ([]string, error) {
	m, err := nino.EdgesModel(w, o.Opset)
	if err != nil {
		return nil, err
	}
	return []string{o.Out}, m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite})
}

// tiles writes a folder.
func (o *exportOptions) tiles(w *nino.Weights) ([]string, error) {
	t, err := nino.TileModels(w, o.Opset)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	var files []string
	for _, m := range t.Models() {
		path := filepath.Join(o.Out, m.Name+".onnx")
		if err := m.Model.WriteFile(path, onnxgraph.WriteOptions{Overwrite: o.Overwrite}); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	return files, nil
}
