package optest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// flow checks the axis flow by execution: axes that the rule links, or leaves
// free, are permuted together, and the results must be the same but for that
// permutation. Axes that the rule splits, joins or addresses by data are left
// to the engine's own tests.
func (c *checker) flow() error {
	if c.def.Flow.OpaqueReason() != "" || strings.HasPrefix(c.def.Name, "Random") || slices.Contains([]string{"Bernoulli", "Dropout", "Constant"}, c.def.Name) {
		return nil // nothing to permute, or results of their own
	}
	m := c.model(onnxgraph.Float)
	facts, err := infer.Run(m, c.reg, infer.Options{})
	if err != nil {
		return err
	}
	p := &flowProbe{node: m.Graph.Nodes[0], opset: m.OpsetVersion(c.def.Domain), facts: facts, ids: map[place]op.Axis{}}
	if err := c.def.Flow.Apply(p); err != nil {
		return err
	}
	if p.err != nil {
		return p.err
	}
	names := p.node.Outputs
	before, err := c.execute(facts, names)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(c.seed, 4))
	for _, class := range p.classes() {
		perm := rng.Perm(int(class.extent))
		for slices.IsSorted(perm) {
			perm = rng.Perm(int(class.extent))
		}
		moved := c.permuted(class, perm)
		after, err := moved.execute(facts, names)
		if err != nil {
			return err
		}
		for o, name := range names {
			want := before[name]
			for _, at := range class.places {
				if at.output && at.i == o {
					want = permuteTensor(want, at.axis, perm)
				}
			}
			if err := compareTensors(want, after[name]); err != nil {
				return fmt.Errorf("permuting %v together: %s: %w", class.places, name, err)
			}
		}
	}
	return nil
}

// execute runs the operator in float32.
func (c *checker) execute(facts *infer.Result, names []string) (map[string]*onnxgraph.Tensor, error) {
	m := c.model(onnxgraph.Float)
	declare(m, facts, names...)
	in, err := c.values(onnxgraph.Float, 0)
	if err != nil {
		return nil, err
	}
	return c.run(m, in)
}

// permuted is the checker with the inputs of a class permuted.
func (c *checker) permuted(class axisClass, perm []int) *checker {
	moved := *c
	moved.row.In = slices.Clone(c.row.In)
	moved.args = slices.Clone(c.args)
	for _, at := range class.places {
		if at.output {
			continue
		}
		a := &moved.row.In[at.i]
		switch {
		case a.fixed != nil:
			a.fixed = permuteTensor(a.fixed, at.axis, perm)
		case a.draw != nil:
			t := permuteTensor(onnxgraph.Doubles("", a.dims, moved.args[at.i]), at.axis, perm)
			moved.args[at.i], _ = t.AsDoubles() // the tensor is ours and whole
		}
	}
	return &moved
}

// permuteTensor takes element perm[i] of an axis to place i.
func permuteTensor(t *onnxgraph.Tensor, axis int, perm []int) *onnxgraph.Tensor {
	out := *t
	out.Data = make([]byte, 0, len(t.Data))
	inner := t.DType.Bits() / 8
	for _, d := range t.Dims[axis+1:] {
		inner *= int(d)
	}
	block := inner * len(perm)
	for at := 0; at < len(t.Data); at += block {
		for _, p := range perm {
			out.Data = append(out.Data, t.Data[at+p*inner:at+(p+1)*inner]...)
		}
	}
	return &out
}

// place is one axis of an input or output.
type place struct {
	output  bool
	i, axis int
}

func (p place) String() string {
	side := "input"
	if p.output {
		side = "output"
	}
	return fmt.Sprintf("axis %d of %s %d", p.axis, side, p.i)
}

// axisClass are axes that a rule ties to each other, index for index.
type axisClass struct {
	places []place
	extent int64
}

// flowProbe records what a rule says in the form of classes of axes.
type flowProbe struct {
	node   *onnxgraph.Node
	opset  int64
	facts  *infer.Result
	ids    map[place]op.Axis
	places []place // by axis; virtual axes are the zero value
	extent []int64 // by axis, -1 where unknown
	parent []int
	closed []bool // by axis: fixed, or part of something that this check does not follow
	err    error
}

