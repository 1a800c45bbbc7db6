package neuralgraph

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// graph turns the propagated axes into groups, blocks and coverage. m is the
// model as given, std its standard form.
func (a *analysis) graph(m, std *onnxgraph.Model) (*Graph, error) {
	g := &Graph{analysis: a, standard: std, groupOf: map[*class]int{}, views: map[string][]piece{}, Nodes: len(std.Graph.Nodes), Opset: m.OpsetVersion("")}
	params := a.realParameters(m)
	names := map[string]bool{}
	for _, p := range params {
		names[p.Name] = true
	}
	var err error
	if g.uses, err = a.uses(names); err != nil {
		return nil, err
	}
	params = slices.DeleteFunc(params, func(p Parameter) bool { return g.filling(p.Name) || g.scalar(&p) })
	coarse := g.coarsePieces(params)
	sinks := map[*onnxgraph.Node]bool{}
	for n := range a.products {
		sinks[n] = true
	}
	for _, list := range g.uses {
		for _, u := range list {
			if u.linear {
				sinks[u.node] = true
			}
		}
	}
	if g.fine, err = a.refine(sinks, g.depthwise(), g.tables(params)); err != nil {
		return nil, err
	}
	g.finePieces(params)
	g.attention()
	g.typePieces()
	g.collect(m, params, coarse)
	for _, r := range g.fine.residuals {
		size := int64(1)
		for _, c := range r.to {
			size *= max(find(c).dim.Value, 1)
		}
		g.Residuals = append(g.Residuals, Residual{nodeName(r.node), size})
	}
	return g, nil
}

// depthwise finds the layers whose weight has its neurons on both sides at once
// and no others.
func (g *Graph) depthwise() map[*onnxgraph.Node]int {
	out := map[*onnxgraph.Node]int{}
	for _, list := range g.uses {
		for _, u := range list {
			wide := map[role]bool{}
			for a := range u.roles {
				for k := range u.roles[a] {
					for i, r := range u.roles[a][k] {
						wide[r] = wide[r] || u.local[a][k].leaves[i].size > 1
					}
				}
			}
			if u.linear && wide[roleShared] && !wide[roleSource] && !wide[roleTarget] {
				out[u.node] = u.input
			}
		}
	}
	return out
}

