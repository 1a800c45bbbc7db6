// https://onnx.ai/onnx/operators/onnx__Constant.html, ConstantOfShape and
// Range: values made from nothing but numbers.

package ops

import (
	"bytes"
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var constantNode = &op.Def{
	Name: "Constant", Versions: since(1, 9, 11, 12, 13, 19, 21, 23, 24, 25), In: op.Exactly(0), Out: op.Exactly(1),
	Attrs: attrs(aTensor("value"), aSparse("sparse_value"), aFloat("value_float"), aFloats("value_floats"),
		aInt("value_int"), aInts("value_ints"), aStr("value_string"), aStrs("value_strings")),
	Infer: func(c *op.InferCtx) error {
		if a := c.Node.Attr("sparse_value"); a != nil && a.Sparse != nil && a.Sparse.Values != nil {
			c.Set(0, a.Sparse.Values.DType, onnxgraph.StaticShape(a.Sparse.Dims...))
			return nil
		}
		t := op.ConstantValue(c.Node)
		if t == nil {
			return c.Errorf("value", "missing, expected one of value, value_int, value_ints, value_float, value_floats, value_string, value_strings, sparse_value")
		}
		c.Set(0, t.DType, t.Shape())
		c.Out[0].Const = t
		return nil
	},
	// A constant is no parameter; what it is used for decides about its axes.
	Flow: op.Flows(func(c op.FlowCtx) error { return nil }),
	Grad: op.ZeroGrad, Lower: op.Primitive,
}

var constantOfShape = &op.Def{
	Name: "ConstantOfShape", Versions: since(9, 20, 21, 23, 24, 25), Attrs: attrs(aTensor("value")), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		d, value := onnxgraph.Float, c.Node.Attr("value")
		if value != nil && value.T != nil {
			if d = value.T.DType; value.T.Len() != 1 {
				return c.Errorf("value", "%d elements, expected 1", value.T.Len())
			}
		}
		s := shapeFrom(c.I(0))
		c.Set(0, d, s)
		if n := product(s); s == nil || !n.IsKnown() || n.Value > maxElems {
			return nil
		}
		fillConstant(c, value)
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		fixAll(c, "is a shape", 0)
		return nil
	}),
	Grad: op.ZeroGrad, Lower: op.Primitive,
}

// fillConstant records the elements of a small ConstantOfShape: a value, else
// float zeros.
func fillConstant(c *op.InferCtx, value *onnxgraph.Attribute) {
	d, n := c.Out[0].DType(), product(c.Out[0].Shape()).Value
	dims, ok := c.Out[0].Shape().Static()
	if !ok || d.Bits() < 8 {
		return
	}
	element := make([]byte, d.Bits()/8)
	if value != nil && value.T != nil {
		if element = value.T.Data; len(element) != d.Bits()/8 {
			return // external, and not loaded
		}
	}
	c.Out[0].Const = &onnxgraph.Tensor{DType: d, Dims: dims, Data: bytes.Repeat(element, int(n))}
}

// shapeFrom reads a shape from a vector of sizes, nil where its length is not
// known.
func shapeFrom(f *op.Fact) onnxgraph.Shape {
	if d, ok := elemsOf(f); ok {
		s := onnxgraph.Shape{}
		for _, x := range d {
			if x.Value < -1 {
				x = onnxgraph.UnknownDim()
			}
			s = append(s, x)
		}
		return s
	}
	if n := sizeOfVector(f); n >= 0 && n <= maxElems {
		return unknowns(int(n))
	}
	return nil
}

var rangeOp = &op.Def{
	Name: "Range", Versions: since(11, 27), Attrs: attrs(aInt("stash_type")), In: op.Exactly(3), Out: op.Exactly(1),
	Infer: inferRange,
	Flow: op.Flows(func(c op.FlowCtx) error {
		fixOut(c, 0, "elements count up")
		return nil
	}),
	Grad: op.Gradient(gradRange), Lower: op.Primitive,
}

// gradRange: element i is start + i·delta. The limit decides on the length only.
func gradRange(c op.GradCtx) error {
	k := calc{c}
	dy := c.GO(0)
	c.SetGI(0, k.sum(dy, false, 0))
	place := k.cast(k.count(c.O(0), 0), c.Fact(dy).DType())
	c.SetGI(2, k.sum(k.mul(dy, place), false, 0))
	return nil
}

func inferRange(c *op.InferCtx) error {
	d := c.I(0).DType()
	c.Set(0, d, unknowns(1))
	ints := [3][]int64{}
	all := true
	for i := range ints {
		v, ok := intsOf(c.I(i))
		all = all && ok && len(v) == 1
		ints[i] = v
	}
	if all {
		start, limit, step := ints[0][0], ints[1][0], ints[2][0]
		if step == 0 {
			return c.Errorf("", "step 0")
		}
		n := int64(max(0, math.Ceil(float64(limit-start)/float64(step))))
		c.Set(0, d, onnxgraph.StaticShape(n))
		if n <= maxElems {
			v := make([]int64, n)
			for i := range v {
				v[i] = start + int64(i)*step
			}
			setInts(c, 0, v)
		}
		return nil
	}
	if rangeOfFloats(c) {
		return nil
	}
	if sizeOf(c.I(2)) == onnxgraph.Known(1) {
		c.Set(0, d, onnxgraph.Shape{subDims(sizeOf(c.I(1)), sizeOf(c.I(0)))})
	}
	return nil
}

// rangeOfFloats is Range of known numbers, false where they are not. The
// length is computed in double precision, as the specification has it.
func rangeOfFloats(c *op.InferCtx) bool {
	var v [3]float64
	for i := range v {
		x, ok := floatsOf(c.I(i))
		if !ok || len(x) != 1 || c.I(i).Param {
			return false
		}
		v[i] = x[0]
	}
	n := math.Ceil((v[1] - v[0]) / v[2])
	if !(n < 1<<31) { // endless, or not a number
		return false
	}
	count := int64(max(n, 0))
	c.Set(0, c.I(0).DType(), onnxgraph.StaticShape(count))
	if count <= maxElems {
		out := make([]float64, count)
		for i := range out {
			out[i] = v[0] + float64(i)*v[2]
		}
		setFloats(c, 0, out)
	}
	return true
}
