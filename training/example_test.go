package training_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training"
	"ninox/training/data"
)

// A line through four points, found by gradient descent.
func Example() {
	ctx := context.Background()
	engine, err := ort.Open(ctx, ort.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b := onnxgraph.NewBuilder("line", 17)
	n := onnxgraph.Sym("batch")
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(1)})
	y := b.Named("y", "Gemm", []string{x, b.Init(onnxgraph.Floats("slope", []int64{1, 1}, []float32{0})), b.Init(onnxgraph.Floats("offset", []int64{1}, []float32{0}))})
	b.Output(y, onnxgraph.Float, onnxgraph.Shape{n, onnxgraph.Known(1)})
	model, err := b.Model()
	if err != nil {
		log.Fatal(err)
	}
	a, err := training.BuildArtifacts(model, ops.Registry(), training.ArtifactOptions{
		Loss: training.MSE, Optimizer: training.Optimizer{Kind: training.SGD, Momentum: 0.8}, Labels: "target",
	})
	if err != nil {
		log.Fatal(err)
	}
	e, err := training.NewExecutor(engine, a, training.ExecutorOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()

	points := &weights.Set{}
	points.AddFloats("x", []int64{4, 1}, []float32{0, 1, 2, 3})
	points.AddFloats("target", []int64{4, 1}, []float32{1, 3, 5, 7})
	train, err := data.NewArrays("points", points)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "line")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if _, err := training.Run(ctx, training.Config{
		Dir: filepath.Join(dir, "run"), Trainer: e, Artifacts: a, Train: train, Batch: 4, Steps: 200, LR: 0.05,
	}); err != nil {
		log.Fatal(err)
	}
	state, err := e.State()
	if err != nil {
		log.Fatal(err)
	}
	slope, _ := state.Floats("slope")
	offset, _ := state.Floats("offset")
	fmt.Printf("y = %.3f x + %.3f\n", slope[0], offset[0])
	// Output: y = 2.000 x + 1.000
}
