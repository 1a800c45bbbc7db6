package ops_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/autodiff"
)

// backwardCase compares an operator of upstream's backward graphs with the
// gradient of the forward operator: both are driven by the same random
// gradient of the forward operator's first output.
type backwardCase struct {
	name    string
	forward string
	attrs   []*onnxgraph.Attribute
	dims    [][]int64 // of the inputs; nil: absent
	outputs int       // of the forward operator
	// build adds the upstream nodes: in are the inputs, out and dy the first
	// output and its gradient. It returns the gradients of the inputs, "" for
	// those that it does not give.
	build func(b *onnxgraph.Builder, in []string, attrs []*onnxgraph.Attribute, dy string) []string
}

func upstreamNode(b *onnxgraph.Builder, domain, opType string, in []string, n int, attrs []*onnxgraph.Attribute) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = b.Fresh("up_" + opType)
	}
	return b.Node(domain, opType, in, out, attrs...)
}

const ms = "com.microsoft"

func gruBackward(b *onnxgraph.Builder, in []string, attrs []*onnxgraph.Attribute, dy string) []string {
	f := upstreamNode(b, ms, "GRUTraining", in, 3, attrs)
	g := upstreamNode(b, ms, "GRUGrad", []string{in[0], in[1], in[2], in[3], "", in[5], f[0], f[2], dy, ""}, 5, attrs)
	return []string{g[0], g[1], g[2], g[3], "", g[4]}
}

func lstmBackward(b *onnxgraph.Builder, in []string, attrs []*onnxgraph.Attribute, dy string) []string {
	f := upstreamNode(b, ms, "LSTMTraining", in, 5, attrs)
	g := upstreamNode(b, ms, "LSTMGrad", []string{in[0], in[1], in[2], "", in[5], in[6], f[0], f[3], f[4], dy, "", ""}, 6, attrs)
	return []string{g[0], g[1], g[2], g[3], "", g[4], g[5]}
}

func poolBackward(b *onnxgraph.Builder, in []string, attrs []*onnxgraph.Attribute, dy string) []string {
	g := upstreamNode(b, "", "AveragePoolGrad", []string{dy}, 1, attrs)
	b.Graph().ValueInfo = append(b.Graph().ValueInfo, &onnxgraph.Value{Name: g[0], Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(2, 3, 5, 4))})
	return g
}

func backwardOf(opType string) func(*onnxgraph.Builder, []string, []*onnxgraph.Attribute, string) []string {
	return func(b *onnxgraph.Builder, in []string, attrs []*onnxgraph.Attribute, dy string) []string {
		return upstreamNode(b, ms, opType, append([]string{dy}, in[:2]...), len(in), attrs)
	}
}

func TestUpstreamBackward(t *testing.T) {
	engine := runtimetest.Engine(t)
	h := i("hidden_size", 3)
	gru := [][]int64{{4, 2, 5}, {1, 9, 5}, {1, 9, 3}, {1, 18}, nil, {1, 2, 3}}
	cases := []backwardCase{
		{"GRU", "GRU", with(h), gru, 1, gruBackward},
		{"GRU linear before reset", "GRU", with(h, i("linear_before_reset", 1), s("direction", "reverse")), gru, 1, gruBackward},
		{"GRU both ways", "GRU", with(h, i("linear_before_reset", 1), s("direction", "bidirectional")), [][]int64{{4, 2, 5}, {2, 9, 5}, {2, 9, 3}, {2, 18}, nil, {2, 2, 3}}, 1, gruBackward},
		{"LSTM", "LSTM", with(h, s("direction", "reverse")), [][]int64{{4, 2, 5}, {1, 12, 5}, {1, 12, 3}, {1, 24}, nil, {1, 2, 3}, {1, 2, 3}}, 1, lstmBackward},
		{"average pool", "AveragePool", with(is("kernel_shape", 2, 3), is("strides", 2, 1), is("pads", 0, 1, 1, 1)), [][]int64{{2, 3, 5, 4}}, 1, poolBackward},
		{"transposed convolution", "ConvTranspose", with(is("strides", 2, 2), i("group", 2)), [][]int64{{2, 4, 3, 3}, {4, 3, 2, 2}, {6}}, 1, backwardOf("ConvTransposeGrad")},
		{"quotient", "Div", nil, [][]int64{{2, 3, 4}, {3, 1}}, 1, backwardOf("DivGrad")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, want := upstreamGradients(t, engine, c), derivedGradients(t, engine, c)
			if len(want) == 0 {
				t.Fatal("no gradients compared")
			}
			for name, w := range want {
				if err := near(got[name], w); err != nil {
					t.Errorf("gradient of %s: %v", name, err)
				}
			}
		})
	}
}

