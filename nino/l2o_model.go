package nino

import (
	"fmt"

	"ninox/onnxgraph"
)

// Names of the inputs and the output of the learned optimizer's model, beside
// edge_index and edge_type.
const (
	inValues    = "values"
	inPlace     = "edge"
	inNode      = "node"
	outStep     = "step"
	maxExponent = 3 // of a step's factor
)

// L2OModel is the learned optimizer of one step. Inputs: values float
// [P, 7], the features of each number of the parameters (see L2O); edge int64
// [P], the edge that it lies on; edge_index int64 [2, E], edge_type int64 [E];
// node float [N, 1], the logarithm of 1 + the number of edges that enter it.
// Output: step float [P], in learning rates:
//
//	step = exp(b) · (adam + a)
//
// where adam is Adam's step and a and b are what the network predicts: a nominal
// term beside a learned one (Harrison et al. 2022).
func L2OModel(w *L2OWeights, opset int64) (*onnxgraph.Model, error) {
	e := newEmitter("l2o", opset)
	layers := w.linears()
	numbers, edges, nodes := onnxgraph.Sym("P"), onnxgraph.Sym("E"), onnxgraph.Sym("N")
	values := e.Input(inValues, onnxgraph.Float, onnxgraph.Shape{numbers, onnxgraph.Known(int64(l2oFeatures))})
	place := e.Input(inPlace, onnxgraph.Int64, onnxgraph.Shape{numbers})
	index := e.Input(inEdges, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Known(2), edges})
	types := e.Input(inTypes, onnxgraph.Int64, onnxgraph.Shape{edges})
	node := e.linear(e.Input(inNode, onnxgraph.Float, onnxgraph.Shape{nodes, onnxgraph.Known(1)}), "node", layers["node"])

	// An edge is the mean of its numbers, and a row of its type.
	onEdges := &edgeList{emitter: e, target: place, nodes: e.Op("Shape", []string{types})}
	edge := onEdges.mean(e.linear(values, "values", layers["values"]), w.Width)
	kind := layers["types"].matrix("types.rows")
	edge = e.silu(e.add(edge, e.tableRows(kind, types)))

	g := newEdgeList(e, index, node)
	for i := range w.Rounds {
		node, edge = g.layer(fmt.Sprintf("round%d", i), l2oRound(layers, i), node, edge)
	}
	around := e.Op("Gather", []string{e.linear(edge, "context", layers["context"]), place})
	hidden := e.silu(e.add(e.linear(values, "hidden", layers["hidden"]), around))
	out := e.linear(hidden, "out", layers["out"]) // [P, 2]
	adam := e.add(e.column(values, adamFeature), e.column(out, 0))
	e.Named(outStep, "Mul", []string{adam, e.Op("Exp", []string{e.clip(e.column(out, 1), maxExponent)})})
	e.Output(outStep, onnxgraph.Float, onnxgraph.Shape{numbers})
	m, err := e.Model()
	if err != nil {
		return nil, fmt.Errorf("l2o: %w", err)
	}
	return m, nil
}

// l2oRound is one round of message passing.
func l2oRound(layers map[string]linear, i int) *layer {
	at := func(part string) linear { return layers[fmt.Sprintf("rounds.%d.%s", i, part)] }
	return &layer{
		scale: at("scale"), shift: at("shift"), source: at("source"), target: at("target"), post: at("post"), lin: at("lin"),
		update: at("update"), from: at("from"), to: at("to"), merge: at("merge"),
	}
}

// column is column i of a matrix.
func (e emitter) column(x string, i int64) string {
	return e.Op("Gather", []string{x, e.scalar(i)}, onnxgraph.IntAttr("axis", 1))
}

// clip bounds values by ±most.
func (e emitter) clip(x string, most float32) string {
	bound := func(v float32) string { return e.Const(onnxgraph.Floats("bound", []int64{}, []float32{v})) }
	return e.Op("Clip", []string{x, bound(-most), bound(most)})
}
