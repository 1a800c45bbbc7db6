package rewrite

import (
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// Newest is the highest opset of the default domain that Convert converts to.
const Newest = 24

// Trainable is the opset to which models are converted for training, where
// their own is too old for gradients: the first with LayerNormalization, and
// old enough for every ONNX Runtime since 1.12.
const Trainable = 17

// Adapter is one change of meaning between two definitions of an operator,
// and what a node needs to mean afterwards what it meant before.
type Adapter struct {
	Ops     []string // operators of the default domain
	Version int64    // since-version of the definition that it leads to
	Reason  string   // what the specification changed
	apply   func(c *adapting) error
}

// Convert returns a copy of m in the given opset of the default domain, which
// computes the same, and how often each operator was adapted, by names such as
// "Slice-10". Local functions are inlined. An opset below that of the model is
// an error, and so is a node whose meaning depends on what is not known before
// the model runs.
func Convert(m *onnxgraph.Model, reg *op.Registry, opset int64) (*onnxgraph.Model, map[string]int, error) {
	from := m.OpsetVersion("")
	switch {
	case from == 0:
		return m, nil, nil // nothing of the default domain to convert
	case opset > Newest || opset < 1:
		return nil, nil, fmt.Errorf("convert: opset %d, expected at most %d", opset, Newest)
	case opset < from:
		return nil, nil, fmt.Errorf("convert: the model is of opset %d, it cannot be taken down to %d", from, opset)
	}
	c := &converter{to: opset, steps: stepsByOp(), added: map[string]*op.Fact{}, fired: map[string]int{}}
	out, _, err := Apply(m, reg, []Pass{
		{Name: "inline", run: inline},
		{Name: "sort", run: sortNodes},
		{Name: "convert", run: c.run},
	})
	if err != nil {
		return nil, nil, err
	}
	return out, c.fired, nil
}

// stepsByOp lists the adapters of each operator by ascending version.
func stepsByOp() map[string][]Adapter {
	by := map[string][]Adapter{}
	for _, a := range Adapters() {
		for _, name := range a.Ops {
			by[name] = append(by[name], a)
		}
	}
	for _, steps := range by {
		slices.SortFunc(steps, func(a, b Adapter) int { return int(a.Version - b.Version) })
	}
	return by
}

// converter takes the nodes of one model through the adapters.
type converter struct {
	model *onnxgraph.Model
	to    int64
	steps map[string][]Adapter
	names *freshNames
	added map[string]*op.Fact // constants that adapters made
	fired map[string]int
	errs  []error
}

func (c *converter) run(m *onnxgraph.Model, reg *op.Registry) (int, error) {
	c.model, c.names = m, newFreshNames(m.Graph)
	facts, unknown := infer.Run(m, reg, infer.Options{})
	if unknown != nil { // that alone stops nothing: most adapters need no types
		facts = nil
	}
	c.graph(m.Graph, facts, m.OpsetVersion(""))
	if len(c.errs) > 0 {
		return 0, errors.Join(append(c.errs, unknown)...)
	}
	for i, o := range m.Opsets {
		if o.Domain == "" {
			m.Opsets[i].Version = c.to
		}
	}
	m.IRVersion = max(m.IRVersion, onnxgraph.IRVersion(c.to))
	total := 0
	for _, n := range c.fired {
		total += n
	}
	return total, nil
}

func (c *converter) graph(g *onnxgraph.Graph, facts *infer.Result, from int64) {
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			var in *infer.Result
			if facts != nil {
				in = facts.In(sub)
			}
			c.graph(sub, in, from)
		}
		nodes = append(nodes, c.node(n, facts, from)...)
	}
	g.Nodes = nodes
}

// node takes one node from an opset to the target and returns what replaces
// it. What an adapter emits goes through the later adapters, too.
func (c *converter) node(n *onnxgraph.Node, facts *infer.Result, from int64) []*onnxgraph.Node {
	a := c.next(n, from)
	if a == nil {
		return []*onnxgraph.Node{n}
	}
	c.fired[fmt.Sprintf("%s-%d", n.OpType, a.Version)]++
	w := &adapting{Node: n, converter: c, facts: facts}
	if err := a.apply(w); err != nil {
		c.errs = append(c.errs, &op.NodeError{Stage: "convert", Node: n.Label(), Op: n.OpType, Opset: from, Msg: fmt.Sprintf("%v, which opset %d needs: %s", err, a.Version, a.Reason)})
		return nil
	}
	list := w.before
	if !w.dropped {
		list = append(list, n)
	}
	var out []*onnxgraph.Node
	for _, x := range append(list, w.after...) {
		out = append(out, c.node(x, facts, a.Version)...)
	}
	return out
}

