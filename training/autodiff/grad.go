package autodiff

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// gradCtx is the op.GradCtx of one node.
type gradCtx struct {
	*engine
	at     int // index of the node in the graph
	node   *onnxgraph.Node
	active map[string]bool
	grads  []string // of the outputs, "" where none flows in
	errs   []error
}

func (c *gradCtx) Node() *onnxgraph.Node { return c.node }
func (c *gradCtx) I(i int) string        { return c.node.Input(i) }
func (c *gradCtx) O(i int) string        { return c.node.Output(i) }

func (c *gradCtx) GO(i int) string {
	if i < len(c.grads) {
		return c.grads[i]
	}
	return ""
}

func (c *gradCtx) Needs(i int) bool { return c.I(i) != "" && c.active[c.I(i)] }

func (c *gradCtx) SetGI(i int, value string) {
	if !c.Needs(i) {
		return
	}
	v, err := c.reduceTo(value, c.I(i))
	if err != nil {
		c.errs = append(c.errs, c.Errorf("gradient of input %d: %v", i, err))
		return
	}
	c.pending[c.I(i)] = append(c.pending[c.I(i)], v)
}

// Source finds an emitted node by one of its outputs.
func (c *gradCtx) Source(value string) *onnxgraph.Node {
	for _, n := range slices.Backward(c.Emitted) {
		if slices.Contains(n.Outputs, value) {
			return n
		}
	}
	return nil
}

// Output names output i of the forward node. The node is copied first, since
// the original belongs to the caller's model.
func (c *gradCtx) Output(i int) string {
	if name := c.node.Output(i); name != "" {
		return name
	}
	n := *c.node
	n.Outputs = append([]string{}, n.Outputs...)
	for len(n.Outputs) <= i {
		n.Outputs = append(n.Outputs, "")
	}
	n.Outputs[i] = c.Fresh(fmt.Sprintf("%s_out%d", c.node.Label(), i))
	if err := c.Facts.Add(&n); err != nil {
		c.errs = append(c.errs, c.Errorf("naming output %d: %v", i, err))
	}
	c.Model.Graph.Nodes[c.at] = &n
	c.node = &n
	return n.Outputs[i]
}

func (c *gradCtx) Errorf(format string, args ...any) error {
	return op.NewNodeError("grad", c.node, c.Model.OpsetVersion(c.node.Domain), fmt.Sprintf(format, args...))
}

// reduceTo sums a gradient over the axes along which input was broadcast, so
// that it gets the input's shape.
func (e *engine) reduceTo(grad, input string) (string, error) {
	gs, is := e.Facts.Fact(grad).Shape(), e.Facts.Fact(input).Shape()
	if gs == nil || is == nil {
		return "", fmt.Errorf("rank of %q or of its gradient is unknown", input)
	}
	lead := len(gs) - len(is)
	if lead < 0 {
		return "", fmt.Errorf("has shape %s, expected %s or one that broadcasting makes of it", gs, is)
	}
	var certain []int64 // axes to sum
	dynamic := false    // whether some axis may turn out to be broadcast only at run time
	inner := false      // whether an axis that the input has is summed
	one := onnxgraph.Known(1)
	for a, g := range gs {
		if a < lead {
			certain = append(certain, int64(a))
			continue
		}
		i := is[a-lead]
		switch {
		case i == one && g != one:
			certain = append(certain, int64(a))
			inner = true
		case i.IsKnown() && g.IsKnown() && i != g:
			return "", fmt.Errorf("has shape %s, expected %s or one that broadcasting makes of it", gs, is)
		case !i.IsKnown() && !i.Same(g) && g != one:
			dynamic = true
		}
	}
	if dynamic {
		return e.reduceDynamic(grad, input, lead), nil
	}
	if len(certain) == 0 {
		return grad, nil
	}
	keep := int64(0)
	if inner {
		keep = 1
	}
	out := e.Emit("ReduceSum", []string{grad, e.Const(onnxgraph.Vector("", certain...))}, onnxgraph.IntAttr("keepdims", keep))
	if inner && lead > 0 {
		out = e.Emit("Squeeze", []string{out, e.Const(onnxgraph.Vector("", certain[:lead]...))})
	}
	return out, nil
}

// reduceDynamic finds the broadcast axes at run time: those where the
// gradient's extent differs from the input's, padded with ones on the left.
func (e *engine) reduceDynamic(grad, input string, lead int) string {
	want := e.Emit("Shape", []string{input})
	padded := want
	if lead > 0 {
		ones := make([]int64, lead)
		for i := range ones {
			ones[i] = 1
		}
		padded = e.Emit("Concat", []string{e.Const(onnxgraph.Vector("", ones...)), want}, onnxgraph.IntAttr("axis", 0))
	}
	same := e.Emit("Equal", []string{e.Emit("Shape", []string{grad}), padded})
	axes := e.Emit("NonZero", []string{e.Emit("Not", []string{same})})
	axes = e.Emit("Reshape", []string{axes, e.Const(onnxgraph.Vector("", -1))})
	sum := e.Emit("ReduceSum", []string{grad, axes}, onnxgraph.IntAttr("keepdims", 1), onnxgraph.IntAttr("noop_with_empty_axes", 1))
	out := e.Emit("Reshape", []string{sum, want})
	e.Facts.Set(out, &op.Fact{Type: e.Facts.Fact(input).Type})
	return out
}
