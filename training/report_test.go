package training

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reportRun is a run of 400 steps that reaches accuracy level by level: at
// evaluation k, after 100·k steps.
func reportRun(name string, seed uint64, accuracies ...float64) RunRecord {
	target := 80.0
	r := RunRecord{Name: name, Task: "fm-16", Summary: Summary{Method: name, Seed: seed, Steps: 100 * len(accuracies), Target: &target, TargetMetric: MetricAccuracy}}
	for k, a := range accuracies {
		for s := range 100 {
			loss := 1 + 1/float64(100*k+s+1)
			r.Metrics = append(r.Metrics, Metric{Step: 100*k + s + 1, Loss: &loss})
		}
		loss := 1 - a/100
		r.Metrics = append(r.Metrics, Metric{Step: 100 * (k + 1), EvalLoss: &loss, EvalAccuracy: &a})
		r.Summary.Final.Accuracy, r.Summary.Final.Loss = &a, &loss
	}
	return r
}

func withCasts(r RunRecord, casts ...Nowcast) RunRecord {
	r.Summary.Nowcasts = casts
	return r
}

func mustReport(t *testing.T, runs ...RunRecord) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := WriteReport(path, runs); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.ReplaceAll(mustText(t, path), "\u00a0", " "), "\u2009", " ")
}

func mustText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustContain(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the report does not say %q", w)
		}
	}
}

func TestReportCompares(t *testing.T) {
	after := 0.9
	runs := []RunRecord{
		reportRun("none", 1, 50, 70, 75, 82),
		withCasts(reportRun("nino", 1, 60, 81, 83, 84), Nowcast{Step: 200, K: 40, Accepted: true, LossBefore: 1, LossAfter: &after, Trial: &TrialRecord{Steps: 100, Before: 0.5152, After: 0.4393}}, Nowcast{Step: 400, K: 30, LossBefore: 1, Reason: "the loss of the batch rises"}, Nowcast{Step: 300, LossBefore: 1, Reason: "held back"}),
		reportRun("none", 2, 50, 60, 75, 83),
		reportRun("nino", 2, 60, 70, 81, 85),
	}
	text := mustReport(t, runs...)
	mustContain(t, text,
		"nino reached 80 % test accuracy after 250 steps, plain training after 400 (means of 2 seeds): 38 % fewer steps.",
		"Test accuracy", "Training loss", "target 80 %",
		"Steps to 80 %", "Steps to 81 %", "Steps to 82 %", // the target; and the level that all reach, and one point below
		`<td>200<span class="gain">−50 %</span></td>`, `<td>300<span class="gain">−25 %</span></td>`,
		"step 200: nowcast, horizon 40, kept", "kept: loss on other minibatches 0.5152 → 0.4393 in 100 steps", "step 400: nowcast, horizon 30, undone",
		"undone: the loss of the batch rises", `<td>300</td><td>–</td><td>1.0000</td><td>–</td><td>0.00</td><td class="text">none: held back</td>`, "target reached at step 200", "target reached at step 400",
	)
	if n := strings.Count(text, `<path class="curve one-of-many"`); n != 8 {
		t.Errorf("%d curves, expected 4 in each of 2 charts", n)
	}
	if i, j := strings.Index(text, "Steps to 80 %"), strings.Index(text, "Steps to 82 %"); i > j {
		t.Error("the levels are not in order")
	}
	if strings.Contains(text, "http://") || strings.Contains(text, "https://") || strings.Contains(text, "<script") {
		t.Error("the page is not self-contained")
	}
	mustContain(t, mustReport(t, reportRun("none", 1, 85, 86), reportRun("nino", 1, 70, 86)), "100 % more steps.")
}

func TestReportOfOneRun(t *testing.T) {
	text := mustReport(t, reportRun("none", 1, 50, 60))
	mustContain(t, text, "plain training: 200 steps in 0.0 s, 60.00 % test accuracy at the end.", "not reached")
	if n := strings.Count(text, "Steps to "); n != 1 {
		t.Errorf("%d columns of levels, expected that of the target", n)
	}
	if strings.Contains(text, "Nowcasts") || strings.Contains(text, "target reached") {
		t.Error("the report shows what the run does not have")
	}
	r := reportRun("none", 1)
	r.Summary.Target = nil
	if text := mustReport(t, r); strings.Contains(text, "<svg") {
		t.Error("a run without steps has charts")
	}
	if err := WriteReport(filepath.Join(t.TempDir(), "r.html"), nil); err == nil {
		t.Error("a report of no runs was written")
	}
}

// Names come from users and must not become markup; images must be XML.
func TestReportEscapes(t *testing.T) {
	r := withCasts(reportRun(`<b>&"x`, 1, 50, 60, 70), Nowcast{Step: 2, Reason: "<i>"})
	r.Task = "<u>"
	text := mustReport(t, r, reportRun("none", 1, 50, 60, 70))
	for _, bad := range []string{"<b>", "<u>", "<i>"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s is markup in the page", bad)
		}
	}
	path := filepath.Join(t.TempDir(), "curves.svg")
	if err := WriteCurves(path, []RunRecord{r, reportRun("none", 1, 50, 60, 70)}); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(mustText(t, path)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the image is not XML: %v", err)
		}
	}
}
