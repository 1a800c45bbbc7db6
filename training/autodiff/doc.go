// Package autodiff differentiates ONNX graphs in reverse mode, graph to
// graph: it appends the nodes that compute the gradients of a scalar loss. It
// runs nothing.
//
// The gradient rules stand with the operators (op.Def.Grad) and state the
// vector-Jacobian product only. This package does the bookkeeping: it decides
// which nodes lie between the wanted values and the loss, sums the gradients
// of values with several uses, reduces gradients over broadcast axes to the
// input's shape, lowers operators that are differentiated through their
// lowering, shares constants and equal nodes, drops what nothing needs, and
// names the results ("<value>_grad", nodes "<node>_Grad/<Op>").
//
//	facts, err := infer.Run(m, reg, infer.Options{})
//	…
//	res, err := autodiff.Gradients(m, reg, facts, autodiff.Options{Loss: "loss", Wrt: []string{"fc.weight"}})
//	res.Model             // a copy of m with the backward nodes appended
//	res.Grads["fc.weight"] // "fc.weight_grad"
package autodiff
