package neuralgraph

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

// analysis is a model in standard form with what is known of its values, and
// the results of axis propagation over it.
type analysis struct {
	model     *onnxgraph.Model
	reg       *op.Registry
	facts     *infer.Result
	constant  map[string]bool            // values that depend on initializers only
	quantized map[string]bool            // integers that stand for real numbers
	byData    map[string]bool            // values that depend on the content of a model input, not only on its shape or on positions
	producer  map[string]*onnxgraph.Node // of the outermost graph
	consumers map[string][]*onnxgraph.Node
	coarse    *space
	env       *env
	products  map[*onnxgraph.Node]bool // nodes that contract two values that are both computed from data
}

// Analyse finds the neuron groups of a model, and how each parameter connects
// them. It needs no weights beyond those that shapes are computed from. The
// error is an *infer.UnsupportedError where operators are unknown.
func Analyse(m *onnxgraph.Model, reg *op.Registry) (*Graph, error) {
	std, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, fmt.Errorf("neural graph: %w", err)
	}
	a, err := propagated(unfused(std, reg), reg)
	if err != nil {
		return nil, fmt.Errorf("neural graph: %w", err)
	}
	if parted, ok := a.distribute(); ok {
		if a, err = propagated(parted, reg); err != nil {
			return nil, fmt.Errorf("neural graph: %w", err)
		}
	}
	return a.graph(m, std)
}

// fused are operators that do what several layers of neurons do. Taken apart,
// they show the same structure as models that never had them.
var fused = map[string]bool{
	"Attention": true, "MultiHeadAttention": true, "GroupQueryAttention": true, "RotaryEmbedding": true,
	"SkipLayerNormalization": true, "SkipSimplifiedLayerNormalization": true,
}

// unfused lowers fused operators; a model with one that has no lowering stays
// as it is.
func unfused(m *onnxgraph.Model, reg *op.Registry) *onnxgraph.Model {
	only := func(n *onnxgraph.Node) bool {
		def := reg.For(n)
		return fused[n.OpType] || def != nil && def.Flow.OpaqueReason() == op.FlowOfLowering.OpaqueReason()
	}
	if !slices.ContainsFunc(m.Graph.Nodes, only) {
		return m
	}
	lowered, err := rewrite.Lower(m, reg, only)
	if err != nil {
		return m
	}
	return lowered
}

// propagated runs the coarse propagation over a model.
func propagated(m *onnxgraph.Model, reg *op.Registry) (*analysis, error) {
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return nil, err
	}
	a := &analysis{model: m, reg: reg, facts: facts}
	a.classify()
	return a, a.propagate()
}

// classify finds producers, consumers and constant values of the outermost
// graph.
func (a *analysis) classify() {
	a.constant, a.byData, a.quantized = map[string]bool{}, map[string]bool{}, map[string]bool{}
	a.producer, a.consumers = map[string]*onnxgraph.Node{}, map[string][]*onnxgraph.Node{}
	g := a.model.Graph
	for _, t := range g.Initializers {
		a.constant[t.Name] = true
	}
	for _, t := range g.Sparse {
		a.constant[t.Values.Name] = true
	}
	for _, v := range g.Inputs {
		if !a.constant[v.Name] {
			a.byData[v.Name] = !strings.Contains(strings.ToLower(v.Name), "position")
		}
	}
	for _, n := range g.Nodes {
		reads := n.Reads()
		constant, data := len(reads) > 0 && len(n.Subgraphs()) == 0, len(reads) == 0
		for _, in := range reads {
			constant = constant && a.constant[in]
			data = data || a.byData[in]
			a.consumers[in] = append(a.consumers[in], n)
			a.quantized[in] = a.quantized[in] || scaled[n.OpType]
		}
		for _, out := range n.Outputs {
			a.producer[out] = n
			a.constant[out] = constant
			a.byData[out] = data && n.OpType != "Shape" && n.OpType != "Size"
		}
	}
}

