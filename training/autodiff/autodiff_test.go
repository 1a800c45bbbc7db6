package autodiff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/autodiff"
)

// model is a graph under test: float parameters and inputs, a scalar "loss".
type model struct {
	*onnxgraph.Builder
}

func newModel() model { return model{onnxgraph.NewBuilder("test", 17)} }

// param adds a parameter whose values count up from 1 in steps of 1/8.
func (m model) param(name string, dims ...int64) string {
	t := onnxgraph.Floats(name, dims, nil)
	v := make([]float32, t.Len())
	for i := range v {
		v[i] = 1 + float32(i)/8
	}
	return m.Init(onnxgraph.Floats(name, dims, v))
}

// lossOf makes the sum of all elements of a value the loss.
func (m model) lossOf(value string) model {
	m.Named("loss", "ReduceSum", []string{value}, onnxgraph.IntAttr("keepdims", 0))
	m.Output("loss", onnxgraph.Float, onnxgraph.Shape{})
	return m
}

func (m model) build(t *testing.T) *onnxgraph.Model {
	t.Helper()
	b, err := m.Model()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// differentiate runs the engine and checks that it leaves the model alone.
func differentiate(t *testing.T, m *onnxgraph.Model, reg *op.Registry, wrt ...string) (*autodiff.Result, *infer.Result, error) {
	t.Helper()
	before, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := autodiff.Gradients(m, reg, facts, autodiff.Options{Loss: "loss", Wrt: wrt})
	if after, err := m.Marshal(); err != nil || !bytes.Equal(before, after) {
		t.Error("the engine changed the model that it was given")
	}
	return res, facts, err
}

// gradients differentiates, executes and returns the gradients by parameter.
func gradients(t *testing.T, m *onnxgraph.Model, in map[string]*ort.Value, wrt ...string) (map[string]*ort.Value, *autodiff.Result) {
	t.Helper()
	res, facts, err := differentiate(t, m, ops.Registry(), wrt...)
	if err != nil {
		t.Fatal(err)
	}
	g := res.Model.Graph
	g.Outputs = nil
	for _, w := range wrt {
		g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: res.Grads[w], Type: facts.Fact(res.Grads[w]).Type})
	}
	s, err := runtimetest.Engine(t).NewSession(res.Model, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	byParam := map[string]*ort.Value{}
	for _, w := range wrt {
		byParam[w] = out[res.Grads[w]]
	}
	return byParam, res
}

// mustEqual compares a gradient with what it must be.
func mustEqual(t *testing.T, name string, got *ort.Value, dims []int64, want func(i int) float64) {
	t.Helper()
	if !slices.Equal(got.Dims(), dims) {
		t.Errorf("gradient of %s has shape %v, expected %v", name, got.Dims(), dims)
		return
	}
	for i, g := range got.Floats() {
		if w := want(i); !(math.Abs(float64(g)-w) <= 1e-6*math.Max(1, math.Abs(w))) {
			t.Errorf("gradient of %s at %d is %v, expected %v", name, i, g, w)
			return
		}
	}
}

func nodesOf(m *onnxgraph.Model, opType string) int {
	n := 0
	for _, node := range m.Graph.Nodes {
		if node.OpType == opType {
			n++
		}
	}
	return n
}

// broadcastSum is, for element i of an operand of shape dims, the sum of
// 1 + k/8 over the elements k of out to which it is broadcast.
func broadcastSum(dims, out []int64) func(i int) float64 {
	size := int64(1)
	for _, d := range out {
		size *= d
	}
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	sums := make([]float64, n)
	for k := range size {
		rest, at, stride := k, int64(0), int64(1)
		for a := len(out) - 1; a >= 0; a-- {
			index := rest % out[a]
			rest /= out[a]
			if b := a - (len(out) - len(dims)); b >= 0 {
				if dims[b] > 1 {
					at += index * stride
				}
				stride *= dims[b]
			}
		}
		sums[at] += 1 + float64(k)/8
	}
	return func(i int) float64 { return sums[i] }
}

