// Package optest checks operator definitions against ONNX Runtime from tables
// of rows {operator, opset, attributes, inputs, reason}.
//
// For each row it executes the operator and checks that inferred types and
// shapes are those of the results, that axes which the flow rule ties together
// or leaves free can be permuted, that the gradient rule agrees with finite
// differences along a random direction (in double where kernels exist), that
// the gradient is the same where extents are symbols, and that the
// lowering computes the same.
//
//	optest.Check(t, engine, ops.Registry(), optest.Row{
//		Op: "Softmax", Opset: 17, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 1)},
//		In: []optest.Arg{optest.Normal(2, 5)}, Reason: "axis in the middle of nothing",
//	})
package optest
