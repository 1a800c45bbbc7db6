package training

import (
	"fmt"
	"math"
	"testing"
)

// scheduleFree is Schedule-Free AdamW with its three sequences written out, in
// double: Algorithm 1 of the paper with the choices of the authors' code (the
// second mean is corrected for its start, decay acts at y, steps of the mean
// are weighted by the square of the highest learning rate so far).
type scheduleFree struct {
	o                    Optimizer
	x, z, v              []float64
	highest, squares, wd float64
}

// at is where the gradient is to be taken.
func (s *scheduleFree) at() []float64 {
	y := make([]float64, len(s.x))
	for i := range y {
		y[i] = (1-s.o.Beta1)*s.z[i] + s.o.Beta1*s.x[i]
	}
	return y
}

func (s *scheduleFree) step(t int, lr float64, g []float64) {
	y := s.at()
	s.highest = math.Max(s.highest, lr)
	s.squares += s.highest * s.highest
	c := s.highest * s.highest / s.squares
	for i := range s.x {
		s.v[i] = s.o.Beta2*s.v[i] + (1-s.o.Beta2)*g[i]*g[i]
		corrected := s.v[i] / (1 - math.Pow(s.o.Beta2, float64(t)))
		s.z[i] -= lr * (g[i]/(math.Sqrt(corrected)+s.o.Epsilon) + s.wd*y[i])
		s.x[i] = (1-c)*s.x[i] + c*s.z[i]
	}
}

// The optimizer model follows the three sequences through warm-up, full rate
// and decay.
func TestScheduleFree(t *testing.T) {
	params := []Param{{Name: "a", Dims: []int64{2, 3}}, {Name: "b", Dims: []int64{}}, {Name: "c", Dims: []int64{4}, Group: Group{NoDecay: true}}}
	for _, o := range []Optimizer{
		{Kind: ScheduleFree},
		{Kind: ScheduleFree, WeightDecay: 0.1, Warmup: 1},
		{Kind: ScheduleFree, WeightDecay: 0.3, Warmup: 4, Beta1: 0.6, Beta2: 0.9, Epsilon: 1e-3},
	} {
		o = o.withDefaults()
		t.Run(o.String(), func(t *testing.T) {
			if back, err := parseOptimizer(o.String()); err != nil || back != o {
				t.Fatalf("%q is read as %+v, %v", o.String(), back, err)
			}
			run := newOptimizerRun(t, o, params)
			var refs []*scheduleFree
			for _, p := range params {
				w := doubles(run.values[p.Name].Floats())
				ref := &scheduleFree{o: o, x: w, z: append([]float64{}, w...), v: make([]float64, len(w)), wd: o.decay(p.Group)}
				refs = append(refs, ref)
			}
			for step := 1; step <= 9; step++ {
				lr := 0.1 * math.Min(1, float64(step)/math.Max(1, float64(o.Warmup)))
				if step > 6 {
					lr *= float64(10-step) / 4
				}
				grads := run.step(step, lr)
				for p, ref := range refs {
					ref.step(step, lr, grads[p])
					run.check(p, ref.at(), 1e-6)
					name := params[p].Name
					for i, apart := range run.values[momentum(name, 0)].Floats() {
						y := float64(run.values[name].Floats()[i])
						same(t, fmt.Sprintf("step %d: x of %s[%d]", step, name, i), y+(1-1/o.Beta1)*float64(apart), ref.x[i], 1e-6)
						same(t, fmt.Sprintf("step %d: z of %s[%d]", step, name, i), y+float64(apart), ref.z[i], 1e-6)
					}
				}
			}
		})
	}
}

func same(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*math.Max(1, math.Abs(want))) {
		t.Errorf("%s is %.9f, expected %.9f", what, got, want)
	}
}
