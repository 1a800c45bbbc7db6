//go:build unix

package main

import (
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"ninox/cmd/internal/scripttest"
	"ninox/runtime/runtimetest"
)

// On a terminal a run draws the curve of its loss and a bar; on a small one only
// the bar; on one that cannot move its cursor, and in a pipe, lines of text.
func TestTerminal(t *testing.T) {
	runtimetest.Engine(t)
	fixtures := t.TempDir()
	if err := scripttest.Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	train := func() *exec.Cmd {
		data := "npz:" + filepath.Join(fixtures, "train.npz")
		return ninox("train", filepath.Join(fixtures, "mlp.onnx"), "--data", data, "--eval-data", data, "--batch-size", "16", "--steps", "3000", "--out", filepath.Join(t.TempDir(), "run"))
	}
	const axis, escape, bar, lines = "┤", "\x1b[", "[===", ": step "
	for name, c := range map[string]struct {
		rows          uint16
		term          string
		shown, hidden []string
	}{
		"large": {rows: 40, term: "xterm", shown: []string{axis, escape, bar, "steps/s", "loss", "accuracy", " MB", "3000/3000"}, hidden: []string{lines}},
		"small": {rows: 8, term: "xterm", shown: []string{escape, bar, "steps/s"}, hidden: []string{axis, lines}},
		"dumb":  {rows: 40, term: "dumb", shown: []string{lines, "accuracy"}, hidden: []string{axis, escape, bar}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := train()
			cmd.Env = append(cmd.Env, "TERM="+c.term)
			f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: c.rows, Cols: 140})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			out, err := io.ReadAll(f)
			if err != nil && !errors.Is(err, syscall.EIO) { // so Linux says that the other end is closed
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkShown(t, string(out), c.shown, c.hidden)
			checkScale(t, string(out))
		})
	}
	t.Run("pipe", func(t *testing.T) {
		out, err := train().CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		checkShown(t, string(out), []string{lines, "accuracy"}, []string{axis, escape, bar})
	})
}

// checkScale wants the scale of the last curve, where there is one, to fall from
// row to row.
func checkScale(t *testing.T, out string) {
	t.Helper()
	const rows = 9
	scale := regexp.MustCompile(`(\d+\.\d+) [┤┼]`).FindAllStringSubmatch(out, -1)
	for i := max(1, len(scale)-rows+1); i < len(scale); i++ {
		if above, below := scale[i-1][1], scale[i][1]; above <= below { // of equal length
			t.Errorf("%s stands above %s", above, below)
		}
	}
}

func checkShown(t *testing.T, out string, shown, hidden []string) {
	t.Helper()
	for _, s := range shown {
		if !strings.Contains(out, s) {
			t.Errorf("%q is not in the output\n%s", s, out)
		}
	}
	for _, s := range hidden {
		if strings.Contains(out, s) {
			t.Errorf("%q is in the output\n%s", s, out)
		}
	}
}
