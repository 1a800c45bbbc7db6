package nino

import (
	"fmt"

	"ninox/onnxgraph"
)

// columnTile is the values of a tile of one target, a matrix with a row for each
// source.
type columnTile struct {
	e        tileEmitter
	features string // [S, P+1]
	columns  string // P, of shape [1]
	kind     string // type, int64 []
	value    string // after the rounds so far [S, ·]
}

// column declares the features and recomputes the first rounds. A product adds what
// the sources contribute and, where it reads the column of ones, what the target
// does.
func (e tileEmitter) column(rounds int) *columnTile {
	t := &columnTile{e: e}
	t.features = e.Input(tileFeatures, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), onnxgraph.Sym("C")})
	t.kind = e.Input(tileType, onnxgraph.Int64, onnxgraph.Shape{})
	t.columns = e.Op("Sub", []string{e.Op("Slice", []string{e.Op("Shape", []string{t.features}), e.axes(1), e.axes(2)}), e.axes(1)})
	t.value = t.features
	for r := range rounds {
		name, m := fmt.Sprintf("update%d", r), e.p.rounds[r].update
		from := e.Input(fmt.Sprintf("%s%d", tileFrom, r), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), e.width()})
		to := e.Input(fmt.Sprintf("%s%d", tileTo, r), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Known(1), e.width()})
		if m.types != nil {
			t.value = e.Op("Gemm", []string{t.value, t.weight(name, m, to), from})
		} else {
			t.value = e.add(e.Op("Gemm", []string{t.value, e.Const(m.matrix(name + ".weight")), from}), to)
		}
		t.value = e.silu(t.value)
	}
	return t
}

// weight is the matrix of a map of features with a last row for the column of ones:
// the type's, plus row where there is one.
func (t *columnTile) weight(name string, m edgeMap, row string) string {
	e := t.e
	typed := e.Op("Gather", []string{e.Const(m.table(name + ".types")), e.Op("Reshape", []string{t.kind, e.axes(1)})}) // [1, out]
	if row != "" {
		typed = e.add(row, typed)
	}
	return e.Op("Concat", []string{e.head(e.Const(m.matrix(name+".weight")), t.columns), typed}, onnxgraph.IntAttr("axis", 0))
}

// columnPass writes Column[r].
//
//	Σ_s (Σ_p x_sp W_pd) b_sd = Σ_p W_pd (Σ_s x_sp b_sd)
//
// so that the sum over the sources is a product of matrices, and no scale of a
// message is ever made.
func (e tileEmitter) columnPass(r int) {
	t := e.column(r)
	source := e.Input(tileSource, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), e.width()})
	scale := e.p.rounds[r].scale
	total := func(x string) string {
		return e.Op("ReduceSum", []string{x, e.axes(0)}, onnxgraph.IntAttr("keepdims", 1))
	}
	outer := e.Op("Gemm", []string{t.value, source}, onnxgraph.IntAttr("transA", 1))
	sum := total(t.value)
	var weighted string
	if scale.types != nil {
		weighted = total(e.mul(outer, t.weight("scale", scale, "")))
		sum = e.Op("Slice", []string{sum, e.axes(0), t.columns, e.axes(1)}) // the number of sources is no feature
	} else {
		weighted = total(e.mul(outer, e.Const(scale.matrix("scale.weight"))))
		weighted = e.add(weighted, e.mul(total(source), e.Const(scale.bias("scale.bias"))))
	}
	e.Named(tileWeighted, "Identity", []string{weighted})
	e.Output(tileWeighted, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Known(1), e.width()})
	e.Named(tileSum, "Identity", []string{sum})
	e.Output(tileSum, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Known(1), onnxgraph.UnknownDim()})
}

// predictColumn writes PredictColumn.
func (e tileEmitter) predictColumn() {
	t := e.column(len(e.p.rounds))
	weight := e.Input(tileLast, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("F"), e.width()})
	bias := e.Input(tileLastBias, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("F")})
	var hidden string
	if m := e.p.hidden; m.types != nil {
		hidden = e.Op("MatMul", []string{t.value, t.weight("hidden", m, "")})
	} else {
		hidden = e.linear(t.value, "hidden", m.linear)
	}
	delta := e.Op("Gemm", []string{e.silu(hidden), weight, bias}, onnxgraph.IntAttr("transB", 1)) // [S, F]
	// The newest states are picked row by row: a Slice with steps takes longer.
	taps := make([]int64, e.n.Taps)
	for f := range taps {
		taps[f] = int64((f+1)*e.n.Context - 1)
	}
	picked := e.head(e.Const(onnxgraph.Vector("newest", taps...)), e.Op("Slice", []string{e.Op("Shape", []string{weight}), e.axes(0), e.axes(1)}))
	newest := e.Op("Gather", []string{t.features, picked}, onnxgraph.IntAttr("axis", 1))
	e.Named(outPred, "Add", []string{newest, delta})
	e.Output(outPred, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("S"), onnxgraph.Sym("F")})
}
