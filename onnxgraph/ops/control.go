// https://onnx.ai/onnx/operators/onnx__If.html
// https://onnx.ai/onnx/operators/onnx__Loop.html
// https://onnx.ai/onnx/operators/onnx__Scan.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var controlFlow = []*op.Def{
	{
		Name: "If", Versions: since(1, 11, 13, 16, 19, 21, 23, 24, 25), Attrs: attrs(need(aGraph("then_branch")), need(aGraph("else_branch"))),
		In: op.Exactly(1), Out: op.AtLeast(1),
		Infer: inferIf, Flow: op.Flows(flowIf), Grad: noGradInBodies, Lower: op.Primitive,
	},
	{
		Name: "Loop", Versions: since(1, 11, 13, 16, 19, 21, 23, 24, 25), Attrs: attrs(need(aGraph("body"))),
		In: op.AtLeast(2), Out: op.AtLeast(1),
		Infer: inferLoop, Flow: op.Flows(flowLoop), Grad: noGradInBodies, Lower: op.Primitive,
	},
	{
		Name: "Scan", Versions: since(8, 9, 11, 16, 19, 21, 23, 24, 25),
		Attrs: attrs(need(aGraph("body")), need(aInt("num_scan_inputs")), aInts("directions"), aInts("scan_input_axes"), aInts("scan_input_directions"), aInts("scan_output_axes"), aInts("scan_output_directions")),
		In:    op.AtLeast(1), Out: op.AtLeast(1),
		Infer: inferScan, Flow: op.Flows(flowScan), Grad: noGradInBodies, Lower: op.Primitive,
	},
}

var noGradInBodies = op.NotDifferentiable("gradients do not enter subgraphs")

func bodyOf(n *onnxgraph.Node, attr string) *onnxgraph.Graph {
	if a := n.Attr(attr); a != nil {
		return a.G
	}
	return nil
}

// known is what holds for both facts; values are kept only where one is nil.
func known(a, b *op.Fact) *op.Fact {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.Empty && b.Type.Kind == onnxgraph.SequenceKind:
		return &op.Fact{Type: b.Type, Empty: b.Empty}
	case b.Empty && a.Type.Kind == onnxgraph.SequenceKind:
		return &op.Fact{Type: a.Type}
	}
	return &op.Fact{Type: commonType(a.Type, b.Type)}
}

// commonType is what holds for both types: unknown dims where extents differ,
// an unknown rank where ranks do.
func commonType(a, b onnxgraph.Type) onnxgraph.Type {
	switch {
	case a.Kind == onnxgraph.NoType || a.Kind != b.Kind:
		return onnxgraph.Type{}
	case a.Elem != nil && b.Elem != nil:
		e := commonType(*a.Elem, *b.Elem)
		a.Elem = &e
		return a
	}
	if a.DType != b.DType {
		a.DType = onnxgraph.Undefined
	}
	if len(a.Shape) != len(b.Shape) || a.Shape == nil || b.Shape == nil {
		a.Shape = nil
		return a
	}
	a.Shape = a.Shape.Clone()
	for i, d := range b.Shape {
		if !d.Same(a.Shape[i]) {
			a.Shape[i] = onnxgraph.UnknownDim()
		}
	}
	return a
}

// inferIf takes the facts of the branch that is certainly taken, else what
// both branches share. A branch that is never taken may be wrong, and one that
// is wrong is never taken: exporters write branches for inputs of other shapes.
func inferIf(c *op.InferCtx) error {
	condition, decided := intsOf(c.I(0))
	decided = decided && len(condition) == 1
	var out []*op.Fact
	var wrong error
	for i, attr := range []string{"then_branch", "else_branch"} {
		g := bodyOf(c.Node, attr)
		if g == nil {
			return c.Errorf(attr, "holds no graph")
		}
		dead := decided && (condition[0] != 0) != (i == 0)
		facts, err := c.Body(g, nil)
		switch {
		case dead:
			continue
		case err != nil: // no run can take it
			wrong = err
		case len(facts) != len(c.Out):
			return c.Errorf(attr, "%d outputs, but the node has %d", len(facts), len(c.Out))
		case out == nil:
			out = facts
		default:
			for k := range out {
				out[k] = known(out[k], facts[k])
			}
		}
	}
	if out == nil {
		return wrong
	}
	for k, f := range out {
		*c.Out[k] = *f
		c.Out[k].Param = false
	}
	return nil
}

