package training

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// lossCase is a case of bench/torch_reference.py.
type lossCase struct {
	Loss    string
	Options LossOptions
	Shape   []int64
	Value   float64
	Grad    []float64
}

func (c lossCase) len() int { return int(Param{Dims: c.Shape}.Len()) }

// judgedModel outputs its input plus a parameter of zeros, whose gradient is
// that of the loss. Symbolic leaves the extents open.
func (c lossCase) judgedModel(t *testing.T, symbolic bool) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("judged", 17)
	shape := onnxgraph.StaticShape(c.Shape...)
	if symbolic {
		for i := range shape {
			shape[i] = onnxgraph.Sym(fmt.Sprint("n", i))
		}
	}
	x := b.Input("x", onnxgraph.Float, shape)
	zeros := b.Init(onnxgraph.Floats("zeros", c.Shape, make([]float32, c.len())))
	b.Output(b.Named("y", "Add", []string{x, zeros}), onnxgraph.Float, shape)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// batch are the inputs of the case by the formula of bench/torch_reference.py.
func (c lossCase) batch(t *testing.T) map[string]*ort.Value {
	t.Helper()
	const second = 1 << 20 // first number of labels and targets
	x, targets := make([]float32, c.len()), make([]float32, c.len())
	for i := range x {
		x[i], targets[i] = float32(4*symmetric(uint64(i))), float32((symmetric(uint64(second+i))+1)/2)
	}
	vx, err1 := ort.FloatValue(c.Shape, x)
	vy, err2 := ort.FloatValue(c.Shape, targets)
	if c.Loss == CrossEntropy {
		classes := c.Shape[1]
		dims := append([]int64{c.Shape[0]}, c.Shape[2:]...)
		labels := make([]int64, c.len()/int(classes))
		for i := range labels {
			labels[i] = int64(splitmix(uint64(second+i)) % uint64(classes))
			if o := c.Options.IgnoreIndex; o != nil && (*o < 0 || *o >= classes) && i%3 == 0 {
				labels[i] = *o
			}
		}
		vy, err2 = ort.Int64Value(dims, labels)
	}
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return map[string]*ort.Value{"x": vx, "labels": vy}
}

