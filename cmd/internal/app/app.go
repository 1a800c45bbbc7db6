// Package app holds what all commands share: the streams they talk to, the
// global flags, and the exit codes of the command line.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	ort "ninox/runtime"
	"ninox/training"
	"ninox/training/autodiff"
)

// Exit codes of the command line.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitUnsupported = 3   // the model is unsupported or its certificate fails
	ExitInterrupted = 130 // interrupted with a valid checkpoint written
)

// App is the environment of a command: injected streams and global flags.
// Out carries data, Err progress and messages.
type App struct {
	In       io.Reader
	Out, Err io.Writer

	JSON     bool
	Quiet    bool
	LogLevel string
	Device   string
	Threads  int
	Seed     uint64
}

// System is the App of a real process.
func System() *App {
	return &App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
}

// Progress is where progress goes: Err, or nowhere with --quiet.
func (a *App) Progress() io.Writer {
	if a.Quiet {
		return io.Discard
	}
	return a.Err
}

// Notef prints one line of progress.
func (a *App) Notef(format string, args ...any) {
	fmt.Fprintf(a.Progress(), format+"\n", args...)
}

// IsTerminal says whether progress goes to a terminal.
func (a *App) IsTerminal() bool {
	f, ok := a.Progress().(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Logger writes records of the chosen --log-level to Err.
func (a *App) Logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.LogLevel)); err != nil {
		return nil, Usagef("--log-level %q: expected debug, info, warn or error", a.LogLevel)
	}
	return slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level})), nil
}

// Engine opens ONNX Runtime as the global flags ask, installing it on first
// use.
func (a *App) Engine(ctx context.Context) (*ort.Engine, error) {
	log, err := a.Logger()
	if err != nil {
		return nil, err
	}
	return ort.Open(ctx, ort.Options{Device: a.Device, Threads: a.Threads, Progress: a.Progress(), Log: log})
}

// UsageError is a wrong invocation: exit code 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// ErrCertificate reports a model whose certificate fails: exit code 3.
var ErrCertificate = errors.New("certificate failed")

// ErrInvalid reports a model that the checker refuses: exit code 3.
var ErrInvalid = errors.New("the model is not valid")

// ErrDifferent reports that two things that were compared differ, as their
// output says: exit code 1, without a message.
var ErrDifferent = errors.New("different")

// ExitCode is the exit code that an error asks for.
func ExitCode(err error) int {
	var usage *UsageError
	var unsupported *infer.UnsupportedError
	var refused *autodiff.RefusalError
	var opset *autodiff.OpsetError
	var node *op.NodeError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &unsupported), errors.As(err, &refused), errors.As(err, &opset), errors.As(err, &node), errors.Is(err, ErrCertificate), errors.Is(err, ErrInvalid):
		return ExitUnsupported
	case errors.Is(err, training.ErrInterrupted):
		return ExitInterrupted
	}
	return ExitFailed
}
