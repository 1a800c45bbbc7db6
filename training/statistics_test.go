package training

import (
	"slices"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
)

// With its statistics frozen, batch normalization computes in training what it
// computes in evaluation, and none of them is updated, whatever mode the file
// was exported in.
func TestFreezeStatistics(t *testing.T) {
	for _, node := range []string{`BatchNormalization (x, s, s, m, v)`, `BatchNormalization <training_mode = 1> (x, s, s, m, v)`} {
		m, err := text.Parse([]byte(`<ir_version: 8, opset_import: ["" : 17]> g (float[n,2] x) => (float[n,2] y)
			<float[2] s = {1, 2}, float[2] m = {0, 1}, float[2] v = {1, 2}> { y = ` + node + ` }`))
		if err != nil {
			t.Fatal(err)
		}
		for _, frozen := range []bool{false, true} {
			a, err := BuildArtifacts(m, ops.Registry(), ArtifactOptions{FreezeStatistics: frozen, TrainAlso: []string{"s"}})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(a.Training.Graph.Nodes, func(n *onnxgraph.Node) bool { return n.OpType == "BatchNormalization" })
			if n := a.Training.Graph.Nodes[i]; (len(a.Buffers) == 0) != frozen || (n.Int("training_mode", 0) == 0) != frozen || len(a.Params) != 1 {
				t.Errorf("%s, frozen %t: statistics %v, training mode %d, parameters %v", node, frozen, a.Buffers, n.Int("training_mode", 0), a.Params)
			}
		}
	}
}
