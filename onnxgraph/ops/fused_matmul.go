// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// fusedMatMuls are MatMul with transposed operands and a factor.
var fusedMatMuls = []*op.Def{
	{
		Domain: microsoft, Name: "FusedMatMul", Versions: since(1),
		Attrs: attrs(aFloat("alpha"), aInt("transA"), aInt("transB"), aInt("transBatchA"), aInt("transBatchB")),
		In:    op.Exactly(2), Out: op.Exactly(1),
		Infer: inferFusedMatMul,
		Flow:  op.Flows(flowFusedMatMul),
		Grad:  op.FromLowering,
		Lower: lowers(lowerFusedMatMul),
	},
	{
		Domain: microsoft, Name: "TransposeMatMul", Versions: since(1),
		Attrs: attrs(aFloat("alpha"), aInt("transA"), aInt("transB")),
		In:    op.Exactly(2), Out: op.Exactly(1),
		Infer: inferFusedMatMul,
		Flow:  op.Flows(flowFusedMatMul),
		Grad:  op.FromLowering,
		Lower: lowers(lowerFusedMatMul),
	},
}

// fusedOrder lists the axes of operand A or B in the order in which MatMul
// takes them. transBatch moves the first axis behind the other batch axes;
// trans exchanges the matrix axes. Vectors stay.
func fusedOrder(n *onnxgraph.Node, operand string, rank int) []int64 {
	order := upTo(0, rank)
	if rank < 2 {
		return order
	}
	if n.Int("transBatch"+operand, 0) != 0 && rank > 2 {
		order = append(append(upTo(1, rank-1), 0), int64(rank-1))
	}
	if n.Int("trans"+operand, 0) != 0 {
		order[rank-1], order[rank-2] = order[rank-2], order[rank-1]
	}
	return order
}

func inferFusedMatMul(c *op.InferCtx) error {
	var shapes [2]onnxgraph.Shape
	for i, operand := range []string{"A", "B"} {
		s := c.I(i).Shape()
		if s == nil {
			continue
		}
		shapes[i] = onnxgraph.Shape{}
		for _, a := range fusedOrder(c.Node, operand, len(s)) {
			shapes[i] = append(shapes[i], s[a])
		}
	}
	out, err := matMulShape(c, shapes[0], shapes[1])
	if err != nil {
		return err
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

func flowFusedMatMul(c op.FlowCtx) error {
	return flowMatMul(reordered{c, [2][]int64{
		fusedOrder(c.Node(), "A", max(c.InFact(0).Rank(), 0)),
		fusedOrder(c.Node(), "B", max(c.InFact(1).Rank(), 0)),
	}})
}

// reordered shows the inputs of a node with their axes in another order.
type reordered struct {
	op.FlowCtx
	order [2][]int64
}

func (r reordered) In(i, a int) op.Axis {
	if a < 0 {
		a += len(r.order[i])
	}
	return r.FlowCtx.In(i, int(r.order[i][a]))
}

func lowerFusedMatMul(k lowCalc) error {
	y, err := fusedProduct(k)
	k.SetO(0, y)
	return err
}

func fusedProduct(k lowCalc) (string, error) {
	var in [2]string
	for i, operand := range []string{"A", "B"} {
		in[i] = k.I(i)
		rank := k.Fact(in[i]).Rank()
		if rank < 0 {
			return "", k.Errorf("the rank of input %d is not known", i)
		}
		if order := fusedOrder(k.Node(), operand, rank); !slices.IsSorted(order) {
			in[i] = k.transpose(in[i], order...)
		}
	}
	return k.scale(k.two("MatMul", in[0], in[1]), float64(k.Node().Float("alpha", 1))), nil
}