func flowIf(c op.FlowCtx) error {
	for _, attr := range []string{"then_branch", "else_branch"} {
		g := bodyOf(c.Node(), attr)
		var out []op.Binding
		for i, v := range g.Outputs {
			out = append(out, op.Binding{Outer: op.Ref{Output: true, I: i}, Inner: v.Name, Drop: -1})
		}
		c.Body(g, nil, out)
	}
	return nil
}

// typeOnly is a fact without its value, as a value that changes from one
// iteration to the next has.
func typeOnly(f *op.Fact) *op.Fact {
	if f == nil {
		return nil
	}
	return &op.Fact{Type: f.Type, Empty: f.Empty}
}

// iterate infers a body whose first outputs, after skip, feed the states:
// the types of the states are weakened until the body keeps them.
func iterate(c *op.InferCtx, g *onnxgraph.Graph, before, states, after []*op.Fact, skip int) ([]*op.Fact, []*op.Fact, error) {
	for {
		in := append(append(append([]*op.Fact{}, before...), states...), after...)
		out, err := c.Body(g, in)
		if err != nil {
			return nil, nil, err
		}
		if len(out) < skip+len(states) {
			return nil, nil, c.Errorf("body", "%d outputs for %d states", len(out)-skip, len(states))
		}
		stable := true
		for i, s := range states {
			w := carriedOn(s, typeOnly(out[skip+i]))
			if w.Type.String() != s.Type.String() || w.Empty != s.Empty {
				stable = false
			}
			states[i] = w
		}
		if stable {
			return states, out, nil
		}
	}
}

// carriedOn is what holds for a state before and after an iteration. A state
// that may hold nothing at first holds something afterwards.
func carriedOn(before, after *op.Fact) *op.Fact {
	t := before.Type
	if t.Kind == onnxgraph.OptionalKind && t.Elem != nil && after.Type.Kind != onnxgraph.OptionalKind {
		elem := commonType(*t.Elem, after.Type)
		t.Elem = &elem
		return &op.Fact{Type: t}
	}
	return known(before, after)
}

func inferLoop(c *op.InferCtx) error {
	g := bodyOf(c.Node, "body")
	if g == nil {
		return c.Errorf("body", "holds no graph")
	}
	n := len(c.In) - 2
	if len(g.Inputs) != n+2 {
		return c.Errorf("body", "%d inputs, expected %d", len(g.Inputs), n+2)
	}
	states := make([]*op.Fact, n)
	for i := range states {
		states[i] = typeOnly(c.In[2+i])
	}
	iteration := &op.Fact{Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{})}
	// Where the body runs, its condition holds.
	condition := &op.Fact{Type: onnxgraph.TensorOf(onnxgraph.Bool, onnxgraph.Shape{})}
	condition.Const = tensorOf(condition, []int64{1}, []float64{1})
	states, out, err := iterate(c, g, []*op.Fact{iteration, condition}, states, nil, 1)
	if err != nil {
		return err
	}
	if len(out)-1 < len(c.Out) {
		return c.Errorf("body", "%d outputs, expected the condition and %d more", len(out), len(c.Out))
	}
	trips := onnxgraph.UnknownDim()
	if goesOn, ok := intsOf(out[0]); ok && goesOn[0] != 0 && alwaysTrue(c.I(1)) {
		trips = sizeOf(c.I(0))
	}
	for o := range c.Out {
		if o < n {
			*c.Out[o] = *states[o]
			if states[o].Type.Kind == onnxgraph.OptionalKind && out[1+o].Type.Kind != onnxgraph.OptionalKind {
				c.Out[o].Type = elemOf(states[o].Type) // as the body gives it, and the output is declared
			}
			continue
		}
		c.Set(o, out[1+o].DType(), stacked(out[1+o].Shape(), trips, 0))
	}
	return nil
}

