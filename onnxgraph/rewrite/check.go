package rewrite

import (
	"errors"
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Check verifies the structure of a model: every value defined once and before
// its use, every domain imported, every attribute set once and holding what
// its type says. With a registry it also checks operator, attribute names and
// types, and the numbers of inputs and outputs. The error joins all findings,
// each an *op.NodeError where a node is at fault.
func Check(m *onnxgraph.Model, reg *op.Registry) error {
	if m.Graph == nil {
		return errors.New("check: the model has no graph")
	}
	c := &checker{model: m, reg: reg, functions: map[string]bool{}}
	for _, f := range m.Functions {
		c.functions[functionKey(f.Domain, f.Name, f.Overload)] = true
	}
	c.graph(m.Graph, nil)
	return errors.Join(c.found...)
}

type checker struct {
	model     *onnxgraph.Model
	reg       *op.Registry
	functions map[string]bool
	found     []error
}

func (c *checker) report(n *onnxgraph.Node, attr, format string, args ...any) {
	c.found = append(c.found, &op.NodeError{Stage: "check", Node: n.Label(), Op: n.Op(), Opset: c.model.OpsetVersion(n.Domain), Attr: attr, Msg: fmt.Sprintf(format, args...)})
}

// scope holds the values that one graph has defined so far.
type scope struct {
	values map[string]bool
	outer  *scope
}

func (s *scope) sees(name string) bool {
	for ; s != nil; s = s.outer {
		if s.values[name] {
			return true
		}
	}
	return false
}

// graph checks one graph inside the scope of its enclosing graphs.
func (c *checker) graph(g *onnxgraph.Graph, outer *scope) {
	here := &scope{map[string]bool{}, outer}
	local := here.values
	for _, v := range g.Inputs {
		if local[v.Name] {
			c.found = append(c.found, fmt.Errorf("check: graph %q: input %q is declared twice", g.Name, v.Name))
		}
		local[v.Name] = true
	}
	inits := map[string]bool{}
	for _, t := range g.Initializers { // may repeat a graph input, as its default
		if inits[t.Name] {
			c.found = append(c.found, fmt.Errorf("check: graph %q: initializer %q is given twice", g.Name, t.Name))
		}
		inits[t.Name], local[t.Name] = true, true
	}
	for _, s := range g.Sparse {
		local[s.Values.Name] = true
	}
	for _, n := range g.Nodes {
		for i, in := range n.Inputs {
			if in != "" && !here.sees(in) {
				c.report(n, "", "input %d is %q, which nothing before the node defines", i, in)
			}
		}
		c.node(n)
		for _, sub := range n.Subgraphs() {
			c.graph(sub, here)
		}
		for i, out := range n.Outputs {
			if out != "" && local[out] {
				c.report(n, "", "output %d is %q, which is defined already", i, out)
			}
			local[out] = true
		}
		delete(local, "")
	}
	for _, v := range g.Outputs {
		if !here.sees(v.Name) {
			c.found = append(c.found, fmt.Errorf("check: graph %q: output %q is defined by nothing", g.Name, v.Name))
		}
	}
}

func (c *checker) node(n *onnxgraph.Node) {
	function := c.functions[functionKey(n.Domain, n.OpType, n.Overload)]
	if !function && c.model.OpsetVersion(n.Domain) == 0 {
		c.report(n, "", "the model does not import the domain %q", n.Domain)
	}
	seen := map[string]bool{}
	for _, a := range n.Attrs {
		if seen[a.Name] {
			c.report(n, a.Name, "set twice")
		}
		seen[a.Name] = true
		if a.RefAttr != "" {
			c.report(n, a.Name, "refers to %q, but stands outside any function", a.RefAttr)
		}
		if a.Type == onnxgraph.AttrTensor && a.T == nil || a.Type == onnxgraph.AttrGraph && a.G == nil {
			c.report(n, a.Name, "holds no value of its type")
		}
	}
	if c.reg != nil && !function {
		c.schema(n, seen)
	}
}

// schema checks a node against its operator's definition.
func (c *checker) schema(n *onnxgraph.Node, set map[string]bool) {
	def := c.reg.For(n)
	if def == nil {
		c.report(n, "", "unknown operator")
		return
	}
	specs := map[string]op.AttrSpec{}
	for _, s := range def.Attrs {
		specs[s.Name] = s
		if s.Required && !set[s.Name] {
			c.report(n, s.Name, "required, but not set")
		}
	}
	for _, a := range n.Attrs {
		switch s, ok := specs[a.Name]; {
		case !ok:
			c.report(n, a.Name, "the operator has no such attribute")
		case s.Type != a.Type:
			c.report(n, a.Name, "has type %d, expected %d", a.Type, s.Type)
		}
	}
	if !def.In.Has(len(n.Inputs)) {
		c.report(n, "", "%d inputs, expected %d to %d", len(n.Inputs), def.In.Min, def.In.Max)
	}
	if !def.Out.Has(len(n.Outputs)) {
		c.report(n, "", "%d outputs, expected %d to %d", len(n.Outputs), def.Out.Min, def.Out.Max)
	}
}
