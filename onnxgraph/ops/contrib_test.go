package ops_test

import (
	"testing"

	"ninox/onnxgraph"
)

func TestContrib(t *testing.T) {
	conv := func(activation string, more ...*onnxgraph.Attribute) []*onnxgraph.Attribute {
		return append(with(s("activation", activation), is("kernel_shape", 3, 3), is("pads", 1, 1, 1, 1)), more...)
	}
	check(t, []row{
		{Op: "com.microsoft:FusedConv", Attrs: conv("Tanh"), In: in(normal(2, 2, 4, 4), normal(3, 2, 3, 3), normal(3)), Reason: "activation"},
		{Op: "com.microsoft:FusedConv", Attrs: conv("LeakyRelu", onnxgraph.FloatsAttr("activation_params", 0.3)), In: in(normal(1, 1, 3, 3), normal(1, 1, 3, 3)), Tol: 2e-2, Reason: "parameter"},
		{Op: "com.microsoft:FusedConv", Attrs: conv("Sigmoid"), In: in(normal(1, 2, 4, 4), normal(3, 2, 3, 3), normal(3), normal(1, 3, 4, 4)), Reason: "sum"},
		{Op: "com.microsoft:FusedGemm", Attrs: with(s("activation", "Sigmoid"), i("transB", 1), f("alpha", 0.5)), In: in(normal(3, 4), normal(5, 4), normal(5)), Reason: "activation"},
	})
}
