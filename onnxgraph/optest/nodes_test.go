package optest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/conformance"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/autodiff"
)

var update = flag.Bool("update", false, "rewrite testdata/gradients.tsv")

const gradientsFile = "testdata/gradients.tsv"

// TestNodeModels takes the gradient of every node test of ONNX and compares it
// with finite differences at the stored inputs. testdata/gradients.tsv has a line
// for every case, in the form of verdict: those that no gradient passes
// with the reason.
func TestNodeModels(t *testing.T) {
	root := testenv.ONNXTestData(t)
	engine := runtimetest.Engine(t)
	t.Setenv("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")
	cases, err := conformance.Find(root)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(gradientsFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	expected := map[string]string{}
	for line := range strings.Lines(string(stored)) {
		name, verdict, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		expected[name] = verdict
	}
	var out strings.Builder
	for _, c := range cases {
		kind, name := path.Split(c.Name)
		if kind != "node/" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			got := nodeGradient(engine, c)
			fmt.Fprintf(&out, "%s\t%s\n", name, got)
			if !*update && got != expected[name] {
				t.Errorf("%s, expected %s", got, expected[name])
			}
		})
	}
	if *update {
		if err := os.WriteFile(gradientsFile, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// nodeGradient is the verdict on one case: "double" or "float" where the
// gradient agrees with differences in that precision, "zero" where there is none
// to compare, else what stands in the way.
func nodeGradient(engine *ort.Engine, c conformance.Case) string {
	p, err := newProbe(engine, c)
	if err == nil {
		err = p.choose()
	}
	if err != nil {
		return "none: " + firstLine(err)
	}
	if len(p.wrt) == 0 {
		return "zero"
	}
	// In double precision where the engine has it. Chance leads away from kinks;
	// where it leads out of the domain, the stored inputs are taken, or smaller ones.
	for _, way := range []struct {
		word           string
		dtype          onnxgraph.DType
		eps, tol       float64
		shrunk, beside float64
	}{
		{"double", onnxgraph.Double, 1e-5, 1e-6, 1, 1e-2}, {"double", onnxgraph.Double, 1e-5, 1e-6, 1, 0}, {"double", onnxgraph.Double, 1e-5, 1e-6, 0.9, 0},
		{"float", onnxgraph.Float, 3e-3, 1e-2, 1, 1e-2}, {"float", onnxgraph.Float, 3e-3, 1e-2, 1, 0}, {"float", onnxgraph.Float, 3e-3, 1e-2, 0.9, 0},
	} {
		move := func(x float64, rng *rand.Rand) float64 { return way.shrunk*x + way.beside*rng.NormFloat64() }
		if err = p.compare(way.dtype, way.eps, way.tol, move); err == nil {
			return way.word
		}
	}
	return "none: " + firstLine(err)
}

func firstLine(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n  ", " ")
	line, _, _ := strings.Cut(text, "\n")
	return strings.ReplaceAll(line, "\t", " ")
}

// probe differentiates one model with stored inputs.
type probe struct {
	engine *ort.Engine
	model  *onnxgraph.Model // in standard form
	values map[string]*onnxgraph.Tensor
	seed   uint64

	// The choice: what is varied, and which outputs enter the loss.
	wrt, outputs []string
	dims         map[string][]int64 // of the outputs
}

func newProbe(engine *ort.Engine, c conformance.Case) (*probe, error) {
	m, err := onnxgraph.ReadFile(filepath.Join(c.Dir, "model.onnx"))
	if err != nil {
		return nil, err
	}
	sets, err := c.DataSets(m.Graph)
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	h.Write([]byte(c.Name))
	p := &probe{engine: engine, values: map[string]*onnxgraph.Tensor{}, seed: h.Sum64(), dims: map[string][]int64{}}
	var declared []*onnxgraph.Value
	for i, v := range sets[0].In {
		if v.Kind != onnxgraph.TensorKind || m.Graph.Inputs[i].Type.Kind != onnxgraph.TensorKind {
			return nil, errors.New("an input is no tensor")
		}
		t := *v.Tensor
		t.Name = m.Graph.Inputs[i].Name
		p.values[t.Name] = &t
		if t.DType == onnxgraph.Float {
			declared = append(declared, &onnxgraph.Value{Name: t.Name, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
			continue
		}
		m.Graph.Initializers = append(m.Graph.Initializers, &t)
	}
	m.Graph.Inputs = declared
	for i, v := range sets[0].Out {
		if v.Kind == onnxgraph.TensorKind && v.Tensor.DType == onnxgraph.Float {
			name := m.Graph.Outputs[i].Name
			p.outputs = append(p.outputs, name)
			p.dims[name] = v.Tensor.Dims
		}
	}
	m.Graph.Outputs = slices.DeleteFunc(m.Graph.Outputs, func(v *onnxgraph.Value) bool { return !slices.Contains(p.outputs, v.Name) })
	if m.OpsetVersion("") == 0 {
		m.Opsets = append(m.Opsets, onnxgraph.Opset{Version: rewrite.Trainable})
	}
	if conformance.Draws(m) {
		return nil, errors.New("draws random numbers")
	}
	if len(declared) == 0 || len(p.outputs) == 0 {
		return nil, errors.New("no input or no output is float")
	}
	if v := m.OpsetVersion(""); v > 0 && v < rewrite.Trainable {
		if m, _, err = rewrite.Convert(m, ops.Registry(), rewrite.Trainable); err != nil {
			return nil, err
		}
	}
	p.model = m
	return p, nil
}

// choose finds what can be varied: all float inputs or, where some of them are
// settings that a rule must know, the largest; and likewise for outputs.
func (p *probe) choose() error {
	var all []string
	largest := ""
	for _, v := range p.model.Graph.Inputs {
		all = append(all, v.Name)
		if largest == "" || p.values[v.Name].Len() > p.values[largest].Len() {
			largest = v.Name
		}
	}
	outputs := p.outputs
	var first error
	for _, wrt := range [][]string{all, {largest}} {
		for _, out := range [][]string{outputs, outputs[:1]} {
			p.wrt, p.outputs = wrt, out
			_, zero, err := p.backward(onnxgraph.Float)
			if err == nil {
				p.wrt = slices.DeleteFunc(slices.Clone(wrt), func(n string) bool { return slices.Contains(zero, n) })
				return nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// backward is the model with a loss Σ y·r and its gradients, named by input;
// floats are of type d, and what is not varied is constant.
func (p *probe) backward(d onnxgraph.DType) (*onnxgraph.Model, []string, error) {
	m := p.model.Clone()
	g := m.Graph
	var inputs []*onnxgraph.Value
	for _, v := range g.Inputs {
		if slices.Contains(p.wrt, v.Name) {
			inputs = append(inputs, &onnxgraph.Value{Name: v.Name, Type: onnxgraph.TensorOf(d, v.Type.Shape)})
			continue
		}
		g.Initializers = append(g.Initializers, p.values[v.Name])
	}
	g.Inputs = inputs
	for i, t := range g.Initializers {
		if t.DType == onnxgraph.Float && d == onnxgraph.Double {
			v, err := t.AsDoubles()
			if err != nil {
				return nil, nil, err
			}
			g.Initializers[i] = onnxgraph.Doubles(t.Name, t.Dims, v)
		}
	}
	g.Outputs, g.ValueInfo = nil, nil
	p.appendLoss(g, d)
	g.Outputs = []*onnxgraph.Value{{Name: "probe.loss"}}
	reg := ops.Registry()
	m, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, nil, err
	}
	if m, _, err = rewrite.Unroll(m, reg, func(*onnxgraph.Node) bool { return true }); err != nil {
		return nil, nil, err
	}
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return nil, nil, err
	}
	res, err := autodiff.Gradients(m, reg, facts, autodiff.Options{Loss: "probe.loss", Wrt: p.wrt})
	if err != nil {
		return nil, nil, err
	}
	graph := *res.Model.Graph
	graph.Outputs = []*onnxgraph.Value{{Name: "probe.loss", Type: facts.Fact("probe.loss").Type}}
	for _, n := range p.wrt {
		graph.Nodes = append(graph.Nodes, &onnxgraph.Node{OpType: "Identity", Inputs: []string{res.Grads[n]}, Outputs: []string{gradientOf(n)}})
		graph.Outputs = append(graph.Outputs, &onnxgraph.Value{Name: gradientOf(n), Type: onnxgraph.TensorOf(d, p.values[n].Shape())})
	}
	model := *res.Model
	model.Graph = &graph
	if d != onnxgraph.Double {
		return &model, res.Zero, nil
	}
	// Gradients keep nodes whose kernels are for float32 alone.
	recurrent := []string{"LSTM", "GRU", "RNN"}
	low, err := rewrite.Lower(&model, reg, func(n *onnxgraph.Node) bool { return n.Domain == "" && slices.Contains(recurrent, n.OpType) })
	return low, res.Zero, err
}

func gradientOf(input string) string { return "probe.gradient/" + input }

// appendLoss weights every element of the outputs by a random number.
func (p *probe) appendLoss(g *onnxgraph.Graph, d onnxgraph.DType) {
	rng := rand.New(rand.NewPCG(p.seed, 1))
	var parts []string
	for _, y := range p.outputs {
		r := make([]float64, (&onnxgraph.Tensor{Dims: p.dims[y]}).Len())
		for i := range r {
			r[i] = rng.NormFloat64()
		}
		weights, product, sum := "probe.weights/"+y, "probe.product/"+y, "probe.sum/"+y
		g.Initializers = append(g.Initializers, tensorOf(weights, d, p.dims[y], r))
		g.Nodes = append(g.Nodes,
			&onnxgraph.Node{OpType: "Mul", Inputs: []string{y, weights}, Outputs: []string{product}},
			&onnxgraph.Node{OpType: "ReduceSum", Inputs: []string{product}, Outputs: []string{sum}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("keepdims", 0)}})
		parts = append(parts, sum)
	}
	g.Nodes = append(g.Nodes, &onnxgraph.Node{OpType: "Sum", Inputs: parts, Outputs: []string{"probe.loss"}})
}

func tensorOf(name string, d onnxgraph.DType, dims []int64, v []float64) *onnxgraph.Tensor {
	if d == onnxgraph.Double {
		return onnxgraph.Doubles(name, dims, v)
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return onnxgraph.Floats(name, dims, f)
}

// compare takes the derivative along a random direction both ways, at points
// that move makes of the stored ones.
func (p *probe) compare(d onnxgraph.DType, eps, tol float64, move func(float64, *rand.Rand) float64) error {
	m, _, err := p.backward(d)
	if err != nil {
		return err
	}
	m.IRVersion = min(m.IRVersion, 10)
	s, err := p.engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return err
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(p.seed, 2))
	at, along := map[string][]float64{}, map[string][]float64{}
	for _, n := range p.wrt {
		v, err := p.values[n].AsDoubles()
		if err != nil {
			return err
		}
		x, dir := slices.Clone(v), make([]float64, len(v))
		for i := range x {
			x[i] = move(x[i], rng)
			dir[i] = rng.NormFloat64()
		}
		at[n], along[n] = x, dir
	}
	run := func(step float64) (map[string]*ort.Value, error) {
		in := map[string]*ort.Value{}
		for _, n := range p.wrt {
			x := slices.Clone(at[n])
			for i := range x {
				x[i] += step * along[n][i]
			}
			v, err := ort.NewValue(tensorOf(n, d, p.values[n].Dims, x))
			if err != nil {
				return nil, err
			}
			defer v.Close()
			in[n] = v
		}
		return s.Run(context.Background(), in)
	}
	var loss [2]float64
	for i, step := range []float64{-eps, eps} {
		out, err := run(step)
		if err != nil {
			return err
		}
		loss[i] = numbers(out["probe.loss"])[0]
	}
	out, err := run(0)
	if err != nil {
		return err
	}
	want, got, scale := (loss[1]-loss[0])/(2*eps), 0.0, 0.0
	for _, n := range p.wrt {
		for i, g := range numbers(out[gradientOf(n)]) {
			got += g * along[n][i]
			scale += math.Abs(g * along[n][i])
		}
	}
	if !(math.Abs(got-want) <= tol*(1+scale)) {
		return fmt.Errorf("the derivative is %.4g by the rule, %.4g by differences", got, want)
	}
	return nil
}

func numbers(v *ort.Value) []float64 {
	x, _ := v.Tensor("").AsDoubles() // of floats or doubles, as the model says
	return x
}
