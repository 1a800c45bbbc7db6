package training

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells the user how a run goes: a curve and a bar on a terminal, a line
// every few seconds elsewhere.
type progress interface {
	step(step int, loss float64)
	evaluated(e Evaluation)
	nowcast(n Nowcast)
	stop(last string) // last is a closing line, "" for none
}

func newProgress(w io.Writer, label string, done, total int) progress {
	if w == nil || w == io.Discard {
		return silent{}
	}
	s := &status{label: label, total: total, done: done, meter: meter{at: time.Now(), done: done}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		return newLive(f, s)
	}
	return &lines{w: w, status: s}
}

type silent struct{}

func (silent) step(int, float64)    {}
func (silent) evaluated(Evaluation) {}
func (silent) nowcast(Nowcast)      {}
func (silent) stop(string)          {}

// meter measures steps per second as an average that forgets over some seconds.
type meter struct {
	at   time.Time
	done int
	rate float64
}

// meterWindow is the time over which the meter forgets.
const meterWindow = 5 * time.Second

func (m *meter) tick(now time.Time, done int) {
	dt := now.Sub(m.at)
	if dt < 200*time.Millisecond {
		return
	}
	r := float64(done-m.done) / dt.Seconds()
	if m.rate > 0 {
		w := min(1, float64(dt)/float64(meterWindow))
		r = m.rate + w*(r-m.rate)
	}
	m.at, m.done, m.rate = now, done, r
}

// status is what both forms of progress show.
type status struct {
	mu       sync.Mutex // the terminal is drawn from another goroutine
	label    string
	done     int
	total    int
	loss     float64 // average that forgets over about 20 steps
	accuracy string
	meter    meter
}

func (s *status) update(step int, loss float64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loss == 0 {
		s.loss = loss
	}
	s.loss += 0.05 * (loss - s.loss)
	s.done = step
	s.meter.tick(now, step)
}

func (s *status) setEvaluation(e Evaluation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accuracy = resultText(e)
}

// resultText is the test result in words: "accuracy 87.31 %" or "test loss 0.4123".
func resultText(e Evaluation) string {
	if e.Accuracy != nil {
		return fmt.Sprintf("accuracy %.2f %%", *e.Accuracy)
	}
	return fmt.Sprintf("test loss %.4f", e.Loss)
}

// text is "87.3 steps/s  loss 0.4123  accuracy 85.12 %  eta 32s".
func (s *status) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := []string{}
	if s.meter.rate > 0 {
		parts = append(parts, fmt.Sprintf("%.3g steps/s", s.meter.rate))
	}
	parts = append(parts, fmt.Sprintf("loss %.4f", s.loss))
	if s.accuracy != "" {
		parts = append(parts, s.accuracy)
	}
	if s.meter.rate > 0 && s.done < s.total {
		left := time.Duration(float64(s.total-s.done) / s.meter.rate * float64(time.Second))
		parts = append(parts, "eta "+left.Round(time.Second).String())
	}
	return strings.Join(parts, "  ")
}

// nowcastText is "step 200: nowcast, horizon 40: loss 0.4123 -> 0.3512 (0.31 s)".
func nowcastText(n Nowcast) string {
	if n.K == 0 {
		return fmt.Sprintf("step %d: no nowcast: %s", n.Step, n.Reason)
	}
	after := "not finite"
	if n.LossAfter != nil {
		after = fmt.Sprintf("%.4f", *n.LossAfter)
	}
	t := fmt.Sprintf("step %d: nowcast, horizon %d: loss %.4f -> %s (%.2f s)", n.Step, n.K, n.LossBefore, after, n.Seconds)
	if !n.Accepted {
		t += ", undone: " + n.Reason
	}
	return t
}

// lineEvery is the time between two lines of progress.
const lineEvery = 3 * time.Second

// lines is progress for pipes and files.
type lines struct {
	*status
	w    io.Writer
	last time.Time
}

func (l *lines) step(step int, loss float64) {
	now := time.Now()
	l.update(step, loss, now)
	if now.Sub(l.last) >= lineEvery || step == l.total {
		l.last = now
		fmt.Fprintf(l.w, "%s: step %d/%d  %s\n", l.label, step, l.total, l.text())
	}
}

func (l *lines) evaluated(e Evaluation) { l.setEvaluation(e) }
func (l *lines) nowcast(n Nowcast)      { fmt.Fprintf(l.w, "%s: %s\n", l.label, nowcastText(n)) }

func (l *lines) stop(last string) {
	if last != "" {
		fmt.Fprintf(l.w, "%s: %s\n", l.label, last)
	}
}
