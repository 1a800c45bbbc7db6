package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// indexGrads are backward operators of selection, and the forms of Concat and
// Split that upstream's training graphs use.
var indexGrads = []*op.Def{
	training("GatherGrad", op.Exactly(3), op.Exactly(1), attrs(aInt("axis")), inferFromShape(0, 2), func(k lowCalc) error {
		return backToZeros(k, gather, k.I(0), []string{k.I(1)}, k.I(2), onnxgraph.IntAttr("axis", k.Node().Int("axis", 0)))
	}),
	training("GatherElementsGrad", op.Exactly(3), op.Exactly(1), attrs(aInt("axis")), inferFromShape(1, 0), func(k lowCalc) error {
		return backToZeros(k, gatherElements, k.I(1), []string{k.I(2)}, k.I(0), onnxgraph.IntAttr("axis", k.Node().Int("axis", 0)))
	}),
	training("SliceGrad", op.Between(4, 6), op.Exactly(1), nil, inferFromShape(1, 0), func(k lowCalc) error {
		return backToZeros(k, slice, k.I(1), k.Node().Inputs[2:], k.I(0))
	}),
	training("SplitTraining", op.Exactly(2), op.AtLeast(1), attrs(aInt("axis")), inferSplitTraining, func(k lowCalc) error {
		n := len(k.Node().Outputs)
		out := k.EmitN("Split", []string{k.I(0), k.I(1)}, n, onnxgraph.IntAttr("axis", k.Node().Int("axis", 0)))
		for i, v := range out {
			k.SetO(i, v)
		}
		return nil
	}),
	training("ConcatTraining", op.AtLeast(1), op.Between(1, 2), attrs(need(aInt("axis"))), inferConcatTraining, lowerConcatTraining),
	inDefaultDomain(training("AveragePoolGrad", op.Exactly(1), op.Exactly(1), append(attrs(aInt("count_include_pad"), aInt("ceil_mode")), poolAttrs...), inferPoolGrad, lowerAveragePoolGrad)),
	inDefaultDomain(training("MaxPoolGrad", op.Exactly(2), op.Exactly(1), maxPoolGradAttrs, inferPoolGrad, lowerMaxPoolGrad)),
}

var maxPoolGradAttrs = attrs(aStr("auto_pad"), aInt("ceil_mode"), aInts("dilations"), need(aInts("kernel_shape")), aInts("pads"), aInt("storage_order"), aInts("strides"))

// inferFromShape gives output 0 the shape that input shape holds and the
// element type of input grad.
func inferFromShape(shape, grad int) op.InferFunc {
	return func(c *op.InferCtx) error {
		c.Set(0, c.I(grad).DType(), shapeIn(c.I(shape)))
		return nil
	}
}

// shapeIn is the shape that an integer vector holds, nil where not even its
// length is known.
func shapeIn(f *op.Fact) onnxgraph.Shape {
	if e, ok := elemsOf(f); ok {
		return onnxgraph.Shape(e).Clone()
	}
	if s := f.Shape(); len(s) == 1 && s[0].IsKnown() && s[0].Value <= maxElems {
		return unknowns(int(s[0].Value))
	}
	return nil
}

// backToZeros lowers by the gradient of a selection from a tensor of which
// only the shape is at hand: zeros stand in for it.
func backToZeros(k lowCalc, def *op.Def, shape string, rest []string, dy string, a ...*onnxgraph.Attribute) error {
	data := k.zeros(shape, k.Fact(dy).DType())
	node := &onnxgraph.Node{Name: k.Node().Name, OpType: def.Name, Inputs: append([]string{data}, rest...), Outputs: []string{dy}, Attrs: a}
	g, err := gradients(k, def, node, []string{dy}, 0)
	if err != nil {
		return err
	}
	k.SetO(0, g[0])
	return nil
}

