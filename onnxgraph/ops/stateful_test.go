package ops_test

import "testing"

// TestUnreleased checks operators of opsets that are under development, which
// ONNX Runtime runs only when asked to.
func TestUnreleased(t *testing.T) {
	t.Setenv("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")
	check(t, []row{
		{Op: "CausalConvWithState", Opset: 27, In: in(normal(2, 3, 5), normal(3, 1, 4), normal(3), normal(2, 3, 3)), Outputs: 2, Reason: "bias and state"},
		{Op: "CausalConvWithState", Opset: 27, Attrs: with(s("activation", "silu")), In: in(normal(2, 3, 2), normal(3, 1, 4)), Outputs: 2, Reason: "shorter than the kernel, activated"},
	})
}
