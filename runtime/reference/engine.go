package reference

import (
	"errors"
	"fmt"

	"github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/x/gorgonnx"
	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// compute lets the engine compute one operator of one output.
func compute(opType string, in []*tensor.Dense, attrs ...*onnxgraph.Attribute) (out *tensor.Dense, err error) {
	defer func() { // the engine panics on much that it cannot do
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("the engine panics: %v", p)
		}
	}()
	data, err := single(opType, in, attrs).Marshal()
	if err != nil {
		return nil, err
	}
	graph := gorgonnx.NewGraph()
	model := onnx.NewModel(graph)
	if err := model.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	for i, v := range in {
		// A copy, since some operators write over their inputs.
		if err := model.SetInput(i, v.Clone().(*tensor.Dense)); err != nil {
			return nil, err
		}
	}
	if err := graph.Run(); err != nil {
		return nil, err
	}
	outs, err := model.GetOutputTensors()
	if err != nil {
		return nil, err
	}
	if d, ok := outs[0].(*tensor.Dense); ok {
		return contiguous(d)
	}
	return nil, errors.New("the engine computes no dense array")
}

// single is a model of one node. Inputs have names of their own even where two
// are the same value, since the engine's graph has one edge between two nodes.
func single(opType string, in []*tensor.Dense, attrs []*onnxgraph.Attribute) *onnxgraph.Model {
	node := &onnxgraph.Node{Name: opType, OpType: opType, Outputs: []string{"out"}, Attrs: attrs}
	g := &onnxgraph.Graph{Name: opType, Nodes: []*onnxgraph.Node{node}}
	for i, v := range in {
		name := fmt.Sprintf("in%d", i)
		node.Inputs = append(node.Inputs, name)
		d := onnxgraph.Float
		if v.Dtype() == tensor.Int64 {
			d = onnxgraph.Int64
		}
		dims := make([]int64, len(v.Shape()))
		for i, n := range v.Shape() {
			dims[i] = int64(n)
		}
		g.Inputs = append(g.Inputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, onnxgraph.StaticShape(dims...))})
	}
	g.Outputs = []*onnxgraph.Value{{Name: "out", Type: onnxgraph.TensorOf(onnxgraph.Float, nil)}}
	return &onnxgraph.Model{IRVersion: 4, Opsets: []onnxgraph.Opset{{Version: 9}}, Graph: g}
}

// contiguous is d with its elements in row-major order.
func contiguous(d *tensor.Dense) (*tensor.Dense, error) {
	if !d.RequiresIterator() && !d.DataOrder().IsTransposed() {
		return d, nil
	}
	m, ok := d.Materialize().(*tensor.Dense)
	if !ok {
		return nil, errors.New("the engine's array cannot be laid out")
	}
	return m, nil
}

// reshaped is d under another shape of as many elements, sharing them.
func reshaped(d *tensor.Dense, shape []int) (*tensor.Dense, error) {
	if n := elements(shape); n != d.DataSize() && !(d.IsScalar() && n == 1) {
		return nil, fmt.Errorf("%d elements of shape %v do not fit %v", d.DataSize(), d.Shape(), shape)
	}
	switch d.Dtype() {
	case tensor.Float32:
		return array(shape, d.Float32s()), nil
	case tensor.Int64:
		return array(shape, d.Int64s()), nil
	}
	return nil, fmt.Errorf("array of %s", d.Dtype())
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