func inferSplitTraining(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if s == nil {
		for i := range c.Out {
			c.Set(i, c.I(0).DType(), nil)
		}
		return nil
	}
	axis, err := c.Axis(c.Node.Int("axis", 0), len(s))
	if err != nil {
		return err
	}
	sizes, known := elemsOf(c.I(1))
	if known && len(sizes) != len(c.Out) {
		return c.Errorf("", "%d lengths for %d outputs", len(sizes), len(c.Out))
	}
	for i := range c.Out {
		part := s.Clone()
		part[axis] = onnxgraph.UnknownDim()
		if known {
			part[axis] = sizes[i]
		}
		c.Set(i, c.I(0).DType(), part)
	}
	return nil
}

func inferConcatTraining(c *op.InferCtx) error {
	parts := *c
	node := *c.Node
	node.OpType, node.Domain, node.Outputs = "Concat", "", c.Node.Outputs[:1]
	parts.Node, parts.Out = &node, c.Out[:1]
	if err := concat.Infer(&parts); err != nil {
		return err
	}
	c.Set(1, onnxgraph.Int64, onnxgraph.StaticShape(int64(len(c.In))))
	s := c.Out[0].Shape()
	if s == nil {
		return nil
	}
	axis, err := c.Axis(c.Node.Int("axis", 0), len(s))
	if err != nil {
		return err
	}
	lengths := make([]onnxgraph.Dim, len(c.In))
	for i, in := range c.In {
		lengths[i] = onnxgraph.UnknownDim()
		if in.Rank() == len(s) {
			lengths[i] = in.Shape()[axis]
		}
	}
	setElems(c, 1, lengths)
	return nil
}

func lowerConcatTraining(k lowCalc) error {
	axis := k.Node().Int("axis", 0)
	k.SetO(0, k.Emit("Concat", k.Node().Inputs, onnxgraph.IntAttr("axis", axis)))
	if !k.HasO(1) {
		return nil
	}
	var lengths []string
	for _, in := range k.Node().Inputs {
		r := k.Fact(in).Rank()
		if r <= 0 {
			return k.Errorf("the rank of %q is not known", in)
		}
		lengths = append(lengths, k.dimOf(in, int((axis+int64(r))%int64(r))))
	}
	k.SetO(1, k.Emit("Concat", lengths, onnxgraph.IntAttr("axis", 0)))
	return nil
}

// inferPoolGrad knows batch and channels; the file declares the rest, since
// pooling cannot be undone without it.
func inferPoolGrad(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	for a := 2; a < len(s); a++ {
		s[a] = onnxgraph.UnknownDim()
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// lowerMaxPoolGrad puts every gradient where the maximum was: the indices
// count the elements of the whole input.
func lowerMaxPoolGrad(k lowCalc) error {
	dy := k.I(0)
	shape, err := pooledShape(k, dy)
	if err != nil {
		return err
	}
	size := k.Emit("ReduceProd", []string{shape}, onnxgraph.IntAttr("keepdims", 1))
	flat := k.Emit("ScatterElements", []string{k.zeros(size, k.Fact(dy).DType()), k.reshape(k.I(1), -1), k.reshape(dy, -1)},
		onnxgraph.IntAttr("axis", 0), onnxgraph.StringAttr("reduction", "add"))
	k.SetO(0, k.two("Reshape", flat, shape))
	return nil
}

func lowerAveragePoolGrad(k lowCalc) error {
	shape, err := pooledShape(k, k.I(0))
	if err != nil {
		return err
	}
	return backToZeros(k, defNamed(pools, "AveragePool"), shape, nil, k.I(0), k.Node().Attrs...)
}

// pooledShape is the shape of the pool's input as a vector: batch and channels
// of dY, the rest as the file declares it.
func pooledShape(k lowCalc, dy string) (string, error) {
	declared := k.Fact(k.Node().Output(0)).Shape()
	if len(declared) < 3 {
		return "", k.Errorf("the shape of the pool's input is not declared")
	}
	spatial, ok := declared[2:].Static()
	if !ok {
		return "", k.Errorf("the shape of the pool's input is declared as %s, expected known extents behind batch and channels", declared)
	}
	lead := k.Emit("Slice", []string{k.ShapeOf(dy), k.vector(0), k.vector(2)})
	return k.Emit("Concat", []string{lead, k.vector(spatial...)}, onnxgraph.IntAttr("axis", 0)), nil
}
