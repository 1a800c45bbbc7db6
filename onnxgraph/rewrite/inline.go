package rewrite

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// inline replaces calls of model-local functions by the functions' nodes, and
// drops the functions.
func inline(m *onnxgraph.Model, reg *op.Registry) (int, error) {
	if len(m.Functions) == 0 {
		return 0, nil
	}
	in := &inliner{model: m, reg: reg, names: newFreshNames(m.Graph), functions: map[string]*onnxgraph.Function{}, sizes: map[string]size{}, left: maxInlined}
	for _, f := range m.Functions {
		key := functionKey(f.Domain, f.Name, f.Overload)
		in.functions[key], in.sizes[key] = f, sizeOf(f.Nodes)
	}
	if err := in.graph(m.Graph, nil); err != nil {
		return 0, err
	}
	m.Functions = nil
	in.dropImports()
	return in.calls, nil
}

type inliner struct {
	model     *onnxgraph.Model
	reg       *op.Registry
	names     *freshNames
	functions map[string]*onnxgraph.Function
	sizes     map[string]size
	calls     int
	left      int // bytes that expanded calls may still take
}

// maxInlined caps what calls expand to: functions that call each other twice
// double with each level, and names grow with the depth of the calls.
const (
	maxInlined = 1 << 27 // bytes, roughly
	nodeBytes  = 512
)

// size is what a body holds, subgraphs included.
type size struct{ nodes, names, bytes int }

func sizeOf(nodes []*onnxgraph.Node) (s size) {
	for _, n := range nodes {
		s.nodes++
		for _, list := range [][]string{n.Inputs, n.Outputs, {n.Name}} {
			s.names += len(list)
			for _, name := range list {
				s.bytes += len(name)
			}
		}
		for _, g := range n.Subgraphs() {
			sub := sizeOf(g.Nodes)
			s = size{s.nodes + sub.nodes, s.names + sub.names + len(g.Inputs) + len(g.Outputs) + len(g.Initializers), s.bytes + sub.bytes}
		}
	}
	return s
}

// spend accounts for one more copy of a body whose names get a prefix.
func (in *inliner) spend(n *onnxgraph.Node, key string) error {
	s := in.sizes[key]
	if in.left -= nodeBytes*(s.nodes+1) + (len(n.Label())+1)*s.names + s.bytes; in.left < 0 {
		return fmt.Errorf("node %q: calls of functions expand to more than %d MiB, at function %s", n.Label(), maxInlined>>20, key)
	}
	return nil
}

func functionKey(domain, name, overload string) string {
	key := name
	if domain != "" {
		key = domain + ":" + name
	}
	if overload != "" {
		key += ":" + overload
	}
	return key
}

func (in *inliner) graph(g *onnxgraph.Graph, stack []string) error {
	nodes, err := in.nodes(g.Nodes, stack)
	g.Nodes = nodes
	return err
}

// nodes expands the calls among nodes, those of nested functions and
// subgraphs too. stack lists the functions being expanded.
func (in *inliner) nodes(nodes []*onnxgraph.Node, stack []string) ([]*onnxgraph.Node, error) {
	var out []*onnxgraph.Node
	for _, n := range nodes {
		key := functionKey(n.Domain, n.OpType, n.Overload)
		f := in.functions[key]
		if f == nil {
			for _, sub := range n.Subgraphs() {
				if err := in.graph(sub, stack); err != nil {
					return nil, err
				}
			}
			out = append(out, n)
			continue
		}
		if slices.Contains(stack, key) {
			return nil, fmt.Errorf("node %q: function %s calls itself", n.Label(), strings.Join(append(stack, key), " → "))
		}
		body, err := in.call(n, f, key)
		if err != nil {
			return nil, err
		}
		if body, err = in.nodes(body, append(slices.Clone(stack), key)); err != nil {
			return nil, err
		}
		out = append(out, body...)
		in.calls++
	}
	return out, nil
}

