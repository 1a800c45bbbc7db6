package training

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
	ort "ninox/runtime"
	"ninox/training/autodiff"
)

// recurrent applies h ← tanh(x[t]·w + h·u) over the steps of x [steps,2,3] by a
// Scan or by a Loop, whose outputs are the last state and all of them.
func recurrent(t *testing.T, opType string, steps onnxgraph.Dim, edit func(n *onnxgraph.Node)) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("recurrent", 17)
	shape := onnxgraph.Shape{steps, onnxgraph.Known(2), onnxgraph.Known(3)}
	b.Input("x", onnxgraph.Float, shape)
	at := uint64(0)
	weight := func(name string, dims ...int64) {
		v := make([]float32, Param{Dims: dims}.Len())
		for i := range v {
			v[i] = float32(symmetric(at))
			at++
		}
		b.Init(onnxgraph.Floats(name, dims, v))
	}
	weight("w", 3, 4)
	weight("u", 4, 4)
	weight("start", 2, 4)
	float := func(name string, dims ...int64) *onnxgraph.Value {
		return &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(dims...))}
	}
	body := &onnxgraph.Graph{Name: "body", Outputs: []*onnxgraph.Value{float("next", 2, 4), float("all", 2, 4)}}
	add := func(opType, out string, in ...string) {
		body.Nodes = append(body.Nodes, &onnxgraph.Node{Name: out, OpType: opType, Inputs: in, Outputs: []string{out}})
	}
	n := &onnxgraph.Node{Name: "recurrence", OpType: opType, Outputs: []string{"last", "states"}}
	if opType == "Scan" {
		body.Inputs = []*onnxgraph.Value{float("h", 2, 4), float("xt", 2, 3)}
		n.Inputs = []string{"start", "x"}
		n.Attrs = append(n.Attrs, onnxgraph.IntAttr("num_scan_inputs", 1), onnxgraph.IntsAttr("scan_input_directions", 1), onnxgraph.IntsAttr("scan_output_axes", 1))
	} else {
		b.Init(onnxgraph.Int64s("trips", []int64{}, []int64{steps.Value}))
		body.Inputs = []*onnxgraph.Value{
			{Name: "t", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{})}, {Name: "go", Type: onnxgraph.TensorOf(onnxgraph.Bool, onnxgraph.Shape{})}, float("h", 2, 4),
		}
		body.Outputs = append([]*onnxgraph.Value{{Name: "goes on", Type: onnxgraph.TensorOf(onnxgraph.Bool, onnxgraph.Shape{})}}, body.Outputs...)
		add("Identity", "goes on", "go")
		add("Gather", "xt", "x", "t")
		n.Inputs = []string{"trips", "", "start"}
	}
	add("MatMul", "from x", "xt", "w")
	add("MatMul", "from h", "h", "u")
	add("Add", "sum", "from x", "from h")
	add("Tanh", "next", "sum")
	add("Identity", "all", "next")
	n.Attrs = append(n.Attrs, onnxgraph.GraphAttr("body", body))
	if edit != nil {
		edit(n)
	}
	b.Graph().Nodes = append(b.Graph().Nodes, n)
	// Both results count, with different weights.
	spread := b.Op("ReduceMean", []string{"states"}, onnxgraph.IntsAttr("axes", map[string]int64{"Scan": 1, "Loop": 0}[opType]), onnxgraph.IntAttr("keepdims", 0))
	b.Output(b.Named("y", "Add", []string{"last", b.Op("Mul", []string{spread, spread})}), onnxgraph.Float, onnxgraph.StaticShape(2, 4))
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Loops of known length are written out: the eval model computes what the model
// with the loop does, and the gradients agree with differences of losses.
func TestTrainThroughLoops(t *testing.T) {
	for _, opType := range []string{"Scan", "Loop"} {
		t.Run(opType, func(t *testing.T) {
			m := recurrent(t, opType, onnxgraph.Known(5), nil)
			a := mustArtifacts(t, m, ArtifactOptions{Loss: MSE, Optimizer: Optimizer{Kind: SGD}})
			v := make([]float32, 30)
			for i := range v {
				v[i] = float32(symmetric(uint64(500 + i)))
			}
			x, err1 := ort.FloatValue([]int64{5, 2, 3}, v)
			zeros, err2 := ort.FloatValue([]int64{2, 4}, make([]float32, 8))
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			direct, err := mustSession(t, m).Run(context.Background(), map[string]*ort.Value{"x": x})
			if err != nil {
				t.Fatal(err)
			}
			batch := map[string]*ort.Value{"x": x, "labels": zeros}
			lossAt := func(e *Executor) float64 {
				loss, out, err := e.Eval(context.Background(), batch)
				if err != nil {
					t.Fatal(err)
				}
				defer closeValues(out)
				for i, want := range direct["y"].Floats() {
					if got := out["y"].Floats()[i]; e.StepCount() == 0 && math.Abs(float64(got-want)) > 1e-6 {
						t.Fatalf("y[%d] is %v written out, %v by the loop", i, got, want)
					}
				}
				return loss
			}
			// One small step of gradient descent lowers the loss by lr·‖g‖².
			e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
			before := lossAt(e)
			old := must(e.State())
			const lr = 1e-2
			if _, err := e.Step(context.Background(), batch, lr); err != nil {
				t.Fatal(err)
			}
			norm := 0.0
			for _, p := range a.Params {
				was, is := mustFloats(t, old, p.Name), mustFloats(t, must(e.State()), p.Name)
				moved := 0.0
				for i := range was {
					g := float64(was[i]-is[i]) / lr
					moved += g * g
				}
				if moved == 0 {
					t.Errorf("%s does not move", p.Name)
				}
				norm += moved
			}
			if drop := (before - lossAt(e)) / (lr * norm); !(math.Abs(drop-1) < 0.03) {
				t.Errorf("the loss falls by %v of what the gradient promises", drop)
			}
		})
	}
}

