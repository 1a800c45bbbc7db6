package reference

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// call is one node with its inputs.
type call struct {
	node  *onnxgraph.Node
	opset int64
	in    []*tensor.Dense
}

// rule computes a node's output, through the engine.
type rule func(*call) (*tensor.Dense, error)

// operators are those of the default domain.
var operators = map[string]rule{
	"Abs": unary, "Ceil": unary, "Cos": unary, "Exp": unary, "Floor": unary, "Log": unary, "Neg": unary, "Relu": unary,
	"Sigmoid": unary, "Sign": unary, "Sin": unary, "Softplus": unary, "Sqrt": unary, "Tanh": unary,
	"Add": broadcasting, "Sub": broadcasting, "Mul": broadcasting, "Div": broadcasting,
	"Min": broadcasting, "Max": broadcasting,
	"BatchNormalization": batchNormalization,
	"Concat":             concat,
	"Conv":               conv,
	"Dropout":            dropout,
	"Flatten":            flatten,
	"Gemm":               gemm,
	"GlobalAveragePool":  globalAveragePool,
	"Identity":           identity,
	"LeakyRelu":          leakyRelu,
	"MatMul":             matMul,
	"MaxPool":            maxPool,
	"Reshape":            reshape,
	"Softmax":            softmax,
	"Squeeze":            squeeze,
	"Transpose":          transpose,
	"Unsqueeze":          unsqueeze,
}

// arity checks the number of inputs, of which all must be float but those from
// the given one on.
func (c *call) arity(least, most, floats int) error {
	if n := len(c.in); n < least || n > most {
		return fmt.Errorf("%d inputs, expected %d to %d", n, least, most)
	}
	for i, v := range c.in {
		if i < floats && v.Dtype() != tensor.Float32 {
			return fmt.Errorf("input %d is %s, expected float32", i, v.Dtype())
		}
	}
	return nil
}

func (c *call) int(name string, or int64) int64 {
	if a := c.node.Attr(name); a != nil {
		return a.I
	}
	return or
}

func (c *call) ints(name string) []int64 {
	if a := c.node.Attr(name); a != nil {
		return a.Ints
	}
	return nil
}

func (c *call) float(name string, or float32) float32 {
	if a := c.node.Attr(name); a != nil {
		return a.F
	}
	return or
}

// only refuses attributes other than the named.
func (c *call) only(names ...string) error {
	for _, a := range c.node.Attrs {
		if !slices.Contains(names, a.Name) {
			return fmt.Errorf("attribute %q is not supported", a.Name)
		}
	}
	return nil
}

// axis is an axis of a shape of the given rank, counted from its start.
func axis(a int64, rank int) (int, error) {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return 0, fmt.Errorf("axis %d of rank %d", a, rank)
	}
	return int(a), nil
}

// asVector is a scalar as an array of one element, which the engine handles
// better; others are returned as they are.
func asVector(v *tensor.Dense) (*tensor.Dense, error) {
	if len(v.Shape()) > 0 {
		return v, nil
	}
	return reshaped(v, []int{1})
}

func unary(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only()); err != nil {
		return nil, err
	}
	return elementwise(c.node.OpType, c.in[0].Shape(), c.in)
}

// elementwise computes an operator on inputs of one shape.
func elementwise(opType string, shape []int, in []*tensor.Dense, attrs ...*onnxgraph.Attribute) (*tensor.Dense, error) {
	vectors := make([]*tensor.Dense, len(in))
	for i, v := range in {
		var err error
		if vectors[i], err = asVector(v); err != nil {
			return nil, err
		}
	}
	out, err := compute(opType, vectors, attrs...)
	if err != nil {
		return nil, err
	}
	return reshaped(out, shape)
}

func leakyRelu(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only("alpha")); err != nil {
		return nil, err
	}
	return elementwise("LeakyRelu", c.in[0].Shape(), c.in, onnxgraph.FloatAttr("alpha", c.float("alpha", 0.01)))
}

// broadcasting expands the inputs to the common shape, since the engine guesses
// axes and knows few ranks.
func broadcasting(c *call) (*tensor.Dense, error) {
	most := 2
	if c.node.OpType == "Min" || c.node.OpType == "Max" {
		most = 16
	}
	if err := errors.Join(c.arity(1, most, most), c.only()); err != nil {
		return nil, err
	}
	var shape []int
	for _, v := range c.in {
		var err error
		if shape, err = commonShape(shape, v.Shape()); err != nil {
			return nil, err
		}
	}
	in := make([]*tensor.Dense, len(c.in))
	for i, v := range c.in {
		in[i] = expand(v, shape)
	}
	return elementwise(c.node.OpType, shape, in)
}

