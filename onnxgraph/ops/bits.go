// Operators on bits and on the classes of floating-point numbers:
// https://onnx.ai/onnx/operators/onnx__BitShift.html and BitwiseAnd,
// BitwiseNot, BitwiseOr, BitwiseXor, IsInf, IsNaN.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var bitOps = []*op.Def{
	pairwise("BitShift", since(11, 28), onnxgraph.Undefined, attrs(need(aStr("direction"))), folder{}, op.ZeroGrad),
	pairwise("BitwiseAnd", since(18), onnxgraph.Undefined, nil, bitFolder(func(a, b int64) int64 { return a & b }), op.ZeroGrad),
	pairwise("BitwiseOr", since(18), onnxgraph.Undefined, nil, bitFolder(func(a, b int64) int64 { return a | b }), op.ZeroGrad),
	pairwise("BitwiseXor", since(18), onnxgraph.Undefined, nil, bitFolder(func(a, b int64) int64 { return a ^ b }), op.ZeroGrad),
	unary("BitwiseNot", since(18), nil, folder{}, op.ZeroGrad),
	classify("IsInf", since(10, 20), attrs(aInt("detect_negative"), aInt("detect_positive"))),
	classify("IsNaN", since(9, 13, 20), nil),
}

func bitFolder(f func(a, b int64) int64) folder {
	return folder{ints: func(x []int64) (int64, bool) { return f(x[0], x[1]), true }}
}

// classify is an elementwise question about a number.
func classify(name string, versions []int64, a []op.AttrSpec) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: a, In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.Bool, c.I(0).Shape().Clone())
			return nil
		},
		Flow: op.Elementwise(), Grad: op.ZeroGrad, Lower: op.Primitive,
	}
}
