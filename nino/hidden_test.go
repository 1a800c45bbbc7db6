package nino

import (
	"slices"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// The values of nodes depend on the states, on nothing else, and belong to a
// network with messages.
func TestHidden(t *testing.T) {
	engine := runtimetest.Engine(t)
	w, err := ReadWeights(testenv.Shared(t, "fixtures/weights/nino_no_posw.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	span := func(first, count int) neuralgraph.Span { return neuralgraph.Span{First: first, Count: count} }
	g := &neuralgraph.NiNo{
		Nodes: 5, Layers: []neuralgraph.Layer{{Name: "in", First: 0, Size: 2}, {Name: "out", First: 2, Size: 3}},
		Blocks: []neuralgraph.Block{{Parameter: "w", Type: neuralgraph.EdgeLinear, Source: span(0, 2), Target: span(2, 3), Taps: 1, SourceStride: 1, TargetStride: 2}},
	}
	h, err := NewHidden(engine, w, g)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var states []*weights.Set
	for i := range 5 {
		s := &weights.Set{}
		x := float32(i)
		s.AddFloats("w", []int64{3, 2}, []float32{1 + x, 2, -1, 0.5 * x, 3, -x})
		states = append(states, s)
	}
	values, width, err := h.Nodes(t.Context(), states)
	if err != nil || width != w.Width || len(values) != 5*width {
		t.Fatalf("%d values of %d, %v", len(values), width, err)
	}
	again, _, err := h.Nodes(t.Context(), states)
	if err != nil || !slices.Equal(values, again) {
		t.Errorf("values differ from run to run, %v", err)
	}
	// Another weight changes what its ends and their neighbours know.
	s := states[4].Clone()
	s.AddFloats("w", []int64{3, 2}, []float32{9, 2, -1, 2, 3, -4})
	other, _, err := h.Nodes(t.Context(), append(slices.Clone(states[:4]), s))
	if err != nil || slices.Equal(values, other) {
		t.Errorf("the values do not depend on the states, %v", err)
	}
	if _, _, err := h.Nodes(t.Context(), states[:3]); err == nil {
		t.Error("three states are taken")
	}
	mlp, err := ReadWeights(testenv.Shared(t, "fixtures/weights/nino_mlp.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewHidden(engine, mlp, g); err == nil {
		t.Error("the network without messages has values of nodes")
	}
}
