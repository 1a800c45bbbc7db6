package training

import (
	"context"
	"math"
	"slices"
	"testing"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
	"ninox/training/data"
)

// descent is gradient descent with momentum as an UpdateRule.
type descent struct{ mean *weights.Set }

func (d *descent) Name() string { return "descent" }
func (d *descent) Reset()       { d.mean = nil }

func (d *descent) Update(_ context.Context, params, grads *weights.Set, lr float64) (*weights.Set, error) {
	if d.mean == nil {
		d.mean = grads
	} else {
		m, err := combine(func(v []float64) float64 { return 0.9*v[0] + v[1] }, d.mean, grads)
		if err != nil {
			return nil, err
		}
		d.mean = m
	}
	return combine(func(v []float64) float64 { return v[0] - lr*v[1] }, params, d.mean)
}

func (d *descent) State() *weights.Set {
	if d.mean == nil {
		return &weights.Set{}
	}
	return d.mean.Clone()
}

func (d *descent) SetState(s *weights.Set) error {
	d.mean = s
	return nil
}

// Steps of a rule are those of the same optimizer, over whole and split batches
// and several of them, with running statistics.
func TestLearnedSteps(t *testing.T) {
	for _, o := range []ExecutorOptions{{Workers: 1}, {Workers: 2}} {
		for _, n := range []int{1, 3} {
			c := normConfig(t, o)
			plain, err := c.Artifacts.WithOptimizer(Optimizer{Kind: SGD, Momentum: 0.9})
			if err != nil {
				t.Fatal(err)
			}
			bare, err := c.Artifacts.WithOptimizer(Optimizer{Kind: SGD})
			if err != nil {
				t.Fatal(err)
			}
			want := newTestExecutor(t, plain, o)
			got := NewLearned(newTestExecutor(t, bare, o), &descent{})
			d, err := data.Bind(c.Train, c.Artifacts.BatchInputs())
			if err != nil {
				t.Fatal(err)
			}
			at := 0
			for range 4 {
				var batches []map[string]*ort.Value
				for range n {
					batches = append(batches, sliceValues(t, d, at, 16))
					at += 16
				}
				a, err1 := want.StepAccumulated(t.Context(), batches, 0.05)
				b, err2 := got.StepAccumulated(t.Context(), batches, 0.05)
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				for i := range a {
					if math.Abs(a[i]-b[i]) > 1e-5 {
						t.Errorf("%d batches: loss %v, expected %v", n, b[i], a[i])
					}
				}
			}
			sameState(t, want.State, got.State)
			sameState(t, want.Buffers, got.Buffers)
			if got.StepCount() != 4 {
				t.Errorf("%d steps counted", got.StepCount())
			}
		}
	}
}

func newTestExecutor(t *testing.T, a *Artifacts, o ExecutorOptions) *Executor {
	t.Helper()
	e, err := NewExecutor(runtimetest.Engine(t), a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func sameState(t *testing.T, want, got func() (*weights.Set, error)) {
	t.Helper()
	a, err1 := want()
	b, err2 := got()
	if err1 != nil || err2 != nil || !slices.Equal(a.Names(), b.Names()) {
		t.Fatal(err1, err2, b.Names())
	}
	for _, name := range a.Names() {
		x, _ := a.Floats(name)
		y, _ := b.Floats(name)
		for i := range x {
			if !(math.Abs(float64(x[i]-y[i])) <= 2e-6*math.Max(1, math.Abs(float64(x[i])))) {
				t.Fatalf("%s[%d] is %v, expected %v", name, i, y[i], x[i])
			}
		}
	}
}
