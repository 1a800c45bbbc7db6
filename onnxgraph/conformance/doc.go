// Package conformance judges ninox by the backend tests of the ONNX project: small
// models with inputs and expected outputs, one folder each.
//
//	cases, err := conformance.Find("/usr/share/libonnx-testdata/data")
//	for _, c := range cases {
//		fmt.Println(conformance.Judge(engine, ops.Registry(), c))
//	}
//
// Each case goes through parser, writer, checker and inference, and runs on
// ONNX Runtime as written by us, after the standard rewrites, and after
// lowering. What comes of it is a row of words, and the rows of all cases are
// a manifest that the test compares exactly: nothing passes or fails unnoticed.
package conformance