func nodeName(n *onnxgraph.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// outcome is a parameter's pieces, or why it has none.
type outcome struct {
	pieces []piece
	reason string
	uses   [][]piece // pieces by use
}

// coarsePieces cuts every parameter by its first use and marks the classes
// that are neurons.
func (g *Graph) coarsePieces(params []Parameter) map[string]outcome {
	out := map[string]outcome{}
	for _, p := range params {
		var uses [][]piece
		reason := ""
		for _, u := range g.uses[p.Name] {
			pieces, r := piecesOf(g.analysis.env.lookup(p.Name), u)
			markNeurons(pieces)
			g.markVocabulary(u, pieces)
			if r == "" {
				uses = append(uses, pieces)
			} else if reason == "" {
				reason = r
			}
		}
		if len(uses) > 0 {
			reason = ""
		}
		out[p.Name] = outcome{reason: reason, uses: uses}
	}
	for name, o := range out {
		o.pieces = covering(o.uses)
		out[name] = o
	}
	return out
}

// covering picks the pieces of a parameter from those of its uses: those of the
// first, but what has no place there (a packed bias is cut, and each part is
// added elsewhere) from the first use in which it has one.
func covering(uses [][]piece) []piece {
	for _, pieces := range uses {
		finishPieces(pieces)
	}
	var out, lost []piece
	for i, pieces := range uses {
		for _, p := range pieces {
			if op := p.use.node.OpType; i > 0 && (cuts[op] || rearranged[op]) {
				break // in a subgraph: no use, only another view
			}
			held := func(q piece) bool { return (cell{q.offset, plainLeaves(q.leaves)}).holds(p.offset) }
			switch {
			case slices.ContainsFunc(out, held):
			case p.placed() == "":
				out = append(out, p)
			case i == 0:
				lost = append(lost, p)
			}
		}
	}
	for _, p := range lost {
		covered := false
		for _, q := range out {
			covered = covered || (cell{p.offset, plainLeaves(p.leaves)}).holds(q.offset)
		}
		if !covered {
			out = append(out, p)
		}
	}
	return out
}

// markVocabulary marks rows that the content of a model input addresses.
func (g *Graph) markVocabulary(u *use, pieces []piece) {
	if !u.index || !g.analysis.indexedByData(u) {
		return
	}
	for i := range pieces {
		for _, l := range pieces[i].of(roleSource) {
			find(l.c).marks |= markVocabulary
		}
	}
}

func isSpatial(c *class) bool { return find(c).marks&markSpatial != 0 }
func isNeuron(c *class) bool  { return find(c).marks&markNeuron != 0 }

// markNeurons marks the sources and targets of linear maps.
func markNeurons(pieces []piece) {
	for i := range pieces {
		p := &pieces[i]
		p.windowed(isSpatial)
		if !p.use.linear {
			continue
		}
		for _, l := range p.leaves {
			if l.role == roleSource || l.role == roleTarget || l.role == roleShared {
				find(l.c).marks |= markNeuron
			}
		}
	}
}

func finishPieces(pieces []piece) {
	for i := range pieces {
		pieces[i].positioned(isNeuron)
	}
}

// finePieces cuts every parameter by its uses in the fine space. Uses of one
// linear layer in the same way share their neurons; a use in another way (an
// embedding that is also the output layer) does not, nor does a table that
// scales several layers.
func (g *Graph) finePieces(params []Parameter) {
	f := g.fine
	for _, p := range params {
		uses := g.uses[p.Name]
		for i := 1; i < len(uses); i++ {
			if uses[0].linear && uses[0].alike(uses[i]) {
				x, y := f.axesAt(p.Name, uses[0]), f.axesAt(p.Name, uses[i])
				for a := range x {
					f.same(x[a], y[a])
				}
			}
		}
	}
	f.settleLifts()
	f.space.settle()
	var axes []*class
	for _, p := range params {
		for _, u := range g.uses[p.Name] {
			if u.linear { // tables of sines follow the halves in another order
				axes = append(axes, f.axesAt(p.Name, u)...)
			}
		}
	}
	f.formUnits(axes)
	all := map[string][][]piece{}
	for _, p := range params {
		for _, u := range g.uses[p.Name] {
			pieces, reason := piecesOf(f.axesAt(p.Name, u), u)
			if reason != "" {
				continue
			}
			markNeurons(pieces)
			all[p.Name] = append(all[p.Name], pieces)
		}
	}
	for _, c := range f.space.classes {
		if c.unit {
			handDown(c, 0, "", 0)
		}
	}
	for name, list := range all {
		g.views[name] = covering(list)
	}
}

// alike says whether two uses give the parameter's axes the same roles.
func (u *use) alike(v *use) bool {
	if u.linear != v.linear || u.index != v.index || len(u.roles) != len(v.roles) {
		return false
	}
	for a := range u.roles {
		if len(u.roles[a]) != len(v.roles[a]) {
			return false
		}
		for k := range u.roles[a] {
			if fmt.Sprint(u.roles[a][k]) != fmt.Sprint(v.roles[a][k]) {
				return false
			}
		}
	}
	return true
}

// axesAt is the parameter's axes at one of its uses.
func (f *fine) axesAt(param string, u *use) []*class {
	inst := f.instances[instanceKey{u.node, u.input}]
	if inst == nil {
		return nil
	}
	return inst.axes[param]
}

// typePieces gives each piece the type of its edges. Where one piece of an
// added table has positions, the others are positions, too (a class token's).
func (g *Graph) typePieces() {
	for _, pieces := range g.views {
		positions := false
		for i := range pieces {
			pieces[i].kind = g.edgeType(&pieces[i])
			positions = positions || !pieces[i].use.linear && pieces[i].kind == EdgePosition
		}
		for i := range pieces {
			if positions {
				pieces[i].kind = EdgePosition
			}
		}
	}
}

func (g *Graph) edgeType(p *piece) EdgeType {
	u := p.use
	switch {
	case u.index:
		if g.analysis.indexedByData(u) {
			return EdgeEmbedding
		}
		return EdgePosition
	case u.linear && strings.Contains(u.node.OpType, "Conv"):
		return EdgeConv
	case u.linear:
		return g.fine.projection(p)
	case len(p.of(roleSource)) > 0:
		return EdgePosition
	case u.node.OpType == "Concat" || u.node.OpType == "Expand" || u.node.OpType == "Tile":
		return EdgeEmbedding // a token that every sequence gets
	case scales(u):
		return EdgeNorm
	}
	return EdgeBias
}

// indexedByData says whether the content of a model input addresses the
// parameter's rows.
func (a *analysis) indexedByData(u *use) bool {
	for i, in := range u.node.Inputs {
		if i != u.input && a.byData[in] {
			return true
		}
	}
	return false
}

// scales says whether the parameter multiplies neurons rather than being added.
func scales(u *use) bool {
	switch u.node.OpType {
	case "Mul", "Div", "Pow", "PRelu":
		return true
	case "SkipLayerNormalization", "SkipSimplifiedLayerNormalization":
		return u.input == 2
	}
	return u.input == 1 && strings.Contains(u.node.OpType, "Norm")
}

// collect fills in groups, blocks, coverage.
func (g *Graph) collect(m *onnxgraph.Model, params []Parameter, coarse map[string]outcome) {
	given, hasGiven := map[string]bool{}, false
	for _, t := range m.Graph.Initializers {
		given[t.Name] = true
		hasGiven = hasGiven || t.DType.IsFloat() && t.Len() > 1
	}
	left := map[string]bool{}
	for _, t := range g.analysis.model.Graph.Initializers {
		left[t.Name] = true
	}
	g.Copies = g.analysis.copies(params)
	copies := map[string]bool{}
	for _, c := range g.Copies {
		copies[c.Parameter] = true
	}
	for _, p := range params {
		if copies[p.Name] {
			continue // its values count once
		}
		if g.frequencies(&p) {
			delete(g.views, p.Name)
			continue
		}
		o := coarse[p.Name]
		reason := o.reason
		switch {
		case !left[p.Name]:
			reason = "the model does not use it"
		case len(g.uses[p.Name]) == 0:
			reason = "no operator combines it with data"
		}
		for i := range o.pieces {
			if r := o.pieces[i].placed(); r != "" && reason == "" {
				reason = r
			}
		}
		if len(g.views[p.Name]) == 0 && reason == "" {
			reason = "it falls into too many pieces"
		}
		t := g.analysis.model.Graph.Initializer(p.Name)
		if reason != "" && (uniform(t) || g.table(p.Name)) || aside(o.pieces) && values(t, 2) || !given[p.Name] && (reason != "" || hasGiven && (uniform(t) && !g.uses[p.Name][0].linear || !weighs(o.pieces))) {
			delete(g.views, p.Name)
			continue // a constant of the computation, not a weight
		}
		g.Parameters = append(g.Parameters, p)
		if reason != "" {
			g.Opaque = append(g.Opaque, OpaqueParameter{p.Name, reason})
			delete(g.views, p.Name)
			continue
		}
		for i := range o.pieces {
			g.block(p, &o.pieces[i])
		}
	}
	g.describe()
}

// table says whether the parameter is only ever written into a constant table
// at constant places: the exporter's way to store a sparse filter bank.
func (g *Graph) table(name string) bool {
	for _, u := range g.uses[name] {
		if !u.scattered {
			return false
		}
	}
	return len(g.uses[name]) > 0
}

// filling says whether a constant is one number throughout that is written into
// tables: masks are made so.
func (g *Graph) filling(name string) bool {
	return g.table(name) && uniform(g.analysis.model.Graph.Initializer(name))
}

// scalar says whether a parameter is one number that scales or shifts whole
// values, as one without axes does: it belongs to no neuron.
func (g *Graph) scalar(p *Parameter) bool {
	if p.Elements() != 1 {
		return false
	}
	for _, u := range g.uses[p.Name] {
		if u.linear || u.loose != "" || !joins[u.node.OpType] {
			return false
		}
		for _, axis := range u.roles {
			for _, cell := range axis {
				if slices.ContainsFunc(cell, func(r role) bool { return r != roleNone }) {
					return false
				}
			}
		}
	}
	return len(g.uses[p.Name]) > 0
}

// uniform says whether all elements are the same: a constant that an exporter
// wrote out, not trained weights.
func uniform(t *onnxgraph.Tensor) bool { return values(t, 1) }

// values says whether a tensor has no more than so many different elements.
func values(t *onnxgraph.Tensor, most int) bool {
	if t == nil {
		return false
	}
	w := t.DType.Bits() / 8
	var seen [][]byte
	for i := 0; w > 0 && i+w <= len(t.Data); i += w {
		v := t.Data[i : i+w]
		if slices.ContainsFunc(seen, func(s []byte) bool { return bytes.Equal(s, v) }) {
			continue
		}
		if seen = append(seen, v); len(seen) > most {
			return false
		}
	}
	return true
}

// weighs says whether a constant is a layer's or lies on neurons.
func weighs(pieces []piece) bool {
	for i := range pieces {
		for _, l := range pieces[i].leaves {
			if pieces[i].use.linear || isNeuron(l.c) && l.size > 1 {
				return true
			}
		}
	}
	return false
}

// aside says whether a table of several elements is only added or multiplied
// where no neurons are. With few values it is a mask.
func aside(pieces []piece) bool {
	wide := false
	for i := range pieces {
		for _, l := range pieces[i].leaves {
			wide = wide || l.size > 1
		}
	}
	return wide && !weighs(pieces)
}

// block adds a piece as a block, with the groups of its atoms.
func (g *Graph) block(p Parameter, q *piece) {
	b := ParameterBlock{Parameter: p.Name, Slice: q.slice, Type: g.kindAt(p.Name, q.offset), Source: []string{}, Target: []string{}, Taps: product64(q.of(roleTaps))}
	for _, l := range q.of(roleSource, roleShared) {
		b.Source = append(b.Source, g.group(l.c, p.Name, false))
	}
	for _, l := range q.of(roleTarget, roleShared) {
		b.Target = append(b.Target, g.group(l.c, p.Name, true))
	}
	b.Edges = 1
	for _, l := range q.leaves {
		if l.role != roleTaps {
			b.Edges *= l.size
		}
	}
	g.Blocks = append(g.Blocks, b)
}

// kindAt is the edge type of the element at a flat offset of a parameter.
func (g *Graph) kindAt(param string, offset int64) EdgeType {
	best := EdgeBias
	for i := range g.views[param] {
		q := &g.views[param][i]
		if (cell{q.offset, plainLeaves(q.leaves)}).holds(offset) {
			return q.kind
		}
		best = q.kind
	}
	return best
}

func plainLeaves(list []pieceLeaf) []leaf {
	out := make([]leaf, len(list))
	for i, l := range list {
		out[i] = l.leaf
	}
	return out
}

// group is the id of a class's group, made where it is new. Its name comes
// from the first parameter that leads to it.
func (g *Graph) group(c *class, param string, target bool) string {
	c = find(c)
	i, ok := g.groupOf[c]
	if !ok {
		i = len(g.Groups)
		g.groupOf[c] = i
		g.Groups = append(g.Groups, Group{ID: fmt.Sprintf("g%d", i), Size: c.dim.Value})
	}
	if base := strings.TrimSuffix(strings.TrimSuffix(param, ".weight"), ".bias"); target && g.Groups[i].Name == "" {
		g.Groups[i].Name = base
	}
	return g.Groups[i].ID
}

// describe gives the groups their names, roles and reasons.
func (g *Graph) describe() {
	for c, i := range g.groupOf {
		gr := &g.Groups[i]
		gr.Role = roleName(c.marks)
		if gr.Name == "" {
			gr.Name = string(gr.Role)
		}
		gr.Reason = c.fixed
		switch {
		case gr.Reason != "":
		case gr.Size < 2:
			gr.Reason = "one neuron has no other order"
		case c.members < 2:
			gr.Reason = "no operator says what it corresponds to"
		}
		gr.Permutable = gr.Reason == ""
	}
}

func roleName(m mark) Role {
	switch {
	case m&markVocabulary != 0:
		return RoleVocabulary
	case m&markIndex != 0:
		return RolePosition
	case m&markHead != 0:
		return RoleHead
	case m&markHeadDim != 0:
		return RoleHeadDim
	case m&markInput != 0:
		return RoleInput
	case m&markOutput != 0:
		return RoleOutput
	}
	return RoleHidden
}
