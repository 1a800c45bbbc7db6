// https://onnx.ai/onnx/operators/onnx__Cast.html

package ops

import (
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var cast = &op.Def{
	Name: "Cast", Versions: since(1, 6, 9, 13, 19, 21, 23, 24, 25, 28), In: op.Exactly(1), Out: op.Exactly(1),
	Attrs: attrs(need(aInt("to")), aInt("saturate"), aStr("round_mode")),
	Infer: inferCast, Flow: op.Elementwise(), Lower: op.Primitive,
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		c.SetGI(0, k.cast(c.GO(0), c.Fact(c.I(0)).DType()))
		return nil
	}),
}

// castTarget is the wanted type; version 1 gives its name as a string.
func castTarget(n *onnxgraph.Node) onnxgraph.DType {
	a := n.Attr("to")
	if a == nil {
		return onnxgraph.Undefined
	}
	for d := onnxgraph.Float; a.Type == onnxgraph.AttrString && d <= onnxgraph.Complex128; d++ {
		if castNames[d] == string(a.S) {
			return d
		}
	}
	return onnxgraph.DType(a.I)
}

var castNames = map[onnxgraph.DType]string{
	onnxgraph.Float: "FLOAT", onnxgraph.Uint8: "UINT8", onnxgraph.Int8: "INT8", onnxgraph.Uint16: "UINT16", onnxgraph.Int16: "INT16",
	onnxgraph.Int32: "INT32", onnxgraph.Int64: "INT64", onnxgraph.Bool: "BOOL", onnxgraph.Float16: "FLOAT16", onnxgraph.Double: "DOUBLE",
	onnxgraph.Uint32: "UINT32", onnxgraph.Uint64: "UINT64",
}

func inferCast(c *op.InferCtx) error {
	d := castTarget(c.Node)
	if !d.Valid() {
		return c.Errorf("to", "%d is not a type", int32(d))
	}
	x := c.I(0)
	c.Set(0, d, x.Shape().Clone())
	if x.Param && x.DType().IsFloat() {
		return nil
	}
	if v, ok := intsOf(x); ok {
		setInts(c, 0, v)
		return nil
	}
	v, ok := floatsOf(x)
	if ok && d.IsFloat() {
		setFloats(c, 0, v)
		return nil
	}
	if ok && (d.IsInteger() || d == onnxgraph.Bool) {
		ints := make([]int64, len(v))
		for i, f := range v {
			if math.IsNaN(f) || math.Abs(f) > 1<<52 {
				return nil
			}
			ints[i] = int64(f)
			if d == onnxgraph.Bool && f != 0 {
				ints[i] = 1
			}
		}
		setInts(c, 0, ints)
		return nil
	}
	if e, ok := signedElems(x); ok && d != onnxgraph.Bool {
		setElems(c, 0, e)
	}
	return nil
}
