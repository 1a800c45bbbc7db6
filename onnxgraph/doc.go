// Package onnxgraph is the ONNX front end: the in-memory representation of a
// model, its builder, the protobuf codec and the checker.
//
// The representation follows the ONNX specification closely
// (https://onnx.ai/onnx/repo-docs/IR.html): values are named by strings, a
// graph is a list of nodes in topological order, and an empty input name means
// "absent". Nothing here executes a model or knows what an operator does; see
// the packages op, ops and infer below it for that.
//
//	m, err := onnxgraph.ReadFile("model.onnx")
//	if err != nil { … }
//	for _, n := range m.Graph.Nodes {
//		fmt.Println(n.OpType, n.Inputs, n.Outputs)
//	}
package onnxgraph