// Losses and their gradients are those of PyTorch, whether shapes are known
// before the model runs or not.
func TestLossesOfTorch(t *testing.T) {
	var cases []lossCase
	if err := readJSON("testdata/torch_losses.json", &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 20 {
		t.Fatalf("%d recorded losses", len(cases))
	}
	for _, c := range cases {
		for _, symbolic := range []bool{false, true} {
			t.Run(fmt.Sprint(c.Loss, c.Options.encode(), c.Shape, symbolic), func(t *testing.T) {
				a := mustArtifacts(t, c.judgedModel(t, symbolic), ArtifactOptions{Loss: c.Loss, LossOptions: c.Options, ClassAxis: 1, Train: []string{"zeros"}})
				c.check(t, a)
			})
		}
	}
}

// check runs the training model and compares loss and gradient.
func (c lossCase) check(t *testing.T, a *Artifacts) {
	t.Helper()
	session, err := runtimetest.Engine(t).NewSession(a.Training, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	in := c.batch(t)
	if in["zeros"], err = ort.FloatValue(c.Shape, make([]float32, c.len())); err != nil {
		t.Fatal(err)
	}
	out, err := session.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(out[a.LossName].Floats()[0]); !(math.Abs(got-c.Value) <= 1e-6*math.Max(1, math.Abs(c.Value))) {
		t.Errorf("loss %.8f, PyTorch has %.8f", got, c.Value)
	}
	for i, got := range out["zeros_grad"].Floats() {
		if !(math.Abs(float64(got)-c.Grad[i]) <= 1e-6*math.Max(1, math.Abs(c.Grad[i]))) {
			t.Errorf("gradient at %d is %.8f, PyTorch has %.8f", i, got, c.Grad[i])
		}
	}
}

// An output of the model with one element is the loss itself: no labels, and the
// trained model keeps the output. The name "loss" may be the model's own.
func TestOwnLoss(t *testing.T) {
	for _, name := range []string{"loss", "cost"} {
		for _, dims := range [][]int64{nil, {1, 1}} {
			t.Run(fmt.Sprint(name, dims), func(t *testing.T) {
				b := onnxgraph.NewBuilder("own", 17)
				shape := onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(2)}
				x := b.Input("x", onnxgraph.Float, shape)
				w := b.Init(onnxgraph.Floats("w", []int64{2, 1}, []float32{2, -1}))
				y := b.Op("MatMul", []string{x, w})
				keep := onnxgraph.IntAttr("keepdims", int64(len(dims)/2))
				b.Output(b.Named(name, "ReduceMean", []string{b.Op("Mul", []string{y, y})}, keep), onnxgraph.Float, onnxgraph.StaticShape(dims...))
				m, err := b.Model()
				if err != nil {
					t.Fatal(err)
				}
				a := mustArtifacts(t, m, ArtifactOptions{Loss: OutputLoss + name, Optimizer: Optimizer{Kind: SGD}})
				if len(a.Inputs) != 1 || a.Labels != "" || a.Output != name {
					t.Errorf("inputs %q, labels %q, output %q", a.Inputs, a.Labels, a.Output)
				}
				dir := t.TempDir()
				if err := a.Write(dir, false); err != nil {
					t.Fatal(err)
				}
				if a, err = LoadArtifacts(dir); err != nil {
					t.Fatal(err)
				}
				e := mustExecutor(t, a, ExecutorOptions{})
				v, err := ort.FloatValue([]int64{2, 2}, []float32{1, 1, 1, 3})
				if err != nil {
					t.Fatal(err)
				}
				// y = 1, −1: the loss is 1, its gradient (1·1 − 1·1, 1·1 − 1·3).
				loss, err := e.Step(context.Background(), map[string]*ort.Value{"x": v}, 0.5)
				if err != nil || loss != 1 {
					t.Errorf("loss %v, %v", loss, err)
				}
				s, err := e.State()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := s.Floats("w"); err != nil || got[0] != 2 || got[1] != 0 {
					t.Errorf("w is %v, %v, expected 2, 0", got, err)
				}
				plain, err := a.Inference(s)
				if err != nil || len(plain.Graph.Outputs) != 1 || plain.Graph.Outputs[0].Name != name {
					t.Errorf("outputs of the trained model: %v, %v", plain.Graph.Outputs, err)
				}
			})
		}
	}
}

// What a loss depends on comes back from the files; losses that are no means
// over their samples are not split.
func TestLossOptionsAreKept(t *testing.T) {
	ignore := int64(-100)
	for _, c := range []struct {
		o     ArtifactOptions
		split bool
	}{
		{ArtifactOptions{Loss: MSE}, true},
		{ArtifactOptions{LossOptions: LossOptions{LabelSmoothing: 0.25}}, true},
		{ArtifactOptions{LossOptions: LossOptions{IgnoreIndex: &ignore, ClassWeights: []float32{1, 2, 3, 0.1}}}, false},
		{ArtifactOptions{Loss: BCELogits, LossOptions: LossOptions{PosWeight: []float32{0.3}}}, true},
		{ArtifactOptions{Loss: L1, LossOptions: LossOptions{Reduction: Sum}}, false},
	} {
		a := mustArtifacts(t, chain(t, 1, nil), c.o)
		dir := t.TempDir()
		if err := a.Write(dir, false); err != nil {
			t.Fatal(err)
		}
		back, err := LoadArtifacts(dir)
		if err != nil {
			t.Fatal(err)
		}
		if back.LossKind != a.LossKind || back.LossOptions.encode() != c.o.LossOptions.encode() {
			t.Errorf("%+v is read as %s %s", c.o, back.LossKind, back.LossOptions.encode())
		}
		if got := back.perSample(back.LossKind); got != c.split {
			t.Errorf("%+v: may be split: %v", c.o, got)
		}
	}
}

// Labels that are ignored count neither as hits nor as misses.
func TestIgnoredLabelsAreNotJudged(t *testing.T) {
	ignore := int64(-1)
	logits := []float32{1, 0, 0, 1, 1, 0, 0, 1}
	if hits, judged := countCorrect(logits, []int64{0, -1, 1, 1}, &ignore); hits != 2 || judged != 3 {
		t.Errorf("%d of %d, expected 2 of 3", hits, judged)
	}
	if hits, judged := countCorrect(logits, []int64{0, -1, 1, 1}, nil); hits != 2 || judged != 4 {
		t.Errorf("%d of %d, expected 2 of 4", hits, judged)
	}
}

func TestLossErrors(t *testing.T) {
	ignore := int64(3)
	vector := func(b *onnxgraph.Builder, h string) string { return b.Op("Flatten", []string{h}) }
	for _, c := range []struct {
		want string
		o    ArtifactOptions
	}{
		{"ignored label: an option of cross-entropy, not of mse", ArtifactOptions{Loss: MSE, LossOptions: LossOptions{IgnoreIndex: &ignore}}},
		{"class weights: an option of cross-entropy, not of l1", ArtifactOptions{Loss: L1, LossOptions: LossOptions{ClassWeights: []float32{1}}}},
		{"label smoothing: an option of cross-entropy", ArtifactOptions{Loss: L1, LossOptions: LossOptions{LabelSmoothing: 0.1}}},
		{"weight of positives: an option of bce-logits, not of cross-entropy", ArtifactOptions{LossOptions: LossOptions{PosWeight: []float32{1}}}},
		{"label smoothing 1.5 is not in [0, 1]", ArtifactOptions{LossOptions: LossOptions{LabelSmoothing: 1.5}}},
		{`reduction "max", expected mean or sum`, ArtifactOptions{LossOptions: LossOptions{Reduction: "max"}}},
		{"weight -1 is no number", ArtifactOptions{LossOptions: LossOptions{ClassWeights: []float32{-1, 1, 1, 1}}}},
		{"weight NaN is no number", ArtifactOptions{LossOptions: LossOptions{ClassWeights: []float32{float32(math.NaN())}}}},
		{"2 class weights for output \"y\" of shape [batch,4], expected 4", ArtifactOptions{LossOptions: LossOptions{ClassWeights: []float32{1, 1}}}},
		{"3 weights of positives for output \"y\" of shape [batch,4]", ArtifactOptions{Loss: BCELogits, LossOptions: LossOptions{PosWeight: []float32{1, 1, 1}}}},
		{"output \"y\" has shape [batch,4], expected one element", ArtifactOptions{Loss: "output:y"}},
		{`no value "z"`, ArtifactOptions{Loss: "output:z"}},
		{`unknown loss "output:"`, ArtifactOptions{Loss: "output:"}},
		{`loss "output:y" judges that output, not "z"`, ArtifactOptions{Loss: "output:y", Output: "z"}},
		{"a reduction is no option of output:y", ArtifactOptions{Loss: "output:y", LossOptions: LossOptions{Reduction: Sum}}},
	} {
		if _, err := BuildArtifacts(chain(t, 1, vector), ops.Registry(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %q", err, c.want)
		}
	}
	if _, err := decodeLossOptions("{"); err == nil {
		t.Error("options that are no JSON are read")
	}
}
