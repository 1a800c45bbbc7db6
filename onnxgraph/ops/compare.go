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
	equal(),
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

// equal also decides that an extent, though only a symbol, is no negative
// number: exporters compare shapes with the −1 of Reshape and Expand.
func equal() *op.Def {
	d := compare("Equal", since(1, 7, 11, 13, 19), oldBroadcast(), func(a, b int64) bool { return a == b })
	plain := d.Infer
	d.Infer = func(c *op.InferCtx) error {
		if err := plain(c); err != nil {
			return err
		}
		for i := range 2 {
			if out, ok := equalExtents(c.I(i), c.I(1-i)); ok && c.Out[0].Const == nil && c.Out[0].Rank() == 1 {
				setInts(c, 0, out)
			}
		}
		return nil
	}
	return d
}

// equalExtents compares the elements of a vector of extents with numbers;
// false where the result depends on a symbol.
func equalExtents(extents, numbers *op.Fact) ([]int64, bool) {
	v, ok := intsOf(numbers)
	if !ok || extents == nil || len(extents.Elems) == 0 || len(v) != 1 && len(v) != len(extents.Elems) {
		return nil, false
	}
	out := make([]int64, len(extents.Elems))
	for i, d := range extents.Elems {
		n := v[min(i, len(v)-1)]
		value, known := numberOf(d)
		switch {
		case known && value == n:
			out[i] = 1
		case known || d.Symbol != "" && n < 0:
		default:
			return nil, false
		}
	}
	return out, true
}
