package ort

import (
	"fmt"
	"strings"
)

// NamesError reports names of inputs or outputs that a model does not have, or
// inputs that were not given.
type NamesError struct {
	Session string // name of the graph
	Kind    string // "input" or "output"
	Missing []string
	Unknown []string
	Known   []string // what the model has
}

func (e *NamesError) Error() string {
	var parts []string
	if len(e.Missing) > 0 {
		parts = append(parts, fmt.Sprintf("%s %s not given", e.Kind, quoted(e.Missing)))
	}
	if len(e.Unknown) > 0 {
		parts = append(parts, fmt.Sprintf("no %s %s, the model has %s", e.Kind, quoted(e.Unknown), quoted(e.Known)))
	}
	return fmt.Sprintf("session %q: %s", e.Session, strings.Join(parts, "; "))
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}

// ValueError reports a value that does not fit the input or output it was
// given for.
type ValueError struct {
	Session string // name of the graph
	Kind    string // "input" or "output"
	Name    string
	Got     string // type and shape, e.g. "int64[2,3]", or what else is wrong
	Want    string // the declared type; empty where Got says it all
}

func (e *ValueError) Error() string {
	s := fmt.Sprintf("session %q: %s %q: %s", e.Session, e.Kind, e.Name, e.Got)
	if e.Want != "" {
		s += ", expected " + e.Want
	}
	return s
}

// RunError carries what ONNX Runtime says about a model it refuses or a run
// that failed.
type RunError struct {
	Session string // name of the graph
	Stage   string // "load" or "run"
	Message string // ONNX Runtime's
}

func (e *RunError) Error() string {
	return fmt.Sprintf("session %q: %s: ONNX Runtime: %s", e.Session, e.Stage, e.Message)
}

// DeviceError reports a device that does not exist or that the library cannot
// run on.
type DeviceError struct {
	Device string
	Reason string
}

func (e *DeviceError) Error() string { return fmt.Sprintf("device %q: %s", e.Device, e.Reason) }
