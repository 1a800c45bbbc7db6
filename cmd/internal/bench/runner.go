package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ninox/cmd/internal/app"
	"ninox/training"
	"ninox/training/bench"
)

// Names inside the folder of a run, beside those of the run itself.
const (
	outcomeFile = "outcome.json"
	logFile     = "log.txt"
)

// benchRun is a bench in progress.
type benchRun struct {
	app      *app.App
	dir      string
	lock     *os.File
	workers  int
	protocol *bench.Protocol
	rates    bench.Rates
	outcomes map[bench.Run]*bench.Outcome

	mu      sync.Mutex
	done    int
	total   int
	seconds map[string][]float64 // of the runs made now, by task
	peaks   map[string]int64     // memory of a task's largest run, bytes
	running int
}

// outcomeRecord is outcome.json: a run is complete once it is there.
type outcomeRecord struct {
	Diverged  bool    `json:"diverged"`
	Message   string  `json:"message,omitempty"` // of a diverged run
	PeakBytes int64   `json:"peak_bytes"`
	Seconds   float64 `json:"seconds"` // of the process's latest part
}

// all makes the runs that are not there yet: the search, then the comparison.
func (b *benchRun) all(ctx context.Context) error {
	b.outcomes, b.seconds, b.peaks = map[bench.Run]*bench.Outcome{}, map[string][]float64{}, map[string]int64{}
	search := b.protocol.TuningRuns()
	b.total = len(search) + len(b.protocol.Tasks)*len(b.protocol.Methods)*len(b.protocol.Seeds)
	if err := b.runs(ctx, search); err != nil {
		return err
	}
	var err error
	if b.rates, err = b.protocol.ChooseRates(b.outcomes); err != nil {
		return err
	}
	for _, t := range b.protocol.Tasks {
		if len(search) > 0 {
			b.app.Notef("%s: learning rate %v", t.Name, b.rates[t.Name][b.protocol.Base().Name])
		}
	}
	return b.runs(ctx, b.protocol.Runs(b.rates))
}

// parallel is the number of processes at a time.
func (b *benchRun) parallel() int {
	if b.workers > 0 {
		return b.workers
	}
	return goruntime.NumCPU()
}

