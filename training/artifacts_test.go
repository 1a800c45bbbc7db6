package training

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
)

// chain is a model of named layers, each a matrix product and Tanh: weights
// "w0", "w1" … of shape [4,4], input x [batch,4], output y.
func chain(t testing.TB, layers int, edit func(b *onnxgraph.Builder, h string) string) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("chain", 17)
	shape := onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(4)}
	h := b.Input("x", onnxgraph.Float, shape)
	for i := range layers {
		v := make([]float32, 16)
		for k := range v {
			v[k] = float32(symmetric(uint64(100*i + k)))
		}
		h = b.Op("Tanh", []string{b.Op("MatMul", []string{h, b.Init(onnxgraph.Floats(fmt.Sprint("w", i), []int64{4, 4}, v))})})
		if edit != nil {
			h = edit(b, h)
		}
	}
	b.Output(b.Named("y", "Identity", []string{h}), onnxgraph.Float, shape)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func paramNames(a *Artifacts) []string {
	var out []string
	for _, p := range a.Params {
		out = append(out, p.Name)
	}
	return out
}

func frozenNames(a *Artifacts) []string {
	var out []string
	for _, f := range a.Checkpoint.Frozen {
		out = append(out, f.Name)
	}
	return out
}

func TestChoiceOfParameters(t *testing.T) {
	for _, c := range []struct {
		o               ArtifactOptions
		trained, frozen []string
	}{
		{ArtifactOptions{Loss: MSE}, []string{"w0", "w1", "w2"}, nil},
		{ArtifactOptions{Loss: MSE, Freeze: []string{"w0"}}, []string{"w1", "w2"}, []string{"w0"}},
		{ArtifactOptions{Loss: MSE, Train: []string{"w[12]"}}, []string{"w1", "w2"}, []string{"w0"}},
		{ArtifactOptions{Loss: MSE, Train: []string{"w*"}, Freeze: []string{"w2"}}, []string{"w0", "w1"}, []string{"w2"}},
	} {
		a := mustArtifacts(t, chain(t, 3, nil), c.o)
		if got := paramNames(a); !slices.Equal(got, c.trained) || !slices.Equal(frozenNames(a), c.frozen) {
			t.Errorf("%+v: trained %v, frozen %v, expected %v and %v", c.o, got, frozenNames(a), c.trained, c.frozen)
		}
	}
	// Constants of the graph are no parameters, and neither are numbers that no
	// gradient reaches.
	scaled := func(b *onnxgraph.Builder, h string) string {
		half := b.OpN("Constant", nil, 1, onnxgraph.TensorAttr("value", onnxgraph.Floats("", []int64{4}, []float32{.5, .5, .5, .5})))[0]
		return b.Op("Mul", []string{h, half})
	}
	if got := paramNames(mustArtifacts(t, chain(t, 1, scaled), ArtifactOptions{Loss: MSE})); !slices.Equal(got, []string{"w0"}) {
		t.Errorf("trained %v, expected w0 alone", got)
	}
	// Where a file has its parameters as Constant nodes, those are trained.
	m := chain(t, 1, nil)
	w := m.Graph.Initializers[0]
	m.Graph.Initializers = nil
	m.Graph.Nodes = append([]*onnxgraph.Node{{OpType: "Constant", Outputs: []string{"w0"}, Attrs: []*onnxgraph.Attribute{onnxgraph.TensorAttr("value", w)}}}, m.Graph.Nodes...)
	if got := paramNames(mustArtifacts(t, m, ArtifactOptions{Loss: MSE})); !slices.Equal(got, []string{"w0"}) {
		t.Errorf("trained %v, expected w0", got)
	}
}

