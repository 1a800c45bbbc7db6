// Package infer finds the types, shapes and constant values of a model's
// values before it runs, by applying every operator's Infer rule once in
// topological order.
//
//	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
//	if err != nil { … }
//	fmt.Println(facts.Fact("logits").Shape()) // e.g. [batch,10]
package infer

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Options adjust an inference.
type Options struct {
	// InputShapes replace the declared shapes of graph inputs.
	InputShapes map[string]onnxgraph.Shape
}

// Result holds the facts of one graph. Values of enclosing graphs are visible
// through it.
type Result struct {
	model  *onnxgraph.Model
	reg    *op.Registry
	outer  *Result
	facts  map[string]*op.Fact
	bodies map[*onnxgraph.Graph]*Result
	left   *int      // nodes of bodies that may still be inferred, of all graphs together
	spare  []op.Fact // room for the next facts, allocated for many nodes at once
	ctx    op.InferCtx
	args   []*op.Fact // room for the context's lists
}

// Bodies of loops are inferred until their states settle, and those inside them
// each time again: a file of a few nested loops could take for ever. A model of
// n nodes may have this many inferences of nodes in bodies.
const (
	freeBodyNodes = 100_000
	perNode       = 64
)

// UnsupportedError lists every operator of a model that the registry lacks.
type UnsupportedError struct {
	Ops []UnsupportedOp // sorted by name
}

// UnsupportedOp is one unknown operator and how many nodes use it.
type UnsupportedOp struct {
	Op    string // "Domain:Name" or "Name"
	Opset int64
	Nodes int
}

func (e *UnsupportedError) Error() string {
	parts := make([]string, len(e.Ops))
	for i, o := range e.Ops {
		parts[i] = fmt.Sprintf("%s-%d (%d×)", o.Op, o.Opset, o.Nodes)
	}
	return "unsupported operators: " + strings.Join(parts, ", ")
}

// Run infers the facts of m's graph. Local functions must be inlined before
// (package rewrite). The error is an *UnsupportedError where operators are
// unknown, an *op.NodeError where a node is wrong.
func Run(m *onnxgraph.Model, reg *op.Registry, o Options) (*Result, error) {
	if err := supported(m, reg); err != nil {
		return nil, err
	}
	r := newResult(m, reg, nil, m.Graph)
	m.Graph.EachGraph(func(g *onnxgraph.Graph) { *r.left += perNode * len(g.Nodes) })
	for _, v := range m.Graph.Inputs {
		t := v.Type
		if s, ok := o.InputShapes[v.Name]; ok {
			t.Shape = s
		}
		t.Shape = named(v.Name, t.Shape)
		r.facts[v.Name] = &op.Fact{Type: t}
	}
	if err := r.graph(m.Graph); err != nil {
		return nil, err
	}
	return r, nil
}

// named gives the unknown extents of an input symbols of their own, so that
// what follows from them is recognised as equal. "?" is how some exporters
// write an unknown extent, whatever its axis.
func named(input string, s onnxgraph.Shape) onnxgraph.Shape {
	s = s.Clone()
	for a, d := range s {
		if n, err := strconv.ParseInt(d.Symbol, 10, 64); err == nil && n >= 0 {
			s[a] = onnxgraph.Known(n) // PyTorch writes some extents as names
		} else if err == nil || anonymous(d) {
			s[a] = onnxgraph.Sym(fmt.Sprintf("%s.%d", input, a))
		}
	}
	return s
}

func anonymous(d onnxgraph.Dim) bool { return !d.IsKnown() && (d.Symbol == "" || d.Symbol == "?") }

func newResult(m *onnxgraph.Model, reg *op.Registry, outer *Result, g *onnxgraph.Graph) *Result {
	values := len(g.Inputs) + len(g.Initializers) + len(g.Nodes)
	r := &Result{model: m, reg: reg, outer: outer, facts: make(map[string]*op.Fact, values), bodies: map[*onnxgraph.Graph]*Result{}}
	if outer != nil {
		r.left = outer.left
	} else {
		n := freeBodyNodes
		r.left = &n
	}
	return r
}

// FloatOutput is the value of a name, or without one the graph's first output of
// type float.
func (r *Result) FloatOutput(name string) (string, error) {
	if name == "" {
		for _, v := range r.model.Graph.Outputs {
			if r.Fact(v.Name).DType() == onnxgraph.Float {
				return v.Name, nil
			}
		}
		return "", errors.New("the model has no output of type float")
	}
	if r.Fact(name) == nil {
		return "", fmt.Errorf("the model has no value %q", name)
	}
	return name, nil
}

