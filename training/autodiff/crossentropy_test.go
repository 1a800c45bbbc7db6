package autodiff_test

import (
	"context"
	"math"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/autodiff"
)

// TestCrossEntropy: the gradient of LogSoftmax and GatherElements is
// (softmax − one-hot)/N, computed without a tensor of zeros.
func TestCrossEntropy(t *testing.T) {
	const n, classes = 3, 5
	b := onnxgraph.NewBuilder("ce", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(classes)})
	labels := b.Input("labels", onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("batch")})
	axis := onnxgraph.IntAttr("axis", 1)
	logp := b.Op("LogSoftmax", []string{x}, axis)
	index := b.Op("Unsqueeze", []string{labels, b.Const(onnxgraph.Vector("", 1))})
	each := b.Op("Neg", []string{b.Op("GatherElements", []string{logp, index}, axis)})
	loss := b.Op("ReduceMean", []string{each}, onnxgraph.IntAttr("keepdims", 0))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := autodiff.Gradients(m, ops.Registry(), facts, autodiff.Options{Loss: loss, Wrt: []string{x}})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range res.Model.Graph.Nodes {
		if node.OpType == "ConstantOfShape" {
			t.Errorf("node %q makes a tensor of zeros", node.Name)
		}
	}
	grad := res.Grads[x]
	res.Model.Graph.Outputs = []*onnxgraph.Value{{Name: grad, Type: facts.Fact(grad).Type}}
	s, err := runtimetest.Engine(t).NewSession(res.Model, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	logits := []float32{0.3, -1, 2, 0.5, 0, 1, 1, 1, -3, 2, 4, 0, 0.1, 0.2, -0.5}
	classOf := []int64{2, 4, 1}
	xv, err := ort.FloatValue([]int64{n, classes}, logits)
	if err != nil {
		t.Fatal(err)
	}
	lv, err := ort.Int64Value([]int64{n}, classOf)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Run(context.Background(), map[string]*ort.Value{"x": xv, "labels": lv})
	if err != nil {
		t.Fatal(err)
	}
	got := out[grad].Floats()
	for i := range n {
		var sum float64
		for _, v := range logits[i*classes : (i+1)*classes] {
			sum += math.Exp(float64(v))
		}
		for j := range classes {
			want := math.Exp(float64(logits[i*classes+j])) / sum
			if int64(j) == classOf[i] {
				want--
			}
			if have := float64(got[i*classes+j]) * n; math.Abs(have-want) > 1e-6 {
				t.Errorf("element %d, %d: %.7f, want %.7f", i, j, have, want)
			}
		}
	}
}
