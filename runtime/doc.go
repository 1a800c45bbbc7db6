// Package ort runs ONNX models on ONNX Runtime. It finds the library, installs
// it on first use, and offers sessions, values over Go memory, and bindings
// whose buffers stay in place from run to run.
//
//	engine, err := ort.Open(ctx, ort.Options{})
//	session, err := engine.NewSession(model, ort.SessionOptions{})
//	defer session.Close()
//	x, err := ort.FloatValue([]int64{1, 3}, []float32{1, 2, 3})
//	defer x.Close()
//	out, err := session.Run(ctx, map[string]*ort.Value{"x": x})
//	fmt.Println(out["y"].Floats())
//
// The folder is called runtime, like a package of the standard library, so it
// is imported as ort everywhere.
package ort
