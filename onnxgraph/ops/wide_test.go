package ops_test

import (
	"encoding/binary"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/optest"
)

func floats(dims []int64, v ...float32) optest.Arg { return fixed(onnxgraph.Floats("", dims, v)) }

func TestMoreActivations(t *testing.T) {
	var rows []row
	for _, name := range []string{"LeakyRelu", "Elu", "Selu", "Celu"} {
		rows = append(rows, row{Op: name, In: in(apart(3, 5)), Reason: "off the kink"},
			row{Op: name, Attrs: with(f("alpha", 0.7)), In: in(apart(15)), Reason: "alpha"})
	}
	rows = append(rows,
		row{Op: "Selu", Attrs: with(f("gamma", 0.6)), In: in(apart(9)), Reason: "gamma"},
		row{Op: "HardSigmoid", In: in(uniform(-2, 2, 12)), Reason: "inside the ramp"},
		row{Op: "HardSigmoid", Attrs: with(f("alpha", 1), f("beta", 0)), In: in(floats([]int64{2}, -3, 3).NoGrad(), normal(1))[1:], Reason: "steep"},
		row{Op: "HardSwish", In: in(uniform(-2.5, 2.5, 4, 3)), Reason: "inside the ramp"},
		row{Op: "HardSwish", In: in(uniform(3.5, 6, 7)), Reason: "above"},
		row{Op: "Mish", Opset: 18, In: in(normal(3, 4)), Reason: "smooth"},
		row{Op: "Softsign", In: in(apart(6)), Reason: "both signs"},
		row{Op: "ThresholdedRelu", Attrs: with(f("alpha", 0.1)), In: in(apart(11)), Reason: "alpha"},
		// The runtime computes this one in float32 whatever the type.
		row{Op: "Shrink", Attrs: with(f("lambd", 0.1), f("bias", 0.05)), In: in(apart(11)), Tol: 3e-3, Reason: "bias"},
		row{Op: "PRelu", In: in(apart(2, 3, 4), uniform(0.1, 0.5, 3, 1)), Reason: "slope per channel"},
		row{Op: "Gelu", Opset: 20, In: in(normal(3, 4)), Reason: "exact"},
		row{Op: "Gelu", Opset: 20, Attrs: with(s("approximate", "tanh")), In: in(normal(3, 4)), Reason: "tanh"},
		row{Op: "com.microsoft:Gelu", In: in(normal(3, 4)), Reason: "exact"},
		row{Op: "com.microsoft:FastGelu", In: in(normal(3, 4)), Reason: "no bias"},
		row{Op: "com.microsoft:FastGelu", In: in(normal(3, 4), normal(4)), Reason: "bias"},
		row{Op: "com.microsoft:BiasGelu", In: in(normal(2, 3, 4), normal(4)), Reason: "bias"},
		row{Op: "com.microsoft:QuickGelu", Attrs: with(f("alpha", 1)), In: in(normal(3, 4)), Reason: "silu"},
	)
	check(t, rows)
}

func TestTrigonometry(t *testing.T) {
	var rows []row
	for _, name := range []string{"Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh"} {
		rows = append(rows, row{Op: name, In: in(uniform(-0.8, 0.8, 3, 4)), Reason: "around 0"})
	}
	check(t, append(rows, row{Op: "Acosh", In: in(uniform(1.5, 3, 7)), Reason: "above 1"}))
}

func TestLayerNormalization(t *testing.T) {
	check(t, []row{
		{Op: "LayerNormalization", In: in(normal(3, 4, 6), normal(6), normal(6)), Outputs: 3, Skip: []int{1, 2}, Reason: "statistics named"},
		{Op: "LayerNormalization", In: in(normal(3, 4, 6), normal(6)), Reason: "no bias"},
		{Op: "LayerNormalization", Attrs: with(i("axis", 1), f("epsilon", 0.1)), In: in(normal(3, 4, 6), normal(4, 6), normal(4, 6)), Reason: "two axes"},
		{Op: "SimplifiedLayerNormalization", In: in(normal(3, 4, 6), normal(6)), Reason: "last axis"},
		{Op: "RMSNormalization", Opset: 23, In: in(normal(3, 4, 6), normal(6)), Reason: "last axis"},
		{Op: "RMSNormalization", Opset: 23, Attrs: with(i("axis", -2)), In: in(normal(3, 4, 6), normal(4, 6)), Reason: "two axes"},
	})
}

