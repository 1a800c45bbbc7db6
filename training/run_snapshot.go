package training

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ninox/onnxgraph/weights"
)

// A snapshot is what a run needs to continue exactly where it stood. It is one
// safetensors file, checkpoints/step_NNNNNN.safetensors: parameters under
// "param/", moments under "moment/", the states kept for the next nowcast under
// "nowcast/0/", "nowcast/1/" …, and everything else as JSON in the metadata. The
// order of the samples follows from the seed and the step alone. The file
// checkpoints/latest names the newest snapshot and is written last.
type snapshot struct {
	params, moments *weights.Set
	states          []*weights.Set
	snapshotMeta
}

type snapshotMeta struct {
	Step          int         `json:"step"`
	Updates       int64       `json:"updates"` // made by the optimizer
	Seconds       float64     `json:"seconds"` // training time so far
	StepsToTarget *int        `json:"steps_to_target"`
	Loss          *float64    `json:"loss"`      // of the last step
	Evaluation    *Evaluation `json:"eval"`      // the last one
	EvalStep      int         `json:"eval_step"` // when that was; -1 before the first
	Nowcasts      []Nowcast   `json:"nowcasts"`
}

const (
	snapshotKey    = "ninox.snapshot"
	latestFile     = "latest"
	snapshotsKept  = 2
	paramPrefix    = "param/"
	momentPrefix   = "moment/"
	nowcastPrefix  = "nowcast/"
	snapshotLayout = "step_%06d.safetensors"
)

// write stores the snapshot in the run directory and removes older ones.
func (s *snapshot) write(dir string) error {
	all := &weights.Set{}
	add := func(prefix string, set *weights.Set) {
		for _, name := range set.Names() {
			all.Add(prefix+name, set.Get(name))
		}
	}
	add(paramPrefix, s.params)
	add(momentPrefix, s.moments)
	for i, st := range s.states {
		add(nowcastPrefix+strconv.Itoa(i)+"/", st)
	}
	meta, err := json.Marshal(s.snapshotMeta)
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	sub := filepath.Join(dir, checkpointsDir)
	name := fmt.Sprintf(snapshotLayout, s.Step)
	if err := writeState(filepath.Join(sub, name), all, map[string]string{snapshotKey: string(meta)}); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	if err := writeBytes(filepath.Join(sub, latestFile), []byte(name+"\n")); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	return pruneSnapshots(sub, name)
}

// pruneSnapshots removes all but the newest snapshots, current among them.
func pruneSnapshots(sub, current string) error {
	old, err := filepath.Glob(filepath.Join(sub, "step_*.safetensors")) // sorted, so by step
	if err != nil {
		return err
	}
	var errs []error
	for i, path := range old {
		if i < len(old)-snapshotsKept && filepath.Base(path) != current {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// readSnapshot reads the newest snapshot of a run directory.
func readSnapshot(dir string) (*snapshot, error) {
	sub := filepath.Join(dir, checkpointsDir)
	name, err := os.ReadFile(filepath.Join(sub, latestFile))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: no checkpoint to resume from: %w", dir, err)
	}
	path := filepath.Join(sub, filepath.Base(strings.TrimSpace(string(name))))
	all, meta, err := weights.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	s := &snapshot{params: &weights.Set{}, moments: &weights.Set{}}
	if err := json.Unmarshal([]byte(meta[snapshotKey]), &s.snapshotMeta); err != nil {
		return nil, fmt.Errorf("%s: metadata %q: %w", path, snapshotKey, err)
	}
	for _, name := range all.Names() {
		t := all.Get(name)
		if rest, ok := strings.CutPrefix(name, paramPrefix); ok {
			s.params.Add(rest, t)
		} else if rest, ok := strings.CutPrefix(name, momentPrefix); ok {
			s.moments.Add(rest, t)
		} else if rest, ok := strings.CutPrefix(name, nowcastPrefix); ok {
			num, rest, _ := strings.Cut(rest, "/")
			i, err := strconv.Atoi(num)
			if err != nil || i < 0 || i > len(s.states) {
				return nil, fmt.Errorf("%s: array %q: expected nowcast/0/, nowcast/1/ … in order", path, name)
			}
			if i == len(s.states) {
				s.states = append(s.states, &weights.Set{})
			}
			s.states[i].Add(rest, t)
		} else {
			return nil, fmt.Errorf("%s: array %q is none of param/, moment/, nowcast/", path, name)
		}
	}
	return s, nil
}

// notFinite names the first array that holds a NaN or an infinity, "" where all
// values are finite.
func notFinite(s *weights.Set) string {
	for _, name := range s.Names() {
		v, err := s.Floats(name)
		if err != nil {
			continue // integers are finite
		}
		for _, x := range v {
			if d := float64(x); math.IsNaN(d) || math.IsInf(d, 0) {
				return name
			}
		}
	}
	return ""
}
