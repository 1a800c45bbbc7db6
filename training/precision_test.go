package training

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
)

// In half precision the losses follow those of float32, but are not the same;
// parameters and moments stay float32, and the eval model as it is.
func TestHalfPrecision(t *testing.T) {
	batches := formulaBatches(t, 4, 64)
	losses := map[string][]float64{}
	for _, precision := range []string{FP32, FP16} {
		a := mustArtifacts(t, formulaModel(t, "fm-16"), ArtifactOptions{Precision: precision})
		dir := t.TempDir()
		if err := a.Write(dir, false); err != nil {
			t.Fatal(err)
		}
		a, err := LoadArtifacts(dir)
		if err != nil {
			t.Fatal(err)
		}
		e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
		for s := range 12 {
			loss, err := e.Step(context.Background(), batches[s%4], 3e-3)
			if err != nil {
				t.Fatal(err)
			}
			losses[precision] = append(losses[precision], loss)
		}
		for _, n := range a.Eval.Graph.Nodes {
			if n.OpType == "Cast" {
				t.Errorf("%s: the eval model casts", precision)
			}
		}
	}
	differs := false
	for i, want := range losses[FP32] {
		got := losses[FP16][i]
		differs = differs || got != want
		if math.Abs(got-want) > 5e-3 {
			t.Errorf("step %d: loss %v in half precision, %v in full", i+1, got, want)
		}
	}
	if !differs {
		t.Error("half precision computes the same bits as full")
	}
}

// ONNX Runtime's CPU provider has no bfloat16: the artifacts are valid, and the
// executor says what to do.
func TestNoBFloat16OnCPU(t *testing.T) {
	a := mustArtifacts(t, chain(t, 2, nil), ArtifactOptions{Loss: MSE, Precision: BF16})
	e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
	x, err := ort.FloatValue([]int64{2, 4}, make([]float32, 8))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Step(context.Background(), map[string]*ort.Value{"x": x, "labels": x}, 0.1)
	if err == nil || !strings.Contains(err.Error(), "does not compute in bf16") || !strings.Contains(err.Error(), "precision fp16 or fp32") {
		t.Errorf("error %v", err)
	}
	if other := errors.New("disk full"); a.explainPrecision(other) != other {
		t.Error("other errors are explained by the precision, too")
	}
}

// overflowing is a model whose gradient overflows float32 once the loss is
// scaled by 2^120, and a batch for it.
func overflowing(t *testing.T, o ArtifactOptions) (*Executor, map[string]*ort.Value) {
	t.Helper()
	o.Loss = MSE
	e := mustExecutor(t, mustArtifacts(t, chain(t, 2, nil), o), ExecutorOptions{Workers: 1})
	v := make([]float32, 32)
	for i := range v {
		v[i] = 1000 * float32(symmetric(uint64(i)))
	}
	x, err := ort.FloatValue([]int64{8, 4}, v)
	if err != nil {
		t.Fatal(err)
	}
	return e, map[string]*ort.Value{"x": x, "labels": x}
}

func mustFloats(t *testing.T, set interface {
	Floats(name string) ([]float32, error)
}, name string) []float32 {
	t.Helper()
	v, err := set.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A power of two scales without a trace; a factor that overflows leaves the
// parameters as they are.
func TestStaticLossScale(t *testing.T) {
	train := func(factor float64) []float32 {
		e, batch := overflowing(t, ArtifactOptions{LossScale: LossScale{Factor: factor}})
		for range 3 {
			if _, err := e.Step(context.Background(), batch, 0.01); err != nil {
				t.Fatal(err)
			}
		}
		s, err := e.State()
		if err != nil {
			t.Fatal(err)
		}
		return mustFloats(t, s, "w1")
	}
	plain, scaled, stuck := train(0), train(1024), train(0x1p125)
	for i := range plain {
		if plain[i] != scaled[i] {
			t.Fatalf("w1[%d] is %v with a scaled loss, %v without", i, scaled[i], plain[i])
		}
		if want := float32(symmetric(uint64(100 + i))); stuck[i] != want {
			t.Fatalf("w1[%d] is %v after an overflow, expected %v as before", i, stuck[i], want)
		}
	}
}

// A dynamic factor halves until nothing overflows and is part of the state.
func TestDynamicLossScale(t *testing.T) {
	e, batch := overflowing(t, ArtifactOptions{LossScale: LossScale{Factor: 0x1p125, Dynamic: true}})
	moved := 0
	for range 14 {
		before, err1 := e.State()
		was := mustFloats(t, must(e.Buffers()), scaleName)[0]
		_, err2 := e.Step(context.Background(), batch, 0.01)
		after, err3 := e.State()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		same := mustFloats(t, before, "w1")[0] == mustFloats(t, after, "w1")[0]
		now := mustFloats(t, must(e.Buffers()), scaleName)[0]
		if same != (now == was/2) || !same && now != was {
			t.Errorf("factor %v becomes %v, parameters unchanged: %v", was, now, same)
		}
		if !same {
			moved++
		}
	}
	if run := mustFloats(t, must(e.Buffers()), scaleRun)[0]; moved == 0 || moved == 14 || int(run) != moved {
		t.Errorf("%d updates, %v batches counted since the last overflow", moved, run)
	}
	// After scaleInterval batches without overflow the factor doubles.
	set := must(e.Buffers())
	was := mustFloats(t, set, scaleName)[0] / 4
	set.AddFloats(scaleName, []int64{1}, []float32{was})
	set.AddFloats(scaleRun, []int64{1}, []float32{scaleInterval - 1})
	if err := e.SetBuffers(set); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(context.Background(), batch, 0.01); err != nil {
		t.Fatal(err)
	}
	set = must(e.Buffers())
	if now, run := mustFloats(t, set, scaleName)[0], mustFloats(t, set, scaleRun)[0]; now != 2*was || run != 0 {
		t.Errorf("factor %v becomes %v, %v batches counted", was, now, run)
	}
	// The trained model does not hold the factor.
	m, err := e.art.Inference(nil)
	if err != nil || m.Graph.Initializer(scaleName) != nil || len(m.Graph.Inputs) != 1 {
		t.Errorf("inputs %v, %v", m.Graph.Inputs, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPrecisionErrors(t *testing.T) {
	for want, o := range map[string]ArtifactOptions{
		`unknown precision "fp8", expected one of fp32, fp16, bf16`: {Precision: "fp8"},
		"loss scale -1 is no number":                                {LossScale: LossScale{Factor: -1}},
	} {
		if _, err := BuildArtifacts(chain(t, 1, nil), ops.Registry(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	taken := chain(t, 1, func(b *onnxgraph.Builder, h string) string {
		return b.Op("Mul", []string{h, b.Init(onnxgraph.Floats(scaleName, []int64{4}, make([]float32, 4)))})
	})
	if _, err := BuildArtifacts(taken, ops.Registry(), ArtifactOptions{Loss: MSE, Precision: FP16}); err == nil || !strings.Contains(err.Error(), `a value named "loss_scale"`) {
		t.Errorf("error %v", err)
	}
}