func TestCrossEntropy(t *testing.T) {
	labels := indices([]int64{4}, 2, 0, 1, 2)
	weights := floats([]int64{3}, 0.5, 2, 1)
	var rows []row
	for _, r := range []string{"none", "sum", "mean"} {
		rows = append(rows,
			row{Op: "SoftmaxCrossEntropyLoss", Attrs: with(s("reduction", r)), In: in(normal(4, 3), labels), Reason: r},
			row{Op: "SoftmaxCrossEntropyLoss", Attrs: with(s("reduction", r), i("ignore_index", 0)), In: in(normal(4, 3), labels, weights), Outputs: 2, Skip: []int{1}, Reason: r + " weighted, one ignored"},
			row{Op: "NegativeLogLikelihoodLoss", Attrs: with(s("reduction", r), i("ignore_index", 1)), In: in(normal(4, 3), labels), Reason: r + " ignoring", Linear: true})
	}
	rows = append(rows, row{Op: "SoftmaxCrossEntropyLoss", In: in(normal(2, 3, 2), indices([]int64{2, 2}, 0, 2, 1, 1)), Reason: "positions behind the classes"})
	check(t, rows)
}

func TestFusedMatMul(t *testing.T) {
	check(t, []row{
		{Op: "com.microsoft:FusedMatMul", In: in(normal(3, 4), normal(4, 2)), Reason: "plain", Linear: true},
		{Op: "com.microsoft:FusedMatMul", Attrs: with(i("transA", 1), f("alpha", 0.25)), In: in(normal(2, 4, 3), normal(2, 4, 5)), Reason: "A transposed", Linear: true},
		{Op: "com.microsoft:FusedMatMul", Attrs: with(i("transA", 1), i("transB", 1)), In: in(normal(4, 3), normal(5, 4)), Reason: "both transposed", Linear: true},
		{Op: "com.microsoft:FusedMatMul", Attrs: with(i("transBatchA", 1)), In: in(normal(3, 2, 4), normal(2, 4, 5)), Reason: "batch of A behind", Linear: true},
		{Op: "com.microsoft:FusedMatMul", Attrs: with(i("transBatchB", 1), i("transB", 1)), In: in(normal(2, 3, 4), normal(5, 2, 4)), Reason: "batch of B behind", Linear: true},
	})
}

// The layers are written out step by step, so their rows need the number of
// steps, the first extent.
func TestRecurrent(t *testing.T) {
	dir := func(d string) *onnxgraph.Attribute { return s("direction", d) }
	h := i("hidden_size", 3)
	check(t, []row{
		{Op: "RNN", Static: true, Attrs: with(h), In: in(normal(4, 2, 5), normal(1, 3, 5), normal(1, 3, 3), normal(1, 6)), Outputs: 2, Reason: "forward"},
		{Op: "RNN", Static: true, Attrs: with(h, dir("bidirectional"), &onnxgraph.Attribute{Name: "activations", Type: onnxgraph.AttrStrings, Strings: [][]byte{[]byte("Sigmoid"), []byte("Tanh")}}),
			In: in(normal(3, 2, 5), normal(2, 3, 5), normal(2, 3, 3), absent(), absent(), normal(2, 2, 3)), Outputs: 2, Reason: "both ways, two activations"},
		{Op: "GRU", Static: true, Attrs: with(h), In: in(normal(4, 2, 5), normal(1, 9, 5), normal(1, 9, 3), normal(1, 18)), Outputs: 2, Reason: "forward"},
		{Op: "GRU", Static: true, Attrs: with(h, i("linear_before_reset", 1), dir("reverse")), In: in(normal(4, 2, 5), normal(1, 9, 5), normal(1, 9, 3), normal(1, 18), absent(), normal(1, 2, 3)), Outputs: 2, Reason: "reverse, linear before reset"},
		{Op: "RNN", Static: true, Attrs: with(h, dir("bidirectional")), In: in(normal(4, 2, 5), normal(2, 3, 5), normal(2, 3, 3), normal(2, 6), absent(), normal(2, 2, 3)), Outputs: 2, Reason: "both ways, states"},
		{Op: "GRU", Static: true, Attrs: with(h, dir("bidirectional")), In: in(normal(4, 2, 5), normal(2, 9, 5), normal(2, 9, 3), normal(2, 18), absent(), normal(2, 2, 3)), Outputs: 2, Reason: "both ways, states"},
		{Op: "GRU", Static: true, Attrs: with(h, i("linear_before_reset", 1)), In: in(normal(1, 2, 5), normal(1, 9, 5), normal(1, 9, 3)), Outputs: 2, Reason: "one step, no biases"},
		{Op: "LSTM", Static: true, Attrs: with(h), In: in(normal(4, 2, 5), normal(1, 12, 5), normal(1, 12, 3), normal(1, 24), absent(), normal(1, 2, 3), normal(1, 2, 3)), Outputs: 3, Reason: "forward, states"},
		{Op: "LSTM", Static: true, Attrs: with(h, dir("bidirectional")), In: in(normal(3, 2, 5), normal(2, 12, 5), normal(2, 12, 3), normal(2, 24)), Outputs: 3, Reason: "both ways"},
		{Op: "LSTM", Static: true, Attrs: with(h), In: in(normal(3, 2, 5), normal(1, 12, 5), normal(1, 12, 3), absent(), absent(), absent(), absent(), normal(1, 9)), Reason: "peepholes"},
		{Op: "RNN", Static: true, Attrs: with(h, dir("reverse")), In: in(normal(4, 2, 5), normal(1, 3, 5), normal(1, 3, 3), normal(1, 6), lengths(2, 4), normal(1, 2, 3)), Outputs: 2, Reason: "sequences of different length, reverse"},
		{Op: "GRU", Static: true, Attrs: with(h, dir("bidirectional")), In: in(normal(4, 3, 5), normal(2, 9, 5), normal(2, 9, 3), normal(2, 18), lengths(4, 1, 3)), Outputs: 2, Reason: "sequences of different length"},
		{Op: "LSTM", Static: true, Attrs: with(h, dir("bidirectional")), In: in(normal(3, 2, 5), normal(2, 12, 5), normal(2, 12, 3), normal(2, 24), lengths(3, 1), normal(2, 2, 3), normal(2, 2, 3)), Outputs: 3, Reason: "sequences of different length, states"},
	})
}

