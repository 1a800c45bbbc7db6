package nino

import (
	"fmt"

	"ninox/onnxgraph"
)

// Names of the inputs and the output that the tiles form has beside those of
// the edges form.
const (
	inTileFeatures = "tile_features"
	inTileTypes    = "tile_type"
	inTileSources  = "tile_source"
	inTileTargets  = "tile_target"
	outTilePred    = "tile_pred"
)

// tilesForm writes the tiles form as one model, for any graph. It reads a graph
// as B tiles of S sources by T targets, between which every edge exists, and the
// other edges (biases, diagonals, self-loops) as a list:
//
//	tile_features float [B, S, T, F·Context], tile_type int64 [B],
//	tile_source int64 [B, S], tile_target int64 [B, T]   numbers of nodes, -1 where a tile is not full
//	edge_index, edge_type, edge_attr, pos, token, k      as in the edges form
//
// and gives tile_pred float [B, S, T, F] and pred float [E, F]. The tiles are
// scanned one after the other, in one more pass than the network has rounds;
// what earlier rounds made of an edge is computed again, so that memory is
// needed for the nodes and one tile only. Neighbouring linear maps are
// multiplied out (see Tiles).
func (e emitter) tilesForm(n *network) {
	dims := func(names ...string) onnxgraph.Shape {
		var s onnxgraph.Shape
		for _, name := range names {
			s = append(s, onnxgraph.Sym(name))
		}
		return s
	}
	t := tileInputs{
		features: e.Input(inTileFeatures, onnxgraph.Float, dims("B", "S", "T", "tile_columns")),
		types:    e.Input(inTileTypes, onnxgraph.Int64, dims("B")),
		sources:  e.Input(inTileSources, onnxgraph.Int64, dims("B", "S")),
		targets:  e.Input(inTileTargets, onnxgraph.Int64, dims("B", "T")),
	}
	index := e.Input(inEdges, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Known(2), onnxgraph.Sym("E")})
	features, columns, taps, types, row := e.edgeInputs(&n.Config)
	pos := e.Input(inPositions, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(n.Positions))})
	l := listInputs{features, types, index}
	tilePred, pred := e.tiles(n, t, l, e.nodes(n, pos), columns, taps, row)
	e.Named(outTilePred, "Identity", []string{tilePred})
	e.Output(outTilePred, onnxgraph.Float, dims("B", "S", "T", "tile_F"))
	e.Named(outPred, "Identity", []string{pred})
	e.Output(outPred, onnxgraph.Float, dims("E", "F"))
}

// tileInputs are the values that describe tiles.
type tileInputs struct{ features, types, sources, targets string }

// listInputs are the values that describe a list of edges.
type listInputs struct{ features, types, index string }

// tiles writes the network over tiles and a list of edges, from the first
// values of the nodes; columns and taps count those of the list, row is the
// horizon's.
func (e emitter) tiles(n *network, in tileInputs, list listInputs, x, columns, taps, row string) (tilePred, pred string) {
	s := newScanner(e, n, in)
	g := newEdgeList(e, list.index, x)
	s.count(g, list.types)
	edge := s.base("project", n.project, columns)
	value := list.features // of the list's edges
	for r := range n.layers {
		l := &n.layers[r]
		name := fmt.Sprintf("layer%d", r)
		scaleTile, scaleList := s.then(edge, name+".scale", l.scale)
		shiftTile, shiftList := s.then(edge, name+".shift", l.shift)
		updateTile, updateList := s.then(edge, name+".update", l.update)
		source := e.product(x, name+".source", l.source)
		sum, weighted := s.sums(r, source, scaleTile)

		// The list's part of the same sums.
		product := e.add(e.Op("MatMul", []string{value, scaleList.weight}), scaleList.rows(e, list.types))
		product = e.mul(product, e.Op("Gather", []string{source, g.source}))
		weighted = s.mean(e.add(weighted, g.scatter(product, int64(n.Width))))
		message := e.mul(e.linear(x, name+".target", l.target), s.average(g, r, sum, value, scaleTile, scaleList))
		message = e.add(message, e.add(weighted, s.average(g, r, sum, value, shiftTile, shiftList)))

		both := e.Op("Concat", []string{x, message}, onnxgraph.IntAttr("axis", 1))
		x = e.silu(e.linear(e.linear(both, name+".post", l.post), name+".lin", l.lin))
		from, to := e.linear(x, name+".from", l.from), e.linear(x, name+".to", l.to)
		s.done = append(s.done, updated{updateTile, from, to})
		ends := e.add(e.Op("Gather", []string{from, g.source}), e.Op("Gather", []string{to, g.target}))
		value = e.add(e.Op("MatMul", []string{value, updateList.weight}), updateList.rows(e, list.types))
		value = e.silu(e.add(value, ends))
		edge = s.base(name+".merge", edgeMap{linear: l.merge}, columns)
	}
	hiddenTile, hiddenList := s.then(edge, "hidden", n.hidden)
	weight, bias := e.horizonRows(n.out, n.Taps, n.Horizons, row)
	tilePred = s.predict(hiddenTile, weight, bias)
	h := e.silu(e.add(e.Op("MatMul", []string{value, hiddenList.weight}), hiddenList.rows(e, list.types)))
	delta := e.Op("Gemm", []string{h, e.head(weight, taps), e.head(bias, taps)}, onnxgraph.IntAttr("transB", 1))
	return tilePred, e.add(e.newest(list.features, 1, int64(n.Context)), delta)
}

