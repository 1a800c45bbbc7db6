package ops_test

import (
	"fmt"
	"strings"
	"testing"

	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
)

// legacy are nodes as old opsets write them, which runtimes of today do not
// run. The types of the outputs are those of onnx.shape_inference where it
// gives any.
var legacy = []struct {
	opset int64
	graph string // inputs and outputs, then nodes
	want  string
}{
	{1, "(float[2,3] x, float[3] b) => (y) { y = Add <broadcast = 1, axis = 1> (x, b) }", "float[2,3]"},
	{6, "(float[2,3,4] x, float[3] b) => (y) { y = Mul <broadcast = 1, axis = 1> (x, b) }", "float[2,3,4]"},
	{1, "(float[2,3,4] x, float[3,4] b) => (y) { y = Greater <broadcast = 1> (x, b) }", "bool[2,3,4]"},
	{1, "(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (y) { y = BatchNormalization <consumed_inputs = [0, 0, 0, 1, 1], is_test = 1> (x, s, b, m, v) }", "float[2,3,4,4]"},
	{6, "(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (y) { y = BatchNormalization <is_test = 1, spatial = 1> (x, s, b, m, v) }", "float[2,3,4,4]"},
	{7, "(float[2,3,4,4] x, float[3] s, float[3] b, float[3] m, float[3] v) => (y, m1, v1, m2, v2) { y, m1, v1, m2, v2 = BatchNormalization (x, s, b, m, v) }", "float[2,3,4,4] float[3] float[3] float[3] float[3]"},
	{1, `(float[2] x) => (y) { y = Cast <to = "DOUBLE"> (x) }`, "double[2]"},
	{1, "(float[2,3] x) => (y) { y = Clip <min = 0.0, max = 6.0> (x) }", "float[2,3]"},
	{1, "(float[2,3] x, float[2,4] z) => (y) { y = Concat (x, z) }", "float[2,7]"},
	{1, "(float[2,3] x) => (y, mask) { y, mask = Dropout <is_test = 0> (x) }", "float[2,3] float[2,3]"},
	{7, "(float[2,3] x) => (y, mask) { y, mask = Dropout (x) }", "float[2,3] float[2,3]"},
	{10, "(float[2,3] x) => (y, mask) { y, mask = Dropout (x) }", "float[2,3] bool[2,3]"},
	{1, "(float[2,3,4] x) => (y) { y = Flatten <axis = 2> (x) }", "float[6,4]"},
	{1, "(float[2,3] x, float[4,3] w, float[4] b) => (y) { y = Gemm <broadcast = 1, transB = 1> (x, w, b) }", "float[2,4]"},
	{1, "(float[4,2,5] x, float[1,9,5] w, float[1,9,3] r) => (y, h) { y, h = GRU <hidden_size = 3, output_sequence = 1> (x, w, r) }", "float[4,1,2,3] float[1,2,3]"},
	{1, "(float[4,2,5] x, float[1,3,5] w, float[1,3,3] r) => (y, h) { y, h = RNN <hidden_size = 3, output_sequence = 1> (x, w, r) }", "float[4,1,2,3] float[1,2,3]"},
	{1, "(float[4,2,5] x, float[2,12,5] w, float[2,12,3] r) => (y, h, c) { y, h, c = LSTM <hidden_size = 3, direction = \"bidirectional\", output_sequence = 1> (x, w, r) }", "float[4,2,2,3] float[2,2,3] float[2,2,3]"},
	{1, "(float[2,3,4] x) => (y) { y = Hardmax (x) }", "float[2,3,4]"},
	{1, "(float[2,3,5,5] x) => (y) { y = LpPool <kernel_shape = [2, 2], p = 2.0> (x) }", "float[2,3,4,4]"},
	{1, "(float[2,3,5,5] x) => (y) { y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (x) }", "float[2,3,3,3]"},
	{1, "(float[2,3,5,5] x) => (y) { y = MaxPool <kernel_shape = [3, 3], auto_pad = \"SAME_UPPER\", strides = [2, 2]> (x) }", "float[2,3,3,3]"},
	{1, "(float[2,3] x, float[2,3] z) => (y) { y = Max <consumed_inputs = [0, 0]> (x, z) }", "float[2,3]"},
	{1, "(float[2,5] x) => (y) { y = Pad <paddings = [0, 1, 0, 2]> (x) }", "float[2,8]"},
	{2, "(float[2,5] x) => (y) { y = Pad <pads = [0, 1, 0, -2]> (x) }", "float[2,4]"},
	{6, "(float[2,3,4] x, float[3] s) => (y) { y = PRelu (x, s) }", "float[2,3,4]"},
	{1, "(float[2,3,4] x) => (y) { y = ReduceMean <axes = [1], keepdims = 0> (x) }", "float[2,4]"},
	{1, "(float[2,3,4] x) => (y) { y = Reshape <shape = [0, -1]> (x) }", "float[2,12]"},
	{9, "(float[4,3] x, int64[2,3] i, float[2,3] u) => (y) { y = Scatter (x, i, u) }", "float[4,3]"},
	{1, "(float[6,5] x) => (y) { y = Slice <starts = [1, 0], ends = [-1, 9], axes = [0, 1]> (x) }", "float[4,5]"},
	{1, "(float[2,3,4] x) => (y) { y = Softmax (x) }", "float[2,3,4]"},
	{1, "(float[2,6] x, float[2] s) => (a, b) { a, b = Split <axis = 1> (x, s) }", "float[2,?] float[2,?]"},
	{2, "(float[2,6] x) => (a, b) { a, b = Split <axis = 1, split = [2, 4]> (x) }", "float[2,2] float[2,4]"},
	{2, "(float[2,6] x) => (a, b) { a, b = Split <axis = 1> (x) }", "float[2,3] float[2,3]"},
	{1, "(float[1,3,1] x) => (y) { y = Squeeze <axes = [0]> (x) }", "float[3,1]"},
	{1, "(float[2,3] x, int64 t, int64 a) => (y) { y = Tile (x, t, a) }", "float[?,?]"},
	{1, "(float[2,9] x) => (y, i) { y, i = TopK <k = 3> (x) }", "float[2,3] int64[2,3]"},
	{10, "(float[2,9] x) => (y, i) <int64[1] k = {1}> { y, i = TopK <axis = 0> (x, k) }", "float[1,9] int64[1,9]"},
	{1, "(float[2,3] x) => (y) { y = Unsqueeze <axes = [0, 3]> (x) }", "float[1,2,3,1]"},
	{1, "(float[1,2,3,4] x) => (y) { y = Upsample <height_scale = 2.0, width_scale = 1.5> (x) }", "float[1,2,6,6]"},
	{7, "(float[1,2,3,4] x) => (y) { y = Upsample <scales = [1.0, 1.0, 2.0, 3.0]> (x) }", "float[1,2,6,12]"},
	{9, "(float[1,2,3,4] x) => (y) <float[4] s = {1, 1, 2, 2}> { y = Upsample (x, s) }", "float[1,2,6,8]"},
	{10, "(float[1,2,3,4] x) => (y) <float[4] s = {1, 1, 0.5, 2}> { y = Resize (x, s) }", "float[1,2,1,8]"},
	{8, "(float[2,3] h, float[2,5,3] x) => (hT, all) { hT, all = Scan <num_scan_inputs = 1, body: graph = cell (float[3] s, float[3] v) => (float[3] t, float[3] o) { t = Add (s, v) o = Identity (t) }> (\"\", h, x) }", "float[2,3] float[2,5,3]"},
	{18, "(float[2,4,3] x, float[2] s, float[2] b) => (y) { y = GroupNormalization <num_groups = 2> (x, s, b) }", "float[2,4,3]"},
	{17, "(float[1,8,1] x) => (y) { y = DFT <axis = 1, onesided = 1> (x) }", "float[1,5,2]"},
	{1, "(float[2,3,2,2] x) => (y) { y = DepthToSpace <blocksize = 1> (x) }", "float[2,3,2,2]"},
}

func TestLegacy(t *testing.T) {
	for _, c := range legacy {
		_, node, _ := strings.Cut(c.graph[strings.Index(c.graph, "{ ")+2:], " = ")
		t.Run(fmt.Sprintf("%s-%d", strings.Fields(node)[0], c.opset), func(t *testing.T) {
			m, err := text.Parse([]byte(fmt.Sprintf(`<ir_version: 8, opset_import: ["" : %d]> legacy %s`, c.opset, c.graph)))
			if err != nil {
				t.Fatal(err)
			}
			facts, err := infer.Run(m, ops.Registry(), infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range m.Graph.Outputs {
				got = append(got, facts.Fact(o.Name).Type.String())
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s: inferred %s, expected %s", c.graph, s, c.want)
			}
		})
	}
}
