package trainable

import (
	"cmp"
	"errors"
	"slices"

	"ninox/cmd/internal/job"
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/training"
	"ninox/training/autodiff"
)

// build derives training artifacts, as often as it takes to leave out every
// parameter that an operator blocks. The artifacts are nil where nothing is left
// to train.
func build(m *onnxgraph.Model, std *onnxgraph.Graph, o job.ModelOptions) (*training.Artifacts, map[string][]autodiff.Blocker, error) {
	// Which parameters gradients reach does not depend on the loss, and this one
	// takes outputs of every shape.
	o.Loss = cmp.Or(o.Loss, training.MSE)
	blockers := map[string][]autodiff.Blocker{}
	for {
		art, err := o.Artifacts(m, 0, 0)
		if errors.Is(err, training.ErrNothingToTrain) {
			return nil, blockers, nil
		}
		found := blockersOf(std, err)
		if err == nil || len(found) == 0 {
			return art, blockers, err
		}
		known := len(blockers)
		for _, b := range found {
			for _, p := range b.Params {
				if len(blockers[p]) == 0 {
					o.Freeze = append(slices.Clone(o.Freeze), p)
				}
				blockers[p] = append(blockers[p], b)
			}
		}
		if len(blockers) == known {
			return nil, nil, err
		}
	}
}

// blockersOf reads from an error which nodes no gradient passes: because their
// operator has none, or because its rule does not cover this use.
func blockersOf(g *onnxgraph.Graph, err error) []autodiff.Blocker {
	var refused *autodiff.RefusalError
	if errors.As(err, &refused) {
		return refused.Blockers
	}
	var out []autodiff.Blocker
	for _, e := range nodeErrors(err) {
		if e.Stage != "grad" && e.Stage != "lower" {
			return nil
		}
		out = append(out, autodiff.Blocker{Node: e.Node, Op: e.Op, Reason: e.Msg, Params: upstream(g, e)})
	}
	return out
}

// nodeErrors are the errors about nodes in a tree of errors.
func nodeErrors(err error) []*op.NodeError {
	switch e := err.(type) {
	case *op.NodeError:
		return []*op.NodeError{e}
	case interface{ Unwrap() error }:
		return nodeErrors(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []*op.NodeError
		for _, inner := range e.Unwrap() {
			out = append(out, nodeErrors(inner)...)
		}
		return out
	}
	return nil
}

// upstream lists the initializers on which the node of an error depends.
func upstream(g *onnxgraph.Graph, e *op.NodeError) []string {
	needed := map[string]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		named := n.Name == e.Node || n.Name == "" && slices.Contains(n.Outputs, e.Node)
		if named && n.Op() == e.Op || slices.ContainsFunc(n.Outputs, func(out string) bool { return needed[out] }) {
			for _, in := range n.Inputs {
				needed[in] = in != ""
			}
		}
	}
	var out []string
	for _, t := range g.Initializers {
		if needed[t.Name] && t.DType == onnxgraph.Float && len(t.Dims) > 0 {
			out = append(out, t.Name)
		}
	}
	return out
}
