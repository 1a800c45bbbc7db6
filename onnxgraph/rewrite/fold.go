package rewrite

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// fold replaces nodes of the outermost graph whose results inference knows by
// initializers. It leaves alone what is computed from floating-point
// initializers: those may be parameters, which later change. A model that does
// not infer is left as it is, for whoever analyses it next to say why.
func fold(m *onnxgraph.Model, reg *op.Registry) (int, error) {
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return 0, nil
	}
	g := m.Graph
	params := map[string]bool{}
	for _, t := range g.Initializers {
		params[t.Name] = t.DType.IsFloat()
	}
	outputs := outputNames(g)
	count := 0
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		tensors := folded(n, facts)
		touches := !readsShapeOnly(n) && slices.ContainsFunc(n.Reads(), func(in string) bool { return params[in] })
		if tensors == nil || touches || slices.ContainsFunc(n.Outputs, func(out string) bool { return outputs[out] }) {
			for _, out := range n.Outputs {
				params[out] = touches // what a parameter flows into is no constant either
			}
			nodes = append(nodes, n)
			continue
		}
		g.Initializers = append(g.Initializers, tensors...)
		count++
	}
	g.Nodes = nodes
	return count, nil
}

// readsShapeOnly says whether the values of a node's input do not matter.
func readsShapeOnly(n *onnxgraph.Node) bool {
	return n.Domain == "" && (n.OpType == "Shape" || n.OpType == "Size")
}

// folded is the known value of every output of a node, nil where one is not
// known.
func folded(n *onnxgraph.Node, facts *infer.Result) []*onnxgraph.Tensor {
	var out []*onnxgraph.Tensor
	for _, name := range n.Outputs {
		if name == "" {
			continue
		}
		t := knownValue(facts.Fact(name))
		if t == nil {
			return nil
		}
		c := *t
		c.Name = name
		out = append(out, &c)
	}
	return out
}

// knownValue is the constant of a fact: its tensor, or its elements where all
// are numbers.
func knownValue(f *op.Fact) *onnxgraph.Tensor {
	if f == nil || f.Const != nil {
		return constOf(f)
	}
	v, ok := f.Ints()
	if !ok || f.DType() != onnxgraph.Int64 {
		return nil
	}
	dims, ok := f.Shape().Static()
	if !ok || len(dims) > 1 || len(dims) == 1 && dims[0] != int64(len(v)) || len(dims) == 0 && len(v) != 1 {
		return nil
	}
	return onnxgraph.Int64s("", dims, v)
}

func constOf(f *op.Fact) *onnxgraph.Tensor {
	if f == nil {
		return nil
	}
	return f.Const
}
