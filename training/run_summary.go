package training

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ninox/onnxgraph/weights"
)

// Summary is the outcome of a run, as written to summary.json.
type Summary struct {
	Task          string   `json:"task,omitempty"`
	Method        string   `json:"method"`
	Seed          uint64   `json:"seed"`
	Steps         int      `json:"steps"`  // completed
	Target        *float64 `json:"target"` // null where there is none
	TargetMetric  string   `json:"target_metric,omitempty"`
	StepsToTarget *int     `json:"steps_to_target"` // first evaluation at or beyond the target; null where it was not reached
	Final         Final    `json:"final"`
	Best          *Best    `json:"best,omitempty"` // the best evaluation
	WallSeconds   float64  `json:"wall_seconds"`   // of training, over all parts of a resumed run
	// StepMilliseconds is the median duration of an optimizer step: forward,
	// backward and update, without waiting for data, evaluations and nowcasts.
	// It is over the latest part of a resumed run; 0 where that made no step.
	StepMilliseconds float64 `json:"step_milliseconds"`
	// LoopShare is the share of ordinary steps that is not the runtime's: waiting
	// for data, handing it over, records. It is over the latest part of a resumed
	// run, without its first step; 0 where nothing is known.
	LoopShare float64   `json:"loop_share"`
	Nowcasts  []Nowcast `json:"nowcasts"`

	Safeguard *SafeguardCost `json:"safeguard,omitempty"` // where it is on
}

// Best is the evaluation with the highest accuracy, or the lowest loss where
// there is no accuracy; the first of equal ones.
type Best struct {
	Step int `json:"step"`
	Evaluation
}

// Final is where a run ended.
type Final struct {
	TrainLoss float64  `json:"train_loss"`         // of the last step's batch
	Loss      *float64 `json:"loss,omitempty"`     // over the test data
	Accuracy  *float64 `json:"accuracy,omitempty"` // over the test data, percent
}

func (l *loop) summary() *Summary {
	s := &Summary{
		Task: l.Task, Method: l.Method, Seed: l.Seed, Steps: l.step, StepsToTarget: l.reached, Best: l.best,
		Final: Final{TrainLoss: l.loss}, WallSeconds: l.seconds(), StepMilliseconds: l.durations.median(), LoopShare: l.overhead.share(), Nowcasts: append([]Nowcast{}, l.nowcasts...),
	}
	if l.Nowcaster != nil && l.Safeguard {
		cost := l.cost
		s.Safeguard = &cost
	}
	if l.Target != nil {
		s.Target, s.TargetMetric = &l.Target.Value, l.Target.Metric
	}
	if l.last != nil {
		s.Final.Loss, s.Final.Accuracy = &l.last.Loss, l.last.Accuracy
	}
	return s
}

// finish writes what a completed run leaves behind.
func (l *loop) finish() (*Summary, error) {
	s := l.summary()
	if err := l.checkpoint(); err != nil {
		l.progress.stop("")
		return s, err
	}
	l.progress.stop(l.closing(s))
	var state *weights.Set
	err := l.atResult(func() (err error) {
		state, err = l.fullState()
		return err
	})
	if err != nil {
		return s, err
	}
	if err := errors.Join(writeState(l.path(finalState), state, nil), l.writeModel(state, finalModel)); err != nil {
		return s, err
	}
	if l.KeepBest && l.best != nil {
		best, _, err := weights.ReadSafetensors(l.path(bestState))
		if err != nil {
			return s, fmt.Errorf("best weights: %w", err)
		}
		if err := l.writeModel(best, bestModel); err != nil {
			return s, err
		}
	}
	if err := writeJSON(l.path(summaryFile), s); err != nil {
		return s, err
	}
	r, err := ReadRun(l.Dir)
	if err != nil {
		return s, err
	}
	return s, errors.Join(
		WriteReport(l.path(reportFile), []RunRecord{r}),
		WriteCurves(l.path(curvesFile), []RunRecord{r}),
	)
}

// writeModel writes the model with a state, where there is a model.
func (l *loop) writeModel(state *weights.Set, file string) error {
	if l.Artifacts == nil || !l.Artifacts.hasOutputs() {
		return nil
	}
	m, err := l.Artifacts.Inference(state)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	raw, err := m.Marshal()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return writeBytes(l.path(file), raw)
}

// closing is the last line of progress.
func (l *loop) closing(s *Summary) string {
	text := fmt.Sprintf("done: %d steps in %.1f s, loss %.4f", s.Steps, s.WallSeconds, s.Final.TrainLoss)
	if l.last != nil {
		text += ", " + resultText(*l.last)
	}
	if l.Target != nil {
		if s.StepsToTarget == nil {
			text += fmt.Sprintf(", target of %g not reached", l.Target.Value)
		} else {
			text += fmt.Sprintf(", target of %g reached at step %d", l.Target.Value, *s.StepsToTarget)
		}
	}
	return text + l.ended
}

// RecordNote is the key of Config.Record under which a remark on the data
// stands, for reports.
const RecordNote = "note"

// RunRecord is what reports show of a run.
type RunRecord struct {
	Name    string // as the legend calls it; default the method
	Task    string
	Note    string // a remark on the data, empty where there is none
	Summary Summary
	Metrics []Metric
}

// ReadRun reads a finished run from its directory.
func ReadRun(dir string) (RunRecord, error) {
	var r RunRecord
	if err := readJSON(filepath.Join(dir, summaryFile), &r.Summary); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return r, fmt.Errorf("run directory %s: no finished run: %w", dir, err)
		}
		return r, err
	}
	r.Name, r.Task = r.Summary.Method, r.Summary.Task
	var c runConfig
	err := readJSON(filepath.Join(dir, configFile), &c)
	if err != nil {
		return r, err
	}
	r.Note, _ = c.Record[RecordNote].(string)
	r.Metrics, err = ReadMetrics(filepath.Join(dir, metricsFile))
	return r, err
}
