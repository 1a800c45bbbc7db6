package job

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
)

// A model whose gradients need a later opset than its own is converted, and a
// note says so; what conversion does not help keeps its own error.
func TestConvertedForGradients(t *testing.T) {
	b := onnxgraph.NewBuilder("gather", 13)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(3)})
	h := b.Op("MatMul", []string{x, b.Init(onnxgraph.Floats("w", []int64{3, 2}, make([]float32, 6)))})
	h = b.Op("GatherElements", []string{h, b.Input("at", onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(4)})}, onnxgraph.IntAttr("axis", 1))
	b.Output(b.Named("y", "Identity", []string{h}), onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gather.onnx")
	if err := m.WriteFile(file, onnxgraph.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var notes bytes.Buffer
	a := &app.App{Err: &notes}
	o := ModelOptions{Loss: "mse"}
	art, err := o.ArtifactsOf(a, file, 0)
	if err != nil || art.Training.OpsetVersion("") != 17 || !strings.Contains(notes.String(), "converted from opset 13 to 17, which its gradients need") {
		t.Errorf("%v, notes %q", err, notes.String())
	}
	o.Freeze = []string{"nothing"}
	if _, err := o.ArtifactsOf(a, file, 0); err == nil || !strings.Contains(err.Error(), `glob "nothing"`) {
		t.Errorf("error %v", err)
	}
}
