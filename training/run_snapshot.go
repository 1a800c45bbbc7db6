package training

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph/weights"
)

// A snapshot is what a run needs to continue exactly where it stood. It is one
// safetensors file, checkpoints/step_NNNNNN.safetensors: parameters under
// "param/", moments under "moment/", running statistics under "buffer/", what an
// average needs under "average/", the states kept for the next nowcast under "nowcast/0/", "nowcast/1/" …, what a
// nowcast on trial can be undone with under "trial/param/" and so on, and
// everything else as JSON in the metadata. The order of the samples follows from
// the seed and the step alone. The file checkpoints/latest holds the name of the
// newest snapshot and its SHA-256, and is written last. (Who writes another name
// there, to go back to an older snapshot, may leave out the hash.)
type snapshot struct {
	params, moments, buffers *weights.Set
	average                  *weights.Set // of the Averager
	states                   []*weights.Set
	trial                    *trial
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
	Recent        []float64   `json:"recent,omitempty"` // losses of the latest steps, where the safeguard wants them
	Trial         *trialMeta  `json:"trial,omitempty"`  // of the latest nowcast, where it is under way

	Account *account       `json:"safeguard,omitempty"`
	Cost    *SafeguardCost `json:"safeguard_cost,omitempty"`
}

const (
	snapshotKey    = "ninox.snapshot"
	latestFile     = "latest"
	snapshotsKept  = 2
	paramPrefix    = "param/"
	momentPrefix   = "moment/"
	bufferPrefix   = "buffer/"
	averagePrefix  = "average/"
	nowcastPrefix  = "nowcast/"
	trialPrefix    = "trial/"
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
	add(bufferPrefix, s.buffers)
	add(averagePrefix, s.average)
	for i, st := range s.states {
		add(nowcastPrefix+strconv.Itoa(i)+"/", st)
	}
	if t := s.trial; t != nil {
		s.Trial = &t.trialMeta
		add(trialPrefix+paramPrefix, t.params)
		add(trialPrefix+momentPrefix, t.moments)
		add(trialPrefix+bufferPrefix, t.buffers)
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
	sum, err := FileHash(filepath.Join(sub, name))
	if err == nil {
		err = writeBytes(filepath.Join(sub, latestFile), []byte(name+" "+sum+"\n"))
	}
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	return pruneSnapshots(sub, name)
}

// FileHash is the SHA-256 of a file, in hexadecimal.
func FileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// pruneSnapshots removes all but the newest snapshots, current among them.
func pruneSnapshots(sub, current string) error {
	old, err := filepath.Glob(filepath.Join(sub, "step_*.safetensors"))
	if err != nil {
		return err
	}
	slices.SortFunc(old, func(a, b string) int { // by step, which may outgrow its six digits
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
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
	line, err := os.ReadFile(filepath.Join(sub, latestFile))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: no checkpoint to resume from: %w", dir, err)
	}
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s: expected the name of a checkpoint", filepath.Join(sub, latestFile))
	}
	path := filepath.Join(sub, filepath.Base(fields[0]))
	if len(fields) > 1 {
		sum, err := FileHash(path)
		if err != nil {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
		if sum != fields[1] {
			return nil, fmt.Errorf("checkpoint %s is damaged: its SHA-256 is %s, expected %s; to go back to an older checkpoint, write its name into %s",
				path, sum, fields[1], filepath.Join(sub, latestFile))
		}
	}
	s, err := decodeSnapshot(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return s, nil
}

func decodeSnapshot(path string) (*snapshot, error) {
	all, meta, err := weights.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	s := &snapshot{params: &weights.Set{}, moments: &weights.Set{}, buffers: &weights.Set{}, average: &weights.Set{}}
	if err := json.Unmarshal([]byte(meta[snapshotKey]), &s.snapshotMeta); err != nil {
		return nil, fmt.Errorf("%s: metadata %q: %w", path, snapshotKey, err)
	}
	if s.Step < 0 || s.Updates < 0 {
		return nil, fmt.Errorf("%s: step %d after %d updates", path, s.Step, s.Updates)
	}
	if s.Trial != nil {
		s.trial = &trial{trialMeta: *s.Trial, params: &weights.Set{}, moments: &weights.Set{}, buffers: &weights.Set{}}
	}
	for _, name := range all.Names() {
		to, rest, err := s.place(name)
		if err != nil {
			return nil, fmt.Errorf("%s: array %q: %w", path, name, err)
		}
		to.Add(rest, all.Get(name))
	}
	return s, nil
}

// place says which set an array of a snapshot belongs to, and under what name.
func (s *snapshot) place(name string) (*weights.Set, string, error) {
	sets := map[string]*weights.Set{paramPrefix: s.params, momentPrefix: s.moments, bufferPrefix: s.buffers, averagePrefix: s.average}
	rest, onTrial := strings.CutPrefix(name, trialPrefix)
	if onTrial && s.trial != nil {
		sets = map[string]*weights.Set{paramPrefix: s.trial.params, momentPrefix: s.trial.moments, bufferPrefix: s.trial.buffers}
	}
	kind, rest, _ := strings.Cut(rest, "/")
	if to := sets[kind+"/"]; to != nil && (!onTrial || s.trial != nil) {
		return to, rest, nil
	}
	if kind+"/" != nowcastPrefix || onTrial {
		return nil, "", errors.New("is none of param/, moment/, buffer/, average/, nowcast/, or trial/ of a trial under way")
	}
	num, rest, _ := strings.Cut(rest, "/")
	i, err := strconv.Atoi(num)
	if err != nil || i < 0 || i > len(s.states) {
		return nil, "", errors.New("expected nowcast/0/, nowcast/1/ … in order")
	}
	if i == len(s.states) {
		s.states = append(s.states, &weights.Set{})
	}
	return s.states[i], rest, nil
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
