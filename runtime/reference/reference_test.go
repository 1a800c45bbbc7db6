package reference_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/reference"
	"ninox/runtime/runtimetest"
)

const seed = 7

// tolerance is the largest difference that is accepted, relative to the larger
// of 1 and the value: both engines sum float32 products in their own order.
const tolerance = 2e-6

func random(rng *rand.Rand, n int, positive bool) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		if positive {
			v[i] = float32(math.Abs(float64(v[i]))) + 0.1
		}
	}
	return v
}

func length(dims []int64) int {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	return n
}

// crossCheck runs the model on both engines, on random inputs.
func crossCheck(t *testing.T, m *onnxgraph.Model, positive bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	values := map[string]*ort.Value{}
	arrays := map[string]*tensor.Dense{}
	for _, in := range m.Graph.Inputs {
		dims, ok := in.Type.Shape.Static()
		if !ok {
			t.Fatalf("input %s has no static shape", in.Name)
		}
		data := random(rng, length(dims), positive)
		v, err := ort.FloatValue(dims, data)
		if err != nil {
			t.Fatal(err)
		}
		values[in.Name] = v
		shape := make([]int, len(dims))
		for i, d := range dims {
			shape[i] = int(d)
		}
		if arrays[in.Name] = tensor.New(tensor.FromScalar(data[0])); len(dims) > 0 {
			arrays[in.Name] = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(slices.Clone(data)))
		}
	}
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want, err := s.Run(context.Background(), values)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reference.Run(m, arrays)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d outputs, ONNX Runtime has %d", len(got), len(want))
	}
	for name, w := range want {
		compare(t, name, w, got[name])
	}
}

func compare(t *testing.T, name string, want *ort.Value, got *tensor.Dense) {
	t.Helper()
	var shape []int64
	for _, d := range got.Shape() {
		shape = append(shape, int64(d))
	}
	if !slices.Equal(shape, want.Dims()) {
		t.Fatalf("output %s: shape %v, ONNX Runtime has %v", name, shape, want.Dims())
	}
	g, w := got.Float32s(), want.Floats()
	for i := range w {
		if d := math.Abs(float64(g[i] - w[i])); !(d <= tolerance*max(1, math.Abs(float64(w[i])))) {
			t.Fatalf("output %s, element %d: %g, ONNX Runtime has %g (seed %d)", name, i, g[i], w[i], seed)
		}
	}
}

type shape = []int64

// builder adds initializers of random values to onnxgraph.Builder.
type builder struct {
	*onnxgraph.Builder
	rng *rand.Rand
}

func newBuilder(name string, opset int64) *builder {
	return &builder{onnxgraph.NewBuilder(name, opset), rand.New(rand.NewPCG(seed, 1))}
}

func (b *builder) input(name string, dims ...int64) string {
	return b.Input(name, onnxgraph.Float, onnxgraph.StaticShape(dims...))
}

func (b *builder) weight(dims ...int64) string {
	v := random(b.rng, length(dims), false)
	for i := range v {
		v[i] /= float32(math.Sqrt(float64(len(v))))
	}
	return b.Const(onnxgraph.Floats("w", dims, v))
}

