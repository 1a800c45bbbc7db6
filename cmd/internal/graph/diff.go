package graph

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/onnxgraph"
)

// Diff is what differs between two models.
type Diff struct {
	A       string   `json:"a"`
	B       string   `json:"b"`
	Changes []Change `json:"changes"`
}

// Change is one difference. A or B is "" where the thing is missing.
type Change struct {
	Kind    string   `json:"kind"` // "opset", "input", "output", "operator", "parameter", "group"
	Name    string   `json:"name"`
	A       string   `json:"a"`
	B       string   `json:"b"`
	MaxDiff *float64 `json:"max_abs_diff,omitempty"` // of parameters of equal shape; null where not finite
}

func newDiff(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changed between two models",
		Long: `Compares opset, inputs, outputs, operators, parameters (shapes and values) and groups of neurons of
two ONNX models, both in standard form.`,
		Example: `  ninox graph diff before.onnx after.onnx
  ninox graph diff run/baseline/final.onnx run/final.onnx --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return runDiff(c.Context(), a, args[0], args[1]) },
	}
}

func runDiff(_ context.Context, a *app.App, fileA, fileB string) error {
	x, err := read(fileA)
	if err != nil {
		return err
	}
	y, err := read(fileB)
	if err != nil {
		return err
	}
	d := Diff{A: fileA, B: fileB, Changes: compare(x, y)}
	if a.JSON {
		return a.WriteJSON(d)
	}
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintln(a.Out, "no differences")
		return err
	}
	var rows [][]string
	for _, c := range d.Changes {
		rows = append(rows, []string{c.Kind, c.Name, c.text()})
	}
	return job.WriteColumns(a.Out, rows)
}

func (c Change) text() string {
	switch {
	case c.A == "":
		return "added: " + c.B
	case c.B == "":
		return "removed: " + c.A
	case c.A != c.B:
		return c.A + " -> " + c.B
	case c.MaxDiff == nil:
		return "other values, some of them not finite"
	}
	return fmt.Sprintf("other values, by up to %.3g", *c.MaxDiff)
}

// compare lists the differences in a fixed order.
func compare(x, y *view) []Change {
	out := differences("opset", x.opsets(), y.opsets())
	out = append(out, differences("input", values(x.model.Graph.Inputs), values(y.model.Graph.Inputs))...)
	out = append(out, differences("output", values(x.model.Graph.Outputs), values(y.model.Graph.Outputs))...)
	out = append(out, differences("operator", x.operators(), y.operators())...)
	out = append(out, parameterChanges(x.model.Graph, y.model.Graph)...)
	return append(out, differences("group", x.groups(), y.groups())...)
}

// differences compares two descriptions name by name.
func differences(kind string, a, b map[string]string) []Change {
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(union(a, b))) {
		if a[name] != b[name] {
			out = append(out, Change{Kind: kind, Name: name, A: a[name], B: b[name]})
		}
	}
	return out
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func (v *view) opsets() map[string]string {
	out := map[string]string{}
	for _, o := range v.model.Opsets {
		name := o.Domain
		if name == "" {
			name = "ai.onnx"
		}
		out[name] = fmt.Sprint(o.Version)
	}
	return out
}

func values(list []*onnxgraph.Value) map[string]string {
	out := map[string]string{}
	for _, v := range list {
		out[v.Name] = v.Type.String()
	}
	return out
}

// operators counts the nodes of each kind.
func (v *view) operators() map[string]string {
	n := map[string]int{}
	for _, node := range v.model.Graph.Nodes {
		n[node.Op()]++
	}
	out := map[string]string{}
	for name, count := range n {
		out[name] = fmt.Sprintf("%d nodes", count)
	}
	return out
}

// groups describes the groups of neurons by role and size, which do not depend
// on how they are numbered.
func (v *view) groups() map[string]string {
	n := map[string]int{}
	for _, g := range v.graph.Groups {
		n[fmt.Sprintf("%s of %d", g.Role, g.Size)]++
	}
	out := map[string]string{}
	for name, count := range n {
		out[name] = fmt.Sprintf("%d groups", count)
	}
	return out
}

// parameterChanges compares initializers by name: their types, then their
// values.
func parameterChanges(a, b *onnxgraph.Graph) []Change {
	describe := func(g *onnxgraph.Graph) (map[string]string, map[string]*onnxgraph.Tensor) {
		types, tensors := map[string]string{}, map[string]*onnxgraph.Tensor{}
		for _, t := range g.Initializers {
			types[t.Name], tensors[t.Name] = onnxgraph.TensorOf(t.DType, t.Shape()).String(), t
		}
		return types, tensors
	}
	typesA, tensorsA := describe(a)
	typesB, tensorsB := describe(b)
	out := differences("parameter", typesA, typesB)
	for _, name := range slices.Sorted(maps.Keys(typesA)) {
		x, y := tensorsA[name], tensorsB[name]
		if typesA[name] == typesB[name] && string(x.Data) != string(y.Data) {
			out = append(out, Change{Kind: "parameter", Name: name, A: typesA[name], B: typesB[name], MaxDiff: maxDiff(x, y)})
		}
	}
	slices.SortStableFunc(out, func(p, q Change) int { return strings.Compare(p.Name, q.Name) })
	return out
}

// maxDiff is the largest difference of two tensors of one type, nil where it
// is not finite or the type is not one of numbers.
func maxDiff(x, y *onnxgraph.Tensor) *float64 {
	a, errA := x.AsDoubles()
	b, errB := y.AsDoubles()
	if errA != nil || errB != nil {
		return nil
	}
	worst := 0.0
	for i := range a {
		d := math.Abs(a[i] - b[i])
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return nil
		}
		worst = max(worst, d)
	}
	return &worst
}
