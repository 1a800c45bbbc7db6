//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ninox/cmd/internal/scripttest"
	"ninox/runtime/runtimetest"
)

// One process at a time writes to a run folder: a second is refused with the
// number of the first. SIGTERM leaves a checkpoint, and after it as after a kill
// the folder is free; resumed, the run ends as one that went through.
func TestOneProcessPerFolder(t *testing.T) {
	runtimetest.Engine(t) // installed here, where it may take its time
	fixtures := t.TempDir()
	if err := scripttest.Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	args := []string{"train", filepath.Join(fixtures, "mlp.onnx"), "--data", "npz:" + filepath.Join(fixtures, "train.npz"),
		"--steps", "20000", "--batch-size", "16", "--checkpoint-every", "500", "--keep-last", "1", "--quiet", "--out"}
	whole, dir := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "run")
	if out, err := ninox(append(args, whole)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	args = append(args, dir)

	first, said := underWay(t, dir, args)
	for _, flag := range []string{"--resume", "--overwrite"} {
		out, err := ninox(append(args, flag)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), fmt.Sprintf("in use by process %d on ", first.Process.Pid)) || !strings.Contains(string(out), "--out") {
			t.Errorf("a second process with %s: %v\n%s", flag, err, out)
		}
	}
	end(t, first, syscall.SIGTERM)
	if code := first.ProcessState.ExitCode(); code != 130 || !strings.Contains(said.String(), "a checkpoint was written") {
		t.Fatalf("after SIGTERM: exit code %d, expected 130\n%s", code, said)
	}

	args = append(args, "--resume")
	second, _ := underWay(t, dir, args)
	end(t, second, syscall.SIGKILL)
	if out, err := ninox(args...).CombinedOutput(); err != nil {
		t.Fatalf("after a kill: %v\n%s", err, out)
	}
	same(t, filepath.Join(whole, "final.safetensors"), filepath.Join(dir, "final.safetensors"), func(b []byte) []byte { return b })
}

// underWay starts a run and returns when it has written a checkpoint of its own.
func underWay(t *testing.T, dir string, args []string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	latest := filepath.Join(dir, "checkpoints", "latest")
	before, _ := os.ReadFile(latest)
	c, out := ninox(args...), &bytes.Buffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	for range 6000 {
		if now, err := os.ReadFile(latest); err == nil && !bytes.Equal(now, before) {
			return c, out
		}
		time.Sleep(10 * time.Millisecond)
	}
	end(t, c, syscall.SIGKILL)
	t.Fatalf("no checkpoint within a minute\n%s", out)
	return nil, nil
}

// end sends a signal to a running process and waits for its end.
func end(t *testing.T, c *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // the exit code says how it ended
}
