package trainable

import (
	"fmt"
	"slices"
	"strings"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/training"
	"ninox/training/autodiff"
)

// States of a parameter.
const (
	Trainable = "trainable"
	Frozen    = "frozen"
	Statistic = "statistic" // updated by training, not by gradients
	Constant  = "constant"  // no gradient reaches it, or the model says that it is no parameter
	Blocked   = "blocked"
)

// Report says what can be trained. Counts are of elements.
type Report struct {
	Model      string      `json:"model"`
	Parameters []Parameter `json:"parameters"`
	Operators  []Operator  `json:"operators"`
	Total      int64       `json:"total"`
	Trainable  int64       `json:"trainable"`
	Blocked    int64       `json:"blocked"`
}

// Parameter is one initializer.
type Parameter struct {
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	State     string   `json:"state"`
	Reason    string   `json:"reason,omitempty"`
	BlockedBy []string `json:"blocked_by,omitempty"` // nodes
	Remedy    string   `json:"remedy,omitempty"`     // the change of the model that would help
}

// Operator is one kind of operator and what gradients do at it.
type Operator struct {
	Op       string `json:"op"`
	Nodes    int    `json:"nodes"`
	Gradient string `json:"gradient"` // "yes", "zero", "from lowering", "written out", "no"
	Reason   string `json:"reason,omitempty"`
	Remedy   string `json:"remedy,omitempty"` // the change of the model that would help
}

// Analyse reads a model and finds out what can be trained with the options.
func Analyse(a *app.App, file string, o job.ModelOptions) (*Report, error) {
	m, err := job.ReadModel(a, file)
	if err != nil {
		return nil, err
	}
	reg := ops.Registry()
	std, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r := &Report{Model: file, Operators: operators(std, reg)}
	if err := r.parameters(m, std.Graph, o); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// operators counts the operators, in the order in which they appear.
func operators(m *onnxgraph.Model, reg *op.Registry) []Operator {
	var out []Operator
	for _, n := range m.Graph.Nodes {
		i := slices.IndexFunc(out, func(o Operator) bool { return o.Op == n.Op() })
		if i < 0 {
			i = len(out)
			out = append(out, describe(n.Op(), reg.For(n)))
		}
		out[i].Nodes++
	}
	return out
}

func describe(name string, def *op.Def) Operator {
	o := Operator{Op: name, Gradient: "yes"}
	switch {
	case def == nil:
		o.Gradient, o.Reason = "no", "unknown operator"
	case def.Grad.Zero():
		o.Gradient = "zero"
	case def.Grad.Rule() != nil:
	case def.Grad.Refusal() == op.FromLowering.Refusal():
		o.Gradient = "from lowering"
	case name == "Loop", name == "Scan":
		o.Gradient, o.Reason, o.Remedy = "written out", "only where the number of iterations is known", autodiff.Remedy(name)
	default:
		o.Gradient, o.Reason, o.Remedy = "no", def.Grad.Refusal(), autodiff.Remedy(name)
	}
	return o
}

// parameters finds the state of every initializer of the model in standard form
// that could be a weight.
func (r *Report) parameters(m *onnxgraph.Model, std *onnxgraph.Graph, o job.ModelOptions) error {
	art, blockers, err := build(m, std, o)
	if err != nil {
		return err
	}
	constants := training.ConstantsOf(m)
	for _, t := range std.Initializers {
		if !weight(t) {
			continue
		}
		p := Parameter{Name: t.Name, Type: onnxgraph.TensorOf(t.DType, t.Shape()).String()}
		switch {
		case t.DType != onnxgraph.Float:
			p.State, p.Reason = Constant, "gradients are computed for float32 only"
		case len(blockers[t.Name]) > 0:
			p.block(blockers[t.Name])
			r.Blocked += t.Len()
		default:
			if p.State = stateOf(t.Name, art); p.State == Constant {
				p.Reason = constants[t.Name]
			}
		}
		if p.State == Trainable {
			r.Trainable += t.Len()
		}
		r.Total += t.Len()
		r.Parameters = append(r.Parameters, p)
	}
	return nil
}

// block records the nodes that keep the gradient from the parameter.
func (p *Parameter) block(by []autodiff.Blocker) {
	p.State = Blocked
	why := make([]string, len(by))
	for i, b := range by {
		p.BlockedBy = append(p.BlockedBy, b.Node)
		why[i] = fmt.Sprintf("node %q (%s): %s", b.Node, b.Op, b.Reason)
	}
	p.Reason = strings.Join(why, "; ")
	p.Remedy = autodiff.Remedy(by[0].Op)
}

// weight says whether an initializer could be one: numbers with axes, other
// than the integers that shapes and indices are made of.
func weight(t *onnxgraph.Tensor) bool {
	switch t.DType {
	case onnxgraph.Int64, onnxgraph.Int32, onnxgraph.Bool, onnxgraph.String:
		return false
	}
	return len(t.Dims) > 0
}

func stateOf(name string, art *training.Artifacts) string {
	switch {
	case art == nil:
		return Constant
	case slices.ContainsFunc(art.Params, func(p training.Param) bool { return p.Name == name }):
		return Trainable
	case slices.Contains(art.Buffers, name):
		return Statistic
	case slices.ContainsFunc(art.Checkpoint.Frozen, func(t *onnxgraph.Tensor) bool { return t.Name == name }):
		return Frozen
	}
	return Constant
}
