package bench

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/training"
	"ninox/training/plot"
)

// example is a comparison of four methods on a task of the paper, on other data.
func example(t *testing.T) (*Protocol, *Results, map[Run]*Outcome) {
	t.Helper()
	p := tiny("none", "nino", "linefit", "ema:average-decay=0.9", "<b>")
	paper := 89.5
	p.Tasks[0].PaperTarget, p.Tasks[0].Note = &paper, "half of it"
	runs := map[string][3][]float64{
		"none": {{50, 60, 70, 80}, {50, 60, 70, 80}, {50, 60, 70, 80}}, "nino": {{50, 80}, {50, 80}, {50, 80}},
		"linefit": {{50, 70}, {50, 70}, {80, 80}}, "ema:average-decay=0.9": {{1, 2, 3, 80}, {1, 2, 80}, {1, 2, 3, 3, 80}}, "<b>": {{1}, {1}, {1}},
	}
	all := map[Run]*Outcome{}
	for _, r := range p.TuningRuns() {
		all[r] = outcome(r, 50, 60, 70)
	}
	rates, err := p.ChooseRates(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Runs(rates) {
		all[r] = outcome(r, runs[r.Method][r.Seed-1]...)
		if r.Method == "nino" {
			all[r].PeakBytes = 31e6
			all[r].Record.Summary.StepMilliseconds = 4
			all[r].Record.Summary.Nowcasts = []training.Nowcast{{Seconds: 0.02, Accepted: true}, {Seconds: 0.02}}
		}
	}
	res, err := Evaluate(p, rates, all)
	if err != nil {
		t.Fatal(err)
	}
	return p, res, all
}

func TestTable(t *testing.T) {
	p, res, _ := example(t)
	var b bytes.Buffer
	if err := WriteTable(&b, p, res); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"|  | FM/16 | Avg speed up |\n| --- | --- | --- |\n",
		"| NiNo | 50.0 [50.0, 50.0] | 50.0 [50.0, 50.0] |\n| *paper* | *46.8* | *46.8* |\n",
		"| Linefit | missed (1 of 3 reach it) | missed |\n| *paper* | *27.0* | *27.0* |\n",
		"| ema, average-decay=0.9 | 0.0 [−25.0, 25.0] | 0.0 [−25.0, 25.0] |\n",
		"The paper's figures are for other data on: FM/16 (half of it).",
		"| #params | 14K |", "| target value | 80.00 % |", "| *paper: target value* | *89.50 %* |",
		"| plain #steps | 40 |", "| *paper: Adam #steps* | *8606* |", "| NiNo #steps | 20 |", "| *paper: NiNo #steps* | *4582* |",
		"| FM/16 | NiNo | 3 of 3 | 20 | +20 [+20, +20] | 2.0 | 2 kB | 80.00 % |",
		"| FM/16 | Linefit | 1 of 3 | missed | −∞ [−∞, +30] | – | – | 70.00 % |",
		"| FM/16 | NiNo | 31 MB | 4 ms/step, 20 ms/predict | 2.00 % | 3 of 6 |",
		"| FM/16 | plain | 0.01 | 70.00 % |  |", "| FM/16 | plain | 0.005 | 70.00 % | chosen |", // equal: the first of the grid
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the tables do not have %q:\n%s", want, b.String())
		}
	}
}

func TestReport(t *testing.T) {
	p, res, all := example(t)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := WriteReport(path, p, res, all, []plot.Picture{{Title: "a picture", Text: "of something", SVG: "<svg></svg>"}}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{
		"NiNo reaches the target of plain training in 50.0 % fewer steps on average (95 % interval 50.0 to 50.0; FM/16, 3 seeds).",
		"FM/16: Linefit misses the target with 2 of 3 seeds.", "FM/16: ema, average-decay=0.9 makes no clear difference (0.0 [−25.0, 25.0]).",
		"NiNo: target reached at step 20 (median)", "a picture", "of something", "FM/16: test accuracy, medians over seeds",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	for _, bad := range []string{"<b>", "http://", "https://", "<script", "NaN"} {
		if strings.Contains(text, bad) {
			t.Errorf("the report has %s", bad)
		}
	}
}

// The figures of the paper are complete, and their mean is the one that it gives.
func TestPaper(t *testing.T) {
	for method, want := range map[string]float64{"linefit": 27.3, "wnn": 26.5, "linefit+": 28.0, "wnn+": 39.8, "nino-naive": 37.1, "nino": 48.9} {
		sum := 0.0
		for _, v := range paperReductions[method] {
			sum += v
		}
		if n := len(paperReductions[method]); n != len(paperTasks) || math.Abs(sum/float64(n)-want) > 0.06 {
			t.Errorf("%s: mean %.2f of %d tasks, the paper says %v", method, sum/float64(n), n, want)
		}
	}
	// Table 2 follows from table 1.
	for i, task := range paperTasks {
		if got := 100 * (1 - paperSteps["nino"][i]/paperSteps["none"][i]); math.Abs(got-paperReductions["nino"][i]) > 0.06 {
			t.Errorf("%s: %.1f %% by its steps, %v in the table", task, got, paperReductions["nino"][i])
		}
	}
	if v := paperFigure(paperReductions, "nino", "elsewhere"); !math.IsNaN(v) {
		t.Errorf("a figure of %v for a task that the paper does not have", v)
	}
	if v := paperAverage("nino", []Task{{Name: "fm-16"}, {Name: "c10-16"}, {Name: "elsewhere"}}); math.Abs(v-51.8) > 1e-9 {
		t.Errorf("average %v, expected 51.8 over the two tasks that the paper has", v)
	}
}
