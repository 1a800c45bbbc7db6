package neuralgraph_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

// small is tanh(x·a + c); with hide only a part of c that a TopK picks is added,
// so that c is opaque.
func small(t *testing.T, hide bool) *neuralgraph.Graph {
	t.Helper()
	b := onnxgraph.NewBuilder("small", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(2, 3))
	a := b.Init(onnxgraph.Floats("a", []int64{3, 4}, make([]float32, 12)))
	h := b.Op("MatMul", []string{x, a})
	c := b.Init(onnxgraph.Floats("c", []int64{4}, []float32{1, 2, 3, 4}))
	if hide {
		k := b.Const(onnxgraph.Vector("", 1))
		c = b.Op("Unsqueeze", []string{b.OpN("TopK", []string{c, k}, 2)[0], b.Const(onnxgraph.Vector("", 0))})
	}
	b.Output(b.Op("Tanh", []string{b.Op("Add", []string{h, c})}), onnxgraph.Float, onnxgraph.StaticShape(2, 4))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestDocument(t *testing.T) {
	var out bytes.Buffer
	if err := small(t, false).JSON(&out, nil); err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	nino := d["nino"].(map[string]any)
	coverage := d["coverage"].(map[string]any)
	switch {
	case d["schema"] != "ninox.graph/1", d["certificate"] != nil:
		t.Errorf("document %v", d)
	case nino["nodes"] != 8.0, nino["edges"] != 12.0+4+8:
		t.Errorf("nino %v", nino)
	case coverage["parameters"] != 16.0, coverage["in_blocks"] != 16.0, coverage["certified"] != 0.0:
		t.Errorf("coverage %v", coverage)
	case d["model"].(map[string]any)["macs"] != 24.0:
		t.Errorf("model %v", d["model"])
	}
	for _, key := range []string{"groups", "blocks", "attention", "residuals"} {
		if _, ok := d[key].([]any); !ok {
			t.Errorf("%s is %v, expected a list", key, d[key])
		}
	}
}

func TestCertifiedCoverage(t *testing.T) {
	g := small(t, false)
	for i := range g.Groups {
		g.Groups[i].Permutable = g.Groups[i].Size == 4
	}
	id := g.Groups[len(g.Groups)-1].ID
	d, err := g.Document(&neuralgraph.Verdict{Certificate: "c"})
	if err != nil || d.Coverage.Certified != 16 || d.Certificate != "c" {
		t.Errorf("coverage %+v, %v", d.Coverage, err)
	}
	if d, _ = g.Document(&neuralgraph.Verdict{Failed: []string{id}}); d.Coverage.Certified != 0 {
		t.Errorf("coverage %+v although %s failed", d.Coverage, id)
	}
}

// TestOpaqueParameter: what cannot be placed is reported, and still gets nodes.
func TestOpaqueParameter(t *testing.T) {
	g := small(t, true)
	if len(g.Opaque) != 1 || g.Opaque[0].Parameter != "c" || g.Opaque[0].Reason == "" {
		t.Fatalf("opaque %+v", g.Opaque)
	}
	n, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n.Nodes != 3+4+1+4 || n.Summary().Edges != int64(12+4+n.Nodes) {
		t.Errorf("%d nodes, %+v", n.Nodes, n.Summary())
	}
}

func TestNiNoRefuses(t *testing.T) {
	g := small(t, false)
	for _, params := range [][]string{{"a", "a"}, {"missing"}} {
		if _, err := g.NiNo(params); err == nil || !strings.Contains(err.Error(), params[0]) {
			t.Errorf("%q: error %v", params, err)
		}
	}
	n, err := g.NiNo([]string{"a"})
	if err != nil || n.Nodes != 7 {
		t.Errorf("one parameter: %+v, %v", n, err)
	}
}