// Fact is what is known about a value, nil where the value does not exist.
func (r *Result) Fact(value string) *op.Fact {
	if value == "" {
		return nil
	}
	for ; r != nil; r = r.outer {
		if f := r.facts[value]; f != nil {
			return f
		}
	}
	return nil
}

// Set records the fact of a value.
func (r *Result) Set(value string, f *op.Fact) { r.facts[value] = f }

// In returns the facts of a subgraph of this graph, nil where it was not met.
// A body that runs several times has the facts of its last inference.
func (r *Result) In(g *onnxgraph.Graph) *Result {
	if b := r.bodies[g]; b != nil {
		return b
	}
	for _, b := range r.bodies {
		if in := b.In(g); in != nil {
			return in
		}
	}
	return nil
}

// Add infers one more node of the graph and records the facts of its outputs.
func (r *Result) Add(n *onnxgraph.Node) error {
	def := r.reg.For(n)
	opset := r.model.OpsetVersion(n.Domain)
	if def == nil {
		return &UnsupportedError{[]UnsupportedOp{{n.Op(), opset, 1}}}
	}
	c := r.context(n, opset)
	if !def.In.Has(len(n.Inputs)) {
		return c.Errorf("", "%d inputs, expected %s", len(n.Inputs), arity(def.In))
	}
	if !def.Out.Has(len(n.Outputs)) {
		return c.Errorf("", "%d outputs, expected %s", len(n.Outputs), arity(def.Out))
	}
	for i, name := range n.Inputs {
		if name == "" {
			if i < def.In.Min && def.In.Max >= 0 {
				return c.Errorf("", "input %d is required", i)
			}
			continue
		}
		if c.In[i] = r.Fact(name); c.In[i] == nil {
			return c.Errorf("", "input %d is %q, which no earlier node, input or initializer gives", i, name)
		}
	}
	for i := range c.Out {
		if len(r.spare) == 0 {
			r.spare = make([]op.Fact, min(len(r.facts)+1, 64))
		}
		c.Out[i], r.spare = &r.spare[0], r.spare[1:]
	}
	if err := def.Infer(c); err != nil {
		return err
	}
	for i, name := range n.Outputs {
		if name != "" {
			r.facts[name] = c.Out[i]
		}
	}
	return nil
}

// context is what the rule of one node sees. It holds until the next call:
// rules keep facts, never the context or its lists.
func (r *Result) context(n *onnxgraph.Node, opset int64) *op.InferCtx {
	in, all := len(n.Inputs), len(n.Inputs)+len(n.Outputs)
	if r.ctx.Body == nil {
		r.ctx.Body = r.body
	}
	if len(r.args) < all {
		r.args = make([]*op.Fact, max(all, 16))
	}
	clear(r.args)
	r.ctx.Node, r.ctx.Opset, r.ctx.In, r.ctx.Out = n, opset, r.args[:in:in], r.args[in:all:all]
	return &r.ctx
}

func arity(a op.Arity) string {
	switch {
	case a.Max < 0:
		return fmt.Sprintf("at least %d", a.Min)
	case a.Min == a.Max:
		return fmt.Sprint(a.Min)
	}
	return fmt.Sprintf("%d to %d", a.Min, a.Max)
}

// graph infers the initializers and nodes of g, whose inputs have facts.
func (r *Result) graph(g *onnxgraph.Graph) error {
	for _, t := range g.Initializers {
		r.facts[t.Name] = &op.Fact{Type: onnxgraph.TensorOf(t.DType, t.Shape()), Const: t, Param: r.outer == nil}
	}
	for _, s := range g.Sparse {
		r.facts[s.Values.Name] = &op.Fact{Type: onnxgraph.TensorOf(s.Values.DType, onnxgraph.StaticShape(s.Dims...))}
	}
	declared := make(map[string]*onnxgraph.Value, len(g.ValueInfo)+len(g.Outputs))
	for _, list := range [][]*onnxgraph.Value{g.ValueInfo, g.Outputs} {
		for _, v := range list {
			declared[v.Name] = v
		}
	}
	for _, n := range g.Nodes {
		if err := r.Add(n); err != nil {
			return err
		}
		for _, name := range n.Outputs {
			v := declared[name]
			if v == nil || name == "" {
				continue
			}
			if err := merge(r.facts[name], v.Type); err != nil {
				return op.NewNodeError("infer", n, r.model.OpsetVersion(n.Domain),
					fmt.Sprintf("output %q is %s, but the file declares %s: %v", name, r.facts[name].Type, v.Type, err))
			}
		}
	}
	return nil
}

