// Comparisons and logic: https://onnx.ai/onnx/operators/onnx__Equal.html and
// Greater, GreaterOrEqual, Less, LessOrEqual, And, Or, Xor, Not.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

func compare(name string, versions []int64, attr []op.AttrSpec, holds func(a, b int64) bool) *op.Def {
	f := folder{ints: func(x []int64) (int64, bool) {
		if holds(x[0], x[1]) {
			return 1, true
		}
		return 0, true
	}}
	return pairwise(name, versions, onnxgraph.Bool, attr, f, op.ZeroGrad)
}

var comparisons = []*op.Def{
	compare("Equal", since(1, 7, 11, 13, 19), oldBroadcast(), func(a, b int64) bool { return a == b }),
	compare("Greater", since(1, 7, 9, 13), oldBroadcast(), func(a, b int64) bool { return a > b }),
	compare("GreaterOrEqual", since(12, 16), nil, func(a, b int64) bool { return a >= b }),
	compare("Less", since(1, 7, 9, 13), oldBroadcast(), func(a, b int64) bool { return a < b }),
	compare("LessOrEqual", since(12, 16), nil, func(a, b int64) bool { return a <= b }),
	compare("And", since(1, 7), oldBroadcast(), func(a, b int64) bool { return a != 0 && b != 0 }),
	compare("Or", since(1, 7), oldBroadcast(), func(a, b int64) bool { return a != 0 || b != 0 }),
	compare("Xor", since(1, 7), oldBroadcast(), func(a, b int64) bool { return (a != 0) != (b != 0) }),
	unary("Not", since(1), nil, folder{ints: func(x []int64) (int64, bool) {
		if x[0] == 0 {
			return 1, true
		}
		return 0, true
	}}, op.ZeroGrad),
}
