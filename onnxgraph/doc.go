// Package onnxgraph is the ONNX front end: the in-memory representation of a
// model, its builder, and its files: the protobuf codec and external data.
//
// The representation follows the ONNX specification closely
// (https://onnx.ai/onnx/repo-docs/IR.html): values are named by strings, a
// graph is a list of nodes in topological order, and an empty input name means
// "absent". Nothing here executes a model or knows what an operator does; see
// the packages op, ops and infer below it for that.
//
// Files are mapped: tensors are slices of the file, shared by a model and its
// clones until Model.Close. What a file says beyond the representation is kept
// and written back. docs/FILES.md has the rules and limits.
//
//	m, err := onnxgraph.ReadFile("model.onnx")
//	if err != nil { … }
//	for _, n := range m.Graph.Nodes {
//		fmt.Println(n.OpType, n.Inputs, n.Outputs)
//	}
package onnxgraph
