package accelerate

import (
	"reflect"
	"strings"
	"testing"

	"ninox/cmd/internal/job"
	"ninox/training"
)

// record is a run whose metric has the given values after steps 10, 20 …, one
// second each.
func record(name, metric string, values ...float64) training.RunRecord {
	r := training.RunRecord{Name: name}
	for i, v := range values {
		m := training.Metric{Step: 10 * (i + 1), Seconds: float64(i + 1)}
		switch metric {
		case metricAccuracy:
			m.EvalAccuracy = &v
		case metricLoss:
			m.EvalLoss = &v
		default:
			m.Loss = &v
		}
		r.Metrics = append(r.Metrics, m)
	}
	r.Summary.Steps = 10 * len(values)
	return r
}

func reach(step int) *Reach { return &Reach{step, float64(step) / 10} }

func TestCompareAccuracy(t *testing.T) {
	base := record("adam", metricAccuracy, 50, 70, 80, 79)
	fast := record("adam + nino", metricAccuracy, 50, 80.59, 85, 90)
	target := 85.0
	fast.Summary.Target, fast.Summary.TargetMetric = &target, training.MetricAccuracy
	c := Compare(base, fast)
	third := 100.0 / 3
	want := Comparison{Metric: metricAccuracy, Levels: []Level{
		{What: "target", Value: 85, Accelerated: reach(30)},
		{What: "best common", Value: 80, Baseline: reach(30), Accelerated: reach(20), ReductionPercent: &third},
	}}
	if c.Levels[1].ReductionPercent == nil || *c.Levels[1].ReductionPercent < 33.3 || *c.Levels[1].ReductionPercent > 33.4 {
		t.Fatalf("reduction %v, expected a third", c.Levels[1].ReductionPercent)
	}
	c.Levels[1].ReductionPercent = &third
	if !reflect.DeepEqual(c, want) {
		t.Errorf("comparison %+v, expected %+v", c, want)
	}
}

func TestCompareLoss(t *testing.T) {
	c := Compare(record("a", metricLoss, 3, 2, 1.0001), record("b", metricLoss, 3, 0.5, 0.4))
	if c.Metric != metricLoss || len(c.Levels) != 1 {
		t.Fatalf("comparison %+v", c)
	}
	l := c.Levels[0]
	if l.Value != 1.001 || !reflect.DeepEqual(l.Baseline, reach(30)) || !reflect.DeepEqual(l.Accelerated, reach(20)) {
		t.Errorf("level %+v", l)
	}
}

// Without test data, runs are compared by the training loss, averaged over a
// window, so that one lucky batch does not count.
func TestCompareTrainingLoss(t *testing.T) {
	flat := make([]float64, 2*lossWindow)
	for i := range flat {
		flat[i] = 1
	}
	lucky := append([]float64{}, flat...)
	lucky[3] = 0.01 // the mean of the first window is 0.9802
	c := Compare(record("a", metricTrainLoss, flat...), record("b", metricTrainLoss, lucky...))
	if c.Metric != metricTrainLoss || len(c.Levels) != 1 || c.Levels[0].Value != 1 || c.Levels[0].Baseline.Steps != 10*lossWindow {
		t.Errorf("comparison %+v", c)
	}
	if short := Compare(record("a", metricTrainLoss, 1), record("b", metricTrainLoss, 1)); len(short.Levels) != 0 {
		t.Errorf("runs shorter than the window are compared: %+v", short)
	}
}

func TestTable(t *testing.T) {
	base := record("adam", metricAccuracy, 50, 70, 80)
	fast := record("adam + nino", metricAccuracy, 50, 80.5, 85)
	acc := 85.0
	fast.Summary.Final.Accuracy = &acc
	fast.Summary.Nowcasts = []training.Nowcast{{Accepted: true}, {}}
	c := Compare(base, fast)
	var b strings.Builder
	if err := job.WriteTable(&b, table(Summary{Summary: fast.Summary, Comparison: &c}, []training.RunRecord{base, fast})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"                              adam  adam + nino\n",
		"steps to 80.0 % accuracy        30           20  (-33 %)\n",
		"seconds to 80.0 % accuracy     3.0          2.0\n",
		"final accuracy                   –      85.00 %\n",
		"nowcasts kept                    –       1 of 2\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table does not have %q:\n%s", want, b.String())
		}
	}
}
