//go:build unix

package main

import (
	"errors"
	"io"
	"os"
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
// the bar; on one that cannot move its cursor, and in a pipe, lines of text. Ctrl-C
// ends it as it does elsewhere.
func TestTerminal(t *testing.T) {
	runtimetest.Engine(t)
	fixtures := t.TempDir()
	if err := scripttest.Fixtures(fixtures); err != nil {
		t.Fatal(err)
	}
	train := func(more ...string) *exec.Cmd {
		data := "npz:" + filepath.Join(fixtures, "train.npz")
		return ninox(append([]string{"train", filepath.Join(fixtures, "mlp.onnx"), "--data", data, "--eval-data", data, "--batch-size", "16", "--steps", "3000", "--out", filepath.Join(t.TempDir(), "run")}, more...)...)
	}
	const axis, escape, bar, lines = "┤", "\x1b[", "[===", ": step "
	color := regexp.MustCompile(`\x1b\[[0-9;]*m`) // which NO_COLOR forbids
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
			out := rest(t, onTerminal(t, cmd, c.term, c.rows))
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkShown(t, out, c.shown, c.hidden)
			checkScale(t, out)
			if color.MatchString(out) {
				t.Error("the output has colors")
			}
		})
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "run")
		cmd := train("--steps", "10000000", "--out", dir)
		f := onTerminal(t, cmd, "xterm", 40)
		seen := ""
		for b := make([]byte, 4096); !strings.Contains(seen, axis); {
			n, err := f.Read(b)
			if seen += string(b[:n]); err != nil {
				t.Fatalf("%v\n%s", err, seen)
			}
		}
		const etx = 3 // the character of Ctrl-C
		if _, err := f.Write([]byte{etx}); err != nil {
			t.Fatal(err)
		}
		out := rest(t, f)
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
			t.Errorf("%v, expected exit code 130", err)
		}
		// What is said last stands below the bar, on lines of its own.
		_, last, _ := strings.Cut(out, "\nninox: ")
		checkShown(t, last, []string{"interrupted; a checkpoint was written", "--out " + dir + " --resume"}, []string{axis, bar, escape})
		if _, err := os.Stat(filepath.Join(dir, "checkpoints", "latest")); err != nil {
			t.Error(err)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		out, err := train().CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		checkShown(t, string(out), []string{lines, "accuracy"}, []string{axis, escape, bar})
	})
}

// onTerminal starts a command on a terminal of so many rows.
func onTerminal(t *testing.T, cmd *exec.Cmd, kind string, rows uint16) *os.File {
	t.Helper()
	cmd.Env = append(cmd.Env, "TERM="+kind, "NO_COLOR=1")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: 140})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// rest is what is still to come on a terminal.
func rest(t *testing.T, f *os.File) string {
	t.Helper()
	out, err := io.ReadAll(f)
	if err != nil && !errors.Is(err, syscall.EIO) { // so Linux says that the other end is closed
		t.Fatal(err)
	}
	return string(out)
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
