package training

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/data"
)

// separateRun trains by the training and the optimizer model of artifacts, as
// anyone with an ONNX Runtime can.
type separateRun struct {
	t                *testing.T
	a                *Artifacts
	training, update *ort.Session
	values           map[string]*ort.Value // parameters, moments, running statistics
	steps            int64
}

func newSeparateRun(t *testing.T, a *Artifacts) *separateRun {
	t.Helper()
	r := &separateRun{t: t, a: a, training: mustSession(t, a.Training), update: mustSession(t, a.Optimizer), values: map[string]*ort.Value{}}
	for _, x := range slices.Concat(a.Checkpoint.Trainable, a.Checkpoint.Frozen) {
		r.put(x.Name, x)
	}
	for _, s := range a.Checkpoint.Groups[0].States {
		for k, x := range s.Moments {
			r.put(momentum(s.Param, k), x)
		}
	}
	return r
}

func (r *separateRun) put(name string, x *onnxgraph.Tensor) {
	r.t.Helper()
	v, err := ort.NewValue(x)
	if err != nil {
		r.t.Fatal(err)
	}
	r.values[name] = v
}

// run runs a model on what it needs of the values and takes in its results.
func (r *separateRun) run(s *ort.Session, g *onnxgraph.Graph, batch map[string]*ort.Value) {
	r.t.Helper()
	in := map[string]*ort.Value{}
	for _, v := range g.Inputs {
		if in[v.Name] = batch[v.Name]; in[v.Name] == nil {
			in[v.Name] = r.values[v.Name]
		}
	}
	out, err := s.Run(context.Background(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, v := range out {
		r.values[strings.TrimSuffix(name, updatedSuffix)] = v
	}
}

// step makes one step with the sum of the gradients of the batches and returns
// the loss of the last.
func (r *separateRun) step(lr float32, batches ...map[string]*ort.Value) float32 {
	r.t.Helper()
	sums := map[string][]float32{}
	for _, batch := range batches {
		r.run(r.training, r.a.Training.Graph, batch)
		for _, p := range r.a.Params {
			if sums[p.Name] == nil {
				sums[p.Name] = make([]float32, p.Len())
			}
			for i, g := range r.values[p.Grad()].Floats() {
				sums[p.Name][i] += g
			}
		}
	}
	for _, p := range r.a.Params {
		r.put(p.Grad(), onnxgraph.Floats(p.Grad(), p.Dims, sums[p.Name]))
	}
	r.steps++
	rate, err1 := ort.FloatValue([]int64{1}, []float32{lr})
	count, err2 := ort.Int64Value([]int64{1}, []int64{r.steps})
	if err1 != nil || err2 != nil {
		r.t.Fatal(err1, err2)
	}
	r.run(r.update, r.a.Optimizer.Graph, map[string]*ort.Value{"learning_rate": rate, "step": count})
	return r.values[r.a.LossName].Floats()[0]
}

func mustSession(t *testing.T, m *onnxgraph.Model) *ort.Session {
	t.Helper()
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// check compares parameters and running statistics with those of an executor.
func (r *separateRun) check(e *Executor, tolerance float64) {
	r.t.Helper()
	state, err1 := e.State()
	buffers, err2 := e.Buffers()
	if err1 != nil || err2 != nil {
		r.t.Fatal(err1, err2)
	}
	for _, set := range []*weights.Set{state, buffers} {
		for _, name := range set.Names() {
			got, err := set.Floats(name)
			if err != nil {
				r.t.Fatal(err)
			}
			for i, want := range r.values[name].Floats() {
				if !(math.Abs(float64(got[i]-want)) <= tolerance*math.Max(1, math.Abs(float64(want)))) {
					r.t.Fatalf("%s[%d] is %v, by the models one after the other %v", name, i, got[i], want)
				}
			}
		}
	}
}

// A step over several batches is one update with the sum of their gradients;
// running statistics go from batch to batch.
func TestAccumulatedBatchNormalization(t *testing.T) {
	for _, n := range []int{2, 3} {
		c := normConfig(t, ExecutorOptions{})
		e := c.Trainer.(*Executor)
		separate := newSeparateRun(t, c.Artifacts)
		d, err := data.Bind(c.Train, c.Artifacts.BatchInputs())
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for range 3 {
			var batches []map[string]*ort.Value
			for range n {
				batches = append(batches, sliceValues(t, d, at, 16))
				at += 16
			}
			losses, err := e.StepAccumulated(context.Background(), batches, 0.01)
			if err != nil {
				t.Fatal(err)
			}
			if last := float64(separate.step(0.01, batches...)); math.Abs(last-losses[n-1]) > 1e-6 {
				t.Errorf("%d batches: loss %v, expected %v", n, losses[n-1], last)
			}
		}
		separate.check(e, 2e-6)
	}
}
