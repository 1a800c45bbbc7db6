package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// emitting is what op.GradCtx and op.LowerCtx share.
type emitting interface {
	Node() *onnxgraph.Node
	Opset() int64
	I(i int) string
	Fact(value string) *op.Fact
	Emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string
	EmitN(opType string, inputs []string, n int, attrs ...*onnxgraph.Attribute) []string
	Const(t *onnxgraph.Tensor) string
	ScalarLike(value string, v float64) string
	ShapeOf(value string) string
	Errorf(format string, args ...any) error
}

// calc writes emitted arithmetic as expressions.
type calc struct{ emitting }

func (k calc) one(opType, x string) string { return k.Emit(opType, []string{x}) }
func (k calc) two(opType, a, b string) string {
	return k.Emit(opType, []string{a, b})
}

func (k calc) add(a, b string) string { return k.two("Add", a, b) }
func (k calc) sub(a, b string) string { return k.two("Sub", a, b) }
func (k calc) mul(a, b string) string { return k.two("Mul", a, b) }
func (k calc) div(a, b string) string { return k.two("Div", a, b) }
func (k calc) neg(x string) string    { return k.one("Neg", x) }

// scale multiplies by a number, unless that is 1.
func (k calc) scale(x string, v float64) string {
	if v == 1 {
		return x
	}
	return k.mul(x, k.ScalarLike(x, v))
}

// square is x·x: cheaper than Pow.
func (k calc) square(x string) string { return k.mul(x, x) }

// where chooses between a and b elementwise.
func (k calc) where(cond, a, b string) string { return k.Emit("Where", []string{cond, a, b}) }

// vector is a constant int64 vector.
func (k calc) vector(v ...int64) string { return k.Const(onnxgraph.Vector("", v...)) }

// int is a constant int64 scalar.
func (k calc) int(v int64) string {
	return k.Const(onnxgraph.Int64s("", []int64{}, []int64{v}))
}

// cast converts x to the element type d, unless it has it.
func (k calc) cast(x string, d onnxgraph.DType) string {
	if k.Fact(x).DType() == d {
		return x
	}
	return k.Emit("Cast", []string{x}, onnxgraph.IntAttr("to", int64(d)))
}

// mask converts a bool value to 0 and 1 in the element type of like.
func (k calc) mask(cond, like string) string { return k.cast(cond, k.Fact(like).DType()) }

// reshape gives x the dims, which may hold -1 and 0 as Reshape allows.
func (k calc) reshape(x string, dims ...int64) string {
	return k.Emit("Reshape", []string{x, k.vector(dims...)})
}

// likeShape gives x the shape of the value like.
func (k calc) likeShape(x, like string) string {
	s := k.Fact(like).Shape()
	if have, ok := k.Fact(x).Shape().Static(); ok {
		if want, ok := s.Static(); ok && equalInts(have, want) {
			return x
		}
	}
	return k.Emit("Reshape", []string{x, k.shapeFor(like)})
}

// shapeFor is a target for Reshape that yields the shape of like: where at
// most one extent is unknown, a constant with -1 in its place.
func (k calc) shapeFor(like string) string {
	s := k.Fact(like).Shape()
	if s == nil {
		return k.ShapeOf(like)
	}
	dims, free := make([]int64, len(s)), 0
	for i, d := range s {
		dims[i] = d.Value
		if !d.IsKnown() {
			dims[i] = -1
			free++
		}
		if d == onnxgraph.Known(0) {
			return k.ShapeOf(like)
		}
	}
	if free > 1 {
		return k.ShapeOf(like)
	}
	return k.vector(dims...)
}

func equalInts(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// expand broadcasts x to the shape of like.
func (k calc) expand(x, like string) string {
	return k.Emit("Expand", []string{x, k.ShapeOf(like)})
}

// reduce applies a reduction over constant axes. Only ReduceSum takes them as
// an input from opset 13 on, the others from 18 on.
func (k calc) reduce(opType, x string, keep bool, axes ...int64) string {
	keepdims := onnxgraph.IntAttr("keepdims", 0)
	if keep {
		keepdims.I = 1
	}
	if opType == "ReduceSum" || k.Opset() >= 18 {
		return k.Emit(opType, []string{x, k.vector(axes...)}, keepdims)
	}
	return k.Emit(opType, []string{x}, onnxgraph.IntsAttr("axes", axes...), keepdims)
}

// sum reduces by addition.
func (k calc) sum(x string, keep bool, axes ...int64) string {
	return k.reduce("ReduceSum", x, keep, axes...)
}

func (k calc) unsqueeze(x string, axes ...int64) string {
	return k.two("Unsqueeze", x, k.vector(axes...))
}

func (k calc) squeeze(x string, axes ...int64) string {
	return k.two("Squeeze", x, k.vector(axes...))
}

func (k calc) transpose(x string, perm ...int64) string {
	for i, p := range perm {
		if p != int64(i) {
			return k.Emit("Transpose", []string{x}, onnxgraph.IntsAttr("perm", perm...))
		}
	}
	return x
}

// slice cuts [start, end) out of one axis.
func (k calc) slice(x string, axis, start, end int64) string {
	return k.Emit("Slice", []string{x, k.vector(start), k.vector(end), k.vector(axis)})
}

// dimOf is the extent of one axis as an int64 vector of one element.
func (k calc) dimOf(x string, axis int) string {
	if s := k.Fact(x).Shape(); s != nil && s[axis].IsKnown() {
		return k.vector(s[axis].Value)
	}
	return k.two("Gather", k.ShapeOf(x), k.vector(int64(axis)))
}

// zerosLike is a tensor of zeros in the shape and type of x.
func (k calc) zerosLike(x string) string { return k.zeros(k.ShapeOf(x), k.Fact(x).DType()) }

// zeros is a tensor of zeros of a shape given as a vector.
func (k calc) zeros(shape string, d onnxgraph.DType) string {
	return k.filled(shape, d, 0)
}

// filled is a tensor of one number, of a shape given as a vector.
func (k calc) filled(shape string, d onnxgraph.DType, v int64) string {
	f := &op.Fact{Type: onnxgraph.TensorOf(d, onnxgraph.StaticShape(1))}
	t := tensorOf(f, []int64{v}, []float64{float64(v)})
	if t == nil { // half precision: fill in float and convert
		return k.cast(k.filled(shape, onnxgraph.Float, v), d)
	}
	return k.Emit("ConstantOfShape", []string{shape}, onnxgraph.TensorAttr("value", t))
}

// upTo are the axes lo … hi-1.
func upTo(lo, hi int) []int64 {
	var out []int64
	for a := lo; a < hi; a++ {
		out = append(out, int64(a))
	}
	return out
}