func TestChoosers(t *testing.T) {
	check(t, []row{
		{Op: "ArgMax", In: in(distinct(3, 4)), Reason: "axis 0"},
		{Op: "ArgMin", Attrs: with(i("axis", -1), i("keepdims", 0)), In: in(distinct(3, 4)), Reason: "axis dropped"},
		{Op: "TopK", In: in(distinct(3, 5), ints(2)), Outputs: 2, Reason: "largest", Linear: true},
		{Op: "TopK", Attrs: with(i("axis", 0), i("largest", 0)), In: in(distinct(4, 2), ints(3)), Outputs: 2, Reason: "smallest of axis 0", Linear: true},
		{Op: "Trilu", In: in(normal(2, 4, 5)), Reason: "upper", Linear: true},
		{Op: "Trilu", Attrs: with(i("upper", 0)), In: in(normal(4, 5), integer(-1)), Reason: "lower, shifted", Linear: true},
		{Op: "EyeLike", Attrs: with(i("k", 1)), In: in(normal(3, 4)), Reason: "above the diagonal"},
		{Op: "CastLike", In: in(normal(3, 4), normal(1).NoGrad()), Reason: "same type", Linear: true},
		{Op: "IsNaN", In: in(normal(3)), Reason: "numbers"},
		{Op: "IsInf", In: in(normal(3)), Reason: "numbers"},
	})
}

func TestQuantization(t *testing.T) {
	bytes := func(dims []int64, d onnxgraph.DType, v ...byte) optest.Arg {
		return fixed(&onnxgraph.Tensor{DType: d, Dims: dims, Data: v})
	}
	check(t, []row{
		{Op: "QuantizeLinear", In: in(normal(3, 4), number(0.1), bytes([]int64{}, onnxgraph.Uint8, 128)), Reason: "scalar scale"},
		{Op: "QuantizeLinear", In: in(normal(3, 4), number(0.1)), Reason: "no zero point"},
		{Op: "DequantizeLinear", Attrs: with(i("axis", 0)), In: in(bytes([]int64{2, 2}, onnxgraph.Int8, 1, 2, 3, 4), floats([]int64{2}, 0.5, 2)), Reason: "scale per row"},
		{Op: "DynamicQuantizeLinear", In: in(normal(3, 4)), Outputs: 3, Reason: "three outputs"},
		{Op: "MatMulInteger", In: in(bytes([]int64{2, 2}, onnxgraph.Uint8, 1, 2, 3, 4), bytes([]int64{2, 1}, onnxgraph.Uint8, 1, 2)), Reason: "no zero points"},
		{Op: "ConvInteger", In: in(bytes([]int64{1, 1, 2, 2}, onnxgraph.Uint8, 1, 2, 3, 4), bytes([]int64{1, 1, 2, 1}, onnxgraph.Uint8, 1, 2)), Reason: "no zero points"},
	})
}

// lengths are those of the sequences of a batch.
func lengths(v ...int32) optest.Arg {
	t := &onnxgraph.Tensor{DType: onnxgraph.Int32, Dims: []int64{int64(len(v))}}
	for _, n := range v {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(n))
	}
	return fixed(t)
}