func (b *builder) model(t *testing.T, outputs ...string) *onnxgraph.Model {
	t.Helper()
	for _, o := range outputs {
		b.Output(o, onnxgraph.Float, nil)
	}
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var opsets = []int64{9, 11, 13, 17, 21}

func TestPerceptron(t *testing.T) {
	for _, opset := range opsets {
		t.Run(fmt.Sprint("opset", opset), func(t *testing.T) {
			b := newBuilder("mlp", opset)
			x := b.input("x", 5, 7)
			h := b.Op("Relu", []string{b.Op("Gemm", []string{x, b.weight(8, 7), b.weight(8)}, onnxgraph.IntAttr("transB", 1))})
			h = b.Op("Tanh", []string{b.Op("Add", []string{b.Op("MatMul", []string{h, b.weight(8, 8)}), b.weight(8)})})
			y := b.Op("Softmax", []string{b.Op("Gemm", []string{h, b.weight(8, 3), b.weight(3)})}, onnxgraph.IntAttr("axis", 1))
			// The hidden values are an output too, which the engine alone would not give.
			crossCheck(t, b.model(t, y, h), false)
		})
	}
}

func TestConvolutionalNetwork(t *testing.T) {
	for _, opset := range opsets {
		t.Run(fmt.Sprint("opset", opset), func(t *testing.T) {
			b := newBuilder("convnet", opset)
			x := b.input("x", 3, 2, 12, 9)
			h := b.Op("Conv", []string{x, b.weight(4, 2, 3, 3), b.weight(4)}, onnxgraph.IntsAttr("pads", 1, 1, 1, 1))
			h = b.Op("BatchNormalization", []string{h, b.weight(4), b.weight(4), b.weight(4),
				b.Const(onnxgraph.Floats("var", shape{4}, []float32{0.5, 1, 2, 3}))})
			h = b.Op("MaxPool", []string{b.Op("Relu", []string{h})}, onnxgraph.IntsAttr("kernel_shape", 2, 2), onnxgraph.IntsAttr("strides", 2, 2))
			h = b.Op("Conv", []string{h, b.weight(6, 4, 3, 1), b.weight(6)}, onnxgraph.IntsAttr("strides", 2, 1))
			pooled := b.Op("GlobalAveragePool", []string{b.Op("LeakyRelu", []string{h}, onnxgraph.FloatAttr("alpha", 0.1))})
			y := b.Op("Gemm", []string{b.Op("Flatten", []string{pooled}), b.weight(6, 3), b.weight(3)})
			crossCheck(t, b.model(t, y), false)
		})
	}
}

// row is one node on random inputs of the given shapes.
type row struct {
	op       string
	inputs   []shape
	attrs    []*onnxgraph.Attribute
	consts   []*onnxgraph.Tensor // further inputs
	opset    int64               // 17 where it is 0
	positive bool
}

var rows = []row{
	{op: "Abs", inputs: []shape{{2, 3}}},
	{op: "Ceil", inputs: []shape{{2, 3}}},
	{op: "Cos", inputs: []shape{{4}}},
	{op: "Exp", inputs: []shape{{2, 3, 2}}},
	{op: "Floor", inputs: []shape{{2, 3}}},
	{op: "Log", inputs: []shape{{2, 3}}, positive: true},
	{op: "Neg", inputs: []shape{{}}},
	{op: "Relu", inputs: []shape{{2, 3, 4, 5}}},
	{op: "Sigmoid", inputs: []shape{{1, 1}}},
	{op: "Sign", inputs: []shape{{2, 3}}},
	{op: "Sin", inputs: []shape{{2, 3}}},
	{op: "Softplus", inputs: []shape{{2, 3}}},
	{op: "Sqrt", inputs: []shape{{2, 3}}, positive: true},
	{op: "Tanh", inputs: []shape{{}}},
	{op: "Identity", inputs: []shape{{2, 3}}},
	{op: "LeakyRelu", inputs: []shape{{2, 3}}},
	{op: "Add", inputs: []shape{{2, 3}, {2, 3}}},
	{op: "Add", inputs: []shape{{3, 3}, {3}}}, // the axis cannot be guessed from the sizes
	{op: "Sub", inputs: []shape{{4, 1, 3}, {2, 1}}},
	{op: "Mul", inputs: []shape{{2, 3, 4, 5}, {3, 1, 1}}},
	{op: "Mul", inputs: []shape{{}, {2, 2}}},
	{op: "Div", inputs: []shape{{1, 3}, {4, 1}}, positive: true},
	{op: "Add", inputs: []shape{{}, {}}},
	{op: "Min", inputs: []shape{{2, 3}, {3}, {2, 1}}},
	{op: "Max", inputs: []shape{{2, 3}, {1}}},
	{op: "MatMul", inputs: []shape{{2, 3}, {3, 4}}},
	{op: "MatMul", inputs: []shape{{1, 3}, {3, 1}}},
	{op: "Gemm", inputs: []shape{{3, 2}, {4, 3}, {2, 1}}, attrs: []*onnxgraph.Attribute{
		onnxgraph.IntAttr("transA", 1), onnxgraph.IntAttr("transB", 1), onnxgraph.FloatAttr("alpha", 0.5), onnxgraph.FloatAttr("beta", 2)}},
	{op: "Gemm", inputs: []shape{{2, 3}, {3, 4}}},
	{op: "Gemm", inputs: []shape{{2, 3}, {3, 4}, {}}},
	{op: "Conv", inputs: []shape{{2, 3, 7, 5}, {4, 3, 3, 2}, {4}}, attrs: []*onnxgraph.Attribute{
		onnxgraph.IntsAttr("pads", 2, 1, 2, 1), onnxgraph.IntsAttr("strides", 1, 2)}},
	{op: "Conv", inputs: []shape{{1, 1, 8, 8}, {1, 1, 2, 2}}, attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("dilations", 2, 2)}},
	{op: "MaxPool", inputs: []shape{{2, 3, 6, 8}}, attrs: []*onnxgraph.Attribute{
		onnxgraph.IntsAttr("kernel_shape", 3, 2), onnxgraph.IntsAttr("strides", 2, 2), onnxgraph.IntsAttr("pads", 1, 0, 1, 0)}},
	{op: "GlobalAveragePool", inputs: []shape{{2, 3, 4, 5}}},
	{op: "BatchNormalization", inputs: []shape{{1, 3, 4, 2}, {3}, {3}, {3}, {3}}, positive: true, attrs: []*onnxgraph.Attribute{onnxgraph.FloatAttr("epsilon", 0.01)}},
	{op: "BatchNormalization", inputs: []shape{{2, 3, 4, 2}, {3}, {3}, {3}, {3}}, positive: true},
	{op: "Softmax", inputs: []shape{{3, 4}}},
	{op: "Softmax", inputs: []shape{{1, 4}}},
	{op: "Softmax", inputs: []shape{{2, 3, 4}}},
	{op: "Softmax", inputs: []shape{{2, 3, 4}}, opset: 11},
	{op: "Softmax", inputs: []shape{{2, 3, 4}}, opset: 11, attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", -1)}},
	{op: "Flatten", inputs: []shape{{2, 3, 4}}, attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 2)}},
	{op: "Flatten", inputs: []shape{{2, 3, 4}}, attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", -2)}},
	{op: "Reshape", inputs: []shape{{2, 3, 4}}, consts: []*onnxgraph.Tensor{onnxgraph.Vector("s", 0, -1)}},
	{op: "Reshape", inputs: []shape{{2, 3, 4}}, consts: []*onnxgraph.Tensor{onnxgraph.Vector("s", -1)}},
	{op: "Squeeze", inputs: []shape{{1, 3, 1}}},
	{op: "Squeeze", inputs: []shape{{1, 3, 1}}, consts: []*onnxgraph.Tensor{onnxgraph.Vector("a", -1)}},
	{op: "Squeeze", inputs: []shape{{1, 3, 1}}, opset: 11, attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("axes", 0)}},
	{op: "Unsqueeze", inputs: []shape{{2, 3}}, consts: []*onnxgraph.Tensor{onnxgraph.Vector("a", 0, -1)}},
	{op: "Unsqueeze", inputs: []shape{{2, 3}}, opset: 9, attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("axes", 1, 3)}},
	{op: "Transpose", inputs: []shape{{2, 3, 4}}},
	{op: "Transpose", inputs: []shape{{2, 3, 4, 5}}, attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("perm", 0, 2, 3, 1)}},
	{op: "Concat", inputs: []shape{{2, 3}, {2, 1}, {2, 2}}, attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", -1)}},
	{op: "Dropout", inputs: []shape{{2, 3}}},
}

