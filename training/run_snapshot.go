package training

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
// the seed and the step alone. The file checkpoints/latest holds the names of the
// snapshots that are kept, newest first, each with its SHA-256, and is written
// last. (Who writes another name there, to go back to an older snapshot, may leave
// out the hash.) checkpoints/best.safetensors is the snapshot of the best
// evaluation, where the run keeps it.
type snapshot struct {
	params, moments, buffers *weights.Set
	average                  *weights.Set // of the Averager
	states                   []*weights.Set
	trial                    *trial
	snapshotMeta
}

type snapshotMeta struct {
	Step          int         `json:"step"`
	Digest        string      `json:"data_digest,omitempty"` // of the samples used so far, of a stream
	Updates       int64       `json:"updates"`               // made by the optimizer
	Seconds       float64     `json:"seconds"`               // training time so far
	StepsToTarget *int        `json:"steps_to_target"`
	Loss          *float64    `json:"loss"`      // of the last step
	Evaluation    *Evaluation `json:"eval"`      // the last one
	EvalStep      int         `json:"eval_step"` // when that was; -1 before the first
	Best          *Best       `json:"best,omitempty"`
	Nowcasts      []Nowcast   `json:"nowcasts"`
	Recent        []float64   `json:"recent,omitempty"` // losses of the latest steps, where the safeguard wants them
	Trial         *trialMeta  `json:"trial,omitempty"`  // of the latest nowcast, where it is under way

	Account *account       `json:"safeguard,omitempty"`
	Cost    *SafeguardCost `json:"safeguard_cost,omitempty"`
}

const (
	snapshotKey    = "ninox.snapshot"
	latestFile     = "latest"
	bestFile       = "best.safetensors"
	paramPrefix    = "param/"
	momentPrefix   = "moment/"
	bufferPrefix   = "buffer/"
	averagePrefix  = "average/"
	nowcastPrefix  = "nowcast/"
	trialPrefix    = "trial/"
	snapshotLayout = "step_%06d.safetensors"
)

// write stores the snapshot in the run directory, of which the newest keep stay.
func (s *snapshot) write(dir string, keep int) error {
	sub := filepath.Join(dir, checkpointsDir)
	name := fmt.Sprintf(snapshotLayout, s.Step)
	if err := s.writeFile(filepath.Join(sub, name)); err != nil {
		return err
	}
	sum, err := FileHash(filepath.Join(sub, name))
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	kept := []snapshotRef{{name, sum}}
	older, _ := readLatest(sub) // none yet, or unreadable: then none of them can be vouched for
	for _, r := range older {
		if len(kept) < keep && compareSteps(r.name, name) < 0 {
			kept = append(kept, r)
		}
	}
	var lines strings.Builder
	for _, r := range kept {
		fmt.Fprintln(&lines, r.name, r.hash)
	}
	if err := writeBytes(filepath.Join(sub, latestFile), []byte(lines.String())); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	return pruneSnapshots(sub, kept)
}

// writeFile stores the snapshot in one file, atomically.
func (s *snapshot) writeFile(path string) error {
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
	if err := writeState(path, all, map[string]string{snapshotKey: string(meta)}); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	return nil
}

// snapshotRef is a line of checkpoints/latest; the hash may be missing.
type snapshotRef struct{ name, hash string }

func readLatest(sub string) ([]snapshotRef, error) {
	path := filepath.Join(sub, latestFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []snapshotRef
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 0 {
			r := snapshotRef{name: filepath.Base(f[0])}
			if len(f) > 1 {
				r.hash = f[1]
			}
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: expected the name of a checkpoint", path)
	}
	return out, nil
}

// compareSteps orders names of snapshots by step, which may outgrow its six digits.
func compareSteps(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

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

// pruneSnapshots removes the snapshots before the oldest one kept.
func pruneSnapshots(sub string, kept []snapshotRef) error {
	all, err := filepath.Glob(filepath.Join(sub, "step_*.safetensors"))
	if err != nil {
		return err
	}
	oldest := kept[len(kept)-1].name
	var errs []error
	for _, path := range all {
		if compareSteps(filepath.Base(path), oldest) < 0 {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// readSnapshot reads the newest snapshot of a run directory that is whole, nil
// where the run has not come to its first. It warns where that is not the newest
// of all.
func readSnapshot(dir string, log *slog.Logger) (*snapshot, error) {
	sub := filepath.Join(dir, checkpointsDir)
	refs, err := readLatest(sub)
	if errors.Is(err, os.ErrNotExist) { // killed before the first was complete
		refs, err = unlisted(sub)
	}
	if err != nil {
		return nil, fmt.Errorf("run directory %s: no checkpoint to resume from: %w", dir, err)
	}
	var errs []error
	for _, r := range refs {
		s, err := r.read(sub)
		if err == nil {
			for _, e := range errs {
				log.Warn("resuming from an older checkpoint", "step", s.Step, "error", e)
			}
			return s, nil
		}
		errs = append(errs, fmt.Errorf("checkpoint: %w", err))
	}
	return nil, errors.Join(errs...)
}

// unlisted are the snapshots in a folder, newest first.
func unlisted(sub string) ([]snapshotRef, error) {
	paths, err := filepath.Glob(filepath.Join(sub, "step_*.safetensors"))
	var out []snapshotRef
	for _, p := range paths {
		out = append(out, snapshotRef{name: filepath.Base(p)})
	}
	slices.SortFunc(out, func(a, b snapshotRef) int { return compareSteps(b.name, a.name) })
	return out, err
}

// read reads the snapshot of a line of checkpoints/latest.
func (r snapshotRef) read(sub string) (*snapshot, error) {
	path := filepath.Join(sub, r.name)
	if r.hash != "" {
		sum, err := FileHash(path)
		if err != nil {
			return nil, err
		}
		if sum != r.hash {
			return nil, fmt.Errorf("%s is damaged: its SHA-256 is %s, expected %s; to go back to another checkpoint, write its name into %s",
				path, sum, r.hash, filepath.Join(sub, latestFile))
		}
	}
	return decodeSnapshot(path)
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
