// Package check implements `ninox check`: what is wrong with a model.
package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/text"
	"ninox/onnxgraph"
	"ninox/onnxgraph/check"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

type options struct{ Model string }

// NewCommand is `ninox check`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	return &cobra.Command{
		Use:   "check MODEL",
		Short: "List everything that is wrong with a model",
		Long: `Checks a model, or a text of one (see ninox text), against the ONNX specification: names and order of
values, operators and the opsets that have them, attributes, numbers and types of inputs and outputs,
tensors and their data, subgraphs, functions, imports and versions. Where all that is right, shapes are
inferred as well. Every finding is listed, with its node and attribute.

Nodes in the wrong order are a finding, although ninox itself sorts them whenever it reads a model.
The exit code is 3 where there are findings.`,
		Example: `  ninox check model.onnx
  ninox check model.onnx --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			return run(c.Context(), a, o)
		},
	}
}

// Report is the result. Schema names this form of it.
type Report struct {
	Schema   string           `json:"schema"` // ninox.check/1
	Model    string           `json:"model"`
	OK       bool             `json:"ok"`
	Inferred bool             `json:"inferred"` // types and shapes were inferred; not where operators are unknown
	Findings []*check.Finding `json:"findings"`
}

func run(_ context.Context, a *app.App, o options) error {
	r, err := examine(o.Model)
	if err != nil {
		return err
	}
	if a.JSON {
		err = a.WriteJSON(r)
	} else {
		err = r.print(a)
	}
	if err != nil || r.OK {
		return err
	}
	return fmt.Errorf("%s: %w: %s", o.Model, app.ErrInvalid, plural(len(r.Findings), "finding"))
}

// examine reads a model and checks it. A file that is no model is a finding,
// one that cannot be opened is an error.
func examine(file string) (*Report, error) {
	r := &Report{Schema: "ninox.check/1", Model: file, Findings: []*check.Finding{}}
	m, err := text.Read(file)
	var outside *fs.PathError
	if errors.As(err, &outside) {
		return nil, err
	}
	if err != nil {
		r.Findings = append(r.Findings, &check.Finding{Message: err.Error()})
		return r, nil
	}
	reg := ops.Registry()
	r.Findings = append(r.Findings, check.Model(m, check.Options{Registry: reg})...)
	if sortable(r.Findings) {
		found, known := inferred(m, reg)
		r.Inferred = known
		r.Findings = append(r.Findings, found...)
	}
	r.OK = len(r.Findings) == 0
	return r, nil
}

// sortable says whether nothing but the order of the nodes is wrong.
func sortable(findings []*check.Finding) bool {
	for _, f := range findings {
		if !f.Unsorted {
			return false
		}
	}
	return true
}

// inferred infers the model's types and shapes. The findings are what speaks
// against them; known is false where an operator's rules are not known.
func inferred(m *onnxgraph.Model, reg *op.Registry) (found []*check.Finding, known bool) {
	var passes []rewrite.Pass
	for _, p := range rewrite.Passes() {
		if p.Name == "inline" || p.Name == "sort" {
			passes = append(passes, p)
		}
	}
	std, _, err := rewrite.Apply(m, reg, passes)
	var facts *infer.Result
	if err == nil {
		facts, err = infer.Run(std, reg, infer.Options{})
	}
	var unknown *infer.UnsupportedError
	var node *op.NodeError
	switch {
	case err == nil:
		// The types of all values are known now, and can be held against the
		// operators that read them.
		declare(std.Graph, facts)
		return check.Model(std, check.Options{Registry: reg}), true
	case errors.As(err, &unknown):
		return nil, false
	case errors.As(err, &node):
		return []*check.Finding{{Node: node.Node, Op: node.Op, Opset: node.Opset, Attr: node.Attr, Message: node.Msg, Line: node.Line}}, true
	}
	return []*check.Finding{{Message: err.Error()}}, true
}

// declare writes the types that were inferred into the graph and its subgraphs.
func declare(g *onnxgraph.Graph, facts *infer.Result) {
	g.EachGraph(func(g *onnxgraph.Graph) {
		here := facts
		if in := facts.In(g); in != nil {
			here = in
		}
		for _, n := range g.Nodes {
			for _, out := range n.Outputs {
				if f := here.Fact(out); f != nil {
					g.ValueInfo = append(g.ValueInfo, &onnxgraph.Value{Name: out, Type: f.Type})
				}
			}
		}
	})
}

func (r *Report) print(a *app.App) error {
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(a.Out, f); err != nil {
			return err
		}
		if f.Line == "" {
			continue
		}
		if _, err := fmt.Fprintln(a.Out, "   "+f.Line); err != nil {
			return err
		}
	}
	if !r.OK {
		return nil
	}
	result := "no findings"
	if !r.Inferred {
		result += "; shapes were not inferred, since operators are unknown"
	}
	_, err := fmt.Fprintln(a.Out, result)
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
