package finetune_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/finetune"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/text"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/autodiff"
)

// forms are layers as exporters write them, in the textual syntax: the weights
// w (and v), the input x, the output y. Rank 4 fits all of them.
var forms = map[string]struct {
	weights string // declarations
	x, y    string // shapes
	nodes   string
	targets []string
	plain   int // nodes of the merged model
}{
	"gemm of PyTorch":      {"float[5,3] w, float[5] b", "float[7,3]", "float[7,5]", `y = Gemm <transB = 1> (x, w, b)`, nil, 1},
	"gemm, both turned":    {"float[5,3] w, float[5] b", "float[3,7]", "float[7,5]", `y = Gemm <transA = 1, transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)`, nil, 1},
	"gemm of Conv1D":       {"float[3,15] w, float[15] b", "float[7,3]", "float[7,15]", `y = Gemm (x, w, b)`, nil, 1},
	"matmul and bias":      {"float[3,5] w, float[5] b", "float[2,7,3]", "float[2,7,5]", `h = MatMul (x, w) y = Add (b, h)`, nil, 2},
	"matmul of transpose":  {"float[5,3] w", "float[2,7,3]", "float[2,7,5]", `t = Transpose <perm = [1, 0]> (w) h = MatMul (x, t) y = Relu (h)`, nil, 3},
	"weight on the left":   {"float[5,3] w", "float[3,7]", "float[5,7]", `y = MatMul (w, x)`, nil, 1},
	"convolution":          {"float[6,4,3,3] w, float[6] b", "float[2,4,8,8]", "float[2,6,4,4]", `y = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)`, nil, 1},
	"pointwise":            {"float[6,4,1,1] w", "float[2,4,5,5]", "float[2,6,5,5]", `y = Conv (x, w)`, nil, 1},
	"grouped, dilated":     {"float[6,2,3,3] w", "float[2,4,8,8]", "float[2,6,4,4]", `y = Conv <group = 2, dilations = [2, 2]> (x, w)`, nil, 1},
	"one-dimensional":      {"float[6,4,3] w", "float[2,4,8]", "float[2,6,6]", `y = Conv (x, w)`, nil, 1},
	"used twice":           {"float[3,3] w", "float[7,3]", "float[7,3]", `h = MatMul (x, w) k = Tanh (h) y = MatMul (k, w)`, nil, 3},
	"tied with its own":    {"float[3,5] w", "float[7,3]", "float[7,5]", `s = ReduceSum <keepdims = 0> (w) h = MatMul (x, w) y = Add (h, s)`, []string{"w"}, 3},
	"tied, read transpose": {"float[5,3] w", "float[7,3]", "float[7,5]", `s = ReduceSum <keepdims = 0> (w) t = Transpose (w) h = MatMul (x, t) y = Add (h, s)`, []string{"w"}, 4},
}

func modelOf(t *testing.T, weights, x, y, nodes string) *onnxgraph.Model {
	t.Helper()
	m, err := text.Parse([]byte(`<ir_version: 8, opset_import: ["" : 17]> g (` + x + ` x) => (` + y + ` y) {` + nodes + `}`))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, decl := range strings.Split(weights, ", ") {
		shape, name, _ := strings.Cut(decl, " ")
		var dims []int64
		n := 1
		for _, d := range strings.Split(strings.Trim(shape, "float[]"), ",") {
			v := int64(d[0] - '0')
			if len(d) > 1 {
				v = 10*v + int64(d[1]-'0')
			}
			dims, n = append(dims, v), n*int(v)
		}
		m.Graph.Initializers = append(m.Graph.Initializers, onnxgraph.Floats(name, dims, normal(rng, n)))
	}
	return m
}

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// execute runs a model on a fixed input x.
func execute(t *testing.T, m *onnxgraph.Model, output string) []float32 {
	t.Helper()
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dims, _ := m.Graph.Inputs[0].Type.Shape.Static()
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	x, err := ort.FloatValue(dims, normal(rand.New(rand.NewPCG(2, 2)), int(n)))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	out, err := s.Run(context.Background(), map[string]*ort.Value{"x": x}, output)
	if err != nil {
		t.Fatal(err)
	}
	defer out[output].Close()
	return slices.Clone(out[output].Floats())
}

// set replaces an initializer's values.
func set(m *onnxgraph.Model, name string, v []float32) {
	for i, t := range m.Graph.Initializers {
		if t.Name == name {
			m.Graph.Initializers[i] = onnxgraph.Floats(name, t.Dims, v)
		}
	}
}