// namedMap is an edgeMap as values: its matrix, cut to the columns there are,
// and its rows by type or its one row.
type namedMap struct {
	weight, table string
	typed         bool
}

// rows are the rows that types, one or several, select.
func (m namedMap) rows(e emitter, types string) string {
	if !m.typed {
		return m.table
	}
	return e.Op("Gather", []string{m.table, types})
}

// updated is what a finished round makes of an edge: silu(update·value + from +
// to).
type updated struct {
	update   namedMap
	from, to string // [N, Width]
}

// scanner writes passes over tiles.
type scanner struct {
	emitter
	in      tileInputs
	width   int64
	types   int64
	context int64
	columns string // of the tiles' features, [1]
	nodes   string // number of nodes, [1]
	flat    string // the tiles' targets, [B·T], 0 where there is none
	present string // 1 for those targets that there are, float [B·T, 1]
	mix     string // edges of each type that enter a node [N, types]
	degree  string // edges that enter a node, at least 1 [N, 1]
	done    []updated
}

func newScanner(e emitter, n *network, in tileInputs) *scanner {
	s := &scanner{emitter: e, in: in, width: int64(n.Width), types: int64(n.EdgeTypes), context: int64(n.Context)}
	s.columns = e.Op("Slice", []string{e.Op("Shape", []string{in.features}), e.axes(3), e.axes(4)})
	column := e.Op("Reshape", []string{in.targets, e.axes(-1, 1)})
	s.present = s.exists(column)
	s.flat = e.Op("Max", []string{e.Op("Reshape", []string{in.targets, e.axes(-1)}), e.scalar(0)})
	return s
}

// exists is 1.0 for numbers of nodes, 0.0 for -1.
func (s *scanner) exists(index string) string {
	there := s.Op("Not", []string{s.Op("Less", []string{index, s.scalar(0)})})
	return s.Op("Cast", []string{there}, onnxgraph.IntAttr("to", int64(onnxgraph.Float)))
}

// count finds how many edges of each type enter each node.
func (s *scanner) count(g *edgeList, types string) {
	s.nodes = g.nodes
	oneHot := func(v string) string {
		values := s.Const(onnxgraph.Floats("off_on", []int64{2}, []float32{0, 1}))
		return s.Op("OneHot", []string{v, s.scalar(s.types), values})
	}
	sources := s.Op("ReduceSum", []string{s.exists(s.in.sources), s.axes(1)}, onnxgraph.IntAttr("keepdims", 1)) // [B, 1]
	tile := s.Op("Unsqueeze", []string{s.mul(oneHot(s.in.types), sources), s.axes(1)})                          // [B, 1, types]
	shape := s.Op("Concat", []string{s.Op("Shape", []string{s.in.targets}), s.axes(s.types)}, onnxgraph.IntAttr("axis", 0))
	each := s.Op("Reshape", []string{s.Op("Expand", []string{tile, shape}), s.axes(-1, s.types)})
	s.mix = s.add(s.scatter(each, s.axes(s.types)), g.scatter(oneHot(types), s.types))
	total := s.Op("ReduceSum", []string{s.mix, s.axes(1)}, onnxgraph.IntAttr("keepdims", 1))
	s.degree = s.Op("Max", []string{total, s.Const(onnxgraph.Floats("one", []int64{1}, []float32{1}))})
}

func (s *scanner) mean(sum string) string { return s.Op("Div", []string{sum, s.degree}) }

// scatter adds rows [B·T, columns] to the rows of the tiles' targets [N, columns].
func (s *scanner) scatter(rows, columns string) string {
	return scatterRows(s.emitter, s.mul(rows, s.present), s.flat, s.nodes, columns)
}

// scatter adds the edges' rows to those of their targets.
func (g *edgeList) scatter(rows string, columns int64) string {
	return scatterRows(g.emitter, rows, g.target, g.nodes, g.axes(columns))
}