// Gradients over broadcast axes are summed to the shape of the operand,
// whether the shapes are known before the model runs or not.
func TestBroadcasting(t *testing.T) {
	for _, c := range []struct{ a, b, out []int64 }{
		{[]int64{3, 4}, []int64{3, 4}, []int64{3, 4}},
		{[]int64{}, []int64{3, 4}, []int64{3, 4}},
		{[]int64{1}, []int64{3, 4}, []int64{3, 4}},
		{[]int64{4}, []int64{3, 4}, []int64{3, 4}},
		{[]int64{3, 1}, []int64{1, 4}, []int64{3, 4}},
		{[]int64{3, 1}, []int64{4}, []int64{3, 4}},
		{[]int64{1, 1, 4}, []int64{2, 3, 1}, []int64{2, 3, 4}},
		{[]int64{3, 1}, []int64{2, 3, 4}, []int64{2, 3, 4}},
		{[]int64{1, 1}, []int64{2, 1, 3}, []int64{2, 1, 3}},
		{[]int64{2, 1, 3, 1}, []int64{5, 1, 4}, []int64{2, 5, 3, 4}},
	} {
		t.Run(fmt.Sprint(c.a, c.b), func(t *testing.T) {
			m := newModel()
			sum := m.Op("Add", []string{m.param("a", c.a...), m.param("b", c.b...)})
			loss := m.lossOf(m.Op("Mul", []string{sum, m.param("w", c.out...)}))
			got, _ := gradients(t, loss.build(t), nil, "a", "b")
			mustEqual(t, "a", got["a"], c.a, broadcastSum(c.a, c.out))
			mustEqual(t, "b", got["b"], c.b, broadcastSum(c.b, c.out))
		})
		t.Run(fmt.Sprint("symbolic ", c.a, c.b), func(t *testing.T) {
			m := newModel()
			in := map[string]*ort.Value{}
			for name, dims := range map[string][]int64{"a": c.a, "b": c.b} {
				shape := onnxgraph.Shape{}
				for i := range dims {
					shape = append(shape, onnxgraph.Sym(fmt.Sprint(name, i)))
				}
				m.Input(name, onnxgraph.Float, shape)
				size := int64(1)
				for _, d := range dims {
					size *= d
				}
				v, err := ort.FloatValue(dims, make([]float32, size))
				if err != nil {
					t.Fatal(err)
				}
				in[name] = v
			}
			loss := m.lossOf(m.Op("Mul", []string{m.Op("Add", []string{"a", "b"}), m.param("w", c.out...)}))
			got, _ := gradients(t, loss.build(t), in, "a", "b")
			mustEqual(t, "a", got["a"], c.a, broadcastSum(c.a, c.out))
			mustEqual(t, "b", got["b"], c.b, broadcastSum(c.b, c.out))
		})
	}
}

// Gradients of a value with several uses add up, twice the same use included.
func TestSeveralUses(t *testing.T) {
	m := newModel()
	x := m.param("x", 3)
	square := m.Op("Mul", []string{x, x})
	cube := m.Op("Mul", []string{square, x})
	loss := m.lossOf(m.Op("Sum", []string{cube, square, x, x})) // x³ + x² + 2x
	got, _ := gradients(t, loss.build(t), nil, "x")
	mustEqual(t, "x", got["x"], []int64{3}, func(i int) float64 {
		v := 1 + float64(i)/8
		return 3*v*v + 2*v + 2
	})
}