// An adapter changes nothing at first; merged, it gives what it gave beside the
// weight, in a model without adapters.
func TestAdaptersStartAtZeroAndMerge(t *testing.T) {
	for name, f := range forms {
		t.Run(name, func(t *testing.T) {
			base := modelOf(t, f.weights, f.x, f.y, f.nodes)
			want := execute(t, base, "y")
			m, adapters, err := finetune.AddLoRA(base, ops.Registry(), finetune.LoRA{Rank: 4, Alpha: 6, Targets: f.targets, Seed: 3})
			if err != nil || len(adapters.Adapters) != 1 {
				t.Fatalf("%v, %v", adapters, err)
			}
			if got := execute(t, m, "y"); !slices.Equal(got, want) {
				t.Errorf("the first output differs by %g", furthest(got, want))
			}
			b := adapters.Adapters[0].B
			set(m, b, normal(rand.New(rand.NewPCG(4, 4)), int(m.Graph.Initializer(b).Len())))
			trained := execute(t, m, "y")
			if d := furthest(trained, want); d < 0.1 {
				t.Errorf("the adapter changes the output by %g only", d)
			}
			merged, err := finetune.Merge(m)
			if err != nil {
				t.Fatal(err)
			}
			if d := furthest(execute(t, merged, "y"), trained); d > 1e-6 {
				t.Errorf("the merged model differs by %g", d)
			}
			if got := len(merged.Graph.Nodes); got != f.plain {
				t.Errorf("the merged model has %d nodes, expected %d", got, f.plain)
			}
			if left, err := finetune.AdaptersOf(merged); left != nil || err != nil {
				t.Errorf("the merged model lists adapters %v, %v", left, err)
			}
			for _, d := range merged.Graph.Initializers {
				if strings.Contains(d.Name, "lora") {
					t.Errorf("the merged model has an initializer %q", d.Name)
				}
			}
		})
	}
}

// furthest is the largest difference, relative to the largest value.
func furthest(got, want []float32) float64 {
	d, top := 0.0, 1.0
	for i := range want {
		d, top = max(d, math.Abs(float64(got[i]-want[i]))), max(top, math.Abs(float64(want[i])))
	}
	return d / top
}

// The loss ½·Σ(y·y) is quadratic along A and along B, so that central
// differences are its derivatives but for rounding, however long the step.
func TestGradientsOfAdapters(t *testing.T) {
	for name, f := range forms {
		if name == "used twice" || strings.Contains(f.nodes, "Relu") {
			continue // not quadratic
		}
		t.Run(name, func(t *testing.T) {
			m := modelOf(t, f.weights, f.x, f.y, f.nodes)
			m.Graph.Nodes = append(m.Graph.Nodes, &onnxgraph.Node{Name: "square", OpType: "ReduceSumSquare", Inputs: []string{"y"}, Outputs: []string{"loss"}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("keepdims", 0)}})
			m.Graph.Outputs = []*onnxgraph.Value{{Name: "loss", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{})}}
			m, adapters, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 2, Alpha: 3, Targets: f.targets})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(5, 5))
			ad := adapters.Adapters[0]
			set(m, ad.B, normal(rng, int(m.Graph.Initializer(ad.B).Len())))
			facts, err := infer.Run(m, ops.Registry(), infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			grads, err := autodiff.Gradients(m, ops.Registry(), facts, autodiff.Options{Loss: "loss", Wrt: adapters.Trained()})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range adapters.Trained() {
				at, err := m.Graph.Initializer(p).AsFloats()
				if err != nil {
					t.Fatal(err)
				}
				gm := grads.Model.Clone()
				gm.Graph.Outputs = append(gm.Graph.Outputs, &onnxgraph.Value{Name: grads.Grads[p], Type: onnxgraph.TensorOf(onnxgraph.Float, m.Graph.Initializer(p).Shape())})
				g := execute(t, gm, grads.Grads[p])
				way, along := normal(rng, len(at)), 0.0
				var losses [2]float64
				for k, sign := range []float32{1, -1} {
					moved := slices.Clone(at)
					for i := range moved {
						moved[i] += sign * way[i] / 2
					}
					c := m.Clone()
					set(c, p, moved)
					losses[k] = float64(execute(t, c, "loss")[0])
				}
				for i := range g {
					along += float64(g[i]) * float64(way[i])
				}
				if diff := losses[0] - losses[1]; math.Abs(diff-along) > 1e-5*(math.Abs(losses[0])+math.Abs(losses[1])) {
					t.Errorf("%s: derivative %g, by differences %g", p, along, diff)
				}
			}
		})
	}
}

