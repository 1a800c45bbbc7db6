package op

import "ninox/onnxgraph"

// Axis names one axis of one value of a node, or a virtual axis made by
// FlowCtx.Factor or FlowCtx.Segment.
type Axis int

// FlowCtx is one node as a flow rule sees it. The rule says how the node's
// axes correspond; the neuralgraph engine draws the conclusions. An axis that
// a rule never mentions is unconstrained, so a rule must mention every axis
// along which the operator is not equivariant.
type FlowCtx interface {
	Node() *onnxgraph.Node
	Opset() int64
	InFact(i int) *Fact  // nil where absent
	OutFact(i int) *Fact // nil where absent

	// In and Out name axis a of input or output i; a may be negative.
	In(i, a int) Axis
	Out(i, a int) Axis

	// Link: both are the same axis, index for index. Links to an axis of
	// known extent 1 from a larger one (broadcasting) have no effect.
	Link(a, b Axis)
	// Contract: both are the same axis, index for index, and the operator
	// sums over it (the last axis of A and the second-last of B in MatMul).
	// For a parameter this is its source side.
	Contract(a, b Axis)
	// Index: the axis is addressed by data (the rows of an embedding in
	// Gather). For a parameter this is its source side.
	Index(a Axis, reason string)
	// Factor: the axis is the row-major product of axes of these extents.
	Factor(a Axis, sizes ...onnxgraph.Dim) []Axis
	// Segment: the axis is the concatenation of axes of these extents.
	Segment(a Axis, sizes ...onnxgraph.Dim) []Axis
	// Regroup: the row-major product of from equals that of to (Reshape).
	Regroup(from, to []Axis)
	// Fix: permuting this axis changes the function, for this reason.
	Fix(a Axis, reason string)
	// Taps: the axis enumerates kernel positions (fixed, but part of one
	// edge instead of a neuron axis).
	Taps(a Axis)
	// Body links a subgraph: the engine propagates through its nodes; in and
	// out pair the node's values with the subgraph's inputs and outputs.
	Body(g *onnxgraph.Graph, in, out []Binding)
}

// Binding pairs a value of a node with an input or output of its subgraph.
// Drop is the axis of the outer value that the subgraph's value lacks (the
// scanned axis of Scan), -1 for none.
type Binding struct {
	Outer Ref
	Inner string
	Drop  int
}

// Ref names input or output I of a node.
type Ref struct {
	Output bool
	I      int
}

// Flow is the axis-flow rule of an operator: made by Flows, Opaque or
// Elementwise.
type Flow struct {
	rule   func(FlowCtx) error
	opaque string
}

// Flows is a rule given as a function.
func Flows(rule func(FlowCtx) error) Flow { return Flow{rule: rule} }

// Opaque says that nothing may be permuted through the operator, and why.
func Opaque(reason string) Flow { return Flow{opaque: reason} }

// FlowOfLowering says that axes correspond as in the operator's lowering; by
// itself nothing may be permuted through it.
var FlowOfLowering = Opaque("its axes are those of its lowering")

// Elementwise links all inputs and outputs axis by axis from the right, as
// multidirectional broadcasting aligns them.
func Elementwise() Flow {
	return Flow{rule: func(c FlowCtx) error {
		for o := range c.Node().Outputs {
			out := c.OutFact(o)
			if out == nil {
				continue
			}
			for i := range c.Node().Inputs {
				in := c.InFact(i)
				if in == nil {
					continue
				}
				for a := 1; a <= min(in.Rank(), out.Rank()); a++ {
					c.Link(c.In(i, -a), c.Out(o, -a))
				}
			}
		}
		return nil
	}}
}

// OpaqueReason is the reason given to Opaque, empty for other rules.
func (f Flow) OpaqueReason() string { return f.opaque }

// Apply runs the rule: every axis is fixed where the rule is Opaque.
func (f Flow) Apply(c FlowCtx) error {
	if f.rule != nil {
		return f.rule(c)
	}
	for i := range c.Node().Inputs {
		for a := 0; a < c.InFact(i).rankOrZero(); a++ {
			c.Fix(c.In(i, a), f.opaque)
		}
	}
	for o := range c.Node().Outputs {
		for a := 0; a < c.OutFact(o).rankOrZero(); a++ {
			c.Fix(c.Out(o, a), f.opaque)
		}
	}
	return nil
}

func (f Flow) missing() bool { return f.rule == nil && f.opaque == "" }

func (f *Fact) rankOrZero() int { return max(f.Rank(), 0) }
