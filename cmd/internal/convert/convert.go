// Package convert implements `ninox convert`: a model in a newer opset, without
// fused operators, or with its weights in other layouts.
package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/training/autodiff"
)

type options struct {
	Model            string
	Out              string
	Opset            int64
	Lower            bool
	TransposeWeights bool
	Overwrite        bool
}

// defaultOpset is what current runtimes and tools agree on; of later ones
// runtimes lack operators.
const defaultOpset = 21

// NewCommand is `ninox convert`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "convert MODEL -o FILE",
		Short: "Write a model in a newer opset",
		Long: `Writes a model that computes the same with the operators of a newer opset of the default domain.
Local functions are inlined. A model cannot be taken down to an older opset. With --lower, operators
of other domains are replaced by standard ones where they are made up of such: fused attention and
activations, operators on quantized numbers.

With --transpose-weights, a weight that is read only through Transpose is stored in the layout in
which it is read, under a new name. The property ninox.transposed_weights of the new model lists
names, originals and permutations. Checkpoints of the original model do not fit any more.

Training converts by itself what is too old for gradients.`,
		Example: `  ninox convert model.onnx -o new.onnx
  ninox convert model.onnx -o new.onnx --opset 17
  ninox convert optimized.onnx -o plain.onnx --lower
  ninox convert model.onnx -o lean.onnx --transpose-weights`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file for the new model (required)")
	f.Int64Var(&o.Opset, "opset", 0, fmt.Sprintf("opset of the new model (default: that of the model, at least %d)", defaultOpset))
	f.BoolVar(&o.Lower, "lower", false, "replace operators of other domains by standard ones")
	f.BoolVar(&o.TransposeWeights, "transpose-weights", false, "store weights in the layout in which they are read")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace FILE")
	return cmd
}

func (o *options) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("-o FILE is missing: the file for the new model")
	}
	if c.Flags().Changed("opset") && (o.Opset < 1 || o.Opset > rewrite.Newest) {
		f.Addf("--opset %d: expected 1 to %d", o.Opset, rewrite.Newest)
	}
	if o.Lower && o.Opset > 0 && o.Opset < autodiff.MinOpset {
		f.Addf("--opset %d: --lower needs %d or later", o.Opset, autodiff.MinOpset)
	}
	return f.Err(c)
}

// Report is the machine-readable output.
type Report struct {
	Model   string         `json:"model"`
	Out     string         `json:"out"`
	From    int64          `json:"from"`              // opsets of the default domain
	To      int64          `json:"to"`                //
	Adapted map[string]int `json:"adapted"`           // changes of meaning, as "Slice-10", by how many nodes
	Lowered map[string]int `json:"lowered,omitempty"` // replaced operators, by how many nodes
	Kept    map[string]int `json:"kept,omitempty"`    // operators of other domains that --lower left
	Nodes   int            `json:"nodes"`

	Transposed []rewrite.TransposedWeight `json:"transposed,omitempty"` // as the new model lists them
}

func run(_ context.Context, a *app.App, o options) error {
	m, err := onnxgraph.ReadFile(o.Model)
	if err != nil {
		return err
	}
	r := Report{Model: o.Model, Out: o.Out, From: m.OpsetVersion("")}
	if o.Opset == 0 {
		o.Opset = max(r.From, defaultOpset)
	}
	if m, r.Adapted, err = rewrite.Convert(m, ops.Registry(), o.Opset); err != nil {
		return fmt.Errorf("%s: %w", o.Model, err)
	}
	if o.Lower {
		before := foreign(m)
		if m, err = rewrite.Lower(m, ops.Registry(), func(n *onnxgraph.Node) bool { return n.Domain != "" }); err != nil {
			return fmt.Errorf("%s: %w", o.Model, err)
		}
		r.Kept = foreign(m)
		r.Lowered = before
		maps.DeleteFunc(r.Lowered, func(name string, _ int) bool { return r.Kept[name] > 0 })
	}
	if o.TransposeWeights {
		if m, _, err = rewrite.Apply(m, ops.Registry(), rewrite.Optional()); err != nil {
			return fmt.Errorf("%s: %w", o.Model, err)
		}
		if r.Transposed, err = rewrite.TransposedWeights(m); err != nil {
			return fmt.Errorf("%s: %w", o.Model, err)
		}
	}
	r.To, r.Nodes = m.OpsetVersion(""), len(m.Graph.Nodes)
	if err := m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite}); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; --overwrite replaces it", err)
		}
		return err
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	return r.print(a)
}

// foreign counts the operators outside the default domain.
func foreign(m *onnxgraph.Model) map[string]int {
	count := map[string]int{}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if n.Domain != "" {
				count[n.Op()]++
			}
		}
	})
	return count
}

func (r *Report) print(a *app.App) error {
	fmt.Fprintf(a.Out, "opset    %d → %d\n", r.From, r.To)
	for _, line := range []struct {
		name  string
		count map[string]int
	}{{"adapted", r.Adapted}, {"lowered", r.Lowered}, {"kept", r.Kept}} {
		if len(line.count) > 0 {
			fmt.Fprintf(a.Out, "%-8s %s\n", line.name, counted(line.count))
		}
	}
	if n := len(r.Transposed); n > 0 {
		fmt.Fprintf(a.Out, "weights  %d stored transposed\n", n)
	}
	_, err := fmt.Fprintf(a.Out, "written  %s (%d nodes)\n", r.Out, r.Nodes)
	return err
}

func counted(count map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s (%d×)", name, count[name]))
	}
	return strings.Join(parts, ", ")
}
