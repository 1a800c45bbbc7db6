package optest

import (
	"fmt"
	"math"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/rewrite"
)

// lowerTol is how far, relative to the largest element, the results of an
// operator and of its lowering may lie apart in float32.
const lowerTol = 1e-5

// lowering compares the operator's results with those of its lowering.
func (c *checker) lowering() error {
	m := c.model(onnxgraph.Float)
	facts, err := infer.Run(m, c.reg, infer.Options{})
	if err != nil {
		return err
	}
	names := m.Graph.Nodes[0].Outputs
	declare(m, facts, names...)
	low, err := c.lowered(m)
	if err != nil {
		return err
	}
	for _, n := range low.Graph.Nodes {
		if n.OpType == c.def.Name && n.Domain == c.def.Domain {
			return fmt.Errorf("the lowering emits the operator itself")
		}
	}
	var results [2]map[string]*onnxgraph.Tensor
	for i, model := range []*onnxgraph.Model{m, low} {
		in, err := c.values(onnxgraph.Float, 0)
		if err != nil {
			return err
		}
		if results[i], err = c.run(model, in); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := compareTensors(results[0][name], results[1][name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lowered is a model with the operator's lowering in the place of the operator.
func (c *checker) lowered(m *onnxgraph.Model) (*onnxgraph.Model, error) {
	return rewrite.Lower(m, c.reg, func(n *onnxgraph.Node) bool { return n.OpType == c.def.Name && n.Domain == c.def.Domain })
}

func compareTensors(want, got *onnxgraph.Tensor) error {
	if want.DType != got.DType || !slices.Equal(want.Dims, got.Dims) {
		return fmt.Errorf("%s%v expected, got %s%v", want.DType, want.Dims, got.DType, got.Dims)
	}
	a, err := want.AsDoubles()
	if err != nil {
		return err
	}
	b, err := got.AsDoubles()
	if err != nil {
		return err
	}
	scale := 1.0
	for _, x := range a {
		scale = max(scale, math.Abs(x))
	}
	for i := range a {
		if !(math.Abs(a[i]-b[i]) <= lowerTol*scale) && !(math.IsNaN(a[i]) && math.IsNaN(b[i])) {
			return fmt.Errorf("element %d: expected %.9g, got %.9g", i, a[i], b[i])
		}
	}
	return nil
}
