package rewrite_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
)

func withTransposedWeights(t *testing.T, m *onnxgraph.Model) *onnxgraph.Model {
	t.Helper()
	out, _, err := rewrite.Apply(m, reg, rewrite.Optional())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTransposedWeightsOfExport: in an export with a Transpose for each linear
// layer, none is left, and what the metadata say gives the weights back, bit
// for bit.
func TestTransposedWeightsOfExport(t *testing.T) {
	m := read(t, testenv.Shared(t, "fixtures/nino/e_llama_gqa/model.onnx"))
	out := withTransposedWeights(t, m)
	list, err := rewrite.TransposedWeights(out)
	if err != nil {
		t.Fatal(err)
	}
	turned := 0
	for _, n := range m.Graph.Nodes {
		if n.OpType == "Transpose" && m.Graph.Initializer(n.Input(0)) != nil {
			turned++
		}
	}
	if turned == 0 || len(list) != turned || len(out.Graph.Nodes) != len(m.Graph.Nodes)-turned {
		t.Errorf("%d weights and %d nodes, of %d transposed weights and %d nodes", len(list), len(out.Graph.Nodes), turned, len(m.Graph.Nodes))
	}
	for _, w := range list {
		inverse := make([]int64, len(w.Perm))
		for i, p := range w.Perm {
			inverse[p] = int64(i)
		}
		original := m.Graph.Initializer(w.Original)
		back, err := out.Graph.Initializer(w.Name).Transposed(w.Original, inverse)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back.Dims, original.Dims) || !bytes.Equal(back.Data, original.Data) {
			t.Errorf("%s does not come back from %s", w.Original, w.Name)
		}
		if out.Graph.Initializer(w.Original) != nil {
			t.Errorf("%s is still there", w.Original)
		}
	}
}

// A weight that is transposed once more is listed by its first name, with the
// permutation of both together; other entries stay.
func TestTransposedTwice(t *testing.T) {
	m := withHeader(t, `g (float x) => (float[n,m,k] y, float[3,2] z) <float[2,3,1] w = {1, 2, 3, 4, 5, 6}, float[2,3] v = {1, 2, 3, 4, 5, 6}> {
		t = Transpose <perm = [1, 2, 0]> (w)
		y = Mul (x, t)
		u = Transpose (v)
		z = Mul (x, u)
	}`)
	once := withTransposedWeights(t, m)
	again := &onnxgraph.Node{OpType: "Transpose", Inputs: []string{"w.transposed"}, Outputs: []string{"t"}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("perm", 1, 0, 2)}}
	once.Graph.Nodes[0].Inputs[1] = "t"
	once.Graph.Nodes = slices.Insert(once.Graph.Nodes, 0, again)
	list, err := rewrite.TransposedWeights(withTransposedWeights(t, once))
	want := []rewrite.TransposedWeight{
		{Name: "w.transposed.transposed", Original: "w", Perm: []int64{2, 1, 0}},
		{Name: "v.transposed", Original: "v", Perm: []int64{1, 0}},
	}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("listed are %v (%v), expected %v", list, err, want)
	}
}

// An absent output is not what absent inputs read, and a note about a tensor of
// another rank is not about this one.
func TestTransposedWeightsOddities(t *testing.T) {
	m := withHeader(t, `g (float[2] x) => (float[2] y, float[2,2] z) <float[2,1] w = {1, 2}, float[2,2] v = {1, 2, 3, 4}, float high = {3}> {
		none = Transpose (w)
		y = Clip (x, , high)
		u = Transpose (v)
		z = Mul (x, u)
	}`)
	m.Graph.Nodes[0].Outputs[0] = ""
	m.SetMeta("ninox.transposed_weights", `[{"name":"v","original":"other","perm":[0]}]`)
	out := withTransposedWeights(t, m)
	wantListing(t, out.Graph, "Transpose w>; Clip x,,high>y; Mul x,v.transposed>z")
	list, err := rewrite.TransposedWeights(out)
	want := []rewrite.TransposedWeight{{Name: "v", Original: "other", Perm: []int64{0}}, {Name: "v.transposed", Original: "v", Perm: []int64{1, 0}}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("listed are %v (%v), expected %v", list, err, want)
	}
}

func TestTransposedMetadataRefused(t *testing.T) {
	for value, want := range map[string]string{
		"[":                           "unexpected end of JSON",
		`[{"name":"w","perm":[0,2]}]`: "perm [0 2] is no permutation",
	} {
		m := withHeader(t, `g (float[4] x) => (float[4] y) { y = Neg (x) }`)
		m.SetMeta("ninox.transposed_weights", value)
		_, _, err := rewrite.Apply(m, reg, rewrite.Optional())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ninox.transposed_weights") {
			t.Errorf("%s: error is %v, expected one that says %q", value, err, want)
		}
	}
}
