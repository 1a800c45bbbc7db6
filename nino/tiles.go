package nino

import (
	"fmt"

	"ninox/onnxgraph"
)

// Tiles are the models of the tiles form: the network over dense blocks of
// edges, in passes over tiles of S sources by T targets. Between two sets of
// nodes every edge exists, so what belongs to a node is broadcast along the
// tile and a sum over incoming edges is a sum over an axis; nothing is gathered
// or scattered, nothing per edge is kept from pass to pass.
//
// With R rounds (Layers-1): Nodes[0] makes node values; for r from 0 on, Pass[r]
// sums over tiles what round r needs, and Nodes[r+1] updates the nodes from the
// sums; Predict gives the result of a tile. Earlier rounds are recomputed in a
// later pass. Neighbouring linear maps are multiplied out, and of a mean message
//
//	mean(scale·(a_target + b_source) + shift) = a·mean(scale) + mean(scale·b) + mean(shift)
//
// only the middle term needs a product per edge: scale and shift are linear in
// the values whose mean is taken.
//
// Inputs and outputs, D the width, P the tile's columns of features:
//
//	Nodes[0]   pos [N, Positions], token int64 [N] (with word positions) → node [N, D], source [N, D]
//	Pass[0]    features [S, T, P], type int64 [], source [S, 1, D] → sum [T, P], weighted [T, D]
//	Pass[r]    the same, from0, to0 … from(r-1), to(r-1) → sum [T, D], weighted [T, D]
//	Nodes[r+1] old [N, D] (node of Nodes[r]), sum [N, columns or D], weighted [N, D] (both divided by the degree), for r = 0
//	           also mix [N, EdgeTypes] (share of each type in what enters) → node, from, to [N, D], source
//	           [N, D] unless it is the last
//	Predict    features, type, from0, to0 …, last [F, D], last_bias [F] → pred [S, T, F]
//
// The last of the Nodes models also takes k int64 [] and makes last [Taps, D] and
// last_bias [Taps], the output layer's rows for that horizon; a tile with F taps
// takes the first F.
//
// from is [S, 1, D] and to [1, T, D]. For diagonal blocks S is 1, and source and
// from are [1, T, D]; round 0 then uses Diagonal in place of Pass[0].
//
// Column[r] and PredictColumn do the same for tiles of one target, in fewer passes
// over memory: most of what is added goes into products. They read features
// [S, P+1], which end with a column of ones, source and from [S, D], and to [1, D].
type Tiles struct {
	Nodes         []*onnxgraph.Model
	Pass, Column  []*onnxgraph.Model
	Diagonal      *onnxgraph.Model
	Predict       *onnxgraph.Model
	PredictColumn *onnxgraph.Model
}

// NamedModel is one model of a set.
type NamedModel struct {
	Name  string
	Model *onnxgraph.Model
}

// Models lists the models in the order in which they run: nodes0, pass0,
// column0, diagonal, nodes1, pass1, column1, nodes2, …, predict, predict_column.
func (t *Tiles) Models() []NamedModel {
	out := []NamedModel{{"nodes0", t.Nodes[0]}}
	for r, p := range t.Pass {
		out = append(out, NamedModel{fmt.Sprintf("pass%d", r), p}, NamedModel{fmt.Sprintf("column%d", r), t.Column[r]})
		if r == 0 {
			out = append(out, NamedModel{"diagonal", t.Diagonal})
		}
		out = append(out, NamedModel{fmt.Sprintf("nodes%d", r+1), t.Nodes[r+1]})
	}
	return append(out, NamedModel{"predict", t.Predict}, NamedModel{"predict_column", t.PredictColumn})
}

// Names of the inputs and outputs of the tiles form.
const (
	tileFeatures = "features"
	tileType     = "type"
	tileSource   = "source"
	tileSum      = "sum"
	tileWeighted = "weighted"
	tileMix      = "mix"
	tileNode     = "node"
	tileFrom     = "from"
	tileTo       = "to"
	tileLast     = "last"
	tileLastBias = "last_bias"
)

// TileModels builds the tiles form. The variant must be VariantGNN.
func TileModels(w *Weights, opset int64) (*Tiles, error) {
	if opset < MinOpset || opset > MaxOpset {
		return nil, fmt.Errorf("nino export: opset %d, expected %d to %d", opset, MinOpset, MaxOpset)
	}
	if w.Variant != VariantGNN {
		return nil, fmt.Errorf("nino export: the tiles form is for weights of the variant %q, these are %q", VariantGNN, w.Variant)
	}
	n := w.network()
	p := n.products()
	t := &Tiles{}
	var err error
	build := func(name string, emit func(tileEmitter)) *onnxgraph.Model {
		e := tileEmitter{newEmitter("nino_"+name, opset), n, p}
		emit(e)
		m, buildErr := e.Model()
		if buildErr == nil {
			buildErr = describe(m, w.Config, "tiles/"+name)
		}
		if err == nil {
			err = buildErr
		}
		return m
	}
	t.Nodes = append(t.Nodes, build("nodes0", tileEmitter.firstNodes))
	for r := range p.rounds {
		t.Pass = append(t.Pass, build(fmt.Sprintf("pass%d", r), func(e tileEmitter) { e.pass(r, false) }))
		t.Column = append(t.Column, build(fmt.Sprintf("column%d", r), func(e tileEmitter) { e.columnPass(r) }))
		t.Nodes = append(t.Nodes, build(fmt.Sprintf("nodes%d", r+1), func(e tileEmitter) { e.updateNodes(r) }))
	}
	if len(p.rounds) > 0 {
		t.Diagonal = build("diagonal", func(e tileEmitter) { e.pass(0, true) })
	}
	t.Predict = build("predict", tileEmitter.predict)
	t.PredictColumn = build("predict_column", tileEmitter.predictColumn)
	return t, err
}

