package rewrite

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// maxNesting bounds how deep decided branches are looked for in each other.
const maxNesting = 16

// branches replaces If nodes whose condition inference knows by the branch
// taken. Exporters leave many, which ask for ranks and extents.
func branches(m *onnxgraph.Model, reg *op.Registry) (int, error) {
	total := 0
	for range maxNesting {
		facts, err := infer.Run(m, reg, infer.Options{})
		if err != nil {
			return total, nil // as in fold: the next analysis says why
		}
		b := &brancher{names: newFreshNames(m.Graph)}
		if err := b.graph(m.Graph, facts); err != nil {
			return total, err
		}
		if b.count == 0 {
			break
		}
		total += b.count
	}
	return total, nil
}

type brancher struct {
	names *freshNames
	count int
}

func (b *brancher) graph(g *onnxgraph.Graph, facts *infer.Result) error {
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		taken := decided(n, facts)
		if taken == nil {
			for _, sub := range n.Subgraphs() {
				if in := facts.In(sub); in != nil {
					if err := b.graph(sub, in); err != nil {
						return err
					}
				}
			}
			nodes = append(nodes, n)
			continue
		}
		body, err := b.splice(g, n, taken)
		if err != nil {
			return err
		}
		nodes = append(nodes, body...)
		b.count++
	}
	g.Nodes = nodes
	return nil
}

// decided is the branch that an If node certainly takes, nil where unknown.
func decided(n *onnxgraph.Node, facts *infer.Result) *onnxgraph.Graph {
	if n.Domain != "" || n.OpType != "If" {
		return nil
	}
	v, ok := facts.Fact(n.Input(0)).Ints()
	if !ok || len(v) != 1 {
		return nil
	}
	attr := "then_branch"
	if v[0] == 0 {
		attr = "else_branch"
	}
	if a := n.Attr(attr); a != nil && a.G != nil && len(a.G.Outputs) == len(n.Outputs) {
		return a.G
	}
	return nil
}

// splice returns the nodes of a branch in place of the node, under names that
// are new to g; initializers of the branch move to g.
func (b *brancher) splice(g *onnxgraph.Graph, n *onnxgraph.Node, branch *onnxgraph.Graph) ([]*onnxgraph.Node, error) {
	r := &binding{names: b.names, prefix: n.Label() + "/", values: map[string]string{"": ""}}
	probe := onnxgraph.Node{Attrs: []*onnxgraph.Attribute{onnxgraph.GraphAttr("branch", branch)}}
	for _, outer := range probe.Captured() {
		r.values[outer] = outer
	}
	inits := map[string]bool{}
	for _, t := range branch.Initializers {
		inits[t.Name] = true
	}
	var tail []*onnxgraph.Node
	for i, v := range branch.Outputs {
		out := n.Outputs[i]
		if out == "" {
			continue
		}
		if _, taken := r.values[v.Name]; taken || inits[v.Name] {
			tail = append(tail, &onnxgraph.Node{Name: b.names.take(r.prefix + "Identity"), OpType: "Identity", Inputs: []string{r.value(v.Name)}, Outputs: []string{out}})
			continue
		}
		r.values[v.Name] = out
	}
	for _, t := range branch.Initializers {
		c := *t
		c.Name = r.value(t.Name)
		g.Initializers = append(g.Initializers, &c)
	}
	for _, inner := range branch.Nodes {
		if err := r.node(inner); err != nil {
			return nil, err
		}
	}
	return slices.Concat(branch.Nodes, tail), nil
}
