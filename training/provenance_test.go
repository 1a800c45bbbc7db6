package training

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

// exported is a model as PyTorch's exporter notes it: y = (x·W)·table·scale +
// shift·folded, where W is a parameter, table a buffer, scale and shift are
// without a note, and folded was computed from the named values.
func exported(t *testing.T, signature, foldedOf string) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("exported", 18)
	vector := func(name string, n int64) string {
		return b.Init(onnxgraph.Floats(name, []int64{n}, make([]float32, n)))
	}
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(2)})
	w := b.Init(onnxgraph.Floats("net.W", []int64{2, 3}, make([]float32, 6)))
	y := b.Op("Mul", []string{b.Op("MatMul", []string{x, w}), vector("net.table", 3)})
	y = b.Op("Mul", []string{y, vector("val_1", 1)})
	b.Output(b.Op("Add", []string{y, b.Op("Mul", []string{vector("val_2", 3), vector("val_3", 3)})}), onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	note := func(value, key, text string) {
		m.Graph.ValueInfo = append(m.Graph.ValueInfo, &onnxgraph.Value{Name: value, Metadata: []onnxgraph.KeyValue{{Key: key, Value: text}}})
	}
	note("net.W", programInputKind, parameterKind)
	note("net.table", programInputKind, "BUFFER")
	note("val_3", foldedFrom, foldedOf)
	m.Graph.Metadata = []onnxgraph.KeyValue{{Key: programSignature, Value: signature}}
	return m
}

func TestConstantsOf(t *testing.T) {
	const (
		matrix = "\n# inputs\np_net_w: PARAMETER target='net.W'\n"
		buffer = "b_net_table: BUFFER target='net.table' persistent=False\nx: USER_INPUT\n"
		bias   = "p_net_bias: PARAMETER target='net.bias'\n"
		gone   = "p_net_gone: PARAMETER target='net.gone'\n"
	)
	for _, c := range []struct {
		name, signature, folded string
		trained                 string // every other initializer is a constant
	}{
		{"a folded parameter", matrix + bias + buffer, "['add', 'net.bias']", "net.W val_3"},
		{"a folded buffer", matrix + buffer, "['cos', 'net.table']", "net.W"},
		// net.gone may be in val_2, but not in val_1, which has one element.
		{"a parameter that cannot be found", matrix + gone + buffer, "['net.table']", "net.W val_2"},
		{"no signature", "", "['net.table']", "net.W net.table val_1 val_2 val_3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := exported(t, c.signature, c.folded)
			a, err := BuildArtifacts(m, ops.Registry(), ArtifactOptions{Loss: MSE})
			if err != nil {
				t.Fatal(err)
			}
			var trained []string
			for _, p := range a.Params {
				trained = append(trained, p.Name)
			}
			slices.Sort(trained)
			if got := strings.Join(trained, " "); got != c.trained {
				t.Errorf("trained %s, expected %s (constants: %v)", got, c.trained, ConstantsOf(m))
			}
		})
	}
	why := ConstantsOf(exported(t, matrix+buffer, "['net.table']"))
	if got := slices.Sorted(maps.Keys(why)); !slices.Equal(got, []string{"net.table", "val_1", "val_2", "val_3"}) || !strings.Contains(why["net.table"], "BUFFER") {
		t.Errorf("constants %v", why)
	}
	// An explicit choice counts more than what the exporter says.
	a, err := BuildArtifacts(exported(t, matrix+buffer, "['net.table']"), ops.Registry(), ArtifactOptions{Loss: MSE, Train: []string{"net.*"}})
	if err != nil || len(a.Params) != 2 {
		t.Errorf("%d parameters, %v, expected net.W and net.table", len(a.Params), err)
	}
}
