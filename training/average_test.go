package training

import (
	"math"
	"slices"
	"strings"
	"testing"

	"ninox/models"
	"ninox/onnxgraph/weights"
)

// averaging gives a run an averager that starts at the trainer's parameters.
func averaging(make func(start *weights.Set) Averager) func(Config) Config {
	return func(c Config) Config {
		start, _ := c.Trainer.State() // the fake never fails
		c.Averager = make(start)
		return c
	}
}

// scalar is a set of one number.
func scalar(v float64) *weights.Set {
	s := &weights.Set{}
	s.AddFloats("w", []int64{1}, []float32{float32(v)})
	return s
}

func number1(t *testing.T, s *weights.Set) float64 {
	t.Helper()
	v, err := s.Floats("w")
	if err != nil {
		t.Fatal(err)
	}
	return float64(v[0])
}

// Each method follows its published recurrence, written out here for one number
// that a fictitious optimizer moves by steps of its own. Each also continues
// from its own state, whenever that is taken.
func TestAverages(t *testing.T) {
	update := func(step int) float64 { return 0.3*math.Sin(float64(step)) + 0.1 }
	for name, k := range map[string]struct {
		make  func() Averager
		after func(step int, w float64) (trained, result float64) // by the publication
	}{
		"ema": {func() Averager { return EMA(0.8) }, func() func(int, float64) (float64, float64) {
			mean, first := 0.0, true
			return func(step int, w float64) (float64, float64) {
				d := math.Min(0.8, (1+float64(step))/(10+float64(step)))
				mean = d*mean + (1-d)*w
				if first {
					mean, first = w, false
				}
				return w, mean
			}
		}()},
		"lawa": {func() Averager { return LAWA(3, 2) }, func() func(int, float64) (float64, float64) {
			var states []float64
			return func(step int, w float64) (float64, float64) {
				if step%3 == 0 {
					states = append(states, w)
				}
				switch n := len(states); n {
				case 0:
					return w, w
				case 1:
					return w, states[0]
				default:
					return w, (states[n-1] + states[n-2]) / 2
				}
			}
		}()},
		"lookahead": {func() Averager { return Lookahead(4, 0.5, scalar(1)) }, func() func(int, float64) (float64, float64) {
			slow := 1.0
			return func(step int, w float64) (float64, float64) {
				if step%4 == 0 {
					slow += 0.5 * (w - slow)
					return slow, slow
				}
				return w, slow
			}
		}()},
		"ema-nesterov": {func() Averager { return EMANesterov(0.7, 0.4, scalar(1)) }, func() func(int, float64) (float64, float64) {
			theta, m := 1.0, 0.0
			return func(_ int, w float64) (float64, float64) {
				m = 0.7*m + 0.3*(w-theta)
				theta = w
				return theta + 0.4*m, theta
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			a := k.make()
			if a.Name() != name {
				t.Errorf("is called %q", a.Name())
			}
			w, expected := 1.0, 1.0
			for step := 1; step <= 20; step++ {
				w += update(step)
				trained, result := k.after(step, expected+update(step))
				expected = trained
				if step%a.Every() == 0 {
					next, err := a.After(step, scalar(w))
					if err != nil {
						t.Fatal(err)
					}
					if next != nil {
						w = number1(t, next)
					}
				}
				same(t, "the trained number", w, trained, 1e-6)
				if r := a.Result(); r != nil {
					same(t, "the result", number1(t, r), result, 1e-6)
				} else if result != w {
					t.Errorf("step %d has no result", step)
				}
				fresh := k.make()
				if err := fresh.SetState(a.State()); err != nil {
					t.Fatal(err)
				}
				if len(a.State().Names()) > 0 {
					a = fresh
				}
			}
		})
	}
}

// What is tested and kept is the average, while training goes on without it.
func TestAverageIsTheResult(t *testing.T) {
	plain, f := fakeConfig(t)
	mustRun(t, plain)
	c, g := fakeConfig(t)
	c.Averager = LAWA(20, 2)
	s := mustRun(t, c)
	if !slices.Equal(f.w, g.w) {
		t.Error("averaging changes the training")
	}
	if s.Method != "lawa" {
		t.Errorf("method %q", s.Method)
	}
	final, _, err := weights.ReadSafetensors(c.Dir + "/" + finalState)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := final.Floats("w")
	want, _ := c.Averager.Result().Floats("w")
	if !slices.Equal(got, want) || slices.Equal(got, g.w) {
		t.Errorf("the final state %v is not the average %v", got, want)
	}
	g.w = slices.Clone(want)
	ev, err := newEvaluator(&c)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := ev.run(t.Context()); err != nil || e.Loss != *s.Final.Loss {
		t.Errorf("the last test has loss %v, the average has %v (%v)", *s.Final.Loss, e.Loss, err)
	}
}

func TestAverageErrors(t *testing.T) {
	bad := scalar(1)
	bad.AddFloats("extra", []int64{1}, []float32{1})
	a := EMA(0.9)
	if _, err := a.After(1, bad); err != nil {
		t.Fatal(err)
	}
	if _, err := a.After(2, scalar(1)); err == nil || !strings.Contains(err.Error(), "extra") {
		t.Errorf("a parameter that disappears: %v", err)
	}
	if err := a.SetState(scalar(1)); err == nil || !strings.Contains(err.Error(), `array "w": expected 0/`) {
		t.Errorf("a state of another program: %v", err)
	}
}

// Artifacts for another optimizer are those that are built for it from the
// start.
func TestWithOptimizer(t *testing.T) {
	task, err := models.Lookup("prose-3-24")
	if err != nil {
		t.Fatal(err)
	}
	m, err := task.Model(1)
	if err != nil {
		t.Fatal(err)
	}
	base := mustArtifacts(t, m, ArtifactOptions{NoDecay: []string{"*.bias"}})
	for _, o := range []Optimizer{{Kind: Muon, WeightDecay: 0.1}, {Kind: ScheduleFree, Warmup: 7}, {Kind: SGD}} {
		got, err := base.WithOptimizer(o)
		if err != nil {
			t.Fatal(err)
		}
		want := mustArtifacts(t, m, ArtifactOptions{NoDecay: []string{"*.bias"}, Optimizer: o})
		if got.Config != want.Config || encodeGroups(got.Params) != encodeGroups(want.Params) {
			t.Errorf("%s: groups %s, expected %s", got.Config, encodeGroups(got.Params), encodeGroups(want.Params))
		}
		a, errA := got.Optimizer.Marshal()
		b, errB := want.Optimizer.Marshal()
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Errorf("%s: the optimizer model differs from one that is built at once (%v, %v)", o.Kind, errA, errB)
		}
		if n := len(got.Checkpoint.Groups[0].States[0].Moments); n != got.Config.moments(got.Params[0].Group) {
			t.Errorf("%s: %d moments", o.Kind, n)
		}
	}
	if base.Config.Kind != AdamW || len(base.Checkpoint.Groups[0].States[0].Moments) != 2 {
		t.Error("the artifacts themselves changed")
	}
	if _, err := base.WithOptimizer(Optimizer{Kind: "adagrad"}); err == nil {
		t.Error("an unknown optimizer is taken")
	}
}
