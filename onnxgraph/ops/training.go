// https://github.com/microsoft/onnxruntime/blob/v1.19.2/orttraining/orttraining/core/graph/training_op_defs.cc

package ops

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// trainingOps are the operators that only the training build of ONNX Runtime
// has: they occur in the artifacts of its offline tool, and enter through
// their lowerings.
var trainingOps = joined(activationGrads, lossGrads, normGrads, indexGrads, convGrads, rnnGrads, trainingTools, upstreamOptimizers)

const microsoft = "com.microsoft"

// training is the definition of one such operator. Axis flow and gradients end
// at it: nobody asks for those of a backward graph.
func training(name string, in, out op.Arity, attrs []op.AttrSpec, infer op.InferFunc, lower func(k lowCalc) error) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: attrs, In: in, Out: out,
		Infer: infer,
		Flow:  op.Opaque("an operator of upstream's backward graphs"),
		Grad:  op.NotDifferentiable("an operator of upstream's backward graphs has no second derivative here"),
		Lower: lowers(lower),
	}
}

// inDefaultDomain moves a definition to the default domain, where upstream
// registers a few of these operators.
func inDefaultDomain(d *op.Def) *op.Def {
	d.Domain = ""
	return d
}

// lowCalc is what lowering rules write with.
type lowCalc struct {
	calc
	op.LowerCtx
}

// lowers makes a lowering of a rule in terms of lowCalc.
func lowers(rule func(k lowCalc) error) op.Lower {
	return op.Lowering(func(c op.LowerCtx) error { return rule(lowCalc{calc{c}, c}) })
}

// out0 lowers to a single expression.
func out0(rule func(k lowCalc) string) func(k lowCalc) error {
	return func(k lowCalc) error {
		k.SetO(0, rule(k))
		return nil
	}
}

// likeInput gives output 0 the type of input i.
func likeInput(i int) op.InferFunc {
	return func(c *op.InferCtx) error {
		c.Set(0, c.I(i).DType(), c.I(i).Shape().Clone())
		return nil
	}
}

// likeInputs gives output o the type of input from[o]; -1 leaves an output
// that is not there.
func likeInputs(from ...int) op.InferFunc {
	return func(c *op.InferCtx) error {
		for o, i := range from {
			if i >= 0 {
				c.Set(o, c.I(i).DType(), c.I(i).Shape().Clone())
			}
		}
		return nil
	}
}

// defNamed finds a definition in a list.
func defNamed(list []*op.Def, name string) *op.Def {
	for _, d := range list {
		if d.Name == name {
			return d
		}
	}
	panic(fmt.Sprintf("ops: %q is not in the list", name))
}

// backwardOf lowers a gradient operator by the gradient rule of its forward
// operator.
type backwardOf struct {
	lowCalc
	node  *onnxgraph.Node // the forward node, as far as it is known
	grads []string        // of its outputs
	needs []int           // inputs whose gradients are wanted
	got   map[int]string
}

// gradients applies the rule of def to a forward node, whose outputs may be
// stood in for by values of the same type and shape, and returns the gradients of the wanted inputs by index.
func gradients(k lowCalc, def *op.Def, node *onnxgraph.Node, grads []string, needs ...int) (map[int]string, error) {
	c := &backwardOf{lowCalc: k, node: node, grads: grads, needs: needs, got: map[int]string{}}
	if err := def.Grad.Rule()(c); err != nil {
		return nil, err
	}
	for _, i := range needs {
		if c.got[i] == "" {
			return nil, k.Errorf("the gradient rule of %s gives none for input %d", def.Name, i)
		}
	}
	return c.got, nil
}

func (c *backwardOf) Node() *onnxgraph.Node { return c.node }
func (c *backwardOf) I(i int) string        { return c.node.Input(i) }
func (c *backwardOf) O(i int) string        { return c.node.Output(i) }

func (c *backwardOf) GO(i int) string {
	if i < len(c.grads) {
		return c.grads[i]
	}
	return ""
}

// Source knows no nodes: the gradients come from outside.
func (c *backwardOf) Source(string) *onnxgraph.Node { return nil }

func (c *backwardOf) Needs(i int) bool {
	for _, n := range c.needs {
		if n == i {
			return true
		}
	}
	return false
}

func (c *backwardOf) SetGI(i int, value string) {
	if old := c.got[i]; old != "" {
		value = c.add(old, value)
	}
	c.got[i] = value
}

// Output computes the forward node again where the backward graph does not
// have the output at hand.
func (c *backwardOf) Output(i int) string {
	if name := c.node.Output(i); name != "" {
		return name
	}
	return c.EmitN(c.node.OpType, c.node.Inputs, i+1, c.node.Attrs...)[i]
}
