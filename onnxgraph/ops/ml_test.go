package ops_test

import (
	"testing"

	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
)

// TestClassical infers operators of ai.onnx.ml that no other test has; the
// types are those that ONNX Runtime 1.32 gives.
func TestClassical(t *testing.T) {
	for _, c := range []struct{ graph, want string }{
		{`(map(int64, float) x) => (y) { y = ai.onnx.ml.CastMap <cast_to = "TO_FLOAT", map_form = "DENSE"> (x) }`, "float[1,?]"},
		{`(map(int64, float) x) => (y) { y = ai.onnx.ml.CastMap <cast_to = "TO_FLOAT", map_form = "SPARSE", max_map = 9> (x) }`, "float[1,9]"},
		{`(string[2,3] x) => (y) { y = ai.onnx.ml.CategoryMapper <cats_int64s = [1, 2], cats_strings = ["a", "b"]> (x) }`, "int64[2,3]"},
		{`(int64[2,3] x) => (y) { y = ai.onnx.ml.CategoryMapper <cats_int64s = [1, 2], cats_strings = ["a", "b"]> (x) }`, "string[2,3]"},
		{`(map(string, float) x) => (y) { y = ai.onnx.ml.DictVectorizer <string_vocabulary = ["a", "b", "c"]> (x) }`, "float[1,3]"},
		{`(float[4,2] x, float[4,3] z) => (y) { y = ai.onnx.ml.FeatureVectorizer <inputdimensions = [2, 3]> (x, z) }`, "float[4,5]"},
		{`(int64[2,3] x) => (y) { y = ai.onnx.ml.OneHotEncoder <cats_int64s = [1, 2, 5]> (x) }`, "float[2,3,3]"},
	} {
		m, err := text.Parse([]byte(`<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]> classical ` + c.graph))
		if err != nil {
			t.Fatal(err)
		}
		facts, err := infer.Run(m, ops.Registry(), infer.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.graph, err)
			continue
		}
		if got := facts.Fact("y").Type.String(); got != c.want {
			t.Errorf("%s: %s, expected %s", c.graph, got, c.want)
		}
	}
}
