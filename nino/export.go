package nino

import (
	"encoding/json"
	"fmt"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// Form is what an exported network reads.
type Form string

// Forms of the network as ONNX.
const (
	FormEdges Form = "edges" // a graph, edge by edge
	FormTiles Form = "tiles" // a graph as dense tiles of edges, and a list of the others
)

// ExportOptions say how a network is exported. The zero value is the edges form
// in float32.
type ExportOptions struct {
	Form      Form      // "": edges
	Precision Precision // "": fp32
	Opset     int64     // 0: DefaultOpset
	// Graph makes a model of the whole step: its inputs are the past states of
	// the parameters of this graph, its outputs the parameters predicted.
	Graph  *neuralgraph.NiNo
	Shapes map[string][]int64 // of the parameters of Graph, by name
	// Positions are the features [Nodes, Positions] of the nodes of Graph; nil means
	// those of the graph.
	Positions []float32
	// Licence and Card describe the weights, for the model's metadata.
	Licence, Card string
}

// check fills in the defaults and names every option that is not valid.
func (o *ExportOptions) check(w *Weights) error {
	if o.Opset == 0 {
		o.Opset = DefaultOpset
	}
	if o.Form == "" {
		o.Form = FormEdges
	}
	if o.Precision == "" {
		o.Precision = FP32
	}
	switch {
	case o.Opset < MinOpset || o.Opset > MaxOpset:
		return fmt.Errorf("opset %d, expected %d to %d", o.Opset, MinOpset, MaxOpset)
	case !slices.Contains(Precisions(), o.Precision):
		return fmt.Errorf("precision %q, expected one of %q", o.Precision, Precisions())
	case o.Form != FormEdges && o.Form != FormTiles:
		return fmt.Errorf("form %q, expected %q or %q", o.Form, FormEdges, FormTiles)
	case o.Form == FormTiles && w.Variant != VariantGNN:
		return fmt.Errorf("the tiles form is for weights of the variant %q, these are %q: WNN+ reads no graph, use the edges form", VariantGNN, w.Variant)
	}
	return nil
}

// Export is the network as one model that needs nothing beside it: weights,
// and metadata that says how its inputs are made and what its output means.
func Export(w *Weights, o ExportOptions) (*onnxgraph.Model, error) {
	if err := o.check(w); err != nil {
		return nil, fmt.Errorf("nino export: %w", err)
	}
	e := newEmitter("nino", o.Opset)
	e.precision = o.Precision
	switch {
	case o.Graph != nil:
		if err := e.wholeStep(w, o); err != nil {
			return nil, fmt.Errorf("nino export: %w", err)
		}
	case o.Form == FormTiles:
		e.tilesForm(w.network())
	default:
		e.edgesForm(w)
	}
	m, err := e.Model()
	if err != nil {
		return nil, err
	}
	if err := checkStored(m); err != nil {
		return nil, fmt.Errorf("nino export: %w", err)
	}
	m.Doc = "NiNo predicts the parameters of a network in training from their past states (Knyazev et al., ICLR 2025). Its metadata says how its inputs are made."
	return m, o.describe(m, w.Config)
}

// scalingTexts say how states are scaled. w is a parameter in a past state.
var scalingTexts = map[Scaling]string{
	ScaleLayerwise:       "m, s: mean and standard deviation (divisor n-1) over all numbers of a stored tensor in all states; scaled = (w - m) / (s + 1e-6); w = scaled * s + m",
	ScaleParameter:       "m, s: mean and standard deviation (divisor n-1, at least 0.01) of each number over the states; scaled = (w - m) / (s + 1e-6); w = scaled * s + m",
	ScaleMinMax:          "s: largest minus smallest number of a stored tensor in all states, at least 0.01; scaled = w / (s + 1e-6); w = scaled * s",
	ScaleMinMaxParameter: "s: largest minus smallest value of each number over the states, at least 0.01; scaled = w / (s + 1e-6); w = scaled * s",
	ScaleNone:            "scaled = w",
}

// Texts of the metadata.
const (
	featureText = "column f*context+t: tap f of the edge at state t, oldest first, scaled; taps that an edge lacks are 0. " +
		"A self-loop of every node has 2 at tap 0 of every state, an auxiliary edge (residual, head) 1; neither is scaled or predicted"
	positionText = "eigenvectors of the symmetric normalized Laplacian of the undirected simple graph without self-loops, smallest eigenvalues first, the first one dropped; " +
		"unit norm, sign such that the sum of the entries, or where it is 0 that of their cubes, is positive"
	tokenText = "row of the embedding (vocabulary index) + 1 for nodes that are words, else 0"
)

// describe puts what another runtime has to know into the model's metadata.
func (o *ExportOptions) describe(m *onnxgraph.Model, c Config) error {
	if err := describe(m, c, string(o.Form)); err != nil {
		return err
	}
	set := func(key, value string) { m.SetMeta(configKey+"."+key, value) }
	set("precision", string(o.Precision))
	set("scaling", scalingTexts[c.Scaling])
	set("horizons", fmt.Sprintf("k = 1 to %d, in intervals between states", c.Horizons))
	set("features", featureText)
	if c.Variant == VariantGNN {
		set("positions", positionText)
	}
	if c.Words > 0 {
		set("tokens", tokenText)
	}
	types := map[string]int{}
	for t := neuralgraph.EdgePadding; t <= neuralgraph.EdgeSelfLoop; t++ {
		if name := t.Name(); name != fmt.Sprintf("type %d", int(t)) {
			types[name] = int(t)
		}
	}
	numbers, err := json.Marshal(types)
	if err != nil {
		return err
	}
	set("edge_types", string(numbers))
	licence := o.Licence
	if licence == "" {
		licence = "not stated: that of the weights' source"
	}
	set("licence", licence)
	if o.Card != "" {
		set("card", o.Card)
	}
	return nil
}

// describe puts the network's description into the model's metadata.
func describe(m *onnxgraph.Model, c Config, form string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	m.SetMeta(configKey, string(text))
	m.SetMeta(configKey+".form", form)
	m.SetMeta(configKey+".schedule", scheduleText)
	return nil
}
