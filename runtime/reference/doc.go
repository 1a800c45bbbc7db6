// Package reference runs small ONNX models on a second, independent engine:
// onnx-go with its gorgonnx backend on gorgonia, pure Go. It exists to check
// what ONNX Runtime computes, not to be fast.
//
//	out, err := reference.Run(model, map[string]*tensor.Dense{"x": x})
//	fmt.Println(out["y"])
//
// That engine knows about forty operators of old versions, works on static
// shapes, and for some attributes computes something else without saying so.
// So Run walks the model itself and gives the engine one node at a time, on
// concrete arrays, in a form that it is known to compute as the ONNX
// specification says; what has no such form is an error.
//
// gorgonia refuses to start on a Go release it was not built for, by way of
// go4.org/unsafe/assume-no-moving-gc, unless an environment variable is set.
// From its release of November 2023 on, which go.mod asks for, that package
// asks the Go runtime itself whether its collector moves objects, so no
// variable and no linker flag is needed.
package reference
