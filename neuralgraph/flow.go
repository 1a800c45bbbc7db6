package neuralgraph

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// env holds the axes of the values of a graph; those of enclosing graphs are
// visible through it.
type env struct {
	outer *env
	facts *infer.Result
	axes  map[string][]*class
}

func newEnv(outer *env, facts *infer.Result) *env {
	return &env{outer: outer, facts: facts, axes: map[string][]*class{}}
}

func (e *env) lookup(value string) []*class {
	for ; e != nil; e = e.outer {
		if a, ok := e.axes[value]; ok {
			return a
		}
	}
	return nil
}

// ref is an axis as a flow rule holds it: its class, and the input or output
// it belongs to (virtual axes carry those of the axis they are a part of).
type ref struct {
	c      *class
	output bool
	slot   int // -1 for an axis that does not exist
	axis   int // -1 for a virtual axis
}

// flow is one node as its flow rule sees it. The hooks decide what a link and
// a contraction mean; body descends into a subgraph.
type flow struct {
	space      *space
	node       *onnxgraph.Node
	opset      int64
	in, out    []*op.Fact
	inAxes     [][]*class
	outAxes    [][]*class
	refs       []ref
	link       func(a, b ref)
	contract   func(a, b ref)
	body       func(g *onnxgraph.Graph, in, out []op.Binding)
	taps       bool // the rule named kernel positions
	err        error
	hasOperand bool // the parameter under examination is contracted with something
}

// newFlow prepares a node; every input that has a fact must have axes.
func newFlow(s *space, n *onnxgraph.Node, opset int64, e *env) *flow {
	f := &flow{space: s, node: n, opset: opset}
	for _, name := range n.Inputs {
		fact := e.facts.Fact(name)
		axes := e.lookup(name)
		if axes == nil && fact != nil {
			axes = s.atoms(fact.Shape())
		}
		f.in, f.inAxes = append(f.in, fact), append(f.inAxes, axes)
	}
	for _, name := range n.Outputs {
		fact := e.facts.Fact(name)
		f.out, f.outAxes = append(f.out, fact), append(f.outAxes, s.atoms(fact.Shape()))
	}
	f.link = func(a, b ref) { s.unify(a.c, b.c) }
	f.contract = f.link
	return f
}

func (f *flow) Node() *onnxgraph.Node { return f.node }
func (f *flow) Opset() int64          { return f.opset }

func (f *flow) InFact(i int) *op.Fact  { return factAt(f.in, i) }
func (f *flow) OutFact(i int) *op.Fact { return factAt(f.out, i) }

func factAt(facts []*op.Fact, i int) *op.Fact {
	if i < 0 || i >= len(facts) {
		return nil
	}
	return facts[i]
}

func (f *flow) add(r ref) op.Axis {
	f.refs = append(f.refs, r)
	return op.Axis(len(f.refs) - 1)
}

func (f *flow) axis(lists [][]*class, output bool, i, a int) op.Axis {
	if i < 0 || i >= len(lists) {
		return f.add(ref{f.space.atom(onnxgraph.UnknownDim()), output, -1, -1})
	}
	if a < 0 {
		a += len(lists[i])
	}
	if a < 0 || a >= len(lists[i]) {
		return f.add(ref{f.space.atom(onnxgraph.UnknownDim()), output, -1, -1})
	}
	return f.add(ref{lists[i][a], output, i, a})
}

func (f *flow) In(i, a int) op.Axis  { return f.axis(f.inAxes, false, i, a) }
func (f *flow) Out(i, a int) op.Axis { return f.axis(f.outAxes, true, i, a) }

// ref resolves an axis of the rule; one it made up stands for nothing.
func (f *flow) ref(a op.Axis) ref {
	if a < 0 || int(a) >= len(f.refs) {
		return ref{f.space.atom(onnxgraph.UnknownDim()), false, -1, -1}
	}
	return f.refs[a]
}

// broadcasts says whether exactly one of the two axes has the known extent 1.
func broadcasts(a, b *class) bool {
	return isOne(find(a).dim) != isOne(find(b).dim)
}

func (f *flow) Link(a, b op.Axis) {
	x, y := f.ref(a), f.ref(b)
	if !broadcasts(x.c, y.c) {
		f.link(x, y)
	}
}

func (f *flow) Contract(a, b op.Axis) {
	f.contract(f.ref(a), f.ref(b))
}

func (f *flow) Index(a op.Axis, reason string) {
	c := f.ref(a).c
	f.space.mark(c, markIndex)
	f.space.fix(c, reason)
}

func (f *flow) Factor(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis {
	return f.parts(product, a, sizes)
}

func (f *flow) Segment(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis {
	return f.parts(concat, a, sizes)
}

func (f *flow) parts(k kind, a op.Axis, sizes []onnxgraph.Dim) []op.Axis {
	whole := f.ref(a)
	out := make([]op.Axis, len(sizes))
	for i, c := range f.space.split(k, whole.c, sizes...) {
		out[i] = f.add(ref{c, whole.output, whole.slot, -1})
	}
	return out
}

func (f *flow) Regroup(from, to []op.Axis) {
	x, y := f.join(from), f.join(to)
	if !broadcasts(x.c, y.c) {
		f.link(x, y)
	}
}

func (f *flow) join(axes []op.Axis) ref {
	r := ref{slot: -1, axis: -1}
	parts := make([]*class, len(axes))
	for i, a := range axes {
		r = f.ref(a)
		parts[i] = r.c
	}
	r.c, r.axis = f.space.compose(product, parts), -1
	return r
}

func (f *flow) Fix(a op.Axis, reason string) {
	c := f.ref(a).c
	f.space.fix(c, reason)
	if f.taps || sliding[f.node.OpType] {
		f.space.mark(c, markSpatial)
	}
}

// sliding are the operators whose fixed axes are positions that a kernel or a
// window visits, or that are resampled.
var sliding = map[string]bool{
	"Conv": true, "ConvTranspose": true, "ConvInteger": true, "QLinearConv": true, "MaxPool": true, "AveragePool": true,
	"LpPool": true, "MaxUnpool": true, "Resize": true, "Upsample": true, "DepthToSpace": true, "SpaceToDepth": true,
	"GridSample": true, "Col2Im": true, "DeformConv": true, "MaxRoiPool": true, "RoiAlign": true, "LRN": true,
}

func (f *flow) Taps(a op.Axis) {
	c := f.ref(a).c
	f.taps = true
	f.space.mark(c, markTaps)
	f.space.fix(c, "kernel positions")
}

func (f *flow) Body(g *onnxgraph.Graph, in, out []op.Binding) {
	if f.body != nil {
		f.body(g, in, out)
	}
}

// bound is the outer axes that a binding refers to, without the dropped one.
func (f *flow) bound(b op.Binding) []*class {
	lists := f.inAxes
	if b.Outer.Output {
		lists = f.outAxes
	}
	if b.Outer.I < 0 || b.Outer.I >= len(lists) {
		return nil
	}
	axes := lists[b.Outer.I]
	if b.Drop < 0 || b.Drop >= len(axes) {
		return axes
	}
	out := append([]*class{}, axes[:b.Drop]...)
	return append(out, axes[b.Drop+1:]...)
}

// flowError says at which node a rule failed.
func flowError(n *onnxgraph.Node, opset int64, err error) error {
	return &op.NodeError{Stage: "flow", Node: n.Name, Op: n.Op(), Opset: opset, Msg: fmt.Sprint(err)}
}