func TestArtifactErrors(t *testing.T) {
	stuck := func(b *onnxgraph.Builder, h string) string { return b.Op("Floor", []string{h}) }
	for _, c := range []struct {
		name, want string
		m          *onnxgraph.Model
		o          ArtifactOptions
	}{
		{"options", `unknown loss "hinge", expected one of cross-entropy`, chain(t, 1, nil), ArtifactOptions{Loss: "hinge"}},
		{"all options", "learning rate -1 is negative", chain(t, 1, nil), ArtifactOptions{Loss: "hinge", LearningRate: -1, Train: []string{"[a"}}},
		{"a glob without effect", `glob "conv*" matches no float initializer`, chain(t, 1, nil), ArtifactOptions{Loss: MSE, Train: []string{"conv*"}}},
		{"everything frozen", "no parameter is left to train", chain(t, 1, nil), ArtifactOptions{Loss: MSE, Freeze: []string{"*"}}},
		{"no gradient", "no parameter is left to train", chain(t, 1, stuck), ArtifactOptions{Loss: MSE}},
		{"asked for without a gradient", "does not depend on w0", chain(t, 1, stuck), ArtifactOptions{Loss: MSE, Train: []string{"w0"}}},
		{"no such output", `no value "z"`, chain(t, 1, nil), ArtifactOptions{Loss: MSE, Output: "z"}},
		{"labels like an input", `a value named "x"`, chain(t, 1, nil), ArtifactOptions{Loss: MSE, Labels: "x"}},
		{"class axis", "cross-entropy expects a batch axis and class axis 2", chain(t, 1, nil), ArtifactOptions{ClassAxis: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := BuildArtifacts(c.m, ops.Registry(), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "artifacts: ") {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
	m := chain(t, 1, nil)
	m.Graph.Nodes[0].OpType = "NotAnOperator"
	if _, err := BuildArtifacts(m, ops.Registry(), ArtifactOptions{Loss: MSE}); err == nil || !strings.Contains(err.Error(), "NotAnOperator") {
		t.Errorf("an unknown operator: %v", err)
	}
}

// Building artifacts leaves the model that it was given as it was.
func TestBuildArtifactsKeepsTheModel(t *testing.T) {
	m := formulaModel(t, "fm-16")
	before, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	first := mustArtifacts(t, m, ArtifactOptions{})
	after, err := m.Marshal()
	if err != nil || string(after) != string(before) {
		t.Errorf("the model changed (%v)", err)
	}
	// Equal models give equal artifacts, byte for byte.
	second := mustArtifacts(t, m, ArtifactOptions{})
	for i, pair := range [][2]*onnxgraph.Model{{first.Training, second.Training}, {first.Eval, second.Eval}, {first.Optimizer, second.Optimizer}} {
		a, err1 := pair[0].Marshal()
		b, err2 := pair[1].Marshal()
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("model %d differs from one build to the next (%v, %v)", i, err1, err2)
		}
	}
	// Standard operators only, and the parameters as inputs in the checkpoint's order.
	for _, n := range first.Training.Graph.Nodes {
		if n.Domain != "" {
			t.Errorf("node %q is %s", n.Name, n.Op())
		}
	}
	var inputs []string
	for _, v := range first.Training.Graph.Inputs {
		inputs = append(inputs, v.Name)
	}
	if want := append(slices.Clone(first.Inputs), paramNames(first)...); !slices.Equal(inputs, want) {
		t.Errorf("inputs of the training model are %q, expected %q", inputs, want)
	}
}

// The class axis of cross-entropy: the second of logits [N,C,H,W], the last of
// [N,T,V], or the one asked for.
func TestCrossEntropyAxes(t *testing.T) {
	for _, c := range []struct {
		shape     []int64
		axis, use int
	}{{[]int64{2, 3}, 0, 1}, {[]int64{2, 3, 2, 2}, 0, 1}, {[]int64{2, 4, 3}, 0, 2}, {[]int64{2, 3, 4}, 1, 1}, {[]int64{2, 4, 3}, -1, 2}} {
		t.Run(fmt.Sprint(c.shape, c.axis), func(t *testing.T) {
			b := onnxgraph.NewBuilder("logits", 17)
			shape := onnxgraph.StaticShape(c.shape...)
			x := b.Input("x", onnxgraph.Float, shape)
			b.Output(b.Named("y", "Mul", []string{x, b.Init(onnxgraph.Floats("scale", []int64{1}, []float32{2}))}), onnxgraph.Float, shape)
			m, err := b.Model()
			if err != nil {
				t.Fatal(err)
			}
			a := mustArtifacts(t, m, ArtifactOptions{ClassAxis: c.axis})
			size, rest := int64(1), []int64{}
			for i, d := range c.shape {
				size *= d
				if i != c.use {
					rest = append(rest, d)
				}
			}
			values, labels := make([]float32, size), make([]int64, size/c.shape[c.use])
			for i := range values {
				values[i] = float32(symmetric(uint64(i)))
			}
			for i := range labels {
				labels[i] = int64(splitmix(uint64(i)) % uint64(c.shape[c.use]))
			}
			vx, err1 := ort.FloatValue(c.shape, values)
			vl, err2 := ort.Int64Value(rest, labels)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			got, out, err := mustExecutor(t, a, ExecutorOptions{}).Eval(context.Background(), map[string]*ort.Value{"x": vx, "labels": vl})
			if err != nil {
				t.Fatal(err)
			}
			closeValues(out)
			// Directly: positions before and after the class axis.
			inner, classes := int64(1), c.shape[c.use]
			for _, d := range c.shape[c.use+1:] {
				inner *= d
			}
			want := 0.0
			for k, label := range labels {
				at := int64(k)/inner*classes*inner + int64(k)%inner
				sum := 0.0
				for v := range classes {
					sum += math.Exp(2 * float64(values[at+v*inner]))
				}
				want += math.Log(sum) - 2*float64(values[at+label*inner])
			}
			want /= float64(len(labels))
			if !(math.Abs(got-want) < 1e-6) {
				t.Errorf("loss %.7f, expected %.7f", got, want)
			}
		})
	}
}

// Dropout drops in training only, also where the file says otherwise.
func TestDropout(t *testing.T) {
	drop := func(b *onnxgraph.Builder, h string) string {
		ratio := b.Const(onnxgraph.Scalar("ratio", 0.5))
		on := b.Const(&onnxgraph.Tensor{Name: "on", DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{1}})
		return b.Op("Dropout", []string{h, ratio, on})
	}
	a := mustArtifacts(t, chain(t, 2, drop), ArtifactOptions{Loss: MSE})
	e := mustExecutor(t, a, ExecutorOptions{})
	v := make([]float32, 400)
	for i := range v {
		v[i] = float32(symmetric(uint64(i)))
	}
	x, err := ort.FloatValue([]int64{100, 4}, v)
	if err != nil {
		t.Fatal(err)
	}
	batch := map[string]*ort.Value{"x": x, "labels": x}
	eval := func() float64 {
		loss, out, err := e.Eval(context.Background(), batch)
		if err != nil {
			t.Fatal(err)
		}
		closeValues(out)
		return loss
	}
	if one, two := eval(), eval(); one != two {
		t.Errorf("two evaluations give %v and %v: Dropout is active", one, two)
	}
	one, err1 := e.Step(context.Background(), batch, 0)
	two, err2 := e.Step(context.Background(), batch, 0)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if one == two || one == eval() {
		t.Errorf("training losses %v and %v: Dropout is not active", one, two)
	}
}

// The plain model: parameters inside, neither labels nor loss left, and a state
// that does not fit is refused.
func TestInference(t *testing.T) {
	a := mustArtifacts(t, chain(t, 2, nil), ArtifactOptions{Loss: MSE, Freeze: []string{"w0"}})
	m, err := a.Inference(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Inputs) != 1 || len(m.Graph.Outputs) != 1 || len(m.Graph.Initializers) != 2 || m.Graph.Outputs[0].Name != "y" {
		t.Errorf("inputs %d, outputs %d, initializers %d", len(m.Graph.Inputs), len(m.Graph.Outputs), len(m.Graph.Initializers))
	}
	for _, n := range m.Graph.Nodes {
		if strings.HasPrefix(n.Name, lossPrefix) {
			t.Errorf("node %q of the loss is left", n.Name)
		}
	}
	bad := fakeSet(make([]float32, fakeClasses*(fakeFeatures+1)))
	bad.AddFloats("w1", []int64{2}, []float32{1, 2})
	if _, err := a.Inference(bad); err == nil || !strings.Contains(err.Error(), `"w1" has 2 elements`) {
		t.Errorf("error %v", err)
	}
	if _, err := LoadArtifacts(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("artifacts were read from nowhere")
	}
}
