package autodiff

import (
	"errors"
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// maxLowering bounds repeated lowering of one model: a lowering emits simpler
// operators, so more rounds mean a rule that lowers to itself.
const maxLowering = 8

// lowerPath replaces, in the copied graph, every node that lies on the way of
// a gradient and is differentiated through its lowering.
func (e *engine) lowerPath(o Options) error {
	for range maxLowering {
		a := analyse(e.model.Graph, e.reg, e.facts, o)
		var nodes []*onnxgraph.Node
		changed := false
		for _, n := range e.model.Graph.Nodes {
			def := e.reg.For(n)
			if !a.onPath[n] || def == nil || !throughLowering(def) {
				nodes = append(nodes, n)
				continue
			}
			repl, err := e.lower(n, def)
			if err != nil {
				return err
			}
			nodes = append(nodes, repl...)
			changed = true
		}
		e.model.Graph.Nodes = nodes
		if !changed {
			return nil
		}
	}
	return fmt.Errorf("autodiff: lowering does not end after %d rounds", maxLowering)
}

// lower runs one lowering rule and returns the nodes that replace n.
func (e *engine) lower(n *onnxgraph.Node, def *op.Def) ([]*onnxgraph.Node, error) {
	e.prefix = nodeLabel(n) + "/"
	e.emitted = nil
	c := &lowerCtx{engine: e, node: n, set: map[int]string{}}
	if err := def.Lower.Rule()(c); err != nil {
		return nil, err
	}
	rename := map[string]string{}
	produced := map[string]bool{}
	for _, s := range e.emitted {
		for _, out := range s.Outputs {
			produced[out] = true
		}
	}
	nodes := e.emitted
	e.emitted = nil
	for i, out := range n.Outputs {
		if out == "" {
			continue
		}
		v, ok := c.set[i]
		if !ok {
			return nil, c.Errorf("the lowering does not set output %d", i)
		}
		if _, taken := rename[v]; produced[v] && !taken {
			rename[v] = out
			continue
		}
		nodes = append(nodes, &onnxgraph.Node{Name: e.fresh(e.prefix + "Identity"), OpType: "Identity", Inputs: []string{v}, Outputs: []string{out}})
	}
	for _, s := range nodes {
		substitute(s.Inputs, rename)
		substitute(s.Outputs, rename)
		if err := e.facts.Add(s); err != nil {
			return nil, fmt.Errorf("autodiff: lowering of %q: %w", nodeLabel(n), err)
		}
	}
	return nodes, errors.Join(e.errs...)
}

func substitute(names []string, by map[string]string) {
	for i, s := range names {
		if r, ok := by[s]; ok {
			names[i] = r
		}
	}
}

// lowerCtx is the op.LowerCtx of one node.
type lowerCtx struct {
	*engine
	node *onnxgraph.Node
	set  map[int]string
}

func (c *lowerCtx) Node() *onnxgraph.Node    { return c.node }
func (c *lowerCtx) I(i int) string           { return c.node.Input(i) }
func (c *lowerCtx) HasO(i int) bool          { return c.node.Output(i) != "" }
func (c *lowerCtx) SetO(i int, value string) { c.set[i] = value }

func (c *lowerCtx) Errorf(format string, args ...any) error {
	return &op.NodeError{Stage: "lower", Node: nodeLabel(c.node), Op: c.node.Op(), Opset: c.model.OpsetVersion(c.node.Domain), Msg: fmt.Sprintf(format, args...)}
}