// products are the maps of edges with neighbours multiplied out: each reads
// the features (round 0) or the values after the last nonlinearity.
type products struct {
	rounds []edgeProducts
	hidden edgeMap
}

type edgeProducts struct{ scale, shift, update edgeMap }

func (n *network) products() products {
	var p products
	edge := n.project
	for _, l := range n.layers {
		p.rounds = append(p.rounds, edgeProducts{edge.then(l.scale), edge.then(l.shift), edge.then(l.update)})
		edge = edgeMap{linear: l.merge}
	}
	p.hidden = edge.then(n.hidden)
	return p
}

// tileEmitter writes models of the tiles form.
type tileEmitter struct {
	emitter
	n *network
	p products
}

func (e tileEmitter) width() onnxgraph.Dim { return onnxgraph.Known(int64(e.n.Width)) }

// nodeInput declares an input [N, columns].
func (e tileEmitter) nodeInput(name string, columns int) string {
	return e.Input(name, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(columns))})
}

// nodeOutput names a value [N, Width] as an output.
func (e tileEmitter) nodeOutput(name, value string) {
	e.Named(name, "Identity", []string{value})
	e.Output(name, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), e.width()})
}

func (e tileEmitter) firstNodes() {
	x := e.nodes(e.n, e.nodeInput(inPositions, e.n.Positions))
	e.nodeOutput(tileNode, x)
	if len(e.n.layers) > 0 {
		e.nodeOutput(tileSource, e.product(x, "source", e.n.layers[0].source))
	} else {
		e.lastRows()
	}
}

// lastRows picks the output layer's rows for horizon k, once for all tiles.
func (e tileEmitter) lastRows() {
	k := e.Input(inHorizon, onnxgraph.Int64, onnxgraph.Shape{})
	taps := onnxgraph.Known(int64(e.n.Taps))
	weight, bias := e.outRows(e.n.out, e.n.Taps, e.n.Horizons, e.horizon(k, e.n.Horizons), e.axes(int64(e.n.Taps)))
	e.Named(tileLast, "Identity", []string{weight})
	e.Output(tileLast, onnxgraph.Float, onnxgraph.Shape{taps, e.width()})
	e.Named(tileLastBias, "Identity", []string{bias})
	e.Output(tileLastBias, onnxgraph.Float, onnxgraph.Shape{taps})
}

// updateNodes writes Nodes[r+1].
func (e tileEmitter) updateNodes(r int) {
	l, p := &e.n.layers[r], e.p.rounds[r]
	x := e.nodeInput("old", e.n.Width)
	sum := e.nodeInput(tileSum, p.scale.in)
	weighted := e.nodeInput(tileWeighted, e.n.Width)
	mix := ""
	if p.scale.types != nil {
		mix = e.nodeInput(tileMix, e.n.EdgeTypes)
	}
	mean := func(name string, m edgeMap) string {
		if m.types == nil {
			return e.linear(sum, name, m.linear)
		}
		rows := e.Op("MatMul", []string{mix, e.Const(m.table(name + ".types"))})
		return e.add(e.product(sum, name, m.linear), rows)
	}
	message := e.add(e.mul(e.linear(x, "target", l.target), mean("scale", p.scale)), e.add(weighted, mean("shift", p.shift)))
	both := e.Op("Concat", []string{x, message}, onnxgraph.IntAttr("axis", 1))
	x = e.silu(e.linear(e.linear(both, "post", l.post), "lin", l.lin))
	e.nodeOutput(tileNode, x)
	e.nodeOutput(tileFrom, e.linear(x, "from", l.from))
	to := l.to
	if p.update.types == nil { // the bias of the edge's own map, once for all
		to.b = make([]float64, len(l.to.b))
		for i, b := range p.update.b {
			to.b[i] = l.to.b[i] + b
		}
	}
	e.nodeOutput(tileTo, e.linear(x, "to", to))
	if r+1 < len(e.n.layers) {
		e.nodeOutput(tileSource, e.product(x, "source", e.n.layers[r+1].source))
	} else {
		e.lastRows()
	}
}