// Initial values are those of PyTorch's Linear, the same for a layer whatever
// else has adapters.
func TestInitialValues(t *testing.T) {
	m := modelOf(t, "float[64,16] w, float[8,64] v", "float[7,16]", "float[7,8]", `h = Gemm <transB = 1> (x, w) y = Gemm <transB = 1> (h, v)`)
	both, list, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 8, Seed: 9})
	if err != nil || len(list.Adapters) != 2 {
		t.Fatal(list, err)
	}
	one, _, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 8, Seed: 9, Targets: []string{"v"}})
	if err != nil {
		t.Fatal(err)
	}
	a := both.Graph.Initializer("v.lora_A.weight")
	v, _ := a.AsFloats()
	if !slices.Equal(a.Dims, []int64{8, 64}) || slices.Max(v) > 0.125 || slices.Max(v) < 0.12 || slices.Min(v) < -0.125 {
		t.Errorf("A is %v in %g to %g, expected [8 64] in ±1/8", a.Dims, slices.Min(v), slices.Max(v))
	}
	if w, _ := one.Graph.Initializer("v.lora_A.weight").AsFloats(); !slices.Equal(v, w) {
		t.Error("A depends on what else has adapters")
	}
	if b, _ := both.Graph.Initializer("v.lora_B.weight").AsFloats(); slices.Max(b) != 0 || slices.Min(b) != 0 || len(b) != 64 {
		t.Error("B does not start at zero")
	}
}

func TestTargets(t *testing.T) {
	const shapes = "float[6,2,3,3] grouped, float[5,3] table, float[3,4] dead"
	m := modelOf(t, shapes, "float[2,4,8,8]", "float[2,6,6,6]", `y = Conv <group = 2> (x, grouped) i = Constant <value_ints = [1]> ()`)
	m.Graph.Nodes = append(m.Graph.Nodes, &onnxgraph.Node{Name: "look", OpType: "Gather", Inputs: []string{"table", "i"}, Outputs: []string{"row"}},
		&onnxgraph.Node{Name: "aside", OpType: "MatMul", Inputs: []string{"row", "dead"}, Outputs: []string{"z"}})
	m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: "z", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(1, 4))})
	for _, k := range []struct {
		o    finetune.LoRA
		want string
	}{
		{finetune.LoRA{Rank: 3, Targets: []string{"grouped"}}, `weight "grouped": the rank 3 is no multiple of the 2 groups`},
		{finetune.LoRA{Rank: 3}, "no MatMul, Gemm or Conv of the model"},
		{finetune.LoRA{Rank: 2, Targets: []string{"table"}}, `no MatMul, Gemm or Conv multiplies by it, only node "look" (Gather)`},
		{finetune.LoRA{Rank: 2, Targets: []string{"dead"}}, `output "y" does not depend on it`},
		{finetune.LoRA{Rank: 2, Targets: []string{"q_proj"}}, `target "q_proj" matches no weight and no module`},
		{finetune.LoRA{Rank: 2, Targets: []string{"["}}, `target "["`},
		{finetune.LoRA{Rank: 2, Output: "q"}, `no value "q"`},
		{finetune.LoRA{Rank: 2, Targets: []string{"grouped"}, Except: []string{"grouped"}}, "trained whole"},
		{finetune.LoRA{}, "rank 0"},
	} {
		if _, _, err := finetune.AddLoRA(m, ops.Registry(), k.o); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%+v: error %v, expected %q", k.o, err, k.want)
		}
	}
	adapted, list, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 2, Targets: []string{"*"}})
	if err != nil || len(list.Adapters) != 1 {
		t.Fatal(list, err)
	}
	if _, _, err := finetune.AddLoRA(adapted, ops.Registry(), finetune.LoRA{Rank: 2}); err == nil || !strings.Contains(err.Error(), "adapters already") {
		t.Errorf("error %v", err)
	}
	if _, err := finetune.Merge(m); err != finetune.ErrNoAdapters {
		t.Errorf("error %v", err)
	}
}

// Scopes of the older exporter are read as module paths, and PEFT's short names
// find modules.
func TestModules(t *testing.T) {
	m := modelOf(t, "float[3,3] onnx::MatMul_7", "float[7,3]", "float[7,3]", `y = Identity (x)`)
	m.Graph.Nodes = []*onnxgraph.Node{{Name: "/h/h.0/attn/c_attn/MatMul", OpType: "MatMul", Inputs: []string{"x", "onnx::MatMul_7"}, Outputs: []string{"y"}}}
	for _, target := range []string{"c_attn", "attn.c_attn", "h.0.*", "onnx::*"} {
		_, list, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 2, Targets: []string{target}})
		if err != nil || list.Adapters[0].Module != "h.0.attn.c_attn" || list.Adapters[0].A != "h.0.attn.c_attn.lora_A.weight" {
			t.Errorf("%s: %+v, %v", target, list, err)
		}
	}
}

