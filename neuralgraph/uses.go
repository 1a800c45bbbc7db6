package neuralgraph

import (
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
)

// role is what an atom of a parameter's axis is to the edges the parameter
// holds, at one place where it is used.
type role int

const (
	roleNone   role = iota
	roleSource      // neurons that the edges come from
	roleTarget      // neurons that they go to
	roleShared      // both: groups of a convolution, experts, directions
	roleTaps        // kernel positions, several numbers of one edge
)

// use is one place where a parameter meets data: the input of a node, reached
// through nodes that compute on constants only.
type use struct {
	node      *onnxgraph.Node
	input     int
	linear    bool       // the parameter is contracted, indexed or slid, not only added or multiplied
	index     bool       // its source axis is addressed by data
	local     [][]cell   // cells of its axes in the view of this use alone
	roles     [][][]role // by axis, cell and leaf of local
	scattered bool       // it is written into a table at constant places first
	loose     string     // why it has no roles, empty where it has
}

// constantChain lists the nodes that compute a constant value, in order, and
// the initializers they start from.
func (a *analysis) constantChain(value string) (nodes []*onnxgraph.Node, inits []string) {
	seen := map[string]bool{}
	var visit func(v string)
	visit = func(v string) {
		if v == "" || seen[v] {
			return
		}
		seen[v] = true
		n := a.producer[v]
		if n == nil {
			inits = append(inits, v)
			return
		}
		for _, in := range n.Inputs {
			visit(in)
		}
		if len(nodes) == 0 || !hasNode(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	visit(value)
	return nodes, inits
}

func hasNode(list []*onnxgraph.Node, n *onnxgraph.Node) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}

// instance enters fresh axes for a constant value, and for all it is computed
// from, into a new environment.
func (a *analysis) instance(s *space, value string) (*env, []string, error) {
	e := newEnv(nil, a.facts)
	nodes, inits := a.constantChain(value)
	for _, name := range inits {
		e.axes[name] = s.atoms(a.facts.Fact(name).Shape())
	}
	for _, n := range nodes {
		f := a.flow(s, e, n)
		f.contract = func(x, y ref) {
			s.unify(x.c, y.c)
			if !isOne(find(x.c).dim) {
				s.mark(x.c, markInner)
			}
		}
		if err := a.apply(f); err != nil {
			return nil, nil, err
		}
	}
	return e, inits, nil
}

// uses finds every use of the given parameters, in the order of the nodes,
// subgraphs included. There only parameters themselves count, not what a
// subgraph computes from them.
func (a *analysis) uses(params map[string]bool) (map[string][]*use, error) {
	out := map[string][]*use{}
	return out, a.usesIn(a.model.Graph, a.facts, params, out)
}

func (a *analysis) usesIn(g *onnxgraph.Graph, facts *infer.Result, params map[string]bool, out map[string][]*use) error {
	for _, n := range g.Nodes {
		if a.constant[n.Output(0)] && facts == a.facts {
			continue
		}
		for i, in := range n.Inputs {
			if !a.constant[in] {
				continue
			}
			if err := a.usesAt(n, i, facts, params, out); err != nil {
				return err
			}
		}
		for _, sub := range n.Subgraphs() {
			if inner := facts.In(sub); inner != nil {
				if err := a.usesIn(sub, inner, params, out); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// usesAt looks at one node alone, with nothing known of its surroundings: what
// its rule says about the axes of the constant at input i.
func (a *analysis) usesAt(n *onnxgraph.Node, i int, facts *infer.Result, params map[string]bool, out map[string][]*use) error {
	chain, inits := a.constantChain(n.Inputs[i])
	scattered := false
	for _, c := range chain {
		scattered = scattered || strings.HasPrefix(c.OpType, "Scatter")
	}
	wanted := inits[:0]
	for _, p := range inits {
		if params[p] {
			wanted = append(wanted, p)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	s := &space{}
	e, _, err := a.instance(s, n.Inputs[i])
	if err != nil {
		return err
	}
	f := a.isolated(s, e, n, i, facts)
	if err := a.apply(f); err != nil {
		return err
	}
	for j, name := range n.Inputs { // a depthwise convolution contracts nothing
		if !f.hasOperand && name != "" && !a.constant[name] {
			for _, c := range f.inAxes[j] {
				s.mark(c, markData)
			}
		}
	}
	s.settle()
	for _, p := range wanted {
		u := &use{node: n, input: i, scattered: scattered}
		u.read(e.axes[p])
		if r := a.reg.For(n).Flow.OpaqueReason(); r != "" {
			u.loose = r
		}
		out[p] = append(out[p], u)
	}
	return nil
}

// isolated prepares a node whose inputs other than i are unrelated to
// anything. A contraction there only marks the axes.
func (a *analysis) isolated(s *space, e *env, n *onnxgraph.Node, i int, facts *infer.Result) *flow {
	own := newEnv(nil, facts)
	own.axes[n.Inputs[i]] = e.axes[n.Inputs[i]]
	f := a.flow(s, own, n)
	for j, name := range n.Inputs {
		if name == "" || name == n.Inputs[i] {
			continue
		}
		f.inAxes[j] = s.atoms(f.in[j].Shape())
	}
	for _, axes := range f.outAxes {
		for _, c := range axes {
			s.mark(c, markResult)
		}
	}
	f.contract = func(x, y ref) {
		s.mark(x.c, markContracted)
		if x.slot == i && !x.output {
			f.operand(y)
		}
		if !y.output { // where it is an output, a layer reads its own state
			s.mark(y.c, markContracted)
			if y.slot == i {
				f.operand(x)
			}
		}
	}
	f.body = nil
	return f
}

// operand marks the other axes of the value that the parameter is contracted
// with.
func (f *flow) operand(r ref) {
	f.hasOperand = true
	lists := f.inAxes
	if r.output {
		lists = f.outAxes
	}
	if r.slot < 0 || r.slot >= len(lists) {
		return
	}
	for a, c := range lists[r.slot] {
		if a != r.axis {
			f.space.mark(c, markData)
		}
	}
}

// read takes the roles of a parameter's axes from their marks.
func (u *use) read(axes []*class) {
	for _, c := range axes {
		for _, l := range leaves(c) {
			u.linear = u.linear || l.marks&(markContracted|markIndex|markTaps|markInner) != 0
			u.index = u.index || l.marks&markIndex != 0
		}
	}
	for _, c := range axes {
		list, ok := cells(c)
		if !ok {
			u.loose = "an axis of it falls into too many pieces"
			return
		}
		u.local = append(u.local, list)
		roles := make([][]role, len(list))
		for k, cl := range list {
			for _, l := range cl.leaves {
				roles[k] = append(roles[k], u.roleOf(find(l.c).marks))
			}
		}
		u.roles = append(u.roles, roles)
	}
	u.factors()
}

// factors gives the inner axis of a product of parameters its role: the factor
// that data meets leads to it, the other one from it.
func (u *use) factors() {
	meets := false
	u.eachLeaf(func(_ leaf, r *role) { meets = meets || *r == roleSource })
	u.eachLeaf(func(l leaf, r *role) {
		switch {
		case *r != roleNone || find(l.c).marks&markInner == 0:
		case meets:
			*r = roleTarget
		default:
			*r = roleSource
		}
	})
}

func (u *use) eachLeaf(visit func(l leaf, r *role)) {
	for a := range u.local {
		for k, cl := range u.local[a] {
			for i, l := range cl.leaves {
				visit(l, &u.roles[a][k][i])
			}
		}
	}
}

func (u *use) roleOf(m mark) role {
	switch {
	case m&markTaps != 0:
		return roleTaps
	case m&(markContracted|markIndex) != 0:
		return roleSource
	case m&markResult == 0:
		return roleNone
	case u.linear && m&markData != 0:
		return roleShared
	}
	return roleTarget
}

// roleAt is the role of a leaf of a refined view of axis a: the leaf that
// moves by stride within the cell at offset.
func (u *use) roleAt(a int, offset, stride int64) role {
	for k, cl := range u.local[a] {
		if !cl.holds(offset) {
			continue
		}
		for i, l := range cl.leaves {
			if l.stride <= stride && stride < l.stride*l.size || l.size == 1 && len(cl.leaves) == 1 {
				return u.roles[a][k][i]
			}
		}
	}
	return roleNone
}

// holds says whether an index belongs to the cell.
func (c cell) holds(index int64) bool {
	rest := index - c.offset
	for _, l := range c.leaves {
		if rest < 0 {
			return false
		}
		i := min(rest/l.stride, l.size-1)
		rest -= i * l.stride
	}
	return rest == 0
}
