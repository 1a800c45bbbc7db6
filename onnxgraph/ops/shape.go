// https://onnx.ai/onnx/operators/onnx__Shape.html and Size

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var shapeOp = &op.Def{
	Name: "Shape", Versions: since(1, 13, 15, 19, 21, 23, 24, 25), Attrs: attrs(aInt("start"), aInt("end")), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		s := c.I(0).Shape()
		if s == nil {
			c.Set(0, onnxgraph.Int64, unknowns(1))
			return nil
		}
		clamp := func(v int64) int64 {
			if v < 0 {
				v += int64(len(s))
			}
			return min(max(v, 0), int64(len(s)))
		}
		start, end := clamp(c.Node.Int("start", 0)), clamp(c.Node.Int("end", int64(len(s))))
		end = max(start, end)
		c.Set(0, onnxgraph.Int64, onnxgraph.StaticShape(end-start))
		setElems(c, 0, append([]onnxgraph.Dim{}, s[start:end]...))
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		fixOut(c, 0, "is a shape")
		return nil
	}),
	Grad: op.ZeroGrad, Lower: op.Primitive,
}

var sizeOp = &op.Def{
	Name: "Size", Versions: since(1, 13, 19, 21, 23, 24, 25), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Int64, onnxgraph.Shape{})
		if s := c.I(0).Shape(); s != nil {
			setElems(c, 0, []onnxgraph.Dim{product(s)})
		}
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error { return nil }), // the number of elements, in any order
	Grad: op.ZeroGrad, Lower: op.Primitive,
}