func commonShape(a, b []int) ([]int, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, d := range b {
		at := &out[len(a)-len(b)+i]
		switch {
		case *at == 1:
			*at = d
		case d != 1 && d != *at:
			return nil, fmt.Errorf("shapes %v and %v do not broadcast", a, b)
		}
	}
	return out, nil
}

// expand repeats v along the axes in which it has one element.
func expand(v *tensor.Dense, shape []int) *tensor.Dense {
	from := v.Shape()
	strides := make([]int, len(shape)) // of v, 0 along repeated axes
	step := 1
	for i := len(from) - 1; i >= 0; i-- {
		if from[i] != 1 {
			strides[len(shape)-len(from)+i] = step
		}
		step *= from[i]
	}
	in := v.Float32s()
	out := make([]float32, elements(shape))
	index := make([]int, len(shape))
	for i := range out {
		at := 0
		for a, x := range index {
			at += x * strides[a]
		}
		out[i] = in[at]
		for a := len(index) - 1; a >= 0; a-- {
			if index[a]++; index[a] < shape[a] {
				break
			}
			index[a] = 0
		}
	}
	return array(shape, out)
}

func identity(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 0), c.only()); err != nil {
		return nil, err
	}
	return c.in[0], nil
}

func dropout(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 2, 1), c.only("ratio", "seed")); err != nil {
		return nil, err
	}
	return compute("Dropout", c.in[:1])
}

func matMul(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(2, 2, 2), c.only()); err != nil {
		return nil, err
	}
	a, b := c.in[0].Shape(), c.in[1].Shape()
	if len(a) != 2 || len(b) != 2 {
		return nil, fmt.Errorf("shapes %v and %v, expected matrices", a, b)
	}
	out, err := compute("MatMul", c.in)
	if err != nil {
		return nil, err
	}
	return reshaped(out, []int{a[0], b[1]})
}

func gemm(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(2, 3, 3), c.only("alpha", "beta", "transA", "transB")); err != nil {
		return nil, err
	}
	a, b := c.in[0].Shape(), c.in[1].Shape()
	if len(a) != 2 || len(b) != 2 {
		return nil, fmt.Errorf("shapes %v and %v, expected matrices", a, b)
	}
	transA, transB := c.int("transA", 0), c.int("transB", 0)
	shape := []int{a[0], b[1]}
	if transA != 0 {
		shape[0] = a[1]
	}
	if transB != 0 {
		shape[1] = b[0]
	}
	sum := array([]int{1}, []float32{0})
	if len(c.in) == 3 {
		sum = c.in[2]
		if common, err := commonShape(shape, sum.Shape()); err != nil || !slices.Equal(common, shape) {
			return nil, fmt.Errorf("input C of shape %v does not broadcast to %v", sum.Shape(), shape)
		}
	}
	out, err := compute("Gemm", []*tensor.Dense{c.in[0], c.in[1], expand(sum, shape)},
		onnxgraph.FloatAttr("alpha", c.float("alpha", 1)), onnxgraph.FloatAttr("beta", c.float("beta", 1)),
		onnxgraph.IntAttr("transA", transA), onnxgraph.IntAttr("transB", transB))
	if err != nil {
		return nil, err
	}
	return reshaped(out, shape)
}

// softmax is along the last axis; versions below 13 take all axes from the
// given one on together, as the engine does for matrices.
func softmax(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only("axis")); err != nil {
		return nil, err
	}
	shape := c.in[0].Shape()
	def := int64(-1)
	if c.opset < 13 {
		def = 1
	}
	a, err := axis(c.int("axis", def), len(shape))
	if err != nil {
		return nil, err
	}
	if c.opset >= 13 && a != len(shape)-1 {
		return nil, errors.New("only softmax along the last axis is supported")
	}
	rows, err := reshaped(c.in[0], []int{elements(shape[:a]), elements(shape[a:])})
	if err != nil {
		return nil, err
	}
	out, err := compute("Softmax", []*tensor.Dense{rows}, onnxgraph.IntAttr("axis", 1))
	if err != nil {
		return nil, err
	}
	return reshaped(out, shape)
}
