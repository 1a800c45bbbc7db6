package training

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"ninox/onnxgraph/weights"
)

// adversary is a nowcaster that means harm.
type adversary struct {
	name string
	move func(states [][]float32, k int) []float32
}

func (a adversary) Name() string { return a.name }
func (adversary) Context() int   { return 5 }

func (a adversary) Nowcast(_ context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	var all [][]float32
	for _, s := range states {
		v, err := s.Floats("w")
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return fakeSet(a.move(all, k)), nil
}

// along moves from the newest state by so many times the way from the oldest.
func along(times float64) func([][]float32, int) []float32 {
	return func(s [][]float32, k int) []float32 {
		out := make([]float32, len(s[4]))
		for i := range out {
			out[i] = s[4][i] + float32(times*float64(k))*(s[4][i]-s[0][i])
		}
		return out
	}
}

// noise adds normal numbers to the newest state.
func noise(size float64) func([][]float32, int) []float32 {
	rng := rand.New(rand.NewPCG(7, 7))
	return func(s [][]float32, _ int) []float32 {
		out := make([]float32, len(s[4]))
		for i := range out {
			out[i] = s[4][i] + float32(size*rng.NormFloat64())
		}
		return out
	}
}

// Whatever the nowcasts do, the safeguarded run ends within 1 % of plain training:
// on a run that still makes progress, on one that has converged, and on one whose
// rate is at the limit of stability. Without the safeguard most of them do harm,
// so the test would notice if there were none.
func TestAdversaries(t *testing.T) {
	adversaries := []adversary{
		{"little noise", noise(0.03)}, {"noise", noise(0.3)}, {"much noise", noise(10)},
		{"divergence", along(3)}, {"flight", along(1e6)}, {"way back", along(-0.3)},
		{"start", func(s [][]float32, _ int) []float32 { return make([]float32, len(s[4])) }},
		{"not a number", func(s [][]float32, _ int) []float32 {
			return append(make([]float32, len(s[4])-1), float32(math.NaN()))
		}},
		{"nothing", along(0)}, {"straight on", along(0.25)},
	}
	harmed := 0
	for _, k := range []struct {
		name  string
		steps int
		lr    float64
		warm  int // steps before the run
	}{{"in progress", 3000, 1e-4, 0}, {"converged", 1500, 1e-3, 3000}, {"unstable", 1500, 0.02, 0}} {
		start := newFakeTrainer()
		if k.warm > 0 {
			c, f := fakeConfig(t)
			c.Steps, c.LR, c.Schedule, c.Target, c.Test = k.warm, 0.01, ScheduleLinear, nil, nil
			mustRun(t, c)
			start.w = f.w
		}
		run := func(a *adversary, safeguard bool) (*Summary, error) {
			c, f := fakeConfig(t)
			copy(f.w, start.w)
			c.Test = c.Train // the safeguard sees the loss that is trained on
			c.Steps, c.LR, c.Target, c.EvalEvery, c.CheckpointEvery = k.steps, k.lr, nil, k.steps, k.steps
			if a != nil {
				c.Nowcaster, c.Period, c.Horizons, c.Safeguard = *a, k.steps/15, []int{8, 4, 2}, safeguard
				c.Alternatives = []Alternative{{*a, 0.5}, {MeanOfStates(5), 1}}
			}
			return Run(t.Context(), c)
		}
		base, err := run(nil, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range adversaries {
			free, err := run(&a, false)
			if err != nil || *free.Final.Loss > 1.01**base.Final.Loss {
				harmed++
			}
			s, err := run(&a, true)
			if err != nil {
				t.Errorf("%s, %s: %v", k.name, a.name, err)
				continue
			}
			text := fmt.Sprintf("%s, %s: loss %.5f, plain training %.5f; %+v", k.name, a.name, *s.Final.Loss, *base.Final.Loss, *s.Safeguard)
			if *s.Final.Loss > 1.01**base.Final.Loss {
				t.Error(text)
			}
		}
	}
	if harmed < 10 {
		t.Errorf("only %d of the runs without safeguard are harmed: no adversaries", harmed)
	}
}

// The account lets one nowcast be undone, plus one for each that stayed, up to its
// limit, and makes the next candidate less bold.
func TestAccount(t *testing.T) {
	a := account{Left: 100}
	for i, k := range []struct {
		kept          bool
		left, caution int
		affords       bool
	}{{true, 100, 0, true}, {false, 0, 1, false}, {true, 100, 0, true}, {true, 100, 0, true}, {false, 0, 1, false}, {false, -100, 2, false}} {
		a.book(k.kept, 100, 100)
		if a.Left != k.left || a.Caution != k.caution || a.affords(100) != k.affords {
			t.Errorf("after trial %d: %+v, expected %+v", i+1, a, k)
		}
	}
}

// A candidate is worth a trial below the loss of the start, or below twice the
// present one, whatever its sign.
func TestPlausible(t *testing.T) {
	for _, k := range []struct {
		loss, keep, start float64
		want              bool
	}{{1.6, 0.5, 2.3, true}, {2.4, 0.5, 2.3, false}, {4.5, 2.3, 2.3, true}, {4.7, 2.3, 2.3, false}, {-0.1, -1, -3, true}, {0.1, -1, -3, false}, {math.NaN(), 1, 1, false}} {
		c := Candidate{Loss: &k.loss}
		if math.IsNaN(k.loss) {
			c.Loss = nil
		}
		if got := (&account{Start: k.start}).plausible(c, &k.keep); got != k.want {
			t.Errorf("%+v: %v", k, got)
		}
	}
}

// The slope of a line is its own, whatever is added that has none.
func TestSlope(t *testing.T) {
	var zigzag []float64
	for i := range 101 {
		zigzag = append(zigzag, 3-0.01*float64(i)+0.1*math.Cos(math.Pi*float64(i)))
	}
	same(t, "the slope", slopeOf(zigzag), -0.01, 1e-12)
	same(t, "the slope of one", slopeOf([]float64{3}), 0, 0)
}

// A nowcast's candidates are recorded with their losses, the parameters as they
// are first, and the run goes on from the one that is picked.
func TestCandidates(t *testing.T) {
	c, _ := fakeConfig(t)
	c = guarded(c, func(p []float32) { p[2] = float32(math.NaN()) })
	c.Steps, c.Alternatives = 20, []Alternative{{MeanOfStates(5), 1}}
	n := mustRun(t, c).Nowcasts[0]
	if len(n.Candidates) != 3 || n.Candidates[0].Method != "keep" || n.Candidates[1].Loss != nil || n.Candidates[2].Method != "average" || n.Candidates[2].Loss == nil {
		t.Errorf("candidates %+v", n.Candidates)
	}
	if n.Method != "average" {
		t.Errorf("the method is %q, expected the only one that is finite", n.Method)
	}
}

// What the moments become: kept, zero with the count of updates, or as if past
// gradients had been larger by the root of the rise of the loss.
func TestMoments(t *testing.T) {
	base, _ := fakeConfig(t)
	guard := func(policy string) (*fakeTrainer, *Nowcast) {
		c, f := fakeConfig(t)
		c, _ = withNowcasts(c)
		c.Steps, c.Target, c.Moments, c.Horizons = 10, nil, policy, []int{200}
		n := mustRun(t, c).Nowcasts[0]
		return f, &n
	}
	kept, n := guard(MomentsKeep)
	if !(*n.LossAfter > n.LossBefore) {
		t.Fatalf("the loss does not rise: %+v", n)
	}
	reset, _ := guard(MomentsReset)
	scaled, _ := guard(MomentsRescale)
	root := math.Sqrt(*n.LossAfter / n.LossBefore)
	for i, m := range kept.m {
		if reset.m[i] != 0 {
			t.Errorf("reset leaves a moment of %g", reset.m[i])
		}
		same(t, "a rescaled moment", float64(scaled.m[i]), root*float64(m), 1e-6)
	}
	if kept.updates != 9 || reset.updates != 0 || scaled.updates != 9 {
		t.Errorf("updates %d, %d, %d", kept.updates, reset.updates, scaled.updates)
	}
	if momentOrder("a.momentum1") != 2 || momentOrder("a.momentum0") != 1 {
		t.Error("the second moment is a mean of squares")
	}
	base.Moments = "burn"
	if _, err := Run(t.Context(), base); err == nil || !strings.Contains(err.Error(), `Moments is "burn"`) {
		t.Errorf("error %v", err)
	}
}