// scatterRows adds rows [R, columns] to rows index [R] of zeros [nodes,
// columns], one after the other, whatever the threads. It adds elements of a
// flat tensor, of which ONNX Runtime finds the places five times as fast.
func scatterRows(e emitter, rows, index, nodes, columns string) string {
	into := e.Op("ConstantOfShape", []string{e.mul(nodes, columns)})
	first := e.mul(e.Op("Unsqueeze", []string{index, e.axes(1)}), columns)
	each := e.Op("Range", []string{e.scalar(0), e.Op("Squeeze", []string{columns}), e.scalar(1)})
	places := e.Op("Reshape", []string{e.add(first, each), e.axes(-1)})
	flat := e.Op("ScatterElements", []string{into, places, e.Op("Reshape", []string{rows, e.axes(-1)})},
		onnxgraph.IntAttr("axis", 0), onnxgraph.StringAttr("reduction", "add"))
	return e.Op("Reshape", []string{flat, e.Op("Concat", []string{nodes, columns}, onnxgraph.IntAttr("axis", 0))})
}

// base is the linear map of an edge that others follow with nothing between.
type base struct {
	edgeMap
	columns       string // of the list's edges
	weight, table string // where the precision is not float32: its matrix, and its rows by type or its one row [1, D]
}

func (s *scanner) base(name string, m edgeMap, columns string) base {
	b := base{edgeMap: m, columns: columns}
	if s.precision == FP32 {
		return b
	}
	b.weight = s.weight(m.matrix(name+".weight"), 1)
	if m.types != nil {
		b.table = s.weight(m.table(name+".types"), 0)
	} else {
		b.table = s.Op("Unsqueeze", []string{s.Const(m.bias(name + ".bias")), s.axes(0)})
	}
	return b
}

// then is l after a map, for tiles and for the list. In float32 the product is
// made beforehand. With fewer bits the factors are stored and multiplied in the
// model: rounding their product would cost three times as much accuracy, because
// its terms cancel.
func (s *scanner) then(b base, name string, l linear) (tile, list namedMap) {
	var matrix, table string
	typed := b.types != nil
	if s.precision == FP32 {
		m := b.edgeMap.then(l)
		matrix = s.Const(m.matrix(name + ".weight"))
		if typed {
			table = s.Const(m.table(name + ".types"))
		} else {
			table = s.Const(m.bias(name + ".bias"))
		}
	} else {
		second := s.weight(l.matrix(name+".weight"), 1)
		matrix = s.Op("MatMul", []string{b.weight, second})
		table = s.Op("Gemm", []string{b.table, second, s.Const(l.bias(name + ".bias"))})
		if !typed {
			table = s.Op("Squeeze", []string{table, s.axes(0)})
		}
	}
	if !typed {
		return namedMap{matrix, table, false}, namedMap{matrix, table, false}
	}
	return namedMap{s.head(matrix, s.columns), table, true}, namedMap{s.head(matrix, b.columns), table, true}
}

// average is the mean of a map over the edges that enter each node, from the sums
// of the tiles' values and the values of the list: linear maps and means commute.
func (s *scanner) average(g *edgeList, r int, sum, value string, tile, list namedMap) string {
	columns := s.width
	var tiles, rest string
	if r == 0 { // the columns of tiles and list differ
		tiles = s.Op("MatMul", []string{sum, tile.weight})
		rest = g.scatter(s.Op("MatMul", []string{value, list.weight}), columns)
		return s.mean(s.add(s.add(tiles, rest), s.Op("MatMul", []string{s.mix, tile.table})))
	}
	all := s.add(sum, g.scatter(value, columns))
	return s.add(s.Op("MatMul", []string{s.mean(all), tile.weight}), s.Op("Mul", []string{tile.table, s.nonempty()}))
}

// nonempty is 1 for nodes that an edge enters.
func (s *scanner) nonempty() string {
	total := s.Op("ReduceSum", []string{s.mix, s.axes(1)}, onnxgraph.IntAttr("keepdims", 1))
	return s.Op("Min", []string{total, s.Const(onnxgraph.Floats("one", []int64{1}, []float32{1}))})
}

// tileValues are the values of one tile inside a pass.
type tileValues struct {
	features, kind, sources, targets string
	present                          string // float [S, 1], 1 for sources that there are
}

