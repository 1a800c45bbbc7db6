package check

import (
	"errors"
	"fmt"

	"ninox/onnxgraph/op"
)

// Finding is one thing that is wrong.
type Finding struct {
	Function string `json:"function,omitempty"` // that holds the place, "" in the model's graph
	Graph    string `json:"graph,omitempty"`    // that holds the place; of the model, a function has none
	Node     string `json:"node,omitempty"`     // its label
	Op       string `json:"op,omitempty"`
	Opset    int64  `json:"opset,omitempty"`
	Attr     string `json:"attribute,omitempty"`
	Message  string `json:"message"`
	Line     string `json:"line,omitempty"`     // the node as text
	Unsorted bool   `json:"unsorted,omitempty"` // only the order of the nodes is wrong
}

// Err is the finding as an error, an *op.NodeError where it is about a node.
func (f *Finding) Err() error {
	switch {
	case f.Node != "" || f.Op != "":
		return &op.NodeError{Stage: "check", Node: f.Node, Op: f.Op, Opset: f.Opset, Attr: f.Attr, Msg: f.Message}
	case f.Function != "":
		return fmt.Errorf("check: function %q: %s", f.Function, f.Message)
	case f.Graph != "":
		return fmt.Errorf("check: graph %q: %s", f.Graph, f.Message)
	}
	return errors.New("check: " + f.Message)
}

func (f *Finding) String() string { return f.Err().Error() }

// Join is the error of all findings, nil where there are none.
func Join(findings []*Finding) error {
	errs := make([]error, len(findings))
	for i, f := range findings {
		errs[i] = f.Err()
	}
	return errors.Join(errs...)
}
