package nino

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	Model     string
	Licence   string
	Card      string
	Overwrite bool
}

// formReference writes the weights for the reference's own code, not a model.
const formReference = "reference"

var forms = []string{string(nino.FormEdges), string(nino.FormTiles), formReference}

func precisions() []string {
	var out []string
	for _, p := range nino.Precisions() {
		out = append(out, string(p))
	}
	return out
}

func newExport(a *app.App, run func(context.Context, *app.App, exportOptions) error) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export -o F.onnx [--weights W]",
		Short: "Write the network as an ONNX model",
		Long: `Writes the network for any ONNX runtime, as one file with all it needs: its metadata (ninox.nino.*)
say how states are scaled, what horizons there are and how they are scheduled, how edges are laid
out and what their types are called. docs/NINO.md has a table.

In the form "edges" the network reads a neural graph edge by edge: edge_index int64[2,E] (source,
target), edge_type int64[E], edge_attr float[E,F*5] (scaled states, oldest first, F up to 9), pos
float[N,8], token int64[N] (only with word positions) and the horizon k int64[]; pred float[E,F] is
the newest scaled state plus the prediction.

The form "tiles" computes the same with less work: besides such a list it reads tiles of S sources
by T targets between which every edge exists, tile_features float[B,S,T,F*5], tile_type int64[B],
tile_source int64[B,S], tile_target int64[B,T] (-1 where a tile is not full), and gives tile_pred
float[B,S,T,F], too. Tiles are scanned one by one; nothing is kept per edge.

With --model M the file does the whole step for that model, in either form: inputs are its parameters
in their past states, float[5,...] under their names, and k; outputs are called NAME.next.

The form "reference" writes the weights as the authors' code reads them: tensors and settings as they
came, as a .pt file or as safetensors, by the name of the file.`,
		Example: `  ninox nino export -o nino.onnx
  ninox nino export --weights nino.safetensors --form tiles --precision fp16 -o nino16.onnx
  ninox nino export --weights nino.safetensors --model model.onnx -o step.onnx
  ninox nino export --weights nino.safetensors --form reference -o nino.pt`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	f.StringVar(&o.Weights, "weights", "", "network weights (default: those of the program)")
	f.StringVar(&o.Form, "form", string(nino.FormEdges), "edges: any graph, edge by edge; tiles: dense blocks; reference: the weights, for the authors' code")
	f.StringVar(&o.Precision, "precision", string(nino.FP32), "how matrices are stored: "+strings.Join(precisions(), ", "))
	f.Int64Var(&o.Opset, "opset", nino.DefaultOpset, fmt.Sprintf("operator set of the model, %d to %d", nino.MinOpset, nino.MaxOpset))
	f.StringVar(&o.Model, "model", "", "model to whose parameters the file applies the whole step")
	f.StringVar(&o.Licence, "licence", "", "licence of the weights, for the metadata")
	f.StringVar(&o.Card, "card", "", "file with a description of the weights, for the metadata")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace an existing file")
	app.Choices(cmd, "form", forms)
	app.Choices(cmd, "precision", precisions())
	return cmd
}

func (o *exportOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("-o F.onnx is missing: the file to write")
	}
	f.OneOf("form", o.Form, forms)
	f.OneOf("precision", o.Precision, precisions())
	if o.Opset < nino.MinOpset || o.Opset > nino.MaxOpset {
		f.Addf("--opset %d: expected %d to %d", o.Opset, nino.MinOpset, nino.MaxOpset)
	}
	if o.Form == formReference {
		for _, flag := range []string{"precision", "opset", "model", "licence", "card"} {
			if c.Flags().Changed(flag) {
				f.Addf("--%s is for ONNX models, not for the form %q", flag, formReference)
			}
		}
		if !slices.Contains([]string{".pt", ".pth", ".safetensors", ""}, filepath.Ext(o.Out)) {
			f.Addf("-o %s: the form %q is written as .pt or .safetensors", o.Out, formReference)
		}
	}
	return f.Err(c)
}

// Exported is the machine-readable output.
type Exported struct {
	Path      string `json:"path"`
	Form      string `json:"form"`
	Precision string `json:"precision,omitempty"`
	Opset     int64  `json:"opset,omitempty"`
	Variant   string `json:"variant"`
	Model     string `json:"model,omitempty"` // whose step the file does
	Bytes     int64  `json:"bytes"`
}

func runExport(_ context.Context, a *app.App, o exportOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	w, _, err := nino.ImportOrEmbedded(o.Weights, nino.DefaultEmbedded)
	if err != nil {
		return err
	}
	r := Exported{Path: o.Out, Form: o.Form, Variant: w.Variant}
	what := fmt.Sprintf("%s, for the reference", r.Variant)
	if o.Form == formReference {
		err = w.WriteReference(o.Out, o.Overwrite)
	} else {
		r.Precision, r.Opset, r.Model = o.Precision, o.Opset, o.Model
		what = fmt.Sprintf("%s, form %s, %s, opset %d", r.Variant, r.Form, r.Precision, r.Opset)
		err = o.write(w)
	}
	if err != nil {
		return err
	}
	st, err := os.Stat(o.Out)
	if err != nil {
		return err
	}
	r.Bytes = st.Size()
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written  %s (%s, %d bytes)\n", r.Path, what, r.Bytes)
	return err
}

// write writes the network as a model.
func (o *exportOptions) write(w *nino.Weights) error {
	e := nino.ExportOptions{Form: nino.Form(o.Form), Precision: nino.Precision(o.Precision), Opset: o.Opset, Licence: o.Licence}
	if o.Card != "" {
		text, err := os.ReadFile(o.Card)
		if err != nil {
			return err
		}
		e.Card = string(text)
	}
	if o.Model != "" {
		if err := o.wholeStep(w, &e); err != nil {
			return err
		}
	}
	m, err := nino.Export(w, e)
	if err != nil {
		return err
	}
	return m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite})
}

// wholeStep adds the graph of the model whose step is wanted.
func (o *exportOptions) wholeStep(w *nino.Weights, e *nino.ExportOptions) error {
	m, err := analyse(o.Model)
	if err != nil {
		return err
	}
	var names []string
	e.Shapes = map[string][]int64{}
	for _, p := range m.trained() {
		names = append(names, p.Name)
		e.Shapes[p.Name] = p.Shape
	}
	if e.Graph, err = m.graph.NiNo(names); err != nil {
		return fmt.Errorf("%s: %w", o.Model, err)
	}
	if w.Naive() {
		e.Graph = e.Graph.Naive()
	}
	return nil
}
