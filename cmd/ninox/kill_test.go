//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ninox/cmd/internal/scripttest"
	"ninox/runtime/runtimetest"
)

// asNinox makes the test binary be the program.
const asNinox = "NINOX_TEST_AS_PROGRAM"

// killsWanted names the variable that says how often each run is killed.
const killsWanted = "NINOX_TEST_KILLS"

// defaultKills is how often each run is killed unless told otherwise.
const defaultKills = 1

// Killed without warning at random moments, most of them while a checkpoint is
// written, and resumed each time, a run ends with the same weights and the same
// curve as one that went through.
func TestKilledAtRandom(t *testing.T) {
	runtimetest.Engine(t) // installed here, where it may take its time
	kills := defaultKills
	if text := os.Getenv(killsWanted); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	fixtures := t.TempDir()
	if err := scripttest.Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	data := "npz:" + filepath.Join(fixtures, "train.npz")
	common := []string{"--data", data, "--eval-data", data, "--batch-size", "16", "--eval-every", "7", "--keep-best", "--quiet"}
	for name, args := range map[string][]string{
		"dropout, accumulated":  {"train", filepath.Join(fixtures, "dropout.onnx"), "--accumulate", "2", "--steps", "120", "--checkpoint-every", "1", "--schedule", "cosine"},
		"nowcasts on trial":     {"accelerate", filepath.Join(fixtures, "dropout.onnx"), "--steps", "120", "--checkpoint-every", "1", "--period", "20", "--no-baseline"},
		"two workers, clipping": {"train", filepath.Join(fixtures, "mlp.onnx"), "--workers", "2", "--clip-norm", "0.5", "--warmup", "9", "--steps", "120", "--checkpoint-every", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			args = append(args, common...)
			whole := filepath.Join(t.TempDir(), "whole")
			start := time.Now()
			if out, err := ninox(append(args, "--out", whole)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			seed := uint64(time.Now().UnixNano())
			k := &killer{rng: rand.New(rand.NewPCG(seed, 1)), usual: time.Since(start), left: kills}
			for n := 0; k.left > 0; n++ {
				dir := filepath.Join(t.TempDir(), fmt.Sprint("killed", n))
				k.run(t, args, dir)
				for _, f := range []string{"final.safetensors", "best.safetensors", "final.onnx"} {
					same(t, filepath.Join(whole, f), filepath.Join(dir, f), func(b []byte) []byte { return b })
				}
				same(t, filepath.Join(whole, "metrics.jsonl"), filepath.Join(dir, "metrics.jsonl"), func(b []byte) []byte { return timeless(t, b) })
			}
			t.Logf("killed %d times, of these %d times while a file was written; seed %d", kills, k.writing, seed)
		})
	}
}

// ninox is the program as a process of its own.
func ninox(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asNinox+"=1")
	return c
}

type killer struct {
	rng     *rand.Rand
	usual   time.Duration // of a whole run
	left    int           // kills to make
	writing int           // kills that left a temporary file
}

// run starts a run and kills and resumes it until it is done or was killed often
// enough.
func (k *killer) run(t *testing.T, args []string, dir string) {
	t.Helper()
	args = append(args, "--out", dir)
	for {
		resume := args
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
			resume = append(args, "--resume")
		}
		c := ninox(resume...)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var clock *time.Timer
		if k.left > 0 {
			clock = time.AfterFunc(time.Duration(k.rng.Int64N(int64(k.usual))), func() { _ = c.Process.Kill() })
		}
		err := c.Wait()
		if clock != nil {
			clock.Stop()
		}
		switch {
		case err == nil:
			if unfinished, _ := filepath.Glob(filepath.Join(dir, "*", ".*")); len(unfinished) > 0 {
				t.Errorf("temporary files are left: %q", unfinished)
			}
			return
		case !strings.Contains(err.Error(), "killed"):
			t.Fatalf("resumed, the run fails: %v\n%s", err, out.String())
		}
		k.left--
		if unfinished, _ := filepath.Glob(filepath.Join(dir, "*", ".*")); len(unfinished) > 0 {
			k.writing++
		}
	}
}

// same fails unless two files agree.
func same(t *testing.T, a, b string, of func([]byte) []byte) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(of(x), of(y)) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// timeless is metrics.jsonl without durations.
func timeless(t *testing.T, raw []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for line := range bytes.Lines(raw) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "seconds")
		if n, ok := m["nowcast"].(map[string]any); ok {
			delete(n, "seconds")
		}
		if err := json.NewEncoder(&out).Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}