// propagate relates the axes of all values: the coarse space, in which axes
// that must be permuted together are one class.
func (a *analysis) propagate() error {
	s := &space{}
	a.coarse, a.env, a.products = s, newEnv(nil, a.facts), map[*onnxgraph.Node]bool{}
	for _, v := range a.model.Graph.Inputs {
		axes := s.atoms(a.facts.Fact(v.Name).Shape())
		for _, c := range axes {
			s.fix(c, "model input")
			s.mark(c, markInput)
		}
		a.env.axes[v.Name] = axes
	}
	a.initializers(s, a.env, a.model.Graph)
	if err := a.nodes(s, a.env, a.model.Graph); err != nil {
		return err
	}
	for _, v := range a.model.Graph.Outputs {
		for _, c := range a.env.lookup(v.Name) {
			s.fix(c, "model output")
			s.mark(c, markOutput)
		}
	}
	s.settle()
	return nil
}

// scaled are operators whose integer inputs are numbers with a scale: weights,
// biases and zero points.
var scaled = map[string]bool{
	"QuantizeLinear": true, "DequantizeLinear": true, "MatMulInteger": true, "ConvInteger": true, "DynamicQuantizeLSTM": true,
}

// initializers gives the initializers of a graph their axes. Those of integer
// constants are fixed, unless they are quantized: they are indices, shapes and
// masks, not weights.
func (a *analysis) initializers(s *space, e *env, g *onnxgraph.Graph) {
	for _, t := range g.Initializers {
		axes := s.atoms(t.Shape())
		for _, c := range axes {
			switch {
			case !a.real(t):
				s.fix(c, "integer constant")
			case e.outer != nil:
				s.fix(c, "constant inside a subgraph")
			}
		}
		e.axes[t.Name] = axes
	}
	for _, t := range g.Sparse {
		axes := s.atoms(e.facts.Fact(t.Values.Name).Shape())
		for _, c := range axes {
			s.fix(c, "sparse constant")
		}
		e.axes[t.Values.Name] = axes
	}
}

func (a *analysis) opset(n *onnxgraph.Node) int64 { return a.model.OpsetVersion(n.Domain) }

// nodes applies the flow rules of a graph's nodes in order.
func (a *analysis) nodes(s *space, e *env, g *onnxgraph.Graph) error {
	for _, n := range g.Nodes {
		f := a.flow(s, e, n)
		f.contract = func(x, y ref) {
			if x.slot >= 0 && y.slot >= 0 && !a.constant[n.Input(x.slot)] && !a.constant[n.Input(y.slot)] {
				a.products[n] = true
			}
			s.unify(x.c, y.c)
		}
		if err := a.apply(f); err != nil {
			return err
		}
	}
	return nil
}

// flow prepares a node and enters the axes of its outputs.
func (a *analysis) flow(s *space, e *env, n *onnxgraph.Node) *flow {
	f := newFlow(s, n, a.opset(n), e)
	f.body = func(g *onnxgraph.Graph, in, out []op.Binding) {
		a.descend(f, e, g, in, out, func(inner *env) error { return a.nodes(s, inner, g) })
	}
	for i, name := range n.Outputs {
		if name != "" {
			e.axes[name] = f.outAxes[i]
		}
	}
	return f
}

func (a *analysis) apply(f *flow) error {
	if err := a.reg.For(f.node).Flow.Apply(f); err != nil {
		return flowError(f.node, f.opset, err)
	}
	return f.err
}

// descend propagates through a subgraph whose values are bound to those of
// the node; visit goes through its nodes.
func (a *analysis) descend(f *flow, e *env, g *onnxgraph.Graph, in, out []op.Binding, visit func(inner *env) error) {
	facts := e.facts.In(g)
	if facts == nil {
		return // a branch that is wrong, and so never taken
	}
	inner := newEnv(e, facts)
	for _, v := range g.Inputs {
		inner.axes[v.Name] = f.space.atoms(facts.Fact(v.Name).Shape())
	}
	for _, b := range in {
		f.bind(b, inner.axes[b.Inner])
	}
	a.initializers(f.space, inner, g)
	if err := visit(inner); err != nil {
		f.err = err
		return
	}
	for _, b := range out {
		f.bind(b, inner.lookup(b.Inner))
	}
}

// bind unifies the axes of a node's value with those of its subgraph's. Values
// of different rank have nothing in common but their being fixed.
func (f *flow) bind(b op.Binding, inner []*class) {
	outer := f.bound(b)
	if len(outer) != len(inner) {
		for _, c := range append(append([]*class{}, outer...), inner...) {
			f.space.fix(c, "its rank changes at a subgraph")
		}
		return
	}
	for i, c := range outer {
		if !broadcasts(c, inner[i]) {
			f.space.unify(c, inner[i])
		}
	}
}