// body infers a subgraph, once per call of the rule that owns it.
func (r *Result) body(g *onnxgraph.Graph, in []*op.Fact) ([]*op.Fact, error) {
	if *r.left -= len(g.Nodes) + 1; *r.left < 0 {
		return nil, fmt.Errorf("infer: subgraph %q: bodies nest so deep that inferring them takes too long", g.Name)
	}
	b := newResult(r.model, r.reg, r, g)
	r.bodies[g] = b
	for i, v := range g.Inputs {
		f := &op.Fact{Type: v.Type}
		if i < len(in) && in[i] != nil {
			f = in[i]
		}
		b.facts[v.Name] = f
	}
	if err := b.graph(g); err != nil {
		delete(r.bodies, g) // half of its facts are no facts
		return nil, err
	}
	out := make([]*op.Fact, len(g.Outputs))
	for i, v := range g.Outputs {
		if out[i] = b.Fact(v.Name); out[i] == nil {
			return nil, fmt.Errorf("infer: subgraph %q: output %q is given by no node", g.Name, v.Name)
		}
	}
	return out, nil
}

// merge refines an inferred fact by the declared type. Symbols stay as
// inferred; a declaration only fills in what is unknown.
func merge(f *op.Fact, t onnxgraph.Type) error {
	if t.Kind == onnxgraph.NoType {
		return nil
	}
	if f.Type.Kind == onnxgraph.NoType {
		f.Type = t
		return nil
	}
	if f.Type.Kind != t.Kind {
		return fmt.Errorf("kinds differ")
	}
	if f.Type.DType == onnxgraph.Undefined {
		f.Type.DType = t.DType
	} else if t.DType != onnxgraph.Undefined && t.DType != f.Type.DType {
		return fmt.Errorf("element types differ")
	}
	switch {
	case t.Shape == nil:
		return nil
	case f.Type.Shape == nil:
		f.Type.Shape = declaredShape(t.Shape)
		return nil
	case len(t.Shape) != len(f.Type.Shape):
		return fmt.Errorf("ranks differ")
	}
	merged := f.Type.Shape.Clone()
	for i, d := range t.Shape {
		switch have := merged[i]; {
		case have.IsKnown() && d.IsKnown() && have != d:
			return fmt.Errorf("axis %d differs", i)
		case !have.IsKnown() && (d.IsKnown() || have.Symbol == "" && !anonymous(d)):
			merged[i] = d
		}
	}
	f.Type.Shape = merged
	return nil
}

// declaredShape is a shape of the file, with unknown extents as such.
func declaredShape(s onnxgraph.Shape) onnxgraph.Shape {
	s = s.Clone()
	for a, d := range s {
		if anonymous(d) {
			s[a] = onnxgraph.UnknownDim()
		}
	}
	return s
}

// supported reports all operators that the registry lacks, subgraphs included.
func supported(m *onnxgraph.Model, reg *op.Registry) error {
	count := map[[2]string]int{}
	var walk func(g *onnxgraph.Graph)
	walk = func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if d := reg.For(n); d == nil || m.OpsetVersion(n.Domain) > 0 && d.Since(m.OpsetVersion(n.Domain)) == 0 {
				count[[2]string{n.Domain, n.OpType}]++
			}
			for _, a := range n.Attrs {
				if a.G != nil {
					walk(a.G)
				}
				for _, sub := range a.Graphs {
					walk(sub)
				}
			}
		}
	}
	walk(m.Graph)
	if len(count) == 0 {
		return nil
	}
	e := &UnsupportedError{}
	for k, n := range count {
		node := onnxgraph.Node{Domain: k[0], OpType: k[1]}
		e.Ops = append(e.Ops, UnsupportedOp{node.Op(), m.OpsetVersion(k[0]), n})
	}
	sort.Slice(e.Ops, func(i, j int) bool { return e.Ops[i].Op < e.Ops[j].Op })
	return e
}
