package neuralgraph

import "ninox/onnxgraph"

// Attention is one attention layer, found in the flow of the values: queries
// and keys contracted, normalized, and the result contracted with values.
type Attention struct {
	Name    string `json:"name"`
	Heads   int64  `json:"heads"`
	KVHeads int64  `json:"kv_heads"`
	HeadDim int64  `json:"head_dim"`
	Rope    bool   `json:"rope"`
	Packed  bool   `json:"packed"`

	heads   []*class // fine atoms of the heads
	queries []*class // fine atoms of the neurons within a head
	keys    []*class
	values  []*class
	context []*class // fine atoms of the output: heads and values
}

// attention finds the attention layers.
func (g *Graph) attention() {
	f := g.fine
	for i := range f.products {
		if s := &f.products[i]; f.neurons(s.aC) && f.neurons(s.bC) {
			g.attend(s)
		}
	}
	f.layers = g.Attention
	for i := range f.products {
		f.alias(f.products[i])
	}
}

// neurons says whether an axis has an atom that is neurons.
func (f *fine) neurons(c *class) bool {
	for _, l := range leaves(c) {
		if l.marks&markNeuron != 0 {
			return true
		}
	}
	return false
}

// attend looks for the layer whose scores a contraction computes.
func (g *Graph) attend(scores *dataProduct) {
	f := g.fine
	out := f.follow(scores.node)
	if out == nil || scores.aAxis < 0 || scores.bAxis < 0 {
		return
	}
	probs, probsAxis, values := out.a, out.aAxis, out.b
	if !f.reaches(scores.node, out.node.Input(out.a)) {
		probs, probsAxis, values = out.b, out.bAxis, out.a
	}
	fromEnd := f.facts.Fact(out.node.Input(probs)).Rank() - probsAxis
	key := f.inputBehind(scores.node, fromEnd)
	if key != scores.a && key != scores.b {
		return
	}
	att := Attention{Name: nodeName(scores.node)}
	att.queries, att.keys = atoms(scores.aC), atoms(scores.bC)
	qIn, qAxis := scores.a, scores.aAxis
	if key == scores.a {
		att.queries, att.keys = att.keys, att.queries
		qIn, qAxis = scores.b, scores.bAxis
	}
	att.HeadDim = find(scores.aC).dim.Value
	att.Rope = divided(scores.aC) && divided(scores.bC)
	sv := f.env.axes[scores.node.Output(0)]
	for i := range sv {
		if back := len(sv) - i; back > 2 {
			att.heads = append(att.heads, f.neuronAtoms(sv[i])...)
		}
	}
	ctx := f.env.axes[out.node.Output(0)]
	for _, c := range ctx {
		att.context = append(att.context, f.neuronAtoms(c)...)
	}
	for _, c := range att.context {
		if !hasClass(att.heads, c) {
			att.values = append(att.values, c)
		}
	}
	att.Heads = extentOf(att.heads)
	g.sizes(&att)
	g.markCoarse(scores.node, qIn, qAxis, out.node, values)
	g.Attention = append(g.Attention, att)
}

func extentOf(list []*class) int64 {
	n := int64(1)
	for _, c := range list {
		n *= c.dim.Value
	}
	return n
}

func hasClass(list []*class, c *class) bool {
	for _, d := range list {
		if find(d) == find(c) {
			return true
		}
	}
	return false
}

// atoms lists the atoms of an axis, each once.
func atoms(c *class) []*class {
	var out []*class
	for _, l := range leaves(c) {
		if !hasClass(out, l) {
			out = append(out, l)
		}
	}
	return out
}

func (f *fine) neuronAtoms(c *class) []*class {
	var out []*class
	for _, l := range atoms(c) {
		if l.marks&markNeuron != 0 && l.dim.Value > 1 {
			out = append(out, l)
		}
	}
	return out
}

// passes are the operators between scores and their use: elementwise, or
// changes of the view.
var passes = map[string]bool{
	"Softmax": true, "Add": true, "Sub": true, "Mul": true, "Div": true, "Where": true, "Cast": true, "Dropout": true, "Identity": true,
	"Reshape": true, "Exp": true, "Max": true, "Min": true, "Clip": true, "Tanh": true, "LogSoftmax": true, "Sigmoid": true, "Relu": true,
}