func alwaysTrue(f *op.Fact) bool {
	v, ok := intsOf(f)
	return f == nil || ok && v[0] != 0
}

// stacked inserts an axis, nil where the rank is unknown.
func stacked(s onnxgraph.Shape, n onnxgraph.Dim, axis int) onnxgraph.Shape {
	if s == nil {
		return nil
	}
	out := append(onnxgraph.Shape{}, s[:axis]...)
	return append(append(out, n), s[axis:]...)
}

// flowLoop: what is carried keeps its axes; iterations stand in order.
func flowLoop(c op.FlowCtx) error {
	g := bodyOf(c.Node(), "body")
	n := len(c.Node().Inputs) - 2
	var in, out []op.Binding
	for i := range n {
		in = append(in, op.Binding{Outer: op.Ref{I: 2 + i}, Inner: g.Inputs[2+i].Name, Drop: -1})
		carried(c, 2+i, i)
	}
	for o := range c.Node().Outputs {
		b := op.Binding{Outer: op.Ref{Output: true, I: o}, Inner: g.Outputs[1+o].Name, Drop: -1}
		if o >= n {
			b.Drop = 0
			if c.OutFact(o).Rank() > 0 {
				c.Fix(c.Out(o, 0), "iterations stand in order")
			}
		}
		out = append(out, b)
	}
	c.Body(g, in, out)
	return nil
}

// carried links a state before the first iteration with that after the last.
func carried(c op.FlowCtx, i, o int) {
	if c.InFact(i).Rank() != c.OutFact(o).Rank() {
		return
	}
	for a := range max(c.InFact(i).Rank(), 0) {
		c.Link(c.In(i, a), c.Out(o, a))
	}
}

// scanAxis is entry i of a list of axes, normalised; 0 where there is none.
func scanAxis(n *onnxgraph.Node, attr string, i, rank int) (int, bool) {
	axis := 0
	if list := n.Ints(attr); i < len(list) {
		axis = int(list[i])
	}
	if axis < 0 {
		axis += rank
	}
	return axis, axis >= 0 && axis < rank
}

func inferScan(c *op.InferCtx) error {
	if c.Opset < 9 {
		return inferBatchedScan(c)
	}
	g := bodyOf(c.Node, "body")
	if g == nil {
		return c.Errorf("body", "holds no graph")
	}
	m := int(c.Node.Int("num_scan_inputs", 0))
	n := len(c.In) - m
	if m < 1 || n < 0 || len(g.Inputs) != n+m {
		return c.Errorf("num_scan_inputs", "%d, but the node has %d inputs and its body %d", m, len(c.In), len(g.Inputs))
	}
	var states, slices []*op.Fact
	for _, f := range c.In[:n] {
		states = append(states, typeOnly(f))
	}
	length := onnxgraph.UnknownDim()
	for i, f := range c.In[n:] {
		t := typeOnly(f)
		if s := f.Shape(); s != nil {
			axis, ok := scanAxis(c.Node, "scan_input_axes", i, len(s))
			if !ok {
				return c.Errorf("scan_input_axes", "entry %d is out of range for shape %s", i, s)
			}
			if !length.IsKnown() && (s[axis].IsKnown() || length.Symbol == "") {
				length = s[axis]
			}
			t.Type.Shape = append(s[:axis:axis], s[axis+1:]...)
		}
		slices = append(slices, t)
	}
	states, out, err := iterate(c, g, nil, states, slices, 0)
	if err != nil {
		return err
	}
	if len(out) < len(c.Out) {
		return c.Errorf("body", "%d outputs, expected %d", len(out), len(c.Out))
	}
	for o := range c.Out {
		if o < n {
			*c.Out[o] = *states[o]
			continue
		}
		s := out[o].Shape()
		if s == nil {
			c.Set(o, out[o].DType(), nil)
			continue
		}
		axis, ok := scanAxis(c.Node, "scan_output_axes", o-n, len(s)+1)
		if !ok {
			return c.Errorf("scan_output_axes", "entry %d is out of range for shape %s", o-n, s)
		}
		c.Set(o, out[o].DType(), stacked(s, length, axis))
	}
	return nil
}

