package rewrite

import (
	"errors"
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// maxLowering bounds repeated lowering of one model: a lowering emits simpler
// operators, so more rounds mean a rule that lowers to itself.
const maxLowering = 8

// Lower returns a copy of m in which every node that only selects, and whose
// operator has a lowering, is replaced by it; what a lowering emits is lowered
// in turn. Subgraphs are included. Local functions must be inlined before.
func Lower(m *onnxgraph.Model, reg *op.Registry, only func(*onnxgraph.Node) bool) (*onnxgraph.Model, error) {
	m = m.Clone()
	if m.OpsetVersion("") == 0 { // what lowerings emit is of the default domain
		m.Opsets = append(m.Opsets, onnxgraph.Opset{Version: Trainable})
	}
	for range maxLowering {
		facts, err := infer.Run(m, reg, infer.Options{})
		if err != nil {
			return nil, err
		}
		e := NewEmitter(m, facts, "lower")
		changed, err := lowerGraph(e, m.Graph, facts, reg, only)
		if err != nil {
			return nil, err
		}
		if !changed {
			return m, nil
		}
		e.DropUnusedConstants()
		if err := dump(m, "lower"); err != nil {
			return nil, err
		}
		if err := Check(m, nil); err != nil {
			return nil, fmt.Errorf("rewrite: after lowering: %w", err)
		}
	}
	return nil, fmt.Errorf("rewrite: lowering does not end after %d rounds", maxLowering)
}

func lowerGraph(e *Emitter, g *onnxgraph.Graph, facts *infer.Result, reg *op.Registry, only func(*onnxgraph.Node) bool) (bool, error) {
	changed := false
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			in := facts.In(sub)
			if in == nil {
				continue // a branch that inference did not enter
			}
			c, err := lowerGraph(e, sub, in, reg, only)
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
		def := reg.For(n)
		if def == nil || def.Lower.Rule() == nil || !only(n) {
			nodes = append(nodes, n)
			continue
		}
		e.Facts = facts
		repl, err := e.Lower(n, def)
		if err != nil {
			return false, err
		}
		nodes = append(nodes, repl...)
		changed = true
	}
	g.Nodes = nodes
	return changed, nil
}

// Lower runs one lowering rule and returns the nodes that replace n; they
// produce n's outputs under the same names.
func (e *Emitter) Lower(n *onnxgraph.Node, def *op.Def) ([]*onnxgraph.Node, error) {
	e.Prefix = n.Label() + "/"
	e.Emitted = nil
	c := &lowerCtx{Emitter: e, node: n, set: map[int]string{}}
	if err := def.Lower.Rule()(c); err != nil {
		return nil, err
	}
	if err := errors.Join(e.Errs...); err != nil {
		return nil, err
	}
	nodes := e.Emitted
	e.Emitted = nil
	produced := map[string]bool{}
	for _, s := range nodes {
		for _, out := range s.Outputs {
			produced[out] = true
		}
	}
	rename := map[string]string{}
	for i, out := range n.Outputs {
		if out == "" {
			continue
		}
		v, ok := c.set[i]
		if !ok || v == "" {
			return nil, c.Errorf("the lowering does not set output %d", i)
		}
		if _, taken := rename[v]; produced[v] && !taken {
			rename[v] = out
			continue
		}
		nodes = append(nodes, &onnxgraph.Node{Name: e.Fresh(e.Prefix + "Identity"), OpType: "Identity", Inputs: []string{v}, Outputs: []string{out}})
	}
	known := map[string]*op.Fact{} // the operator's own rule may know more than the sum of its parts
	for _, out := range n.Outputs {
		known[out] = e.Fact(out)
	}
	for _, s := range nodes {
		substitute(s.Inputs, rename)
		substitute(s.Outputs, rename)
		if err := e.Facts.Add(s); err != nil {
			return nil, fmt.Errorf("%s: lowering of %q: %w", e.Stage, n.Label(), err)
		}
	}
	for out, f := range known {
		if f.Rank() >= 0 && f.DType() != onnxgraph.Undefined {
			e.Facts.Set(out, f)
		}
	}
	return nodes, nil
}

// lowerCtx is the op.LowerCtx of one node.
type lowerCtx struct {
	*Emitter
	node *onnxgraph.Node
	set  map[int]string
}

func (c *lowerCtx) Node() *onnxgraph.Node    { return c.node }
func (c *lowerCtx) I(i int) string           { return c.node.Input(i) }
func (c *lowerCtx) HasO(i int) bool          { return c.node.Output(i) != "" }
func (c *lowerCtx) SetO(i int, value string) { c.set[i] = value }

func (c *lowerCtx) Errorf(format string, args ...any) error {
	return op.NewNodeError("lower", c.node, c.Model.OpsetVersion(c.node.Domain), fmt.Sprintf(format, args...))
}
