package autodiff

import (
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

// MinOpset is the lowest opset in which gradients are emitted: from 13 on,
// ReduceSum, Squeeze and Unsqueeze take their axes as an input, and rules rely
// on one spelling.
const MinOpset = 13

// OpsetError reports a model of an opset in which no gradients are emitted.
type OpsetError struct{ Opset int64 }

func (e *OpsetError) Error() string {
	return fmt.Sprintf("autodiff: model imports opset %d; gradients need opset %d or later, convert the model first", e.Opset, MinOpset)
}

// Facts is the growing knowledge about the values of a graph; *infer.Result
// is one.
type Facts = rewrite.Facts

// Options say what to differentiate.
type Options struct {
	Loss string   // the floating-point scalar to differentiate
	Wrt  []string // initializers, inputs or other values whose gradients are wanted
}

// Result is a differentiated model.
type Result struct {
	Model *onnxgraph.Model  // copy of the model with the backward nodes appended; its graph outputs are the model's own
	Grads map[string]string // for each wanted value, the value that holds its gradient
	// Zero lists the wanted values that the loss does not depend on, or only
	// through operators of zero derivative. Their gradients are zeros.
	Zero []string
}

// Gradients appends the backward graph of o.Loss to a copy of m. facts must
// describe m; it learns the facts of every emitted value. Where operators
// block the way, the error is a *RefusalError that lists all of them.
func Gradients(m *onnxgraph.Model, reg *op.Registry, facts Facts, o Options) (*Result, error) {
	if v := m.OpsetVersion(""); v < MinOpset {
		return nil, &OpsetError{v}
	}
	if f := facts.Fact(o.Loss); f == nil || !f.DType().IsFloat() {
		return nil, fmt.Errorf("autodiff: loss %q is not a floating-point value of the model", o.Loss)
	} else if f.Rank() > 0 {
		return nil, fmt.Errorf("autodiff: loss %q has shape %s, expected a scalar", o.Loss, f.Shape())
	}
	for _, w := range o.Wrt {
		if f := facts.Fact(w); f == nil || !f.DType().IsFloat() {
			return nil, fmt.Errorf("autodiff: %q is not a floating-point value of the model", w)
		}
	}
	e := newEngine(m, reg, facts)
	if err := e.lowerPath(o); err != nil {
		return nil, err
	}
	a := analyse(e.Model.Graph, reg, facts, o)
	if err := a.refusal(); err != nil {
		return nil, err
	}
	if err := e.backward(a, o); err != nil {
		return nil, err
	}
	res := &Result{Model: e.Model, Grads: map[string]string{}}
	for _, w := range o.Wrt {
		g := e.take(w)
		if g == "" {
			res.Zero = append(res.Zero, w)
			g = e.zeros(w)
		}
		res.Grads[w] = g
	}
	e.finish(res, o)
	if err := errors.Join(e.Errs...); err != nil {
		return nil, err
	}
	return res, nil
}

// engine holds the graph under construction. Gradients that flow into a value
// collect in pending until its producer is reached.
type engine struct {
	*rewrite.Emitter
	reg     *op.Registry
	pending map[string][]string
	total   map[string]string // value → its summed gradient, once taken
}

func newEngine(m *onnxgraph.Model, reg *op.Registry, facts Facts) *engine {
	g := *m.Graph
	g.Nodes = slices.Clone(g.Nodes)
	g.Initializers = slices.Clone(g.Initializers)
	c := *m
	c.Graph = &g
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	return &engine{
		Emitter: rewrite.NewEmitter(&c, facts, "grad"),
		reg:     reg,
		pending: map[string][]string{},
		total:   map[string]string{},
	}
}

// backward walks the nodes from the loss up and applies their rules.
func (e *engine) backward(a *analysis, o Options) error {
	e.Prefix = "loss"
	loss := e.Facts.Fact(o.Loss)
	if loss.Rank() != 0 {
		return fmt.Errorf("autodiff: loss %q is of unknown rank, expected a scalar", o.Loss)
	}
	e.pending[o.Loss] = []string{e.ScalarLike(o.Loss, 1)}
	e.Sharing = true
	var errs []error
	for i, n := range slices.Backward(e.Model.Graph.Nodes) {
		if !a.onPath[n] {
			continue
		}
		c := &gradCtx{engine: e, at: i, node: n, active: a.active, grads: make([]string, len(n.Outputs))}
		flows := false
		for k, out := range n.Outputs {
			g := e.take(out)
			c.grads[k] = g
			flows = flows || g != ""
		}
		if !flows {
			continue
		}
		e.Prefix = n.Label() + "_Grad/"
		if err := e.reg.For(n).Grad.Rule()(c); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, c.errs...)
	}
	return errors.Join(append(errs, e.Errs...)...)
}

// take sums what flowed into a value, once; "" where nothing did.
func (e *engine) take(value string) string {
	if value == "" {
		return ""
	}
	if g, ok := e.total[value]; ok {
		return g
	}
	parts := e.pending[value]
	delete(e.pending, value)
	var g string
	switch len(parts) {
	case 0:
		return ""
	case 1:
		g = parts[0]
	case 2:
		e.Prefix = "AccumulateGrad/"
		g = e.Emit("Add", parts)
	default:
		e.Prefix = "AccumulateGrad/"
		g = e.Emit("Sum", parts)
	}
	e.total[value] = g
	return g
}

// zeros is a tensor of zeros in the shape and type of the value.
func (e *engine) zeros(value string) string {
	e.Prefix = "ZeroGrad/"
	t := rewrite.ScalarTensor(e.Facts.Fact(value).DType(), 0)
	if t == nil {
		e.Errs = append(e.Errs, fmt.Errorf("autodiff: %q: no zero constant of type %s", value, e.Facts.Fact(value).DType()))
		return ""
	}
	t.Dims = []int64{1}
	return e.Emit("ConstantOfShape", []string{e.ShapeOf(value)}, onnxgraph.TensorAttr("value", t))
}