// Every wanted value gets a gradient of its own name, also where several have
// the same gradient, where it is a constant, and where the name is taken.
func TestNames(t *testing.T) {
	m := newModel()
	taken := m.Named("c_grad", "Neg", []string{m.param("c", 2)})
	sum := m.Op("Sum", []string{m.param("a", 2), m.param("b", 2), taken})
	got, res := gradients(t, m.lossOf(sum).build(t), nil, "a", "b", "c")
	if res.Grads["a"] != "a_grad" || res.Grads["b"] != "b_grad" {
		t.Errorf("gradients are named %v", res.Grads)
	}
	if g := res.Grads["c"]; g == "c_grad" || g == "" {
		t.Errorf("the gradient of c is named %q, which is another value's name", g)
	}
	for name, want := range map[string]float64{"a": 1, "b": 1, "c": -1} {
		mustEqual(t, name, got[name], []int64{2}, func(int) float64 { return want })
	}

	// The loss is the parameter itself.
	m = newModel()
	m.param("loss")
	m.Output("loss", onnxgraph.Float, onnxgraph.Shape{})
	got, _ = gradients(t, m.build(t), nil, "loss")
	mustEqual(t, "loss", got["loss"], []int64{}, func(int) float64 { return 1 })
}

// The result does not depend on the order of maps.
func TestDeterministic(t *testing.T) {
	build := func() []byte {
		m := newModel()
		h := m.param("x", 2, 3)
		for i := range 4 {
			h = m.Op("Tanh", []string{m.Op("Add", []string{m.Op("MatMul", []string{h, m.param(fmt.Sprint("w", i), 3, 3)}), m.param(fmt.Sprint("b", i), 3)})})
		}
		res, _, err := differentiate(t, m.lossOf(h).build(t), ops.Registry(), "w0", "b0", "w1", "b1", "w2", "b2", "w3", "b3")
		if err != nil {
			t.Fatal(err)
		}
		b, err := res.Model.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := build()
	for range 5 {
		if !bytes.Equal(first, build()) {
			t.Fatal("the same model is differentiated differently")
		}
	}
}

// What no wanted gradient needs is not in the graph.
func TestPruning(t *testing.T) {
	m := newModel()
	h := m.Op("MatMul", []string{m.Input("x", onnxgraph.Float, onnxgraph.StaticShape(2, 3)), m.param("w1", 3, 4)})
	y := m.Op("MatMul", []string{m.Op("Tanh", []string{h}), m.param("w2", 4, 5)})
	loss := m.lossOf(m.Op("Mul", []string{y, y})).build(t)
	count := func(wrt ...string) int {
		res, _, err := differentiate(t, loss, ops.Registry(), wrt...)
		if err != nil {
			t.Fatal(err)
		}
		for _, init := range res.Model.Graph.Initializers[2:] {
			used := false
			for _, n := range res.Model.Graph.Nodes {
				used = used || slices.Contains(n.Inputs, init.Name)
			}
			if !used {
				t.Errorf("constant %q is used by nothing", init.Name)
			}
		}
		return nodesOf(res.Model, "MatMul") + nodesOf(res.Model, "Gemm")
	}
	// Forward has 2 products. The gradient of w2 takes one more, that of h and
	// of w1 one each; the gradient of the input is never wanted.
	if n := count("w2"); n != 3 {
		t.Errorf("%d products for the last layer's gradient, expected 3", n)
	}
	if n := count("w1"); n != 4 {
		t.Errorf("%d products for the first layer's gradient, expected 4", n)
	}
	if n := count("w1", "w2"); n != 5 {
		t.Errorf("%d products for both gradients, expected 5", n)
	}
}

func TestZeroGradients(t *testing.T) {
	m := newModel()
	m.param("unused", 2, 2)
	floor := m.Op("Floor", []string{m.param("rounded", 3)})
	sum := m.Op("Add", []string{m.Op("Mul", []string{floor, m.param("x", 3)}), floor})
	got, res := gradients(t, m.lossOf(sum).build(t), nil, "unused", "rounded", "x")
	if !slices.Equal(res.Zero, []string{"unused", "rounded"}) {
		t.Errorf("zero gradients are %v", res.Zero)
	}
	zero := func(int) float64 { return 0 }
	mustEqual(t, "unused", got["unused"], []int64{2, 2}, zero)
	mustEqual(t, "rounded", got["rounded"], []int64{3}, zero)
	mustEqual(t, "x", got["x"], []int64{3}, func(int) float64 { return 1 })
}

// testOps adds operators of domain "test" to the real ones.
func testOps(extra ...*op.Def) *op.Registry {
	return op.NewRegistry(append(ops.Registry().All(), extra...)...)
}

// unary is an elementwise operator of domain "test".
func unary(name string, g op.Grad, l op.Lower) *op.Def {
	return &op.Def{
		Domain: "test", Name: name, Versions: []int64{1}, In: op.Exactly(1), Out: op.Exactly(1), Flow: op.Elementwise(), Grad: g, Lower: l,
		Infer: func(c *op.InferCtx) error {
			c.Set(0, c.I(0).DType(), c.I(0).Shape())
			return nil
		},
	}
}

func (m model) test(opType, name, in string) string {
	return m.Node("test", opType, []string{in}, []string{name})[0]
}

// Everything that blocks is reported at once, with what it blocks.
func TestRefusals(t *testing.T) {
	reg := testOps(unary("Sorted", op.NotDifferentiable("order has no derivative"), op.Primitive))
	m := newModel()
	m.Import("test", 1)
	first := m.test("Sorted", "first", m.Op("Mul", []string{m.param("a", 3), m.param("b", 3)}))
	second := m.test("Sorted", "second", m.Op("Add", []string{first, m.param("c", 3)}))
	m.test("Sorted", "aside", m.param("d", 3)) // not on the way to the loss
	built := m.lossOf(m.Op("Add", []string{second, m.param("e", 3)})).build(t)
	_, facts, err := differentiate(t, built, reg, "a", "c", "e")
	var refusal *autodiff.RefusalError
	if !errors.As(err, &refusal) || len(refusal.Blockers) != 2 {
		t.Fatalf("error %v, expected two blockers", err)
	}
	for i, want := range []autodiff.Blocker{
		{Node: "first", Op: "test:Sorted", Reason: "order has no derivative", Params: []string{"a"}},
		{Node: "second", Op: "test:Sorted", Reason: "order has no derivative", Params: []string{"a", "c"}},
	} {
		if got := refusal.Blockers[i]; got.Node != want.Node || got.Op != want.Op || got.Reason != want.Reason || !slices.Equal(got.Params, want.Params) {
			t.Errorf("blocker %+v, expected %+v", got, want)
		}
	}
	for _, want := range []string{`node "first" (test:Sorted): order has no derivative; blocks a`, `node "second"`, "blocks a, c"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	if b := autodiff.Blocking(built, reg, facts, autodiff.Options{Loss: "loss", Wrt: []string{"e"}}); len(b) != 0 {
		t.Errorf("e is blocked by %v", b)
	}
	if _, _, err := differentiate(t, built, reg, "e"); err != nil {
		t.Errorf("gradient of e alone: %v", err)
	}
}

// A parameter used inside a subgraph is refused by name, not silently dropped.
func TestSubgraphsAreRefused(t *testing.T) {
	m := newModel()
	x := m.param("x", 2)
	branch := func(opType string) *onnxgraph.Graph {
		return &onnxgraph.Graph{
			Name:    opType,
			Nodes:   []*onnxgraph.Node{{Name: opType, OpType: opType, Inputs: []string{x}, Outputs: []string{opType + "_out"}}},
			Outputs: []*onnxgraph.Value{{Name: opType + "_out", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(2))}},
		}
	}
	cond := m.Init(&onnxgraph.Tensor{Name: "cond", DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{1}})
	y := m.Named("choice", "If", []string{cond}, onnxgraph.GraphAttr("then_branch", branch("Neg")), onnxgraph.GraphAttr("else_branch", branch("Abs")))
	_, _, err := differentiate(t, m.lossOf(y).build(t), ops.Registry(), "x")
	if err == nil || !strings.Contains(err.Error(), `node "choice" (If)`) || !strings.Contains(err.Error(), "blocks x") {
		t.Errorf("error %v", err)
	}
}

// Operators without a rule of their own are differentiated through their
// lowering, in several rounds where it takes that.
func TestThroughLowering(t *testing.T) {
	twice := unary("Square", op.FromLowering, op.Lowering(func(c op.LowerCtx) error {
		c.SetO(0, c.Emit("Mul", []string{c.I(0), c.I(0)}))
		return nil
	}))
	m := newModel()
	m.Import("test", 1)
	y := m.test("Square", "y", m.test("Square", "h", m.param("x", 3)))
	res, _, err := differentiate(t, m.lossOf(y).build(t), testOps(twice), "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range res.Model.Graph.Nodes {
		if n.Domain != "" {
			t.Errorf("node %q (%s) is left", n.Name, n.Op())
		}
	}
	endless := unary("Endless", op.FromLowering, op.Lowering(func(c op.LowerCtx) error {
		c.SetO(0, c.Emit("Endless", []string{c.I(0)}))
		return nil
	}))
	endless.Domain = ""
	m = newModel()
	y = m.Op("Endless", []string{m.param("x", 3)})
	if _, _, err := differentiate(t, m.lossOf(y).build(t), testOps(endless), "x"); err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("a lowering to itself: %v", err)
	}
}

