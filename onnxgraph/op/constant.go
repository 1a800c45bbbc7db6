package op

import "ninox/onnxgraph"

// ConstantValue is the dense tensor that a Constant node holds, nil where it
// has none.
func ConstantValue(n *onnxgraph.Node) *onnxgraph.Tensor {
	for _, a := range n.Attrs {
		switch a.Name {
		case "value":
			return a.T
		case "value_float":
			return onnxgraph.Scalar("", a.F)
		case "value_floats":
			return onnxgraph.Floats("", []int64{int64(len(a.Floats))}, a.Floats)
		case "value_int":
			return onnxgraph.Int64s("", []int64{}, []int64{a.I})
		case "value_ints":
			return onnxgraph.Vector("", a.Ints...)
		case "value_string":
			return &onnxgraph.Tensor{DType: onnxgraph.String, Dims: []int64{}, Strings: [][]byte{a.S}}
		case "value_strings":
			return &onnxgraph.Tensor{DType: onnxgraph.String, Dims: []int64{int64(len(a.Strings))}, Strings: a.Strings}
		}
	}
	return nil
}