// follow finds the contraction that scores go into after a softmax.
func (f *fine) follow(from *onnxgraph.Node) *dataProduct {
	type state struct {
		value   string
		softmax bool
	}
	seen := map[state]bool{}
	queue := []state{{from.Output(0), false}}
	for len(queue) > 0 && len(seen) < 200 {
		s := queue[0]
		queue = queue[1:]
		for _, n := range f.consumers[s.value] {
			if s.softmax {
				for i := range f.products {
					if p := &f.products[i]; p.node == n && p.aAxis >= 0 && p.bAxis >= 0 {
						return p
					}
				}
			}
			next := state{n.Output(0), s.softmax || n.OpType == "Softmax" || n.OpType == "Exp"}
			if passes[n.OpType] && !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// reaches says whether a value follows from the node's output.
func (f *fine) reaches(from *onnxgraph.Node, value string) bool {
	seen := map[string]bool{}
	queue := []string{value}
	for len(queue) > 0 && len(seen) < 200 {
		n := f.producer[queue[0]]
		queue = queue[1:]
		switch {
		case n == from:
			return true
		case n == nil || !passes[n.OpType]:
			continue
		}
		for _, in := range n.Inputs {
			if !seen[in] {
				seen[in] = true
				queue = append(queue, in)
			}
		}
	}
	return false
}

// inputBehind is the input of a node that gives the output axis counted from
// the end, -1 where several or none do.
func (f *fine) inputBehind(n *onnxgraph.Node, fromEnd int) int {
	s := &space{}
	fl := f.flow(s, newEnv(nil, f.facts), n)
	fl.contract = func(ref, ref) {}
	if err := f.apply(fl); err != nil {
		return -1
	}
	out := fl.outAxes[0]
	if fromEnd < 1 || fromEnd > len(out) {
		return -1
	}
	found := -1
	for i, axes := range fl.inAxes {
		for _, c := range axes {
			if find(c) != find(out[len(out)-fromEnd]) {
				continue
			}
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// sizes takes key/value heads and packing from the projections.
func (g *Graph) sizes(att *Attention) {
	att.KVHeads = att.Heads
	var query, key string
	for name, pieces := range g.views {
		for i := range pieces {
			p := &pieces[i]
			if !p.use.linear {
				continue
			}
			targets := p.of(roleTarget, roleShared)
			switch {
			case touches(targets, att.keys):
				key = name
				n := int64(1)
				for _, l := range targets {
					if hasClass(att.heads, l.c) {
						n *= l.size
					}
				}
				att.KVHeads = n
			case touches(targets, att.queries):
				query = name
			}
		}
	}
	att.Packed = query != "" && query == key
}

func touches(list []pieceLeaf, of []*class) bool {
	for _, l := range list {
		if hasClass(of, l.c) {
			return true
		}
	}
	return false
}

// markCoarse names the roles of the groups.
func (g *Graph) markCoarse(scores *onnxgraph.Node, q, qAxis int, out *onnxgraph.Node, values int) {
	e := g.analysis.env
	if axes := e.lookup(scores.Input(q)); qAxis < len(axes) {
		setMarks(axes[qAxis], markHeadDim)
	}
	axes := e.lookup(scores.Output(0))
	for i := 0; i+2 < len(axes); i++ {
		setMarks(axes[i], markHead)
	}
	if ctx := e.lookup(out.Output(0)); len(ctx) > 0 {
		for _, c := range ctx {
			for _, l := range leaves(c) {
				if l.marks&(markNeuron|markHead) == markNeuron {
					l.marks |= markHeadDim
				}
			}
		}
	}
}

func setMarks(c *class, m mark) {
	for _, l := range leaves(c) {
		if l.marks&markNeuron != 0 {
			l.marks |= m
		}
	}
}

// projection is the type of a linear map's edges.
func (f *fine) projection(p *piece) EdgeType {
	targets := p.of(roleTarget, roleShared)
	for _, a := range f.layers {
		switch {
		case touches(targets, a.keys):
			return EdgeKey
		case touches(targets, a.queries):
			return EdgeQuery
		case touches(targets, a.values):
			return EdgeValue
		}
	}
	return EdgeLinear
}

// alias says that the neurons of two contracted axes are the same nodes of the
// NiNo graph: keys are those of their queries.
func (f *fine) alias(p dataProduct) {
	x, y := p.aC, p.bC
	if !f.neurons(x) || !f.neurons(y) {
		return
	}
	cx, okx := cells(x)
	cy, oky := cells(y)
	if !okx || !oky {
		return
	}
	pairs, ok := pairCells(cx, cy)
	if !ok {
		return
	}
	for _, q := range pairs {
		keep, drop := q[0], q[1]
		for _, a := range f.layers {
			if hasClass(a.keys, keep) {
				keep, drop = drop, keep
			}
		}
		if f.node(keep) != f.node(drop) {
			f.aliases[f.node(drop)] = f.node(keep)
		}
	}
}

// node is the class that stands for an atom in the NiNo graph.
func (f *fine) node(c *class) *class {
	c = find(c)
	for f.aliases[c] != nil {
		c = f.aliases[c]
	}
	return c
}
