package graph

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
)

// DiffSchema names the form of Diff.
const DiffSchema = "ninox.diff/1"

// Diff is what differs between two models.
type Diff struct {
	Schema  string   `json:"schema"`
	A       string   `json:"a"`
	B       string   `json:"b"`
	Equal   bool     `json:"equal"` // no changes; names do not count
	Changes []Change `json:"changes"`
	Renamed []Rename `json:"renamed"` // parameters that correspond under different names
}

// Change is one difference. A or B is "" where the thing is missing.
type Change struct {
	Kind    string   `json:"kind"` // "opset", "input", "output", "operator", "parameter", "group", "block", "attention", "residual"
	Name    string   `json:"name"`
	A       string   `json:"a"`
	B       string   `json:"b"`
	MaxDiff *float64 `json:"max_abs_diff,omitempty"` // of parameters of equal type and other values; absent where not finite
}

// Rename is one parameter under two names.
type Rename struct {
	A string `json:"a"`
	B string `json:"b"`
}

func newDiff(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changed between two models",
		Long: `Compares two ONNX models, both in standard form: opsets, inputs and outputs, operators with their
attributes and wiring, parameters (type, shape, values), groups of neurons, the blocks in which
parameters lie, attention and residual connections.

Operators correspond by their place in the structure, and parameters by the operators that read
them. Names and the order of nodes in the file do not count as differences.

Exit codes are those of diff: 0 no differences, 1 differences, 2 a model cannot be read; and 3 as
everywhere where a model is unsupported.`,
		Example: `  ninox graph diff before.onnx after.onnx
  ninox graph diff run/baseline/final.onnx run/final.onnx --json`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return runDiff(c.Context(), a, args[0], args[1]) },
	}
}

func runDiff(_ context.Context, a *app.App, fileA, fileB string) error {
	x, errA := read(fileA)
	y, errB := read(fileB)
	if err := errors.Join(errA, errB); err != nil {
		if app.ExitCode(err) == app.ExitFailed {
			return &app.UsageError{Err: err}
		}
		return err
	}
	changes, renamed := compare(x, y)
	d := Diff{Schema: DiffSchema, A: fileA, B: fileB, Equal: len(changes) == 0, Changes: changes, Renamed: renamed}
	if err := d.write(a); err != nil || d.Equal {
		return err
	}
	return app.ErrDifferent
}

func (d *Diff) write(a *app.App) error {
	if a.JSON {
		return a.WriteJSON(d)
	}
	var rows [][]string
	for _, c := range d.Changes {
		rows = append(rows, []string{c.Kind, c.Name, c.text()})
	}
	if err := job.WriteColumns(a.Out, rows); err != nil {
		return err
	}
	if d.Equal {
		if _, err := fmt.Fprintln(a.Out, "no differences"); err != nil {
			return err
		}
	}
	if n := len(d.Renamed); n > 0 {
		_, err := fmt.Fprintf(a.Out, "%d parameters under other names, the first: %s -> %s\n", n, d.Renamed[0].A, d.Renamed[0].B)
		return err
	}
	return nil
}

func (c Change) text() string {
	switch {
	case c.A == "":
		return "added: " + c.B
	case c.B == "":
		return "removed: " + c.A
	case c.A != c.B:
		return c.A + " -> " + c.B
	case c.MaxDiff == nil:
		return "other values, some of them not finite or not numbers"
	}
	return fmt.Sprintf("other values, by up to %.3g", *c.MaxDiff)
}
