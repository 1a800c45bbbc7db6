// Package view shows a neural graph and its model to people: as text, DOT, SVG,
// PNG and as one HTML page that needs nothing else.
//
//	v, err := view.New("model.onnx", graph, ops.Registry(), verdict)
//	if err != nil { … }
//	err = v.Write(os.Stdout, "svg", view.Options{})
//
// There are two views of a model: of its neurons (layers of the NiNo graph, and
// the parameters as edges between them) and of its operators. Both are a scene:
// nodes in the order of the flow, edges, and a tree of boxes. A box stands for a
// part that repeats, found by its structure (fold.go), or for the body of an
// operator with subgraphs. Pictures are laid out in rows, box by box
// (layout.go); the page does the same in the browser, for what is unfolded
// there.
package view
