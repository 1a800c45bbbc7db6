package reference

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// UnsupportedError lists the operators of a model that the engine lacks.
type UnsupportedError struct{ Operators []string }

func (e *UnsupportedError) Error() string {
	return "reference engine: no operator " + strings.Join(e.Operators, ", ")
}

// Run computes the outputs of m from arrays of float32 (or of int64, where
// they only give shapes and axes). Local functions and subgraphs are not
// supported. The arrays of in are not changed.
func Run(m *onnxgraph.Model, in map[string]*tensor.Dense) (map[string]*tensor.Dense, error) {
	if err := checkOperators(m.Graph); err != nil {
		return nil, err
	}
	values, err := given(m.Graph, in)
	if err != nil {
		return nil, err
	}
	opset := m.OpsetVersion("")
	for _, n := range m.Graph.Nodes {
		if err := runNode(n, opset, values); err != nil {
			return nil, fmt.Errorf("reference engine: node %q (%s): %w", n.Name, n.OpType, err)
		}
	}
	out := make(map[string]*tensor.Dense, len(m.Graph.Outputs))
	for _, o := range m.Graph.Outputs {
		v := values[o.Name]
		if v == nil {
			return nil, fmt.Errorf("reference engine: output %q is not computed by any node", o.Name)
		}
		out[o.Name] = v.Clone().(*tensor.Dense) // an output may be an input or initializer, too
	}
	return out, nil
}

func checkOperators(g *onnxgraph.Graph) error {
	var lacking []string
	for _, n := range g.Nodes {
		name := n.OpType
		if n.Domain != "" {
			name = n.Domain + ":" + name
		}
		if n.Domain == "" && operators[n.OpType] != nil {
			continue
		}
		if !slices.Contains(lacking, name) {
			lacking = append(lacking, name)
		}
	}
	if lacking == nil {
		return nil
	}
	slices.Sort(lacking)
	return &UnsupportedError{lacking}
}

// given holds the values that are there before any node runs.
func given(g *onnxgraph.Graph, in map[string]*tensor.Dense) (map[string]*tensor.Dense, error) {
	values := map[string]*tensor.Dense{}
	for _, t := range g.Initializers {
		v, err := dense(t)
		if err != nil {
			return nil, fmt.Errorf("reference engine: initializer: %w", err)
		}
		values[t.Name] = v
	}
	names := map[string]bool{}
	for _, v := range g.Inputs {
		names[v.Name] = true
		if in[v.Name] == nil && values[v.Name] == nil {
			return nil, fmt.Errorf("reference engine: input %q not given", v.Name)
		}
	}
	for name, v := range in {
		if !names[name] {
			return nil, fmt.Errorf("reference engine: the model has no input %q", name)
		}
		values[name] = v
	}
	return values, nil
}

// dense is the array of a float or int64 tensor.
func dense(t *onnxgraph.Tensor) (*tensor.Dense, error) {
	shape := make([]int, len(t.Dims))
	for i, d := range t.Dims {
		shape[i] = int(d)
	}
	if t.Len() == 0 {
		return nil, fmt.Errorf("tensor %q: %s%v has no elements, which the engine cannot express", t.Name, t.DType, t.Dims)
	}
	switch t.DType {
	case onnxgraph.Float:
		data, err := t.AsFloats()
		if err != nil {
			return nil, err
		}
		return array(shape, data), nil
	case onnxgraph.Int64:
		data, err := t.AsInts()
		if err != nil {
			return nil, err
		}
		return array(shape, data), nil
	}
	return nil, fmt.Errorf("tensor %q: %s, expected float or int64", t.Name, t.DType)
}

// array is an array over data. gorgonia's scalars are of a kind of their own.
func array[T float32 | int64](shape []int, data []T) *tensor.Dense {
	if len(shape) == 0 {
		return tensor.New(tensor.FromScalar(data[0]))
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// runNode adds the outputs of n to values.
func runNode(n *onnxgraph.Node, opset int64, values map[string]*tensor.Dense) error {
	c := &call{node: n, opset: opset}
	for _, name := range n.Inputs {
		v := values[name]
		if name != "" && v == nil {
			return fmt.Errorf("input %q is not computed by an earlier node", name)
		}
		c.in = append(c.in, v)
	}
	for len(c.in) > 0 && c.in[len(c.in)-1] == nil { // optional inputs that are absent
		c.in = c.in[:len(c.in)-1]
	}
	if len(n.Outputs) != 1 {
		return errors.New("only nodes with one output are supported")
	}
	if slices.Contains(c.in, nil) {
		return errors.New("an absent input before one that is there is not supported")
	}
	out, err := operators[n.OpType](c)
	if err != nil {
		return err
	}
	values[n.Outputs[0]] = out
	return nil
}
