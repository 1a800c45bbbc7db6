package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"ninox/training"
)

var inf = math.Inf(1)

func TestMedian(t *testing.T) {
	for _, k := range []struct {
		in   []float64
		want float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}, {[]float64{1, inf, 2}, 2}, {[]float64{1, inf, inf}, inf}, {[]float64{inf, inf}, inf}, {[]float64{1, inf}, inf}} {
		if got := median(k.in); got != k.want {
			t.Errorf("median of %v: %v, expected %v", k.in, got, k.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("nothing has a median")
	}
}

// The resamples of three pairs, by hand: base 100, 200, 300 and method 50, 50,
// 300. A resample's medians are those of the pairs that it holds twice, or of all.
func TestCompareByHand(t *testing.T) {
	got := compare([]float64{50, 50, 300}, []float64{100, 200, 300}, 0.95)
	// All of the third pair, or two of it: median 300 of both, reduction 0, in
	// 7 of 27 resamples. Two of the second: 50 of 200, 75 %. Two of the first:
	// 50 of 100, 50 %. One of each: medians 50 and 200, 75 %.
	if got != (Interval{75, 0, 75}) {
		t.Errorf("%+v, expected 75 with 0 to 75", got)
	}
	// At 40 %, the 8 lowest of 27 fall below the interval: 7 zeros and one 50.
	if got = compare([]float64{50, 50, 300}, []float64{100, 200, 300}, 0.4); got.Low != 50 || got.High != 75 {
		t.Errorf("%+v, expected 50 to 75", got)
	}
}

func TestMissesAreInfinite(t *testing.T) {
	base := []float64{100, 100, 100}
	if got := compare([]float64{50, inf, 50}, base, 0.95); got.Value != 50 || !math.IsInf(float64(got.Low), -1) {
		t.Errorf("one miss: %+v, expected 50 with a lower end of −∞", got)
	}
	if got := compare([]float64{50, inf, inf}, base, 0.95); !math.IsInf(float64(got.Value), -1) {
		t.Errorf("two misses: %+v, expected −∞", got)
	}
	if got := compare([]float64{50, 50, 50}, []float64{100, inf, inf}, 0.95); got.Value.finite() {
		t.Errorf("the base misses: %+v, expected no statement", got)
	}
	if got := average([][]float64{{50, 50, 50}, {inf, inf, inf}}, [][]float64{base, base}, 0.95); !math.IsInf(float64(got.Value), -1) {
		t.Errorf("average %+v, expected −∞: one task is missed", got)
	}
	if got := pairedDifference([]float64{50, inf, 60}, []float64{100, inf, 100}, 0.95); got.Value != 40 || got.Low != 0 || got.High != 50 {
		t.Errorf("paired %+v, expected 40 with 0 to 50", got)
	}
	raw, err := json.Marshal(missed)
	if err != nil || string(raw) != `{"steps":null,"seconds":null,"bytes":null}` {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestAverageByHand(t *testing.T) {
	base := [][]float64{{100, 100, 100}, {200, 200, 200}}
	if got := average([][]float64{{50, 50, 50}, {180, 180, 180}}, base, 0.95); got != (Interval{30, 30, 30}) {
		t.Errorf("%+v, expected 30 without spread", got)
	}
}

// More pairs than can be enumerated are resampled at random, the same way each
// time, and close to what all resamples give.
func TestRandomResamples(t *testing.T) {
	steps, base := make([]float64, 9), make([]float64, 9)
	for i := range steps {
		steps[i], base[i] = float64(50+i), 100
	}
	a, b := compare(steps, base, 0.95), compare(steps, base, 0.95)
	// The median of resamples of 9 ranks: quantiles 2.5 and 97.5 % are ranks 2
	// and 8 (P(median is rank 1) = 0.0014, up to rank 2 0.032).
	if a != b || a.Value != 46 || math.Abs(float64(a.Low)-43) > 1e-9 || a.High != 49 {
		t.Errorf("%+v and %+v, expected 46 with 43 to 49", a, b)
	}
}

// coverage is how often the interval of a comparison of n seeds holds the true
// reduction of medians, 50 %: steps of the base are lognormal, those of the
// method half of it times lognormal noise.
func coverage(n, trials int) float64 {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	held := 0
	for range trials {
		steps, base := make([]float64, n), make([]float64, n)
		for i := range n {
			base[i] = 1000 * math.Exp(0.2*rng.NormFloat64())
			steps[i] = base[i] / 2 * math.Exp(0.2*rng.NormFloat64())
		}
		if i := compare(steps, base, 0.95); i.Low <= 50 && i.High >= 50 {
			held++
		}
	}
	return float64(held) / float64(trials)
}

// Intervals at 95 % hold what they promise with many seeds, and fall short of it
// with three: docs/BENCH.md gives these figures.
func TestCoverage(t *testing.T) {
	for _, k := range []struct {
		seeds, trials int
		low, high     float64
	}{{3, 2000, 0.72, 0.84}, {5, 120, 0.88, 0.99}, {15, 40, 0.9, 1}} {
		if got := coverage(k.seeds, k.trials); got < k.low || got > k.high {
			t.Errorf("%d seeds: the interval holds the truth in %.3f of all cases, expected %v to %v", k.seeds, got, k.low, k.high)
		} else {
			t.Logf("%d seeds: %.3f", k.seeds, got)
		}
	}
}

// tiny is a protocol of one task with evaluations every 10 steps.
func tiny(methods ...string) *Protocol {
	p := &Protocol{
		Target: TargetTuned, Tune: TuneBase, Grid: []float64{0.5, 1}, TuningSeed: 99, Seeds: []uint64{1, 2, 3},
		Tasks: []Task{{Name: "fm-16", Title: "FM/16", Metric: training.MetricAccuracy, LR: 0.01, Steps: 40, EvalEvery: 10, BatchBytes: 100, Parameters: 14378}},
	}
	for _, m := range methods {
		p.Methods = append(p.Methods, Method{Name: m, Method: m})
	}
	p.Complete()
	return p
}

// outcome is a run whose accuracy after 10, 20 … steps is given.
func outcome(r Run, accuracy ...float64) *Outcome {
	o := &Outcome{Run: r}
	for i, a := range accuracy {
		o.Record.Metrics = append(o.Record.Metrics, training.Metric{Step: 10 * (i + 1), Seconds: float64(i + 1), EvalAccuracy: &a})
	}
	o.Record.Summary.Steps, o.Record.Summary.WallSeconds = 10*len(accuracy), float64(len(accuracy))
	return o
}

// results evaluates runs of the base and one method, seed by seed.
func results(t *testing.T, p *Protocol, runs map[string][3][]float64) *Results {
	t.Helper()
	all := map[Run]*Outcome{}
	for i, r := range p.TuningRuns() {
		all[r] = outcome(r, 50, 60, 70+float64(i))
	}
	rates, err := p.ChooseRates(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Runs(rates) {
		all[r] = outcome(r, runs[r.Method][r.Seed-1]...)
	}
	res, err := Evaluate(p, rates, all)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEvaluate(t *testing.T) {
	p := tiny("none", "nino")
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	res := results(t, p, map[string][3][]float64{
		"none": {{50, 60, 70, 81}, {50, 60, 80, 70}, {50, 60, 85, 70}}, // the least of the bests is 80
		"nino": {{50, 80}, {82}, {60, 70, 79, 79}},                     // the last one misses it
	})
	task := res.Tasks[0]
	if task.Target != 80 || len(task.Search) != 2 || task.Search[0].Chosen || !task.Search[1].Chosen {
		t.Errorf("target %v, search %+v", task.Target, task.Search)
	}
	base, nino := task.Methods[0], task.Methods[1]
	if base.Reached != 3 || base.Median != (Cost{30, 3, 3000}) || base.LR != 0.01 {
		t.Errorf("base %+v", base)
	}
	if nino.Reached != 2 || nino.Median != (Cost{20, 2, 2000}) || math.Abs(float64(nino.Reduction.Value)-100./3) > 1e-9 || nino.Best != 80 || nino.LR != 0.01 {
		t.Errorf("nino %+v", nino)
	}
	if !math.IsInf(float64(nino.Reduction.Low), -1) || nino.Seeds[2].Cost != missed {
		t.Errorf("the miss does not count as infinite: %+v", nino)
	}
	if nino.Paired.Value != 20 { // 20, 20 and −∞
		t.Errorf("paired %+v", nino.Paired)
	}
	if a := res.Averages; len(a) != 1 || a[0].Reduction.Value != nino.Reduction.Value {
		t.Errorf("averages %+v", a)
	}
}

// A divergence in the search loses; where all diverge there is nothing to go on
// with; after the search it is a miss.
func TestDivergence(t *testing.T) {
	p := tiny("none", "nino")
	all := map[Run]*Outcome{}
	for _, r := range p.TuningRuns() {
		all[r] = outcome(r, 99)
		all[r].Diverged = true
	}
	if _, err := p.ChooseRates(all); err == nil || !strings.Contains(err.Error(), "no learning rate of the search") {
		t.Errorf("error %v", err)
	}
	first := p.TuningRuns()[0]
	all[first] = outcome(first, 10)
	rates, err := p.ChooseRates(all)
	if err != nil || rates["fm-16"]["none"] != 0.005 || rates["fm-16"]["nino"] != 0.005 {
		t.Errorf("rates %v, %v", rates, err)
	}
	for _, r := range p.Runs(rates) {
		all[r] = outcome(r, 80)
		all[r].Diverged = r.Method == "nino"
		if all[r].Diverged {
			all[r].Record.Metrics = nil
		}
	}
	res, err := Evaluate(p, rates, all)
	if err != nil || res.Tasks[0].Methods[1].Reached != 0 || !res.Tasks[0].Methods[1].Seeds[0].Diverged {
		t.Errorf("%+v, %v", res, err)
	}
	delete(all, p.Runs(rates)[0])
	if _, err := Evaluate(p, rates, all); err == nil || !strings.Contains(err.Error(), "fm-16/none/lr-0.005-seed-1 is missing") {
		t.Errorf("error %v", err)
	}
}

func TestTargets(t *testing.T) {
	p := tiny("none")
	p.Tasks[0].Metric = training.MetricLoss
	loss := func(v ...float64) *Outcome {
		o := &Outcome{}
		for i := range v {
			o.Record.Metrics = append(o.Record.Metrics, training.Metric{Step: i + 1, EvalLoss: &v[i]})
		}
		return o
	}
	base := []*Outcome{loss(3, 1, 2), loss(3, 1.5)}
	if v, ok := p.target(p.Tasks[0], base); !ok || v != 1.5 {
		t.Errorf("target %v, expected 1.5, the worst of the best losses", v)
	}
	if c := base[0].cost(p.Tasks[0], 1.5); c.Steps != 2 {
		t.Errorf("%+v", c)
	}
	paper := 2.5
	p.Target, p.Tasks[0].PaperTarget = TargetPaper, &paper
	if v, _ := p.target(p.Tasks[0], base); v != 2.5 {
		t.Errorf("target %v, expected the paper's", v)
	}
}

func TestRates(t *testing.T) {
	p := tiny("none", "nino", "muon")
	p.Methods[2].LR = 0.3
	if n := len(p.TuningRuns()); n != 2 {
		t.Errorf("%d runs of the search for the base, expected 2", n)
	}
	p.Tune = TuneEach
	var got []string
	for _, r := range p.TuningRuns() {
		got = append(got, r.ID())
	}
	want := []string{
		"fm-16/none/lr-0.005-seed-99", "fm-16/none/lr-0.01-seed-99", "fm-16/nino/lr-0.005-seed-99",
		"fm-16/nino/lr-0.01-seed-99", "fm-16/muon/lr-0.15-seed-99", "fm-16/muon/lr-0.3-seed-99",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("search %v, expected %v", got, want)
	}
	p.Tune = TuneNone
	rates, err := p.ChooseRates(nil)
	if err != nil || !reflect.DeepEqual(rates["fm-16"], map[string]float64{"none": 0.01, "nino": 0.01, "muon": 0.3}) {
		t.Errorf("rates %v, %v", rates, err)
	}
	// Names of runs are names of folders.
	if id := (Run{"a/b", "nino:schedule=cosine", 1e-5, 1}).ID(); id != "a_b/nino_schedule=cosine/lr-1e-05-seed-1" {
		t.Errorf("ID %s", id)
	}
}

func TestValidate(t *testing.T) {
	p := tiny("nino", "nino")
	p.Schema, p.Seeds, p.TuningSeed, p.Target, p.Tune, p.Grid = "", []uint64{1, 1}, 1, "best", "all", []float64{0}
	p.Tasks = append(p.Tasks, Task{Name: "fm-16", Metric: "f1"})
	err := p.Validate()
	for _, want := range []string{
		`schema ""`, "2 seeds, expected at least 3", `seed "1": expected a name`, "tuning seed 1", `target "best", expected one of tuned, paper`, `tune "all"`,
		"factor 0", `the first method must be "none"`, `method "nino": expected a name`, `task "fm-16": expected a name`, "0 steps", `metric "f1"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	p = tiny("none")
	p.Target = TargetPaper
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "the paper gives no target") {
		t.Errorf("error %v", err)
	}
}

func TestDifferences(t *testing.T) {
	a, b := tiny("none"), tiny("none")
	b.Created = "2026"
	if d := a.Differences(b); d != nil {
		t.Errorf("differences %v", d)
	}
	b.Seeds, b.Tasks[0].Steps = []uint64{1, 2, 4}, 50
	if d := fmt.Sprint(a.Differences(b)); !strings.Contains(d, "seeds is [1,2,3], was [1,2,4]") || !strings.Contains(d, "tasks is") {
		t.Errorf("differences %s", d)
	}
}
