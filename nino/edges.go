package nino

import (
	"fmt"

	"ninox/onnxgraph"
)

// Names of the inputs and the output of the edges form.
const (
	inEdges     = "edge_index"
	inTypes     = "edge_type"
	inFeatures  = "edge_attr"
	inPositions = "pos"
	inTokens    = "token"
	inHorizon   = "k"
	outPred     = "pred"
)

// EdgesModel is the network for any graph, given edge by edge. Inputs:
// edge_index int64 [2, E] (source, target), edge_type int64 [E], edge_attr
// float [E, F·Context] (column f·Context + t, oldest state first, scaled; F from
// 1 to Taps), pos float [N, Positions], token int64 [N] (vocabulary index + 1 or
// 0; only with word positions) and the horizon k int64 []. Output: pred float
// [E, F], the newest scaled state plus the prediction. Self-loops are edges like
// others. The MLP reads only edge_type, edge_attr and k.
//
// Per edge the linear maps follow one another as in the reference, although
// neighbours could be multiplied out: then rounding is the reference's too. The
// step has the fast form (TileModels).
func EdgesModel(w *Weights, opset int64) (*onnxgraph.Model, error) {
	return Export(w, ExportOptions{Form: FormEdges, Opset: opset})
}

// edgesForm writes the edges form.
func (e emitter) edgesForm(w *Weights) {
	if w.Variant == VariantMLP {
		e.mlp(w)
		return
	}
	e.edges(w.network())
}

// edgeInputs declares what both variants read, and returns the features, their
// number per edge (F·Context and F, each of shape [1]), the types and k's row.
func (e emitter) edgeInputs(c *Config) (features, columns, taps, types, row string) {
	edges := onnxgraph.Sym("E")
	types = e.Input(inTypes, onnxgraph.Int64, onnxgraph.Shape{edges})
	features = e.Input(inFeatures, onnxgraph.Float, onnxgraph.Shape{edges, onnxgraph.Sym("columns")})
	k := e.Input(inHorizon, onnxgraph.Int64, onnxgraph.Shape{})
	columns = e.Op("Slice", []string{e.Op("Shape", []string{features}), e.axes(1), e.axes(2)})
	taps = e.Op("Div", []string{columns, e.axes(int64(c.Context))})
	return features, columns, taps, types, e.horizon(k, c.Horizons)
}

// edges writes the message passing network.
func (e emitter) edges(n *network) {
	index := e.Input(inEdges, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Known(2), onnxgraph.Sym("E")})
	features, columns, taps, types, row := e.edgeInputs(&n.Config)
	pos := e.Input(inPositions, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(n.Positions))})
	e.edgeOutput(e.messages(n, listInputs{features, types, index}, e.nodes(n, pos), columns, taps, row))
}

func (e emitter) edgeOutput(pred string) {
	e.Named(outPred, "Identity", []string{pred})
	e.Output(outPred, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("E"), onnxgraph.Sym("F")})
}

// messages passes messages along a list of edges, between nodes of the given
// first values, and predicts [E, F].
func (e emitter) messages(n *network, in listInputs, nodes, columns, taps, row string) string {
	_, edge := e.rounds(n, in, nodes, columns)
	hidden := e.silu(e.linear(edge, "hidden", n.hidden))
	weight, bias := e.outRows(n.out, n.Taps, n.Horizons, row, taps)
	delta := e.Op("Gemm", []string{hidden, weight, bias}, onnxgraph.IntAttr("transB", 1))
	return e.add(e.newest(in.features, 1, int64(n.Context)), delta)
}

// rounds passes all messages and returns the last values of nodes and edges.
func (e emitter) rounds(n *network, in listInputs, first, columns string) (nodes, edge string) {
	g := newEdgeList(e, in.index, first)
	nodes, edge = first, g.project(in.features, columns, in.types, n.project)
	for i := range n.layers {
		nodes, edge = g.layer(fmt.Sprintf("layer%d", i), &n.layers[i], nodes, edge)
	}
	return nodes, edge
}

// nodes is the first value of each node, from its position and its token.
func (e emitter) nodes(n *network, pos string) string {
	x := e.linear(pos, "node", n.node)
	if n.words == nil {
		return x
	}
	return e.add(x, e.words(n, e.Input(inTokens, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("N")})))
}

// words are the rows of the table of word positions.
func (e emitter) words(n *network, token string) string {
	return e.tableRows(onnxgraph.Floats("words", []int64{int64(n.Words), int64(n.Width)}, n.words), token)
}

// outRows picks the output layer's rows of one horizon for the first taps:
// a weight [F, Width] and a bias [F].
func (e emitter) outRows(l linear, taps, horizons int, row, count string) (weight, bias string) {
	weight, bias = e.horizonRows(l, taps, horizons, row)
	return e.head(weight, count), e.head(bias, count)
}