func (p *flowProbe) Node() *onnxgraph.Node     { return p.node }
func (p *flowProbe) Opset() int64              { return p.opset }
func (p *flowProbe) InFact(i int) *op.Fact     { return p.facts.Fact(p.node.Input(i)) }
func (p *flowProbe) OutFact(i int) *op.Fact    { return p.facts.Fact(p.node.Output(i)) }
func (p *flowProbe) In(i, a int) op.Axis       { return p.axis(place{false, i, a}, p.InFact(i)) }
func (p *flowProbe) Out(i, a int) op.Axis      { return p.axis(place{true, i, a}, p.OutFact(i)) }
func (p *flowProbe) Contract(a, b op.Axis)     { p.Link(a, b) }
func (p *flowProbe) Index(a op.Axis, _ string) { p.closed[a] = true }
func (p *flowProbe) Fix(a op.Axis, _ string)   { p.closed[a] = true }
func (p *flowProbe) Taps(a op.Axis)            { p.closed[a] = true }

func (p *flowProbe) axis(at place, f *op.Fact) op.Axis {
	if at.axis < 0 {
		at.axis += f.Rank()
	}
	if at.axis < 0 || at.axis >= f.Rank() {
		p.err = fmt.Errorf("the rule names %s, which has shape %s", at, f.Shape())
		return p.add(place{}, -1, true)
	}
	if id, ok := p.ids[at]; ok {
		return id
	}
	p.ids[at] = p.add(at, f.Shape()[at.axis].Value, false)
	return p.ids[at]
}

func (p *flowProbe) add(at place, extent int64, closed bool) op.Axis {
	id := len(p.parent)
	p.places, p.extent = append(p.places, at), append(p.extent, extent)
	p.parent, p.closed = append(p.parent, id), append(p.closed, closed)
	return op.Axis(id)
}

func (p *flowProbe) root(a op.Axis) int {
	i := int(a)
	for p.parent[i] != i {
		i = p.parent[i]
	}
	return i
}

// Link has no effect between an extent of 1 and a larger one.
func (p *flowProbe) Link(a, b op.Axis) {
	if (p.extent[a] == 1) != (p.extent[b] == 1) {
		return
	}
	if p.extent[a] >= 0 && p.extent[b] >= 0 && p.extent[a] != p.extent[b] {
		p.err = fmt.Errorf("the rule links extents %d and %d", p.extent[a], p.extent[b])
	}
	p.parent[p.root(a)] = p.root(b)
}

func (p *flowProbe) parts(a op.Axis, sizes []onnxgraph.Dim) []op.Axis {
	p.closed[a] = true
	var out []op.Axis
	for _, d := range sizes {
		out = append(out, p.add(place{}, d.Value, true))
	}
	return out
}

func (p *flowProbe) Factor(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis  { return p.parts(a, sizes) }
func (p *flowProbe) Segment(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis { return p.parts(a, sizes) }

func (p *flowProbe) Regroup(from, to []op.Axis) {
	for _, a := range slices.Concat(from, to) {
		p.closed[a] = true
	}
}

// Body leaves everything to the engine.
func (p *flowProbe) Body(*onnxgraph.Graph, []op.Binding, []op.Binding) {
	for i := range p.node.Inputs {
		for a := range max(p.InFact(i).Rank(), 0) {
			p.Fix(p.In(i, a), "")
		}
	}
	for o := range p.node.Outputs {
		for a := range max(p.OutFact(o).Rank(), 0) {
			p.Fix(p.Out(o, a), "")
		}
	}
}

// classes lists the classes that may be permuted, those of axes that the rule
// never mentioned included.
func (p *flowProbe) classes() []axisClass {
	for i := range p.node.Inputs {
		for a := range max(p.InFact(i).Rank(), 0) {
			p.In(i, a)
		}
	}
	for o := range p.node.Outputs {
		for a := range max(p.OutFact(o).Rank(), 0) {
			p.Out(o, a)
		}
	}
	byRoot := map[int]*axisClass{}
	shut := map[int]bool{}
	var order []int
	for id, at := range p.places {
		r := p.root(op.Axis(id))
		shut[r] = shut[r] || p.closed[id] || p.extent[id] < 2
		if byRoot[r] == nil {
			byRoot[r] = &axisClass{extent: p.extent[id]}
			order = append(order, r)
		}
		byRoot[r].places = append(byRoot[r].places, at)
	}
	var out []axisClass
	for _, r := range order {
		if !shut[r] {
			out = append(out, *byRoot[r])
		}
	}
	return out
}
