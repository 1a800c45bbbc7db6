package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/training"
	"ninox/training/autodiff"
)

func TestExitCode(t *testing.T) {
	for _, k := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk full"), 1},
		{Usagef("no"), 2},
		{fmt.Errorf("m.onnx: %w", &infer.UnsupportedError{}), 3},
		{fmt.Errorf("m.onnx: %w", &autodiff.RefusalError{}), 3},
		{fmt.Errorf("m.onnx: %w", &autodiff.OpsetError{Opset: 9}), 3},
		{fmt.Errorf("m.onnx: %w", errors.Join(errors.New("x"), &op.NodeError{Stage: "grad"})), 3},
		{fmt.Errorf("m.onnx: %w", ErrCertificate), 3},
		{fmt.Errorf("m.onnx: %w", ErrInvalid), 3},
		{fmt.Errorf("run: %w", training.ErrInterrupted), 130},
		{&training.NonFiniteError{}, 1},
	} {
		if got := ExitCode(k.err); got != k.want {
			t.Errorf("%v: exit code %d, expected %d", k.err, got, k.want)
		}
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	c := &cobra.Command{Use: "ninox"}
	good := App{Device: "cuda:1", Threads: 4, LogLevel: "debug", Err: io.Discard}
	if err := good.Check(c); err != nil {
		t.Error(err)
	}
	bad := App{Device: "cuda:x", Threads: -2, LogLevel: "chatty", Err: io.Discard}
	err := bad.Check(c)
	if ExitCode(err) != ExitUsage {
		t.Fatalf("error %v, expected one of usage", err)
	}
	for _, want := range []string{`--device "cuda:x"`, "--threads -2", `--log-level "chatty"`, "see 'ninox --help'"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestQuiet(t *testing.T) {
	var b bytes.Buffer
	a := App{Err: &b, Quiet: true}
	a.Notef("%d steps", 3)
	a.Quiet = false
	a.Notef("%d more", 4)
	if b.String() != "4 more\n" || a.IsTerminal() {
		t.Errorf("progress %q", b.String())
	}
}
