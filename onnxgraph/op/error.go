package op

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

// NodeError is a fault that a stage found in one node. It prints as
//
//	infer: node "conv1" (Conv-13), attribute "group": 3 does not divide 64 channels
//		y = Conv <group = 3> (x, w)
type NodeError struct {
	Stage string // parse, check, infer, flow, grad, lower …
	Node  string // its label
	Op    string
	Opset int64
	Attr  string // attribute at fault, or empty
	Msg   string // what is wrong and what was expected
	Line  string // the node as a line of text, where it helps
}

// NewNodeError is a fault of a node, and shows the node.
func NewNodeError(stage string, n *onnxgraph.Node, opset int64, msg string) *NodeError {
	return &NodeError{Stage: stage, Node: n.Label(), Op: n.Op(), Opset: opset, Msg: msg, Line: text.Node(n)}
}

func (e *NodeError) Error() string {
	attr, line := "", ""
	if e.Attr != "" {
		attr = fmt.Sprintf(", attribute %q", e.Attr)
	}
	if e.Line != "" {
		line = "\n\t" + e.Line
	}
	return fmt.Sprintf("%s: node %q (%s-%d)%s: %s%s", e.Stage, e.Node, e.Op, e.Opset, attr, e.Msg, line)
}
