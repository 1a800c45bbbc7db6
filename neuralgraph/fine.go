package neuralgraph

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// fine is a second propagation, in which a class means "the same neurons"
// rather than "permuted together". It differs from the coarse one in four ways.
// Every use of a parameter has axes of its own, so that tied weights tie no
// layers. Where two sets of neurons are added or multiplied, and one of them is
// also read elsewhere, the sum belongs to the other one and a residual
// connection joins the two. Two sets contracted with each other (queries and
// keys) stay apart. And a link that would identify different neurons of one
// axis (the halves that a rotary embedding swaps) is left out.
type fine struct {
	*analysis
	space     *space
	env       *env
	depthwise map[*onnxgraph.Node]int // the input that such a layer's weight is
	instances map[instanceKey]*env
	sinks     map[*onnxgraph.Node]bool
	tables    map[string]bool   // values of Graph.tables: several layers may share one
	origin    map[string]string // the value in which a value's set of neurons came to be
	taken     map[string]bool   // parts of a layer that a combination with another part belongs to
	residuals []residual
	products  []dataProduct
	lifts     []lift
	sources   map[*class]*class // by atom of a depthwise layer's result: the atom it reads
	layers    []Attention
	aliases   map[*class]*class // atoms that are the same nodes as others
}

type instanceKey struct {
	node  *onnxgraph.Node
	input int
}

// residual joins equal neurons one to one: the axes of a value to those of the
// sum it goes into.
type residual struct {
	node     *onnxgraph.Node
	from, to []*class
}

// dataProduct is a contraction of two values that both depend on data.
type dataProduct struct {
	node         *onnxgraph.Node
	a, b         int // inputs
	aAxis, bAxis int
	aC, bC       *class
}

