// Package check says what is wrong with a model: everything that the reference
// checker (onnx.checker) refuses, types included, and some mistakes that it
// lets pass. It runs nothing and changes nothing.
//
//	for _, f := range check.Model(m, check.Options{Registry: ops.Registry()}) {
//		fmt.Println(f) // check: node "conv1" (Conv-17), attribute "strides": has type int, expected ints
//	}
//
// Beyond the reference, these are findings: an operator set imported twice in
// different versions, a call of a function that the model does not have in a
// domain of its functions, a call with more inputs or outputs than the
// function, outputs of functions that nothing gives, absent values among those of one
// variadic parameter, references to attributes (@name) outside functions or to
// attributes that the function does not have, unknown attributes of
// LayerNormalization, where the reference lets any pass, and unknown operators
// of the preview domains.
package check
