package ort

import (
	"context"
	"fmt"
	"runtime"

	"ninox/runtime/internal/capi"
)

// Binding runs a session on values that stay bound from run to run: inputs are
// read from and outputs written to the memory of the values. Several bindings
// of one session may run at the same time, one binding only once at a time.
//
// On a GPU values in host memory are copied at each run, those of
// Session.DeviceValue are not. A value must not be bound as input and output at
// once, nor be closed while it is bound.
type Binding struct {
	s       *Session
	handle  capi.Handle
	options *capi.RunOptions
	inputs  map[string]*Value // also keeps their memory alive
	outputs map[string]*Value
	ready   bool // all required inputs and some output are bound
}

// Bind makes an empty binding.
func (s *Session) Bind() (*Binding, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.handle == nil {
		return nil, fmt.Errorf("session %q: %w", s.name, errClosed)
	}
	h, err := capi.NewBinding(s.handle)
	if err != nil {
		return nil, &RunError{Session: s.name, Stage: "bind", Message: err.Error()}
	}
	o, err := capi.NewRunOptions()
	if err != nil {
		capi.FreeBinding(h)
		return nil, &RunError{Session: s.name, Stage: "bind", Message: err.Error()}
	}
	return &Binding{s: s, handle: h, options: o, inputs: map[string]*Value{}, outputs: map[string]*Value{}}, nil
}

// Input makes v the named input from the next run on. Its elements may change
// between runs. Binding the value that is bound already costs nothing.
func (b *Binding) Input(name string, v *Value) error {
	return b.bind(name, v, b.s.inputs, b.inputs, "input", capi.BindInput)
}

// Output makes v take the named output from the next run on; its shape must be
// the output's. Outputs that are not bound are not computed.
func (b *Binding) Output(name string, v *Value) error {
	return b.bind(name, v, b.s.outputs, b.outputs, "output", capi.BindOutput)
}

func (b *Binding) bind(name string, v *Value, ports map[string]*port, bound map[string]*Value, kind string,
	call func(capi.Handle, capi.Name, capi.Handle) error) error {
	b.s.mu.RLock() // Close frees the names
	defer b.s.mu.RUnlock()
	if b.handle == nil || b.s.handle == nil {
		return fmt.Errorf("session %q: %s %q: %w", b.s.name, kind, name, errClosed)
	}
	p := ports[name]
	if p == nil {
		known := b.s.order
		if kind == "input" {
			known = b.s.Inputs()
		}
		return &NamesError{Session: b.s.name, Kind: kind, Unknown: []string{name}, Known: known}
	}
	if v == nil {
		return &ValueError{Session: b.s.name, Kind: kind, Name: name, Got: "no value"}
	}
	if bound[name] == v {
		return nil
	}
	h, err := b.s.accept(p, v)
	if err != nil {
		return err
	}
	if err := call(b.handle, p.c, h); err != nil {
		return &ValueError{Session: b.s.name, Kind: kind, Name: name, Got: err.Error()}
	}
	bound[name] = v // names are never unbound, so what is ready stays so
	return nil
}

// Run runs the session on what is bound. A cancelled context ends the run at
// the next operator; the outputs then hold anything.
func (b *Binding) Run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.s.mu.RLock()
	defer b.s.mu.RUnlock()
	if b.handle == nil || b.s.handle == nil {
		return fmt.Errorf("session %q: %w", b.s.name, errClosed)
	}
	if !b.ready {
		if err := b.check(); err != nil {
			return err
		}
		b.ready = true
	}
	err := watch(ctx, b.options, func(o *capi.RunOptions) error {
		return capi.RunBinding(b.s.handle, o, b.handle)
	})
	runtime.KeepAlive(b)
	if err != nil {
		return b.s.failed(ctx, err)
	}
	return nil
}

// check looks for required inputs that are not bound.
func (b *Binding) check() error {
	if missing := b.s.missing(b.inputs); missing != nil {
		return &NamesError{Session: b.s.name, Kind: "input", Missing: missing, Known: b.s.Inputs()}
	}
	if len(b.outputs) == 0 {
		return &NamesError{Session: b.s.name, Kind: "output", Missing: b.s.Outputs()}
	}
	return nil
}

// Close frees the binding, not the values. More than one call is fine.
func (b *Binding) Close() {
	if b.handle == nil {
		return
	}
	capi.FreeBinding(b.handle)
	b.options.Close()
	b.handle = nil
	b.inputs, b.outputs = nil, nil
}