// scan writes a pass: body runs on each tile, its results are stacked.
func (s *scanner) scan(results int, body func(t tileValues) []string) []string {
	graph := s.Graph()
	first := len(graph.Nodes)
	kinds := []onnxgraph.DType{onnxgraph.Float, onnxgraph.Int64, onnxgraph.Int64, onnxgraph.Int64}
	shapes := [][]string{{"S", "T", "tile_columns"}, {}, {"S"}, {"T"}}
	sub := &onnxgraph.Graph{Name: s.Fresh("tile")}
	var names []string
	for i, d := range kinds {
		shape := onnxgraph.Shape{}
		for _, n := range shapes[i] {
			shape = append(shape, onnxgraph.Sym(n))
		}
		names = append(names, s.Fresh("tile_in"))
		sub.Inputs = append(sub.Inputs, &onnxgraph.Value{Name: names[i], Type: onnxgraph.TensorOf(d, shape)})
	}
	none := s.scalar(0)
	t := tileValues{features: names[0], kind: names[1]}
	t.sources, t.targets = s.Op("Max", []string{names[2], none}), s.Op("Max", []string{names[3], none})
	t.present = s.Op("Unsqueeze", []string{s.exists(names[2]), s.axes(1)})
	for _, out := range body(t) {
		shape := onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim()}
		if results == 1 {
			shape = append(shape, onnxgraph.UnknownDim())
		}
		sub.Outputs = append(sub.Outputs, &onnxgraph.Value{Name: out, Type: onnxgraph.TensorOf(onnxgraph.Float, shape)})
	}
	// The builder has written the body behind the nodes around it.
	sub.Nodes = append(sub.Nodes, graph.Nodes[first:]...)
	graph.Nodes = graph.Nodes[:first]
	return s.OpN("Scan", []string{s.in.features, s.in.types, s.in.sources, s.in.targets}, results,
		onnxgraph.GraphAttr("body", sub), onnxgraph.IntAttr("num_scan_inputs", int64(len(kinds))))
}

// value recomputes a tile's edges after the rounds that are done [S, T, ·].
func (s *scanner) value(t tileValues) string {
	v := t.features
	for _, u := range s.done {
		to := s.add(s.Op("Gather", []string{u.to, t.targets}), u.update.rows(s.emitter, t.kind))
		from := s.Op("Unsqueeze", []string{s.Op("Gather", []string{u.from, t.sources}), s.axes(1)})
		v = s.silu(s.add(s.add(s.Op("MatMul", []string{v, u.update.weight}), to), from))
	}
	return v
}

// sums writes the pass of round r: for each node the sum of the values of the
// tiles' edges that enter it, and that of scale·source.
func (s *scanner) sums(r int, source string, scale namedMap) (sum, weighted string) {
	out := s.scan(2, func(t tileValues) []string {
		v := s.value(t)
		from := s.mul(s.Op("Gather", []string{source, t.sources}), t.present) // [S, D]
		shape := s.Op("Slice", []string{s.Op("Shape", []string{v}), s.axes(1), s.axes(3)})
		flat := s.Op("Reshape", []string{v, s.axes(0, -1)})
		ones := s.Op("Gemm", []string{t.present, flat}, onnxgraph.IntAttr("transA", 1)) // [1, T·C]
		sum := s.Op("Reshape", []string{ones, shape})
		products := s.mul(s.Op("MatMul", []string{v, scale.weight}), s.Op("Unsqueeze", []string{from, s.axes(1)}))
		keep := onnxgraph.IntAttr("keepdims", 0)
		weighted := s.add(s.Op("ReduceSum", []string{products, s.axes(0)}, keep),
			s.mul(s.Op("ReduceSum", []string{from, s.axes(0)}, keep), scale.rows(s.emitter, t.kind)))
		return []string{sum, weighted}
	})
	flat := func(v, columns string) string {
		shape := s.Op("Concat", []string{s.axes(-1), columns}, onnxgraph.IntAttr("axis", 0))
		return s.scatter(s.Op("Reshape", []string{v, shape}), columns)
	}
	columns := s.axes(s.width)
	if r == 0 {
		columns = s.columns
	}
	return flat(out[0], columns), flat(out[1], s.axes(s.width))
}

// predict writes the last pass.
func (s *scanner) predict(hidden namedMap, weight, bias string) string {
	taps := s.Op("Div", []string{s.columns, s.axes(s.context)})
	weight, bias = s.head(weight, taps), s.head(bias, taps)
	column := s.Op("Transpose", []string{weight}, onnxgraph.IntsAttr("perm", 1, 0))
	return s.scan(1, func(t tileValues) []string {
		h := s.silu(s.add(s.Op("MatMul", []string{s.value(t), hidden.weight}), hidden.rows(s.emitter, t.kind)))
		delta := s.add(s.Op("MatMul", []string{h, column}), bias)
		return []string{s.add(s.newest(t.features, 2, s.context), delta)}
	})[0]
}