// next is the first adapter of a node's operator behind an opset, nil where
// the node means the same up to the target.
func (c *converter) next(n *onnxgraph.Node, from int64) *Adapter {
	if n.Domain != "" {
		return nil
	}
	for i, a := range c.steps[n.OpType] {
		if a.Version > from && a.Version <= c.to {
			return &c.steps[n.OpType][i]
		}
	}
	return nil
}

// adapting is one node that an adapter edits, and what is put around it.
type adapting struct {
	*onnxgraph.Node
	*converter
	facts         *infer.Result // nil where the model does not infer
	before, after []*onnxgraph.Node
	dropped       bool // the node itself is not needed any more
}

// fact is what is known about input i, nil where nothing is.
func (c *adapting) fact(i int) *op.Fact { return c.factOf(c.Input(i)) }

func (c *adapting) factOf(value string) *op.Fact {
	if f := c.added[value]; f != nil || c.facts == nil {
		return f
	}
	return c.facts.Fact(value)
}

// rank is the number of axes of input i, or an error that says it is unknown.
func (c *adapting) rank(i int) (int, error) {
	r := c.fact(i).Rank()
	if r < 0 {
		return 0, fmt.Errorf("the rank of input %d (%q) is not known", i, c.Input(i))
	}
	return r, nil
}

// emit adds a node in front, in the opset of the adapter.
func (c *adapting) emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	out := c.names.take(c.Label() + "/" + opType)
	c.before = append(c.before, &onnxgraph.Node{Name: out, OpType: opType, Inputs: inputs, Outputs: []string{out}, Attrs: attrs})
	return out
}

// finish replaces the node by others: the last of those in front gives output
// 0.
func (c *adapting) finish() {
	c.dropped = true
	c.before[len(c.before)-1].Outputs[0] = c.Output(0)
}

// behind moves output i behind a node that makes it from what the adapted node
// gives instead.
func (c *adapting) behind(i int, opType string, attrs ...*onnxgraph.Attribute) *onnxgraph.Node {
	inner := c.names.take(c.Outputs[i] + "/" + opType)
	n := &onnxgraph.Node{Name: inner, OpType: opType, Inputs: []string{inner}, Outputs: []string{c.Outputs[i]}, Attrs: attrs}
	c.Outputs[i] = inner
	c.after = append([]*onnxgraph.Node{n}, c.after...)
	return n
}

// constant adds a value to the outermost graph, which every subgraph sees.
func (c *adapting) constant(name string, t *onnxgraph.Tensor) string {
	t.Name = c.names.take(c.Label() + "/" + name)
	c.model.Graph.Initializers = append(c.model.Graph.Initializers, t)
	c.added[t.Name] = &op.Fact{Type: onnxgraph.TensorOf(t.DType, t.Shape()), Const: t}
	return t.Name
}

func (c *adapting) vector(name string, v ...int64) string {
	return c.constant(name, onnxgraph.Vector("", v...))
}

// scalarLike is a constant of the element type of input 0.
func (c *adapting) scalarLike(name string, v float64) (string, error) {
	d := c.fact(0).DType()
	if d == onnxgraph.Undefined {
		return "", fmt.Errorf("the element type of input 0 (%q) is not known", c.Input(0))
	}
	t := ScalarTensor(d, v)
	if t == nil {
		return "", fmt.Errorf("no constant of type %s", d)
	}
	return c.constant(name, t), nil
}

// setInput sets input i; what lies between is absent.
func (c *adapting) setInput(i int, value string) {
	for len(c.Inputs) <= i {
		c.Inputs = append(c.Inputs, "")
	}
	c.Inputs[i] = value
}

// take removes an attribute and returns it, nil where it is not set.
func (c *adapting) take(name string) *onnxgraph.Attribute {
	a := c.Attr(name)
	c.Attrs = slices.DeleteFunc(c.Attrs, func(b *onnxgraph.Attribute) bool { return b == a })
	return a
}

// set sets an attribute.
func (c *adapting) set(a *onnxgraph.Attribute) {
	c.take(a.Name)
	c.Attrs = append(c.Attrs, a)
}
