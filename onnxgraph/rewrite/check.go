package rewrite

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/check"
	"ninox/onnxgraph/op"
)

// Check verifies the structure of a model: every value defined once and before
// its use, every domain imported, every attribute set once and holding what
// its type says. With a registry it also checks operators, attributes, and the
// numbers of inputs and outputs. The error joins all findings, each an
// *op.NodeError where a node is at fault. Package check knows more.
func Check(m *onnxgraph.Model, reg *op.Registry) error {
	o := check.Options{Level: check.Structure, Registry: reg}
	if reg != nil {
		o.Level = check.Operators
	}
	return check.Join(check.Model(m, o))
}
