package trainable

import (
	"reflect"
	"testing"

	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/apptest"
	"ninox/cmd/internal/job"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/training/autodiff"
)

// parse runs the command with a run function that only records its options.
func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	return apptest.Parse(t, &app.App{}, newCommand, args...)
}

// The flags are those of job.ModelOptions, tested with train and artifacts;
// here it is only seen that they arrive.
func TestFlags(t *testing.T) {
	got, err := parse(t, "m.onnx", "--loss", "l1", "--freeze", "a", "--train", "b", "--loss-output", "y")
	want := options{Model: "m.onnx", ModelOptions: job.ModelOptions{Loss: "l1", Freeze: []string{"a"}, Train: []string{"b"}, Output: "y"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("options %+v, %v, expected %+v", got, err, want)
	}
	known := pflag.NewFlagSet("", 0)
	NewCommand(&app.App{}).LocalFlags().VisitAll(func(f *pflag.Flag) { known.AddFlag(f) })
	for _, flag := range []string{"loss", "freeze", "train", "loss-output"} {
		if known.Lookup(flag) == nil {
			t.Errorf("there is no --%s", flag)
		}
	}
	if _, err := parse(t, "m.onnx", "--optimizer", "adagrad"); app.ExitCode(err) != app.ExitUsage {
		t.Errorf("error %v, expected one of usage", err)
	}
}

// A GRU of unknown length cannot be written out step by step: that blocks its
// weights and what lies before it, not the layer behind it.
func TestUncoveredUseBlocks(t *testing.T) {
	b := onnxgraph.NewBuilder("gru", 17)
	floats := func(name string, dims ...int64) string {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		return b.Init(onnxgraph.Floats(name, dims, make([]float32, n)))
	}
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("time"), onnxgraph.Sym("batch"), onnxgraph.Known(3)})
	scaled := b.Named("scale", "Mul", []string{x, floats("gain", 3)})
	y := b.Named("gru", "GRU", []string{scaled, floats("w", 1, 6, 3), floats("r", 1, 6, 2)}, onnxgraph.IntAttr("hidden_size", 2))
	out := b.Named("head", "MatMul", []string{y, floats("head.weight", 2, 4)})
	b.Output(out, onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{}
	if err := r.parameters(m, m.Graph, job.ModelOptions{}); err != nil {
		t.Fatal(err)
	}
	state := map[string]string{}
	for _, p := range r.Parameters {
		state[p.Name] = p.State
		if helps := p.Remedy == autodiff.Remedy("LSTM"); helps != (p.State == Blocked) {
			t.Errorf("%s (%s): remedy %q", p.Name, p.State, p.Remedy)
		}
	}
	want := map[string]string{"gain": Blocked, "w": Blocked, "r": Blocked, "head.weight": Trainable}
	if !reflect.DeepEqual(state, want) || r.Trainable != 8 || r.Blocked != 3+18+12 {
		t.Errorf("states %v (%d trainable, %d blocked), expected %v", state, r.Trainable, r.Blocked, want)
	}
}

// Loops pass gradients where they can be written out.
func TestLoopsAreWrittenOut(t *testing.T) {
	for _, op := range []string{"Loop", "Scan"} {
		if o := describe(op, ops.Registry().Lookup("", op)); o.Gradient != "written out" || o.Remedy != autodiff.Remedy("Loop") {
			t.Errorf("%+v", o)
		}
	}
	if o := describe("QLinearConv", ops.Registry().Lookup("", "QLinearConv")); o.Gradient != "no" || o.Remedy != autodiff.Remedy("QLinearConv") {
		t.Errorf("%+v", o)
	}
}

// What the exporter calls a buffer is a constant, and the report says why.
func TestConstantsHaveReasons(t *testing.T) {
	b := onnxgraph.NewBuilder("rotary", 18)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(2)})
	w := b.Init(onnxgraph.Floats("w", []int64{2}, []float32{1, 2}))
	table := b.Init(onnxgraph.Floats("table", []int64{2}, []float32{3, 4}))
	b.Output(b.Op("Mul", []string{b.Op("Mul", []string{x, w}), table}), onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	m.Graph.Metadata = []onnxgraph.KeyValue{{Key: "pkg.torch.export.ExportedProgram.graph_signature", Value: "p_w: PARAMETER target='w'\nb_table: BUFFER target='table' persistent=False"}}
	m.Graph.ValueInfo = []*onnxgraph.Value{{Name: "table", Metadata: []onnxgraph.KeyValue{{Key: "pkg.torch.export.graph_signature.InputSpec.kind", Value: "BUFFER"}}}}
	r := &Report{}
	if err := r.parameters(m, m.Graph, job.ModelOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Parameters {
		if want := map[string]string{"w": Trainable, "table": Constant}[p.Name]; p.State != want || (p.Reason != "") != (want == Constant) {
			t.Errorf("%s is %s, %q, expected %s", p.Name, p.State, p.Reason, want)
		}
	}
}