// horizonRows picks the output layer's rows of one horizon: a weight [taps,
// Width] and a bias [taps].
func (e emitter) horizonRows(l linear, taps, horizons int, row string) (weight, bias string) {
	matrix := e.weight(onnxgraph.Floats("out.weight", []int64{int64(l.out), int64(l.in)}, narrow(l.w)), 0)
	w := e.Op("Reshape", []string{matrix, e.axes(int64(taps), int64(horizons), int64(l.in))})
	b := e.Const(onnxgraph.Floats("out.bias", []int64{int64(taps), int64(horizons)}, narrow(l.b)))
	axis := onnxgraph.IntAttr("axis", 1)
	return e.Op("Gather", []string{w, row}, axis), e.Op("Gather", []string{b, row}, axis)
}

// edgeList writes message passing over lists of edges.
type edgeList struct {
	emitter
	source, target string // int64 [E]
	nodes          string // number of nodes, [1]
}

// newEdgeList reads the ends of edges [2, E] between nodes [N, ·].
func newEdgeList(e emitter, index, nodes string) *edgeList {
	return &edgeList{
		emitter: e,
		source:  e.Op("Gather", []string{index, e.scalar(0)}),
		target:  e.Op("Gather", []string{index, e.scalar(1)}),
		nodes:   e.Op("Slice", []string{e.Op("Shape", []string{nodes}), e.axes(0), e.axes(1)}),
	}
}

// project is the first map of the edges. Where they have fewer taps than the
// network only the first columns of its weight matter.
func (g *edgeList) project(features, columns, types string, m edgeMap) string {
	weight := g.head(g.weight(m.matrix("project.weight"), 1), columns)
	rows := g.tableRows(m.table("project.types"), types)
	return g.add(g.Op("MatMul", []string{features, weight}), rows)
}

// layer writes one round and returns the new nodes and edges.
func (g *edgeList) layer(name string, l *layer, nodes, edge string) (newNodes, newEdge string) {
	from := g.Op("Gather", []string{g.product(nodes, name+".source", l.source), g.source})
	to := g.Op("Gather", []string{g.linear(nodes, name+".target", l.target), g.target})
	message := g.add(g.mul(g.linear(edge, name+".scale", l.scale), g.add(to, from)), g.linear(edge, name+".shift", l.shift))
	both := g.Op("Concat", []string{nodes, g.mean(message, l.lin.in)}, onnxgraph.IntAttr("axis", 1))
	newNodes = g.silu(g.linear(g.linear(both, name+".post", l.post), name+".lin", l.lin))
	ends := g.add(
		g.Op("Gather", []string{g.linear(newNodes, name+".from", l.from), g.source}),
		g.Op("Gather", []string{g.linear(newNodes, name+".to", l.to), g.target}))
	sum := g.silu(g.add(g.linear(edge, name+".update", l.update), ends))
	return newNodes, g.linear(sum, name+".merge", l.merge)
}

// mean averages values [E, width] over the edges that enter each node, 0
// where none does.
func (g *edgeList) mean(values string, width int) string {
	one := onnxgraph.Floats("one", []int64{1}, []float32{1})
	column := g.Op("Shape", []string{g.Op("Unsqueeze", []string{g.target, g.axes(1)})}) // [E, 1]
	ones := g.Op("ConstantOfShape", []string{column}, onnxgraph.TensorAttr("value", one))
	degree := g.Op("Max", []string{g.scatter(ones, 1), g.Const(one)})
	return g.Op("Div", []string{g.scatter(values, int64(width)), degree})
}

// mlp writes WNN+: each number of an edge goes through the same layers.
func (e emitter) mlp(w *Weights) {
	features, _, taps, types, row := e.edgeInputs(&w.Config)
	e.edgeOutput(e.mlpPred(w, listInputs{features: features, types: types}, taps, row))
}

// mlpPred predicts [E, F].
func (e emitter) mlpPred(w *Weights, in listInputs, taps, row string) string {
	shape := e.Op("Concat", []string{e.axes(0), taps, e.axes(int64(w.Context))}, onnxgraph.IntAttr("axis", 0))
	states := e.Op("Reshape", []string{in.features, shape}) // [E, F, Context]
	first := w.projection().then(w.linear("edge_mlp.fc.0"))
	rows := e.tableRows(first.table("layer0.types"), in.types)
	x := e.add(e.product(states, "layer0", first.linear), e.Op("Unsqueeze", []string{rows, e.axes(1)}))
	for i := 1; i < w.Layers-1; i++ {
		name := fmt.Sprintf("layer%d", i)
		l := w.linear(fmt.Sprintf("edge_mlp.fc.%d", 2*i))
		x = e.add(e.product(e.silu(x), name, l), e.Const(l.bias(name+".bias")))
	}
	out := w.output(fmt.Sprintf("edge_mlp.fc.%d", 2*(w.Layers-1)))
	weight, bias := e.outRows(out, 1, w.Horizons, row, e.axes(1)) // [1, Width], [1]
	column := e.Op("Transpose", []string{weight}, onnxgraph.IntsAttr("perm", 1, 0))
	delta := e.Op("Squeeze", []string{e.Op("MatMul", []string{e.silu(x), column}), e.axes(2)})
	return e.add(e.newest(in.features, 1, int64(w.Context)), e.add(delta, bias))
}