// refine runs the fine propagation. neuron says which classes of the coarse
// space are neurons.
func (a *analysis) refine(sinks map[*onnxgraph.Node]bool, depthwise map[*onnxgraph.Node]int, tables map[string]bool) (*fine, error) {
	f := &fine{analysis: a, depthwise: depthwise, tables: tables, space: &space{}, instances: map[instanceKey]*env{}, sinks: sinks, origin: map[string]string{}, taken: map[string]bool{}, aliases: map[*class]*class{}, sources: map[*class]*class{}}
	f.env = newEnv(nil, a.facts)
	for _, v := range a.model.Graph.Inputs {
		if a.constant[v.Name] {
			continue
		}
		f.env.axes[v.Name] = f.space.atoms(a.facts.Fact(v.Name).Shape())
		f.origin[v.Name] = v.Name
	}
	for _, n := range a.model.Graph.Nodes {
		if a.constant[n.Output(0)] {
			continue
		}
		if err := f.visit(f.env, n); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// visit propagates through a node, and through its subgraphs, where sets of
// neurons that meet are always the same.
func (f *fine) visit(e *env, n *onnxgraph.Node) error {
	fl := f.flow(f.space, e, n)
	fl.body = func(g *onnxgraph.Graph, in, out []op.Binding) {
		f.descend(fl, e, g, in, out, func(inner *env) error {
			for _, m := range g.Nodes {
				if err := f.visit(inner, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i, in := range n.Inputs {
		if !f.constant[in] {
			continue
		}
		inst, _, err := f.instance(f.space, in)
		if err != nil {
			return err
		}
		f.instances[instanceKey{n, i}] = inst
		fl.inAxes[i] = inst.axes[in]
	}
	copied := f.separate(fl)
	joined := false
	if joins[n.OpType] && n.Domain == "" {
		joined = f.join(fl)
	} else {
		fl.link = func(x, y ref) { f.same(x.c, y.c) }
		fl.contract = func(x, y ref) { f.contracted(fl, x, y) }
		if err := f.apply(fl); err != nil {
			return err
		}
	}
	f.rejoin(fl, copied)
	f.remember(n, joined)
	return nil
}

// joins are the elementwise operators that combine sets of neurons.
var joins = map[string]bool{
	"Add": true, "Sub": true, "Mul": true, "Div": true, "Sum": true, "Mean": true, "Max": true, "Min": true, "Pow": true, "Where": true,
}

// remember notes where the sets of neurons of the node's outputs came to be.
func (f *fine) remember(n *onnxgraph.Node, joined bool) {
	first := ""
	for _, in := range n.Inputs {
		if in != "" && !f.constant[in] && (first == "" || f.facts.Fact(in).Rank() > f.facts.Fact(first).Rank()) {
			first = in
		}
	}
	own := joined || f.sinks[n] || cuts[n.OpType] || len(n.Subgraphs()) > 0 || first == ""
	for _, out := range n.Outputs {
		if f.origin[out] = out; !own && f.origin[first] != "" {
			f.origin[out] = f.origin[first]
		}
	}
}

// cuts are the operators that take sets of neurons apart or put them together.
var cuts = map[string]bool{"Concat": true, "Split": true, "Slice": true, "Gather": true}

func (f *fine) contracted(fl *flow, x, y ref) {
	n := fl.node
	if x.slot < 0 || y.slot < 0 || f.constant[n.Input(x.slot)] || f.constant[n.Input(y.slot)] || x.output || y.output {
		f.same(x.c, y.c)
		return
	}
	f.products = append(f.products, dataProduct{n, x.slot, y.slot, x.axis, y.axis, x.c, y.c})
}

// same unifies two axes unless that would identify different neurons of one
// axis. It says whether it did.
func (f *fine) same(x, y *class) bool {
	if conflicting(x, y) {
		return false
	}
	f.space.unify(x, y)
	return true
}

// conflicting says whether unifying two axes would make two atoms of one of
// them the same.
func conflicting(x, y *class) bool {
	if find(x) == find(y) {
		return false
	}
	cx, okx := cells(x)
	cy, oky := cells(y)
	if !okx || !oky {
		return false
	}
	inX := map[*class]bool{}
	for _, c := range cx {
		for _, l := range c.leaves {
			inX[find(l.c)] = true
		}
	}
	pairs, aligned := pairCells(cx, cy)
	if !aligned {
		if repeats(cx) || repeats(cy) {
			return true
		}
		for _, c := range cy {
			for _, l := range c.leaves {
				if inX[find(l.c)] {
					return true
				}
			}
		}
		return false
	}
	toY, toX := map[*class]*class{}, map[*class]*class{}
	for _, p := range pairs {
		if q, ok := toY[p[0]]; ok && q != p[1] {
			return true
		}
		if q, ok := toX[p[1]]; ok && q != p[0] {
			return true
		}
		if p[0] != p[1] && inX[p[1]] {
			return true
		}
		toY[p[0]], toX[p[1]] = p[1], p[0]
	}
	return false
}

// repeats says whether an atom occurs in several places of an axis.
func repeats(list []cell) bool {
	seen := map[*class]bool{}
	for _, c := range list {
		if len(list) > 1 && len(c.leaves) == 1 {
			l := find(c.leaves[0].c)
			if seen[l] && l.dim.Value > 1 {
				return true
			}
			seen[l] = true
		}
	}
	return false
}

// pairCells pairs the atoms of two axes that have the same composition.
func pairCells(x, y []cell) (pairs [][2]*class, ok bool) {
	if len(x) != len(y) {
		return nil, false
	}
	for i := range x {
		if x[i].offset != y[i].offset || len(x[i].leaves) != len(y[i].leaves) {
			return nil, false
		}
		for j, l := range x[i].leaves {
			m := y[i].leaves[j]
			if l.size != m.size || l.stride != m.stride {
				return nil, false
			}
			pairs = append(pairs, [2]*class{find(l.c), find(m.c)})
		}
	}
	return pairs, true
}

// join treats an elementwise operator. It says whether sets of neurons met.
func (f *fine) join(fl *flow) bool {
	n := fl.node
	rank := fl.OutFact(0).Rank()
	if rank < 0 {
		return false
	}
	axes := f.neuronAxes(n.Output(0), rank)
	var carriers, others []int // data inputs with neurons on them, and the rest
	for i, in := range n.Inputs {
		switch {
		case in == "":
		case f.byData[in] && f.carries(fl, i, axes):
			carriers = append(carriers, i)
		default:
			others = append(others, i)
		}
	}
	for _, i := range others {
		if len(carriers) > 0 && f.tabular(n, i) {
			f.linkInput(fl, i, axes)
		} else {
			f.linkInput(fl, i, nil)
		}
	}
	if len(carriers) == 0 {
		return false
	}
	return f.merge(fl, carriers, axes)
}

// tabular says whether an input is a table that several sets of neurons may be
// combined with, such as the cosines that turn the queries and keys of all
// layers, or a bias of relative positions: it ties none of them to another.
func (f *fine) tabular(n *onnxgraph.Node, input int) bool {
	in := n.Inputs[input]
	return f.tables[in] || !f.constant[in] && !f.byData[in] && !f.fresh(in, n)
}

// neuronAxes says which axes of a value, counted from the right, are neurons.
func (f *fine) neuronAxes(value string, rank int) []bool {
	out := make([]bool, rank)
	coarse := f.analysis.env.lookup(value)
	for i := 0; i < rank && i < len(coarse); i++ {
		for _, l := range leaves(coarse[len(coarse)-1-i]) {
			if l.marks&markNeuron != 0 && !isOne(l.dim) {
				out[i] = true
			}
		}
	}
	return out
}

func (f *fine) carries(fl *flow, input int, axes []bool) bool {
	in := fl.inAxes[input]
	for i := 0; i < len(axes) && i < len(in); i++ {
		if axes[i] && !isOne(find(in[len(in)-1-i]).dim) {
			return true
		}
	}
	return false
}

// linkInput links an input to the output, except on the axes to skip.
func (f *fine) linkInput(fl *flow, input int, skip []bool) {
	in, out := fl.inAxes[input], fl.outAxes[0]
	for i := 0; i < len(in) && i < len(out); i++ {
		x, y := in[len(in)-1-i], out[len(out)-1-i]
		if (skip == nil || !skip[i]) && !broadcasts(x, y) {
			f.same(x, y)
		}
	}
}

// merge decides to which neurons the result of an elementwise operator on
// several sets of neurons belongs.
func (f *fine) merge(fl *flow, carriers []int, axes []bool) bool {
	n := fl.node
	var distinct []int
	for _, i := range carriers {
		known := false
		for _, j := range distinct {
			known = known || f.related(fl, i, j, axes)
		}
		if known {
			f.linkInput(fl, i, axes)
		} else {
			distinct = append(distinct, i)
		}
	}
	if i, ok := f.turned(n, distinct); ok {
		distinct = []int{i}
	}
	if len(distinct) == 1 {
		f.linkInput(fl, distinct[0], nil)
		return false
	}
	for _, i := range distinct {
		if f.fresh(n.Inputs[i], n) {
			f.linkInput(fl, i, nil)
			continue
		}
		f.linkInput(fl, i, axes)
		f.residuals = append(f.residuals, residual{n, f.pick(fl.inAxes[i], axes), f.pick(fl.outAxes[0], axes)})
	}
	return true
}

// turned says which input a combination of parts of one layer belongs to, where
// all of the parts go into other combinations, too: a rotary embedding combines
// each half of a head with the other. Each combination takes the next part that
// none has taken.
func (f *fine) turned(n *onnxgraph.Node, inputs []int) (int, bool) {
	origin := func(i int) string { return f.origin[n.Inputs[i]] }
	owner := -1
	for k, i := range inputs {
		cut, first := f.producer[origin(i)], f.producer[origin(inputs[0])]
		switch {
		case cut == nil || first == nil || cut.OpType != "Slice" && cut.OpType != "Split" || cut.Input(0) != first.Input(0):
			return 0, false
		case k > 0 && origin(i) == origin(inputs[0]) || f.fresh(n.Inputs[i], n):
			return 0, false
		case owner < 0 && !f.taken[origin(i)]:
			owner = i
		}
	}
	if len(inputs) < 2 || owner < 0 {
		return 0, false
	}
	f.taken[origin(owner)] = true
	return owner, true
}

// pick lists the neuron axes of a value.
func (f *fine) pick(axes []*class, neuron []bool) []*class {
	var out []*class
	for i, c := range axes {
		if k := len(axes) - 1 - i; k < len(neuron) && neuron[k] && !isOne(find(c).dim) {
			out = append(out, c)
		}
	}
	return out
}

// related says whether two inputs hold the same neurons, in the same or in
// another order: along every axis that both have, some are the same.
func (f *fine) related(fl *flow, i, j int, axes []bool) bool {
	x, y := fl.inAxes[i], fl.inAxes[j]
	found := false
	for k := 1; k <= min(len(x), len(y), len(axes)); k++ {
		a, b := x[len(x)-k], y[len(y)-k]
		if !axes[k-1] || isOne(find(a).dim) || isOne(find(b).dim) {
			continue
		}
		shared := slices.ContainsFunc(leaves(a), func(c *class) bool { return !isOne(c.dim) && hasClass(leaves(b), c) })
		if !shared {
			return false
		}
		found = true
	}
	return found
}

// fresh says whether the neurons of a value reach anything (a layer, another
// contraction, a model output) only through the node.
func (f *fine) fresh(value string, through *onnxgraph.Node) bool {
	start := f.origin[value]
	seen := map[string]bool{start: true}
	queue := []string{start}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if f.isOutput(v) {
			return false
		}
		for _, n := range f.consumers[v] {
			if n == through || n.OpType == "Shape" || n.OpType == "Size" {
				continue
			}
			if f.sinks[n] || len(n.Subgraphs()) > 0 {
				return false
			}
			for _, out := range n.Outputs {
				if out != "" && !seen[out] {
					seen[out] = true
					queue = append(queue, out)
				}
			}
		}
	}
	return true
}

func (f *fine) isOutput(value string) bool {
	for _, v := range f.model.Graph.Outputs {
		if v.Name == value {
			return true
		}
	}
	return false
}
