package nino

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// outNodes is the output of the model that Hidden runs.
const outNodes = "nodes"

// Hidden is the network's view of a model: the value of each node after the
// last round of messages.
type Hidden struct {
	config  Config
	list    *Examples
	session *ort.Session
}

// NewHidden prepares the network for the model whose graph is g. The weights
// must be those of a message passing network without word positions. Close it
// after use.
func NewHidden(engine *ort.Engine, w *Weights, g *neuralgraph.NiNo) (*Hidden, error) {
	if w.Variant != VariantGNN || w.Words > 0 {
		return nil, fmt.Errorf("hidden values: expected weights of the network with messages, without word positions")
	}
	list, err := NewExamples(w.Config, g)
	if err != nil {
		return nil, err
	}
	m, err := hiddenModel(w)
	if err != nil {
		return nil, err
	}
	s, err := engine.NewSession(m, ort.SessionOptions{})
	if err != nil {
		return nil, err
	}
	return &Hidden{w.Config, list, s}, nil
}

// hiddenModel has the inputs of the edges form but the horizon, and the nodes
// as its output.
func hiddenModel(w *Weights) (*onnxgraph.Model, error) {
	n, e := w.network(), newEmitter("nino nodes", DefaultOpset)
	index := e.Input(inEdges, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Known(2), onnxgraph.Sym("E")})
	types := e.Input(inTypes, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("E")})
	features := e.Input(inFeatures, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("E"), onnxgraph.Sym("columns")})
	pos := e.Input(inPositions, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(n.Positions))})
	columns := e.Op("Slice", []string{e.Op("Shape", []string{features}), e.axes(1), e.axes(2)})
	nodes, _ := e.rounds(n, listInputs{features, types, index}, e.nodes(n, pos), columns)
	e.Named(outNodes, "Identity", []string{nodes})
	e.Output(outNodes, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(n.Width))})
	return e.Model()
}

// Close frees the network's session.
func (h *Hidden) Close() { h.session.Close() }

// Nodes are the values [nodes, width] for a window of states, oldest first.
func (h *Hidden) Nodes(ctx context.Context, states []*weights.Set) (values []float32, width int, err error) {
	ex, err := h.list.Example(states, nil, h.list.Taps(), math.Inf(1))
	if err != nil {
		return nil, 0, err
	}
	edges := int64(ex.Edges)
	index, err1 := ort.Int64Value([]int64{2, edges}, ex.Index)
	types, err2 := ort.Int64Value([]int64{edges}, ex.Types)
	features, err3 := ort.FloatValue([]int64{edges, int64(ex.Taps * h.config.Context)}, ex.Features)
	positions, err4 := ort.FloatValue([]int64{int64(ex.Nodes), int64(h.config.Positions)}, ex.Positions)
	for _, v := range []*ort.Value{index, types, features, positions} {
		if v != nil {
			defer v.Close()
		}
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, 0, err
	}
	out, err := h.session.Run(ctx, map[string]*ort.Value{inEdges: index, inTypes: types, inFeatures: features, inPositions: positions})
	if err != nil {
		return nil, 0, err
	}
	defer out[outNodes].Close()
	return slices.Clone(out[outNodes].Floats()), h.config.Width, nil
}