// Where the number of iterations is not known, the refusal says so.
func TestLoopsOfUnknownLength(t *testing.T) {
	for _, c := range []struct {
		opType, want string
		steps        onnxgraph.Dim
		edit         func(n *onnxgraph.Node)
	}{
		{"Scan", `an extent of "x", is not known`, onnxgraph.Sym("time"), nil},
		{"Loop", "the number of iterations is not known", onnxgraph.Known(3), func(n *onnxgraph.Node) { n.Inputs[0] = "" }},
		{"Loop", "its condition is computed", onnxgraph.Known(3), func(n *onnxgraph.Node) {
			g := n.Attrs[0].G
			g.Nodes[0] = &onnxgraph.Node{OpType: "Less", Inputs: []string{"t", "t"}, Outputs: []string{"goes on"}}
		}},
	} {
		t.Run(fmt.Sprint(c.opType, c.want), func(t *testing.T) {
			_, err := BuildArtifacts(recurrent(t, c.opType, c.steps, c.edit), ops.Registry(), ArtifactOptions{Loss: MSE})
			var refused *autodiff.RefusalError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), `node "recurrence" (`+c.opType+`): gradients do not enter it, and it cannot be written out: `) || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), "blocks ") || !strings.HasSuffix(err.Error(), "; to train them, export the model with a fixed number of iterations") {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
}

// A branch that data choose is refused by the name of its node, with the reason
// and what would help.
func TestBranchesOfUnknownCondition(t *testing.T) {
	m, err := text.Parse([]byte(`<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[n,2] x) => (float[n,2] y) <float[2] w = {1, 2}> {
		[choice] y = If (c) <then_branch = a () => (float[n,2] p) { p = Mul (x, w) }, else_branch = b () => (float[n,2] q) { q = Add (x, w) }>
	}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = BuildArtifacts(m, ops.Registry(), ArtifactOptions{Loss: MSE})
	var refused *autodiff.RefusalError
	if want := `node "choice" (If): gradients do not enter subgraphs; blocks w; to train them, export the model with the condition decided`; !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, expected %q", err, want)
	}
}