// inferBatchedScan is Scan-8: input 0 are the lengths of the sequences, all
// others have the batch as their first axis, which the body does not see, and
// what is scanned has positions as the second.
func inferBatchedScan(c *op.InferCtx) error {
	g := bodyOf(c.Node, "body")
	if g == nil {
		return c.Errorf("body", "holds no graph")
	}
	m := int(c.Node.Int("num_scan_inputs", 0))
	n := len(c.In) - 1 - m
	if m < 1 || n < 0 || len(g.Inputs) != n+m {
		return c.Errorf("num_scan_inputs", "%d, but the node has %d inputs and its body %d", m, len(c.In), len(g.Inputs))
	}
	var inner []*op.Fact
	batch, length := onnxgraph.UnknownDim(), onnxgraph.UnknownDim()
	for i, f := range c.In[1:] {
		drop := 1
		if i >= n {
			drop = 2
		}
		t := typeOnly(f)
		if s := f.Shape(); s != nil {
			if len(s) < drop {
				return c.Errorf("", "input %d of shape %s, expected at least %d axes", i+1, s, drop)
			}
			batch = s[0]
			if drop == 2 {
				length = s[1]
			}
			t.Type.Shape = s[drop:].Clone()
		}
		inner = append(inner, t)
	}
	states, out, err := iterate(c, g, nil, inner[:n], inner[n:], 0)
	if err != nil {
		return err
	}
	if len(out) < len(c.Out) {
		return c.Errorf("body", "%d outputs, expected %d", len(out), len(c.Out))
	}
	for o := range c.Out {
		if o < n {
			c.Set(o, states[o].DType(), stacked(states[o].Shape(), batch, 0))
			continue
		}
		c.Set(o, out[o].DType(), stacked(stacked(out[o].Shape(), length, 0), batch, 0))
	}
	return nil
}

// flowScan: the scanned axis is ordered; the others belong to the body.
func flowScan(c op.FlowCtx) error {
	if c.Opset() < 9 {
		return opaque(c, "a scan over batches, which opset 9 abolished")
	}
	node := c.Node()
	g := bodyOf(node, "body")
	n := len(node.Inputs) - int(node.Int("num_scan_inputs", 0))
	var in, out []op.Binding
	for i := range node.Inputs {
		b := op.Binding{Outer: op.Ref{I: i}, Inner: g.Inputs[i].Name, Drop: -1}
		if i >= n {
			axis, ok := scanAxis(node, "scan_input_axes", i-n, c.InFact(i).Rank())
			if !ok {
				return opaque(c, "the rank of a scanned input is not known")
			}
			b.Drop = axis
			c.Fix(c.In(i, axis), "the scan is ordered")
		} else {
			carried(c, i, i)
		}
		in = append(in, b)
	}
	for o := range node.Outputs {
		b := op.Binding{Outer: op.Ref{Output: true, I: o}, Inner: g.Outputs[o].Name, Drop: -1}
		if o >= n && c.OutFact(o) != nil {
			axis, ok := scanAxis(node, "scan_output_axes", o-n, c.OutFact(o).Rank())
			if !ok {
				return opaque(c, "the rank of a scanned output is not known")
			}
			b.Drop = axis
			c.Fix(c.Out(o, axis), "the scan is ordered")
		}
		out = append(out, b)
	}
	c.Body(g, in, out)
	return nil
}