// runs takes up the runs that are complete and makes the others, several in
// parallel. The first failure stops the others, which leave checkpoints.
func (b *benchRun) runs(outer context.Context, runs []bench.Run) error {
	ctx, stop := context.WithCancelCause(outer)
	defer stop(nil)
	var missing []bench.Run
	for _, r := range runs {
		if _, err := readOutcome(b.runDir(r)); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, r)
		} else if err := b.one(ctx, r); err != nil {
			return err
		}
	}
	todo := make(chan bench.Run)
	var workers sync.WaitGroup
	for range b.parallel() {
		workers.Go(func() {
			// A process that is to die with the thread that started it needs
			// that thread to last.
			goruntime.LockOSThread()
			for r := range todo {
				if err := b.one(ctx, r); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, r := range missing {
		select {
		case todo <- r:
		case <-ctx.Done():
		}
	}
	close(todo)
	workers.Wait()
	if outer.Err() != nil {
		return fmt.Errorf("%w: 'ninox bench --out %s' goes on", training.ErrInterrupted, b.dir)
	}
	return context.Cause(ctx)
}

// one makes a run, unless it is complete, and reads its outcome.
func (b *benchRun) one(ctx context.Context, r bench.Run) error {
	if ctx.Err() != nil {
		return nil
	}
	dir := b.runDir(r)
	rec, err := readOutcome(dir)
	fresh := errors.Is(err, os.ErrNotExist)
	if fresh {
		rec, err = b.process(ctx, r, dir)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", r.ID(), err)
	}
	o := &bench.Outcome{Run: r, Diverged: rec.Diverged, PeakBytes: rec.PeakBytes}
	if rec.Diverged {
		o.Record.Metrics, err = training.ReadMetrics(filepath.Join(dir, "metrics.jsonl"))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		o.Record, err = training.ReadRun(dir)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", r.ID(), err)
	}
	b.add(o, rec, fresh)
	return nil
}

// runDir is the folder of a run.
func (b *benchRun) runDir(r bench.Run) string {
	return filepath.Join(b.dir, runsDir, filepath.FromSlash(r.ID()))
}

// add takes up an outcome and says how far the bench is.
func (b *benchRun) add(o *bench.Outcome, rec *outcomeRecord, fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes[o.Run] = o
	b.done++
	b.peaks[o.Task] = max(b.peaks[o.Task], rec.PeakBytes)
	if !fresh {
		return
	}
	b.seconds[o.Task] = append(b.seconds[o.Task], rec.Seconds)
	text := fmt.Sprintf("[%d/%d] %s, %s, lr %v, seed %d: %.0f s", b.done, b.total, o.Task, o.Method, o.LR, o.Seed, rec.Seconds)
	if rec.Diverged {
		text += ", diverged"
	}
	b.app.Notef("%s; about %s left", text, b.left().Round(time.Second))
}

// left is how long the rest is likely to take.
func (b *benchRun) left() time.Duration {
	sum, n := 0.0, 0
	for _, s := range b.seconds {
		for _, v := range s {
			sum += v
			n++
		}
	}
	return time.Duration(sum / float64(n) * float64(b.total-b.done) / float64(b.parallel()) * float64(time.Second))
}

// process runs ninox accelerate until it is done or diverges. A run that has a
// checkpoint goes on from there.
func (b *benchRun) process(ctx context.Context, r bench.Run, dir string) (*outcomeRecord, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := b.admit(ctx, r.Task); err != nil {
		return nil, err
	}
	defer b.leave()
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd, err := b.command(ctx, r, dir)
	if err != nil {
		return nil, err
	}
	var said tail
	cmd.Stdout, cmd.Stderr = log, io.MultiWriter(log, &said)
	start := time.Now()
	err = cmd.Run()
	rec := &outcomeRecord{Seconds: time.Since(start).Seconds(), PeakBytes: peakBytes(cmd.ProcessState)}
	switch {
	case ctx.Err() != nil:
		return nil, training.ErrInterrupted
	case err != nil && strings.Contains(said.text(), divergedText):
		rec.Diverged, rec.Message = true, said.text()
	case err != nil:
		return nil, fmt.Errorf("%w\n%s\n(all of it in %s)", err, said.text(), log.Name())
	}
	return rec, bench.WriteJSON(filepath.Join(dir, outcomeFile), rec)
}

// divergedText is how a run that diverged says so; see training.NonFiniteError.
const divergedText = "training diverged: step"

// command is the process of a run.
func (b *benchRun) command(ctx context.Context, r bench.Run, dir string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t, m := b.of(r)
	args := append([]string{"accelerate"}, arguments(b.protocol, t, m, dir, r.LR)...)
	args = append(args, "--seed", strconv.FormatUint(r.Seed, 10), "--threads", strconv.Itoa(b.threads()), "--device", b.app.Device, "--log-level", b.app.LogLevel, "--quiet")
	switch {
	case exists(filepath.Join(dir, "checkpoints", "latest")):
		args = append(args, "--resume")
	case exists(filepath.Join(dir, "config.json")):
		args = append(args, "--overwrite") // killed before its first checkpoint
	}
	if r.Seed == b.protocol.Seeds[0] {
		if keep := keptStates(t); len(keep) > 0 {
			args = append(args, "--keep-states", keep)
		}
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = os.Environ()
	if share := availableBytes() / int64(b.parallel()); share > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", share))
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it writes a checkpoint
	cmd.WaitDelay = time.Minute
	bindToParent(cmd, b.lock)
	return cmd, nil
}

// threads is a process's share of the cores.
func (b *benchRun) threads() int {
	if b.app.Threads > 0 {
		return b.app.Threads
	}
	return max(1, goruntime.NumCPU()/b.parallel())
}

// of are the task and the method of a run.
func (b *benchRun) of(r bench.Run) (bench.Task, bench.Method) {
	t := slices.IndexFunc(b.protocol.Tasks, func(t bench.Task) bool { return t.Name == r.Task })
	m := slices.IndexFunc(b.protocol.Methods, func(m bench.Method) bool { return m.Name == r.Method })
	return b.protocol.Tasks[t], b.protocol.Methods[m]
}

// admit waits until there is memory for another run of a task, as far as its
// earlier runs tell. One run is always let in.
func (b *benchRun) admit(ctx context.Context, task string) error {
	for {
		b.mu.Lock()
		free := availableBytes()
		if b.running == 0 || free == 0 || b.peaks[task] < free {
			b.running++
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (b *benchRun) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
}

func readOutcome(dir string) (*outcomeRecord, error) {
	path := filepath.Join(dir, outcomeFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r outcomeRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
