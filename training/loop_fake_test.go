package training

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training/data"
)

const fakeClasses, fakeFeatures = 3, 2

// fakeTrainer is softmax regression with momentum, in plain Go: a stand-in for
// the executor whose every bit follows from what the loop feeds it.
type fakeTrainer struct {
	w, m    []float32 // [classes, features+1], bias last
	updates int64
	steps   int // calls of Step

	before   func(f *fakeTrainer, call int) // runs at the start of every Step
	fails    func(call int) error           // an error instead of a step
	inEval   func()
	lossOf   func(call int, loss float64) float64
	learned  []float64 // learning rates seen
	firstRow []float32 // first value of every batch seen
}

func newFakeTrainer() *fakeTrainer {
	f := &fakeTrainer{w: make([]float32, fakeClasses*(fakeFeatures+1)), m: make([]float32, fakeClasses*(fakeFeatures+1))}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range f.w {
		f.w[i] = float32(rng.NormFloat64()) / 10
	}
	return f
}

// forward returns mean loss, logits and gradient of a batch.
func (f *fakeTrainer) forward(batch map[string]*ort.Value) (float64, []float32, []float32) {
	x, y := batch["x"].Floats(), batch["y"].Int64s()
	logits, grad := make([]float32, len(y)*fakeClasses), make([]float32, len(f.w))
	total := 0.0
	for n := range y {
		row := append(append([]float32{}, x[n*fakeFeatures:(n+1)*fakeFeatures]...), 1)
		z, sum := logits[n*fakeClasses:(n+1)*fakeClasses], 0.0
		for c := range z {
			for j, v := range row {
				z[c] += v * f.w[c*len(row)+j]
			}
			sum += math.Exp(float64(z[c]))
		}
		for c := range z {
			p := math.Exp(float64(z[c])) / sum
			if int64(c) == y[n] {
				total -= math.Log(p)
				p--
			}
			for j, v := range row {
				grad[c*len(row)+j] += float32(p) * v / float32(len(y))
			}
		}
	}
	return total / float64(len(y)), logits, grad
}

func (f *fakeTrainer) Step(ctx context.Context, batch map[string]*ort.Value, lr float64) (float64, error) {
	losses, err := f.StepAccumulated(ctx, []map[string]*ort.Value{batch}, lr)
	if err != nil {
		return 0, err
	}
	return losses[0], nil
}

func (f *fakeTrainer) StepAccumulated(ctx context.Context, batches []map[string]*ort.Value, lr float64) ([]float64, error) {
	f.steps++
	if f.before != nil {
		f.before(f, f.steps)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.fails != nil {
		if err := f.fails(f.steps); err != nil {
			return nil, err
		}
	}
	f.learned = append(f.learned, lr)
	sum := make([]float32, len(f.w))
	var losses []float64
	for _, b := range batches {
		f.firstRow = append(f.firstRow, b["x"].Floats()[0])
		loss, _, grad := f.forward(b)
		if f.lossOf != nil {
			loss = f.lossOf(f.steps, loss)
		}
		losses = append(losses, loss)
		for i, g := range grad {
			sum[i] += g
		}
	}
	for i, g := range sum {
		f.m[i] = 0.9*f.m[i] + g
		f.w[i] -= float32(lr) * f.m[i]
	}
	f.updates++
	return losses, nil
}

func (f *fakeTrainer) Eval(_ context.Context, batch map[string]*ort.Value) (float64, map[string]*ort.Value, error) {
	if f.inEval != nil {
		f.inEval()
	}
	loss, logits, _ := f.forward(batch)
	v, err := ort.FloatValue([]int64{int64(len(logits) / fakeClasses), fakeClasses}, logits)
	return loss, map[string]*ort.Value{"logits": v}, err
}

func fakeSet(v []float32) *weights.Set {
	s := &weights.Set{}
	s.AddFloats("w", []int64{fakeClasses, fakeFeatures + 1}, append([]float32{}, v...))
	return s
}

func (f *fakeTrainer) set(dst []float32, s *weights.Set) error {
	v, err := s.Floats("w")
	if err == nil && len(v) != len(dst) {
		err = fmt.Errorf("w has %d elements", len(v))
	}
	copy(dst, v)
	return err
}

func (f *fakeTrainer) State() (*weights.Set, error)    { return fakeSet(f.w), nil }
func (f *fakeTrainer) Moments() (*weights.Set, error)  { return fakeSet(f.m), nil }
func (f *fakeTrainer) SetState(s *weights.Set) error   { return f.set(f.w, s) }
func (f *fakeTrainer) SetMoments(s *weights.Set) error { return f.set(f.m, s) }
func (f *fakeTrainer) StepCount() int64                { return f.updates }
func (f *fakeTrainer) SetStepCount(n int64)            { f.updates = n }

// fakeNowcaster extrapolates the line through the first and the last state and
// remembers what it was asked.
type fakeNowcaster struct {
	ks     []int
	states [][]*weights.Set
	edit   func(predicted []float32)
}

func (*fakeNowcaster) Name() string { return "line" }
func (*fakeNowcaster) Context() int { return 5 }

func (n *fakeNowcaster) Nowcast(_ context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	n.ks = append(n.ks, k)
	n.states = append(n.states, states)
	first, err := states[0].Floats("w")
	if err != nil {
		return nil, err
	}
	last, err := states[len(states)-1].Floats("w")
	if err != nil {
		return nil, err
	}
	p := make([]float32, len(last))
	for i := range p {
		p[i] = last[i] + float32(k)*(last[i]-first[i])/4
	}
	if n.edit != nil {
		n.edit(p)
	}
	return fakeSet(p), nil
}

// fakeData is n points of three overlapping clouds.
func fakeData(t testing.TB, n int, seed uint64) data.Dataset {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 9))
	x, y := make([]float32, n*fakeFeatures), make([]int64, n)
	for i := range y {
		y[i] = int64(i % fakeClasses)
		angle := 2 * math.Pi * float64(y[i]) / fakeClasses
		x[2*i] = float32(2*math.Cos(angle) + rng.NormFloat64())
		x[2*i+1] = float32(2*math.Sin(angle) + rng.NormFloat64())
	}
	s := &weights.Set{}
	s.AddFloats("x", []int64{int64(n), fakeFeatures}, x)
	s.Add("y", weights.DenseInt64s([]int64{int64(n)}, y))
	d, err := data.NewArrays("clouds", s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeConfig is a run of 40 steps over fake data, with evaluations every 4
// steps and a checkpoint every 15.
func fakeConfig(t testing.TB) (Config, *fakeTrainer) {
	t.Helper()
	batch := onnxgraph.Sym("batch")
	f := newFakeTrainer()
	return Config{
		Dir: t.TempDir(), Trainer: f,
		Inputs: []*onnxgraph.Value{
			{Name: "x", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(fakeFeatures)})},
			{Name: "y", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{batch})},
		},
		Train: fakeData(t, 100, 1), Test: fakeData(t, 31, 2), EvalBatch: 10,
		Steps: 40, Batch: 16, Seed: 5, LR: 0.01, EvalEvery: 4, CheckpointEvery: 15,
		Target: &Target{MetricAccuracy, 85},
	}, f
}

// withNowcasts adds nowcasts at steps 10, 20, 30 and 40.
func withNowcasts(c Config) (Config, *fakeNowcaster) {
	n := &fakeNowcaster{}
	c.Nowcaster, c.Period, c.Horizons = n, 10, []int{4, 3, 1}
	return c, n
}