// start declares the inputs of a case and runs its forward operator.
func (c backwardCase) start() (b *onnxgraph.Builder, in []string, y string) {
	b = onnxgraph.NewBuilder("upstream", 17)
	b.Import(ms, 1)
	for k, d := range c.dims {
		name := ""
		if d != nil {
			name = b.Input(fmt.Sprintf("in%d", k), onnxgraph.Float, onnxgraph.StaticShape(d...))
		}
		in = append(in, name)
	}
	return b, in, b.Op(c.forward, in, c.attrs...)
}

// drawn are the fixed random numbers that a name stands for, away from 0
// because some are divisors.
func drawn(name string, dims []int64) *onnxgraph.Tensor {
	rng := rand.New(rand.NewPCG(uint64(len(name)), uint64(name[len(name)-1])))
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for k := range v {
		v[k] = 0.2 + rng.Float32()
		if rng.IntN(2) == 0 {
			v[k] = -v[k]
		}
	}
	return onnxgraph.Floats(name, dims, v)
}

func inferred(t *testing.T, m *onnxgraph.Model) *infer.Result {
	t.Helper()
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// upstreamGradients lowers and runs the upstream nodes.
func upstreamGradients(t *testing.T, engine *ort.Engine, c backwardCase) map[string]*onnxgraph.Tensor {
	t.Helper()
	b, in, y := c.start()
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	dims, ok := inferred(t, m).Fact(y).Shape().Static()
	if !ok {
		t.Fatal("the output's shape is not known")
	}
	grads := c.build(b, in, c.attrs, b.Init(drawn("dy", dims)))
	m.Graph.Outputs = nil
	for k, g := range grads {
		if g != "" && k < len(in) && in[k] != "" {
			m.Graph.Nodes = append(m.Graph.Nodes, &onnxgraph.Node{Name: in[k] + "_grad", OpType: "Identity", Inputs: []string{g}, Outputs: []string{in[k] + "_grad"}})
			m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: in[k] + "_grad", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(c.dims[k]...))})
		}
	}
	low, err := rewrite.Lower(m, ops.Registry(), func(n *onnxgraph.Node) bool { return n.Domain == ms || n.OpType == "AveragePoolGrad" })
	if err != nil {
		t.Fatal(err)
	}
	return c.run(t, engine, low)
}

// derivedGradients differentiates Σ y·dy by the rules of the forward operator.
func derivedGradients(t *testing.T, engine *ort.Engine, c backwardCase) map[string]*onnxgraph.Tensor {
	t.Helper()
	b, in, y := c.start()
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	dims, _ := inferred(t, m).Fact(y).Shape().Static()
	loss := b.Op("ReduceSum", []string{b.Op("Mul", []string{y, b.Init(drawn("dy", dims))})}, i("keepdims", 0))
	facts := inferred(t, m)
	var wrt []string
	for _, name := range in {
		if name != "" {
			wrt = append(wrt, name)
		}
	}
	res, err := autodiff.Gradients(m, ops.Registry(), facts, autodiff.Options{Loss: loss, Wrt: wrt})
	if err != nil {
		t.Fatal(err)
	}
	res.Model.Graph.Outputs = nil
	for _, name := range wrt {
		grad := res.Grads[name]
		res.Model.Graph.Outputs = append(res.Model.Graph.Outputs, &onnxgraph.Value{Name: grad, Type: facts.Fact(grad).Type})
	}
	return c.run(t, engine, res.Model)
}

func (c backwardCase) run(t *testing.T, engine *ort.Engine, m *onnxgraph.Model) map[string]*onnxgraph.Tensor {
	t.Helper()
	session, err := engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	in := map[string]*ort.Value{}
	for k, d := range c.dims {
		if d == nil {
			continue
		}
		v, err := ort.NewValue(drawn(fmt.Sprintf("in%d", k), d))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		in[fmt.Sprintf("in%d", k)] = v
	}
	out, err := session.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	res := map[string]*onnxgraph.Tensor{}
	for name, v := range out {
		res[name] = v.Tensor(name)
		v.Close()
	}
	return res
}

// near compares to 2e-6 of the largest element.
func near(got, want *onnxgraph.Tensor) error {
	if got == nil {
		return fmt.Errorf("missing")
	}
	if fmt.Sprint(got.Dims) != fmt.Sprint(want.Dims) {
		return fmt.Errorf("shape %v, expected %v", got.Dims, want.Dims)
	}
	g, err := got.AsDoubles()
	if err != nil {
		return err
	}
	w, err := want.AsDoubles()
	if err != nil {
		return err
	}
	scale := 0.0
	for _, x := range w {
		scale = max(scale, math.Abs(x))
	}
	for k := range w {
		if !(math.Abs(g[k]-w[k]) <= 2e-6*scale) || scale == 0 {
			return fmt.Errorf("element %d is %g, expected %g", k, g[k], w[k])
		}
	}
	return nil
}