// The packed weights of a fused attention get an adapter as a whole.
func TestFusedAttention(t *testing.T) {
	m := modelOf(t, "float[8,24] w, float[24] b", "float[2,5,8]", "float[2,5,8]", `y = Identity (x)`)
	m.Opsets = append(m.Opsets, onnxgraph.Opset{Domain: "com.microsoft", Version: 1})
	m.Graph.Nodes = []*onnxgraph.Node{{Name: "attention", OpType: "Attention", Domain: "com.microsoft", Inputs: []string{"x", "w", "b"}, Outputs: []string{"y"}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("num_heads", 2)}}}
	want := execute(t, m, "y")
	m, list, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 2})
	if err != nil || len(list.Adapters) != 1 || list.Adapters[0].Weight != "w" {
		t.Fatalf("%+v, %v", list, err)
	}
	if d := furthest(execute(t, m, "y"), want); d > 1e-6 {
		t.Errorf("the output differs by %g", d)
	}
}

// A model that something else changed is refused, not merged wrongly.
func TestMergeRefuses(t *testing.T) {
	base := modelOf(t, "float[3,5] w", "float[7,3]", "float[7,5]", `y = MatMul (x, w)`)
	for want, change := range map[string]func(m *onnxgraph.Model){
		"no initializers": func(m *onnxgraph.Model) { m.Graph.Initializers = nil },
		"does not fit the weight": func(m *onnxgraph.Model) {
			for i, t := range m.Graph.Initializers {
				if t.Name == "w.lora_B.weight" {
					m.Graph.Initializers[i] = onnxgraph.Floats(t.Name, []int64{6, 2}, make([]float32, 12))
				}
			}
		},
		"ninox does not write":      func(m *onnxgraph.Model) { m.Graph.Nodes[1].Outputs = append(m.Graph.Nodes[1].Outputs, "more") },
		"no node adds the adapter":  func(m *onnxgraph.Model) { m.Graph.Nodes = m.Graph.Nodes[:1] },
		`metadata "ninox.lora"`:     func(m *onnxgraph.Model) { m.SetMeta(finetune.MetaKey, "[") },
		"no layer of the model has": func(m *onnxgraph.Model) { m.Graph.Nodes[0].Inputs[1] = "x" },
	} {
		m, _, err := finetune.AddLoRA(base, ops.Registry(), finetune.LoRA{Rank: 2})
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if _, err := finetune.Merge(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

var heads = map[string]struct {
	weights, x, y, nodes string
	names                []string
	dims                 []int64
}{
	"gemm":         {"float[9,3] w, float[9] b", "float[7,3]", "float[7,9]", `h = Gemm <transB = 1> (x, w, b) y = Softmax (h)`, []string{"w", "b"}, []int64{4, 3}},
	"matmul":       {"float[3,9] w, float[9] b", "float[7,3]", "float[7,9]", `h = MatMul (x, w) y = Add (h, b)`, []string{"w", "b"}, []int64{3, 4}},
	"convolution":  {"float[9,3,1,1] w, float[9] b", "float[7,3,5,5]", "float[7,9]", `h = Conv (x, w, b) k = GlobalAveragePool (h) y = Flatten (k)`, []string{"w", "b"}, []int64{4, 3, 1, 1}},
	"tied, turned": {"float[9,3] w", "float[7,3]", "float[7,9]", `s = ReduceSum <keepdims = 0> (w) k = Mul (x, s) t = Transpose (w) y = MatMul (k, t)`, []string{"w.head"}, []int64{3, 4}},
}

func TestNewHead(t *testing.T) {
	for name, k := range heads {
		m, names, err := finetune.NewHead(modelOf(t, k.weights, k.x, k.y, k.nodes), ops.Registry(), finetune.Head{Classes: 4, Seed: 1})
		if err != nil || !slices.Equal(names, k.names) {
			t.Errorf("%s: %v, %v", name, names, err)
			continue
		}
		if got := m.Graph.Initializer(names[0]).Dims; !slices.Equal(got, k.dims) {
			t.Errorf("%s: weight %v, expected %v", name, got, k.dims)
		}
		if out := execute(t, m, "y"); len(out) != 7*4 || m.Graph.Outputs[0].Type.String() != "float[7,4]" {
			t.Errorf("%s: %d values, declared as %s", name, len(out), m.Graph.Outputs[0].Type)
		}
		if err := rewrite.Check(m, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := modelOf(t, "float[3,9] w", "float[7,3]", "float[7,9]", `h = MatMul (x, w) y = Sin (h)`)
	if _, _, err := finetune.NewHead(m, ops.Registry(), finetune.Head{Classes: 4}); err == nil || !strings.Contains(err.Error(), "(Sin) stands before output") {
		t.Errorf("error %v", err)
	}
	if _, _, err := finetune.NewHead(m, ops.Registry(), finetune.Head{}); err == nil || !strings.Contains(err.Error(), "0 classes") {
		t.Errorf("error %v", err)
	}
}
