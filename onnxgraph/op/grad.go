package op

import "ninox/onnxgraph"

// GradCtx is one node as a gradient rule sees it. The rule emits standard ONNX
// nodes of the backward graph; the engine sums gradients of values with
// several uses, reduces gradients over broadcast axes to the input's shape,
// and drops what nothing needs.
type GradCtx interface {
	Node() *onnxgraph.Node
	Opset() int64

	I(i int) string   // value name of input i, "" where absent
	O(i int) string   // value name of output i, "" where absent
	GO(i int) string  // gradient of output i, "" where none flows in
	Needs(i int) bool // whether the gradient of input i is wanted
	// SetGI gives the gradient of input i. Its shape may be that of the
	// broadcast result; the engine reduces it.
	SetGI(i int, value string)

	// Source is the emitted node that gives a value, nil for other values: by it
	// a rule recognises gradients of a special form.
	Source(value string) *onnxgraph.Node
	// Fact is what is known about any value, emitted ones included.
	Fact(value string) *Fact
	// Emit adds a node of the default domain with one output and returns it;
	// EmitN one with n outputs.
	Emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string
	EmitN(opType string, inputs []string, n int, attrs ...*onnxgraph.Attribute) []string
	// Const adds a constant (equal constants are shared) and returns its name.
	Const(t *onnxgraph.Tensor) string
	// ScalarLike is a constant scalar of the value's element type.
	ScalarLike(value string, v float64) string
	// ShapeOf is the value's shape as an int64 vector: a constant where it is
	// static, else a Shape node.
	ShapeOf(value string) string
	// Output names output i of the forward node although the model leaves it
	// unnamed (mean of LayerNormalization, mask of Dropout …).
	Output(i int) string
	Errorf(format string, args ...any) error
}

// Grad is the gradient rule of an operator: made by Gradient, ZeroGrad or
// NotDifferentiable.
type Grad struct {
	rule    func(GradCtx) error
	applies func(n *onnxgraph.Node) bool // nil: always
	refuse  string
	zero    bool
}

// Gradient is a rule given as a function: the vector-Jacobian product.
func Gradient(rule func(GradCtx) error) Grad { return Grad{rule: rule} }

// GradientWhere is a rule for the nodes that applies accepts; all others are
// differentiated through their lowering.
func GradientWhere(applies func(n *onnxgraph.Node) bool, rule func(GradCtx) error) Grad {
	return Grad{rule: rule, applies: applies}
}

// ZeroGrad says that the derivative is zero wherever it exists (comparisons,
// Floor, Shape, integer operators).
var ZeroGrad = Grad{zero: true}

// NotDifferentiable says that no gradient flows through, and why.
func NotDifferentiable(reason string) Grad { return Grad{refuse: reason} }

// FromLowering says that the gradient is that of the operator's lowering.
var FromLowering = Grad{refuse: "differentiated through its lowering"}

// ThroughLowering says whether a node is differentiated through its lowering.
func (d *Def) ThroughLowering(n *onnxgraph.Node) bool {
	g := d.Grad
	return d.Lower.Rule() != nil && (g.rule == nil && g.refuse == FromLowering.refuse || g.applies != nil && !g.applies(n))
}

// Rule returns the rule function, nil where there is none.
func (g Grad) Rule() func(GradCtx) error { return g.rule }

// Zero says whether the derivative is zero.
func (g Grad) Zero() bool { return g.zero }

// Refusal is the reason given to NotDifferentiable, empty for other rules.
func (g Grad) Refusal() string { return g.refuse }

func (g Grad) missing() bool { return g.rule == nil && g.refuse == "" && !g.zero }

// LowerCtx is one node as a lowering sees it: it emits simpler standard nodes
// in its place.
type LowerCtx interface {
	Node() *onnxgraph.Node
	Opset() int64 // of the default domain
	I(i int) string
	// HasO says whether output i is used.
	HasO(i int) bool
	Fact(value string) *Fact
	Emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string
	EmitN(opType string, inputs []string, n int, attrs ...*onnxgraph.Attribute) []string
	Const(t *onnxgraph.Tensor) string
	ScalarLike(value string, v float64) string
	ShapeOf(value string) string
	// SetO says which emitted value is output i.
	SetO(i int, value string)
	Errorf(format string, args ...any) error
}

// Lower is the lowering of an operator: made by Lowering, or Primitive.
type Lower struct {
	rule      func(LowerCtx) error
	primitive bool
}

// Lowering is a decomposition into simpler standard operators.
func Lowering(rule func(LowerCtx) error) Lower { return Lower{rule: rule} }

// Primitive says that the operator is not decomposed.
var Primitive = Lower{primitive: true}

// Rule returns the decomposition, nil for primitives.
func (l Lower) Rule() func(LowerCtx) error { return l.rule }

func (l Lower) missing() bool { return l.rule == nil && !l.primitive }
