package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ninox/cmd/internal/scripttest"
	"ninox/runtime/runtimetest"
)

// fillDisk runs ninox on a disk of 300 kB that its checkpoints fill, then, with
// more room, again with --resume: once while nothing may be written to the disk,
// once without hindrance. It prints what ninox says and the exit codes.
const fillDisk = `
mount -t tmpfs -o size=300k tmpfs "$1" || exit 99
run=$1/run copy=$2
shift 2
"$@" --out "$run"; echo "full: exit code $?"
ls "$run/checkpoints"
mount -o remount,ro,size=64m "$(dirname "$run")"
"$@" --out "$run" --resume; echo "read-only: exit code $?"
mount -o remount,rw "$(dirname "$run")"
"$@" --out "$run" --resume; echo "more room: exit code $?"
cp "$run/final.safetensors" "$copy"
`

// A disk that fills up ends a run with the name of what could not be written. With
// room again it goes on, and ends as one that had room all the time.
func TestDiskFull(t *testing.T) {
	runtimetest.Engine(t)
	if out, err := exec.Command("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("no disk can be mounted here: %v %s", err, out)
	}
	fixtures := t.TempDir()
	if err := scripttest.Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	args := []string{"train", filepath.Join(fixtures, "mlp.onnx"), "--data", "npz:" + filepath.Join(fixtures, "train.npz"),
		"--steps", "400", "--batch-size", "16", "--checkpoint-every", "5", "--keep-last", "80", "--quiet"}
	whole, resumed := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "resumed.safetensors")
	if out, err := ninox(append(args, "--out", whole)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", fillDisk, "sh", t.TempDir(), resumed, os.Args[0]}, args...)...)
	cmd.Env = ninox().Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"no space left on device", "run/checkpoints/", "full: exit code 1", "step_000005.safetensors",
		"run/.lock: read-only file system", "read-only: exit code 1", "more room: exit code 0"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the output\n%s", want, out)
		}
	}
	same(t, filepath.Join(whole, "final.safetensors"), resumed, func(b []byte) []byte { return b })
}