func TestOperators(t *testing.T) {
	for i, r := range rows {
		t.Run(fmt.Sprintf("%02d_%s", i, r.op), func(t *testing.T) {
			if r.opset == 0 {
				r.opset = 17
			}
			b := newBuilder("row", r.opset)
			var in []string
			for i, s := range r.inputs {
				in = append(in, b.input(fmt.Sprintf("x%d", i), s...))
			}
			for _, c := range r.consts {
				in = append(in, b.Const(c))
			}
			crossCheck(t, b.model(t, b.Op(r.op, in, r.attrs...)), r.positive)
		})
	}
}

func TestSameValueTwice(t *testing.T) {
	b := newBuilder("square", 13)
	x := b.input("x", 2, 3)
	crossCheck(t, b.model(t, b.Op("Mul", []string{x, x})), false)
}

func one(dims ...int) *tensor.Dense {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return tensor.New(tensor.WithShape(dims...), tensor.WithBacking(make([]float32, n)))
}

func TestRefusals(t *testing.T) {
	build := func(op string, dims []int64, attrs ...*onnxgraph.Attribute) *onnxgraph.Model {
		b := newBuilder("refused", 17)
		return b.model(t, b.Op(op, []string{b.input("x", dims...)}, attrs...))
	}
	for _, c := range []struct {
		name string
		m    *onnxgraph.Model
		in   map[string]*tensor.Dense
		want string
	}{
		{"unknown operator", build("Erf", shape{2}), map[string]*tensor.Dense{"x": one(2)}, "no operator Erf"},
		{"missing input", build("Relu", shape{2}), nil, `input "x" not given`},
		{"surplus input", build("Relu", shape{2}), map[string]*tensor.Dense{"x": one(2), "z": one(2)}, `no input "z"`},
		{"softmax axis", build("Softmax", shape{2, 2}, onnxgraph.IntAttr("axis", 0)), map[string]*tensor.Dense{"x": one(2, 2)}, "last axis"},
		{"pads", build("MaxPool", shape{1, 1, 4, 4}, onnxgraph.IntsAttr("kernel_shape", 2, 2), onnxgraph.IntsAttr("pads", 0, 0, 1, 1)),
			map[string]*tensor.Dense{"x": one(1, 1, 4, 4)}, "pads [0 0 1 1]"},
		{"attribute", build("Relu", shape{2}, onnxgraph.IntAttr("novel", 1)), map[string]*tensor.Dense{"x": one(2)}, `attribute "novel"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := reference.Run(c.m, c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want it to contain %q", err, c.want)
			}
		})
	}
}

func TestUnsupportedListsAll(t *testing.T) {
	b := newBuilder("two", 17)
	x := b.input("x", 2)
	m := b.model(t, b.Op("Erf", []string{b.Op("Cosh", []string{x})}))
	_, err := reference.Run(m, map[string]*tensor.Dense{"x": one(2)})
	var u *reference.UnsupportedError
	if !errors.As(err, &u) || !slices.Equal(u.Operators, []string{"Cosh", "Erf"}) {
		t.Errorf("error %v, want one that lists Cosh and Erf", err)
	}
}

// TestImpossibleNode gives the engine a kernel larger than its image.
func TestImpossibleNode(t *testing.T) {
	b := newBuilder("impossible", 17)
	m := b.model(t, b.Op("Conv", []string{b.input("x", 1, 1, 2, 2), b.weight(1, 1, 5, 5)}))
	_, err := reference.Run(m, map[string]*tensor.Dense{"x": one(1, 1, 2, 2)})
	if err == nil || !strings.Contains(err.Error(), `node "Conv" (Conv)`) {
		t.Errorf("error %v, want one that names the node", err)
	}
}
