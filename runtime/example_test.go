package ort_test

import (
	"context"
	"fmt"
	"os"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// Example computes y = 2·x + 1.
func Example() {
	b := onnxgraph.NewBuilder("line", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	two, one := b.Const(onnxgraph.Scalar("two", 2)), b.Const(onnxgraph.Scalar("one", 1))
	y := b.Named("y", "Add", []string{b.Op("Mul", []string{x, two}), one})
	b.Output(y, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	model, err := b.Model()
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	engine, err := ort.Open(ctx, ort.Options{Progress: os.Stderr}) // installs ONNX Runtime where there is none
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := engine.NewSession(model, ort.SessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	in, err := ort.FloatValue([]int64{3}, []float32{1, 2, 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	out, err := session.Run(ctx, map[string]*ort.Value{"x": in})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out["y"], out["y"].Floats())
	// Output: float[3] [3 5 7]
}
