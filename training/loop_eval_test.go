package training

import (
	"testing"

	"ninox/onnxgraph"
)

// Test batches are smaller where a sample has many outputs, but no smaller
// than a training batch.
func TestEvalBatch(t *testing.T) {
	for _, k := range []struct{ classes, want int64 }{{10, 31}, {1 << 22, 16}, {1 << 30, 6}} {
		c, _ := fakeConfig(t)
		c.EvalBatch, c.Batch, c.Logits = 0, 6, "scores"
		shape := onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(k.classes)}
		c.Artifacts = &Artifacts{Eval: &onnxgraph.Model{Graph: &onnxgraph.Graph{
			Outputs: []*onnxgraph.Value{{Name: "scores", Type: onnxgraph.TensorOf(onnxgraph.Float, shape)}},
		}}}
		e, err := newEvaluator(&c)
		if err != nil || int64(e.batch) != k.want {
			t.Errorf("%d classes: batches of %d, %v, expected %d", k.classes, e.batch, err, k.want)
		}
	}
}
