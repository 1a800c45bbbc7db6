// Package rewrite transforms models, graph to graph, without running them.
//
// Standard prepares a model for analysis: it is a table of passes, each with
// the reason for its place, and the graph is checked after every pass. Lower
// replaces operators by simpler ones, as their lowering rules say. Convert takes
// a model to a newer opset by a table of adapters, one for each change of
// meaning. docs/REWRITES.md lists passes and adapters. Emitter is
// the shared tool that adds nodes to a copy of a model.
//
//	m, err := rewrite.Standard(m, ops.Registry())
//	…
//	m, err = rewrite.Lower(m, ops.Registry(), func(n *onnxgraph.Node) bool { return n.Domain == "com.microsoft" })
//
// With NINOX_DUMP set to a folder, the input and the result of every pass are left
// there, each as a text with shortened tensors (.onnxtxt) and as a model.
package rewrite

//go:generate go run ./internal/rewritesdoc ../../docs/REWRITES.md
