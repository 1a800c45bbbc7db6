package training

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Metric is one line of metrics.jsonl: the training loss of a step (with the
// nowcast that replaced it, if one did), or an evaluation after a step.
type Metric struct {
	Step         int      `json:"step"`                    // counted from 1
	Loss         *float64 `json:"loss,omitempty"`          // of the step's batches, before the update
	LR           float64  `json:"lr,omitempty"`            // of the update
	EvalLoss     *float64 `json:"eval_loss,omitempty"`     // over the test data
	EvalAccuracy *float64 `json:"eval_accuracy,omitempty"` // over the test data, percent
	Seconds      float64  `json:"seconds"`                 // training time so far
	Nowcast      *Nowcast `json:"nowcast,omitempty"`
}

// Nowcast records one application of a Nowcaster.
type Nowcast struct {
	Step       int      `json:"step"`
	K          int      `json:"k"` // horizon
	Method     string   `json:"method,omitempty"`
	Seconds    float64  `json:"seconds"`     // duration of the prediction, and of the choice under the safeguard
	Accepted   bool     `json:"accepted"`    // false: undone, at once or after its trial
	LossBefore float64  `json:"loss_before"` // of the batch at hand
	LossAfter  *float64 `json:"loss_after"`  // null where it is not a finite number
	Reason     string   `json:"reason,omitempty"`

	Candidates []Candidate  `json:"candidates,omitempty"` // under the safeguard, the parameters as they were first
	Trial      *TrialRecord `json:"trial,omitempty"`      // under the safeguard, once decided
}

// Evaluation is the result over the test data.
type Evaluation struct {
	Loss     float64  `json:"loss"`
	Accuracy *float64 `json:"accuracy,omitempty"` // percent; nil where the task is not a classification
}

// stopwatch keeps the latest durations of something that happens often. The
// zero value is ready to use.
type stopwatch struct {
	kept []time.Duration
	n    int
}

// stopwatchKept is the number of durations that a stopwatch remembers.
const stopwatchKept = 4096

func (s *stopwatch) add(d time.Duration) {
	if len(s.kept) < stopwatchKept {
		s.kept = append(s.kept, d)
	} else {
		s.kept[s.n%stopwatchKept] = d
	}
	s.n++
}

// median is in milliseconds, 0 where nothing was measured.
func (s *stopwatch) median() float64 {
	if len(s.kept) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.kept))
	return float64(sorted[len(sorted)/2]) / float64(time.Millisecond)
}

// metricsWriter appends to metrics.jsonl, and to the TensorBoard events where
// there are any. Lines reach the file at the latest a
// second after they were written, and whenever Flush is called.
type metricsWriter struct {
	f       *os.File
	w       *bufio.Writer
	flushed time.Time
	events  *eventsWriter // nil: none
}

func openMetrics(path string) (*metricsWriter, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &metricsWriter{f: f, w: bufio.NewWriter(f), flushed: time.Now()}, nil
}

func (m *metricsWriter) add(v Metric) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("metrics of step %d: %w", v.Step, err)
	}
	if _, err := m.w.Write(append(line, '\n')); err != nil {
		return err
	}
	if m.events != nil {
		if err := m.events.add(v); err != nil {
			return err
		}
	}
	if now := time.Now(); now.Sub(m.flushed) > time.Second {
		m.flushed = now
		return m.flush()
	}
	return nil
}

// sync brings every line to the disk.
func (m *metricsWriter) sync() error {
	if err := m.flush(); err != nil {
		return err
	}
	return m.f.Sync()
}

func (m *metricsWriter) flush() error {
	err := m.w.Flush()
	if m.events != nil {
		err = errors.Join(err, m.events.w.Flush())
	}
	return err
}

func (m *metricsWriter) close() error {
	err := errors.Join(m.w.Flush(), m.f.Close())
	if m.events != nil {
		err = errors.Join(err, m.events.close())
	}
	return err
}

// ReadMetrics reads a metrics.jsonl file. An unfinished last line, which a
// killed run leaves behind, is ignored.
func ReadMetrics(path string) ([]Metric, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Metric
	for n := 1; len(raw) > 0; n++ {
		line, rest, whole := bytes.Cut(raw, []byte("\n"))
		raw = rest
		if !whole || len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var m Metric
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// truncateMetrics drops the lines after a step, which a resumed run writes
// again. There need not be any.
func truncateMetrics(path string, step int) error {
	all, err := ReadMetrics(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeAtomic(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for _, m := range all {
			if m.Step <= step {
				if err := enc.Encode(m); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