// tile is the values of a tile as a model writes them.
type tile struct {
	e        tileEmitter
	features string // [S, T, P]
	columns  string // P, of shape [1]
	kind     string // type, int64 []
	value    string // after the rounds so far [S, T, ·]
}

// tile declares the features and recomputes the first rounds.
func (e tileEmitter) tile(rounds int) *tile {
	t := &tile{e: e}
	t.features = e.Input(tileFeatures, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), onnxgraph.Sym("T"), onnxgraph.Sym("P")})
	t.kind = e.Input(tileType, onnxgraph.Int64, onnxgraph.Shape{})
	t.columns = e.Op("Slice", []string{e.Op("Shape", []string{t.features}), e.axes(2), e.axes(3)})
	t.value = t.features
	for r := range rounds {
		from, to := e.ends(tileFrom, r), e.ends(tileTo, r)
		name, m := fmt.Sprintf("update%d", r), e.p.rounds[r].update
		if m.types != nil {
			to = e.add(to, t.row(name, m))
		}
		t.value = e.silu(e.add(e.add(t.product(name, m), to), from))
	}
	return t
}

// ends declares what the sources or the targets of a tile contribute.
func (e tileEmitter) ends(name string, round int) string {
	return e.Input(fmt.Sprintf("%s%d", name, round), onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim(), e.width()})
}

// weight is the matrix of a map of the present values; of a map of features
// only the rows of the tile's columns.
func (t *tile) weight(name string, m edgeMap) string {
	w := t.e.Const(m.matrix(name + ".weight"))
	if m.types == nil {
		return w
	}
	return t.e.head(w, t.columns)
}

// product is the map without its bias or its type's row.
func (t *tile) product(name string, m edgeMap) string {
	return t.e.Op("MatMul", []string{t.value, t.weight(name, m)})
}

// row is the bias [Width], or the type's row.
func (t *tile) row(name string, m edgeMap) string {
	if m.types == nil {
		return t.e.Const(m.bias(name + ".bias"))
	}
	return t.e.Op("Gather", []string{t.e.Const(m.table(name + ".types")), t.kind})
}

// pass writes Pass[r], or Diagonal.
func (e tileEmitter) pass(r int, diagonal bool) {
	t := e.tile(r)
	source := e.Input(tileSource, onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim(), e.width()})
	scale := e.p.rounds[r].scale
	keep := onnxgraph.IntAttr("keepdims", 0)
	sum := func(x string, axis int64) string { return e.Op("ReduceSum", []string{x, e.axes(axis)}, keep) }
	var weighted string
	if r == 0 && !diagonal {
		// Σ_s (W f_st)_d b_sd = Σ_p W_dp (Σ_s f_stp b_sd): the sum over the sources is
		// a product of matrices, and nothing of the size of the tile times the width
		// is made.
		flat := e.Op("Reshape", []string{t.features, e.axes(0, -1)})
		sources := e.Op("Squeeze", []string{source, e.axes(1)})
		outer := e.Op("Gemm", []string{flat, sources}, onnxgraph.IntAttr("transA", 1)) // [T·P, D]
		shape := e.Op("Concat", []string{e.axes(-1), t.columns, e.axes(int64(e.n.Width))}, onnxgraph.IntAttr("axis", 0))
		weighted = sum(e.mul(e.Op("Reshape", []string{outer, shape}), t.weight("scale", scale)), 1)
		weighted = e.add(weighted, e.mul(sum(sources, 0), t.row("scale", scale)))
	} else {
		// The row of the scale goes along with the sources' sum.
		products := sum(e.mul(t.product("scale", scale), source), 0)
		weighted = e.add(products, e.mul(sum(source, 0), t.row("scale", scale)))
	}
	e.Named(tileSum, "ReduceSum", []string{t.value, e.axes(0)}, keep)
	e.Output(tileSum, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("T"), onnxgraph.UnknownDim()})
	e.Named(tileWeighted, "Identity", []string{weighted})
	e.Output(tileWeighted, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("T"), e.width()})
}

// predict writes Predict.
func (e tileEmitter) predict() {
	t := e.tile(len(e.p.rounds))
	weight := e.Input(tileLast, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("F"), e.width()})
	bias := e.Input(tileLastBias, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("F")})
	var hidden string
	if m := e.p.hidden; m.types != nil {
		hidden = e.add(t.product("hidden", m), t.row("hidden", m))
		hidden = e.Op("Reshape", []string{hidden, e.axes(-1, int64(e.n.Width))})
	} else {
		hidden = e.linear(e.Op("Reshape", []string{t.value, e.axes(-1, int64(m.in))}), "hidden", m.linear)
	}
	delta := e.Op("Gemm", []string{e.silu(hidden), weight, bias}, onnxgraph.IntAttr("transB", 1)) // [S·T, F]
	newest := e.newest(t.features, 2, int64(e.n.Context))
	e.Named(outPred, "Add", []string{newest, e.Op("Reshape", []string{delta, e.Op("Shape", []string{newest})})})
	e.Output(outPred, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), onnxgraph.Sym("T"), onnxgraph.Sym("F")})
}