// Equal constants and equal nodes of the backward graph exist once.
func TestSharing(t *testing.T) {
	half := unary("Half", op.Gradient(func(c op.GradCtx) error {
		scaled := c.Emit("Mul", []string{c.GO(0), c.Const(onnxgraph.Floats("half", []int64{2}, []float32{0.5, 0.5}))})
		c.SetGI(0, scaled)
		return nil
	}), op.Primitive)
	m := newModel()
	m.Import("test", 1)
	var parts []string
	for i := range 4 { // the same gradient flows into each
		parts = append(parts, m.test("Half", fmt.Sprint("y", i), m.param(fmt.Sprint("x", i), 2)))
	}
	built := m.lossOf(m.Op("Sum", parts)).build(t)
	res, _, err := differentiate(t, built, testOps(half), "x0", "x1", "x2", "x3")
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, init := range res.Model.Graph.Initializers {
		if strings.Contains(init.Name, "half") {
			constants++
		}
	}
	if constants != 1 || nodesOf(res.Model, "Mul") != 1 {
		t.Errorf("%d constants and %d products, expected one of each", constants, nodesOf(res.Model, "Mul"))
	}
	names := map[string]bool{}
	for _, g := range res.Grads {
		names[g] = true
	}
	if len(names) != 4 {
		t.Errorf("gradients %v, expected four values", res.Grads)
	}
}

func TestGradientErrors(t *testing.T) {
	m := newModel()
	y := m.Op("Neg", []string{m.param("x", 3)})
	m.Init(onnxgraph.Vector("n", 1))
	m.Named("vector", "Neg", []string{y})
	built := m.lossOf(y).build(t)
	facts, err := infer.Run(built, ops.Registry(), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    autodiff.Options
		want string
	}{
		{autodiff.Options{Loss: "none", Wrt: []string{"x"}}, `loss "none" is not a floating-point value`},
		{autodiff.Options{Loss: "vector", Wrt: []string{"x"}}, `loss "vector" has shape [3], expected a scalar`},
		{autodiff.Options{Loss: "loss", Wrt: []string{"x", "z"}}, `"z" is not a floating-point value`},
		{autodiff.Options{Loss: "loss", Wrt: []string{"n"}}, `"n" is not a floating-point value`},
	} {
		if _, err := autodiff.Gradients(built, ops.Registry(), facts, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, expected %q", c.o, err, c.want)
		}
	}
	built.Opsets[0].Version = 12
	if _, err := autodiff.Gradients(built, ops.Registry(), facts, autodiff.Options{Loss: "loss", Wrt: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "opset 13 or later") {
		t.Errorf("opset 12: %v", err)
	}
}