// call is the body of one function call: its own values renamed, its
// parameters bound.
func (in *inliner) call(n *onnxgraph.Node, f *onnxgraph.Function, key string) ([]*onnxgraph.Node, error) {
	if len(n.Inputs) > len(f.Inputs) || len(n.Outputs) > len(f.Outputs) {
		return nil, fmt.Errorf("node %q: %d inputs and %d outputs, but function %s has %d and %d", n.Label(), len(n.Inputs), len(n.Outputs), key, len(f.Inputs), len(f.Outputs))
	}
	if err := in.spend(n, key); err != nil {
		return nil, err
	}
	if err := in.importOpsets(n, f, key); err != nil {
		return nil, err
	}
	b := &binding{names: in.names, prefix: n.Label() + "/", values: map[string]string{"": ""}, attrs: map[string]*onnxgraph.Attribute{}}
	for i, name := range f.Inputs {
		b.values[name] = n.Input(i)
	}
	var tail []*onnxgraph.Node // outputs that no node of the body can produce under its own name
	for i, name := range f.Outputs {
		out := n.Output(i)
		if out == "" {
			continue
		}
		if _, taken := b.values[name]; taken {
			tail = append(tail, &onnxgraph.Node{Name: in.names.take(b.prefix + "Identity"), OpType: "Identity", Inputs: []string{b.values[name]}, Outputs: []string{out}})
			continue
		}
		b.values[name] = out
	}
	for _, a := range f.Defaults {
		b.attrs[a.Name] = a
	}
	for _, a := range n.Attrs {
		b.attrs[a.Name] = a
	}
	var body []*onnxgraph.Node
	for _, inner := range f.Nodes {
		c := inner.Clone()
		if err := b.node(c); err != nil {
			return nil, fmt.Errorf("node %q: function %s: %w", n.Label(), key, err)
		}
		body = append(body, c)
	}
	return append(body, tail...), nil
}

// importOpsets makes the model import what the function imports. Where the
// versions differ, no operator of the body may differ between them.
func (in *inliner) importOpsets(n *onnxgraph.Node, f *onnxgraph.Function, key string) error {
	for _, o := range f.Opsets {
		have := in.model.OpsetVersion(o.Domain)
		if have == 0 {
			in.model.Opsets = append(in.model.Opsets, o)
			continue
		}
		if have == o.Version {
			continue
		}
		for _, inner := range f.Nodes {
			if inner.Domain != o.Domain || in.functions[functionKey(inner.Domain, inner.OpType, inner.Overload)] != nil {
				continue
			}
			if def := in.reg.For(inner); def == nil || def.Since(have) != def.Since(o.Version) {
				return fmt.Errorf("node %q: function %s uses %s of opset %d, which differs from that of the model's opset %d", n.Label(), key, inner.Op(), o.Version, have)
			}
		}
	}
	return nil
}

// dropImports removes the domains that held functions only.
func (in *inliner) dropImports() {
	used := map[string]bool{"": true}
	in.model.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			used[n.Domain] = true
		}
	})
	local := map[string]bool{}
	for _, f := range in.functions {
		local[f.Domain] = true
	}
	in.model.Opsets = slices.DeleteFunc(in.model.Opsets, func(o onnxgraph.Opset) bool { return local[o.Domain] && !used[o.Domain] })
}

// binding renames the values of one function call and resolves its attributes.
type binding struct {
	names  *freshNames
	prefix string
	values map[string]string // name in the function → name in the graph
	attrs  map[string]*onnxgraph.Attribute
}

func (b *binding) value(name string) string {
	if v, ok := b.values[name]; ok {
		return v
	}
	v := b.names.take(b.prefix + name)
	b.values[name] = v
	return v
}

func (b *binding) all(names []string) {
	for i, s := range names {
		names[i] = b.value(s)
	}
}

func (b *binding) node(n *onnxgraph.Node) error {
	name := n.Label()
	b.all(n.Inputs)
	b.all(n.Outputs)
	n.Name = b.names.take(b.prefix + name)
	var attrs []*onnxgraph.Attribute
	for _, a := range n.Attrs {
		if a.RefAttr == "" {
			attrs = append(attrs, a)
			continue
		}
		given := b.attrs[a.RefAttr]
		if given == nil {
			continue // not set by the caller: the operator's own default holds
		}
		if given.Type != a.Type {
			return fmt.Errorf("node %q, attribute %q: the call gives %q the wrong type", n.Label(), a.Name, a.RefAttr)
		}
		c := *given
		c.Name = a.Name
		attrs = append(attrs, &c)
	}
	n.Attrs = attrs
	for _, g := range n.Subgraphs() {
		if err := b.graph(g); err != nil {
			return err
		}
	}
	return nil
}

func (b *binding) graph(g *onnxgraph.Graph) error {
	for _, list := range [][]*onnxgraph.Value{g.Inputs, g.ValueInfo, g.Outputs} {
		for _, v := range list {
			v.Name = b.value(v.Name)
		}
	}
	for i, t := range g.Initializers {
		c := *t
		c.Name = b.value(t.Name)
		g.Initializers[i] = &c
	}
	for i, s := range g.Sparse {
		c, values := *s, *s.Values
		values.Name = b.value(values.Name)
		c.Values = &values
		g.Sparse[i] = &c
	}
	for _, n := range g.Nodes {
		if err := b.node(n); err != nil {
			return err
		}
	}
	return nil
}
