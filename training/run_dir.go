package training

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	"ninox/training/data"
)

// Names inside a run directory.
const (
	configFile     = "config.json"
	metricsFile    = "metrics.jsonl"
	summaryFile    = "summary.json"
	reportFile     = "report.html"
	curvesFile     = "curves.svg"
	finalState     = "final.safetensors"
	finalModel     = "final.onnx"
	bestState      = "best.safetensors"
	bestModel      = "best.onnx"
	statesDir      = "states"
	checkpointsDir = "checkpoints"
)

var runFiles = []string{configFile, metricsFile, eventsFile, summaryFile, reportFile, curvesFile, finalState, finalModel, bestState, bestModel, statesDir, checkpointsDir}

// ErrRunExists reports a run directory that already holds a run.
var ErrRunExists = errors.New("already holds a run")

// openRunDir prepares the directory of a run: a new one, or the existing one
// where the configuration asks to resume or to overwrite it. The directory is
// this run's alone until unlock is called.
func openRunDir(c Config) (unlock func(), err error) {
	if c.Resume {
		if _, err := os.Stat(filepath.Join(c.Dir, configFile)); err != nil {
			return nil, fmt.Errorf("run directory %s: nothing to resume: %w", c.Dir, err)
		}
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if unlock, err = lockRunDir(c.Dir, c.Log); err != nil {
		return nil, err
	}
	if err := clearRunDir(c); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// clearRunDir removes from a locked directory what the run must not find there.
// Only what holds a run is overwritten, and files that no run writes are left
// alone.
func clearRunDir(c Config) error {
	found := foundRunFiles(c.Dir)
	switch {
	case c.Resume:
		if err := removeUnfinished(c.Dir); err != nil {
			return err
		}
	case len(found) > 0 && !c.Overwrite:
		return fmt.Errorf("run directory %s %w (%s); resume it, overwrite it or choose another", c.Dir, ErrRunExists, strings.Join(found, ", "))
	case len(found) > 0 && !holdsRun(c.Dir):
		return fmt.Errorf("run directory %s has %s, but no %s of a run: not overwritten; choose another", c.Dir, strings.Join(found, ", "), configFile)
	default:
		for _, name := range found {
			if err := os.RemoveAll(filepath.Join(c.Dir, name)); err != nil {
				return err
			}
		}
	}
	for _, d := range []string{statesDir, checkpointsDir} {
		if err := os.MkdirAll(filepath.Join(c.Dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// removeUnfinished removes the temporary files that a killed run leaves behind.
func removeUnfinished(dir string) error {
	var errs []error
	for _, sub := range []string{"", statesDir, checkpointsDir} {
		const hex = "[0-9a-f]"
		found, err := filepath.Glob(filepath.Join(dir, sub, ".*."+strings.Repeat(hex, 8)))
		errs = append(errs, err)
		for _, path := range found {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// foundRunFiles lists what a run would replace: its files, and folders with
// something in them.
func foundRunFiles(dir string) []string {
	var found []string
	for _, name := range runFiles {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if st.IsDir() {
			if inside, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(inside) == 0 {
				continue
			}
		}
		found = append(found, name)
	}
	return found
}

// holdsRun says whether the directory's config.json is that of a run.
func holdsRun(dir string) bool {
	var c runConfig
	return readJSON(filepath.Join(dir, configFile), &c) == nil && c.Schema == runSchema
}

// runSchema names the form of config.json.
const runSchema = "ninox.run/1"

// runConfig is config.json.
type runConfig struct {
	Schema     string         `json:"schema"` // runSchema
	Task       string         `json:"task,omitempty"`
	Method     string         `json:"method"`
	Steps      int            `json:"steps"`
	BatchSize  int            `json:"batch_size"`
	Accumulate int            `json:"accumulate"`
	Shuffle    bool           `json:"shuffle"`
	Seed       uint64         `json:"seed"`
	LR         float64        `json:"lr"`
	Schedule   string         `json:"schedule"`
	Warmup     int            `json:"warmup"`
	EvalEvery  int            `json:"eval_every"`
	Target     *Target        `json:"target"`
	Stop       bool           `json:"stop_at_target"`
	Checkpoint int            `json:"checkpoint_every"`
	KeepLast   int            `json:"keep_last"`
	KeepBest   bool           `json:"keep_best"`
	Period     int            `json:"period,omitempty"`
	Horizons   []int          `json:"horizons,omitempty"`
	Safeguard  bool           `json:"safeguard"`
	Candidates []string       `json:"candidates,omitempty"` // alternatives of the safeguard: method and share of the horizon
	Moments    string         `json:"moments,omitempty"`
	Average    string         `json:"average,omitempty"`
	Model      string         `json:"model_sha256,omitempty"`
	Train      *dataRecord    `json:"train"`
	Test       *dataRecord    `json:"test"`
	Go         string         `json:"go"`
	Record     map[string]any `json:"record,omitempty"`
}

type dataRecord struct {
	Name    string `json:"name"`
	Samples int    `json:"samples"`
	Hash    string `json:"sha256"`
	Content string `json:"content_sha256,omitempty"` // see data.ContentHash
}

func recordData(d data.Dataset) *dataRecord {
	if d == nil {
		return nil
	}
	return &dataRecord{d.Name(), d.Len(), d.Hash(), data.ContentHash(d)}
}

// identity is the record without the content of files, which may be mended between
// the parts of a run.
func (d *dataRecord) identity() *dataRecord {
	if d == nil {
		return nil
	}
	return &dataRecord{Name: d.Name, Samples: d.Samples, Hash: d.Hash}
}

// changed says whether files have other bytes than they had.
func (d *dataRecord) changed(old *dataRecord) bool {
	return d != nil && old != nil && d.Content != "" && old.Content != "" && d.Content != old.Content
}

func (c *Config) record() (*runConfig, error) {
	r := &runConfig{
		Schema: runSchema, Task: c.Task, Method: c.Method, Steps: c.Steps, BatchSize: c.Batch, Accumulate: c.Accumulate,
		Shuffle: !c.NoShuffle, Seed: c.Seed, LR: c.LR, Schedule: c.Schedule, Warmup: c.Warmup, EvalEvery: c.EvalEvery,
		Target: c.Target, Stop: c.StopAtTarget, Checkpoint: c.CheckpointEvery, KeepLast: c.KeepLast, KeepBest: c.KeepBest, Safeguard: c.Safeguard, Train: recordData(c.Train), Test: recordData(c.Test),
		Go: runtime.Version(), Record: c.Record,
	}
	if c.Nowcaster != nil {
		r.Period, r.Horizons, r.Moments = c.Period, c.Horizons, c.Moments
		for _, a := range c.Alternatives {
			r.Candidates = append(r.Candidates, fmt.Sprintf("%s %g", a.Nowcaster.Name(), a.Share))
		}
	}
	if c.Averager != nil {
		r.Average = c.Averager.String()
	}
	if c.Artifacts != nil {
		raw, err := c.Artifacts.Training.Marshal()
		if err != nil {
			return nil, fmt.Errorf("training model for the record: %w", err)
		}
		sum := sha256.Sum256(raw)
		r.Model = hex.EncodeToString(sum[:])
	}
	return r, nil
}

// checkResume reports every setting that differs from the run to be resumed and
// would change what its steps compute. Steps may differ: a run may be prolonged.
func (r *runConfig) checkResume(old *runConfig) error {
	var diff []string
	add := func(name string, now, then any) {
		a, errA := json.Marshal(now)
		b, errB := json.Marshal(then)
		if errA != nil || errB != nil || string(a) != string(b) {
			diff = append(diff, fmt.Sprintf("%s is %s, was %s", name, a, b))
		}
	}
	add("method", r.Method, old.Method)
	add("batch_size", r.BatchSize, old.BatchSize)
	add("accumulate", r.Accumulate, old.Accumulate)
	add("shuffle", r.Shuffle, old.Shuffle)
	add("seed", r.Seed, old.Seed)
	add("lr", r.LR, old.LR)
	add("schedule", r.Schedule, old.Schedule)
	add("warmup", r.Warmup, old.Warmup)
	add("period", r.Period, old.Period)
	add("safeguard", r.Safeguard, old.Safeguard)
	add("candidates", r.Candidates, old.Candidates)
	add("moments", r.Moments, old.Moments)
	add("average", r.Average, old.Average)
	add("model_sha256", r.Model, old.Model)
	add("train", r.Train.identity(), old.Train.identity())
	if r.Steps == old.Steps {
		add("horizons", r.Horizons, old.Horizons)
	}
	if len(diff) > 0 {
		return fmt.Errorf("cannot resume with other settings: %s", strings.Join(diff, "; "))
	}
	return nil
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	return writeAtomic(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

// writeState writes parameters as safetensors, atomically.
func writeState(path string, s *weights.Set, meta map[string]string) error {
	return weights.WriteSafetensors(path, s, meta, true)
}

// writeAtomic replaces a file by what write produces, or leaves it as it was.
func writeAtomic(path string, write func(io.Writer) error) error {
	return onnxgraph.WriteAtomic(path, true, func(f io.Writer) error {
		w := bufio.NewWriter(f)
		if err := write(w); err != nil {
			return err
		}
		return w.Flush()
	})
}

func writeBytes(path string, b []byte) error {
	return writeAtomic(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
