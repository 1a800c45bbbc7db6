package ort

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"

	binding "github.com/yalue/onnxruntime_go"

	"ninox/onnxgraph"
	"ninox/runtime/internal/capi"
)

// SessionOptions tune one session. The zero value is right for most.
type SessionOptions struct {
	Threads int    // threads of one operator; 0: the engine's
	Profile string // prefix of a file of timings, written when the session closes; empty: none
	// LeastMemory leaves out the one block for all results that is planned when
	// inputs have the shapes of an earlier run. It comes beside what that run used,
	// which the arena keeps: twice the memory. Thousands of small results take up
	// to a fifth less time with it, large ones the same.
	LeastMemory bool
}

// Session is a loaded model. It is safe for concurrent use.
type Session struct {
	name    string // of the graph, for errors
	inputs  map[string]*port
	outputs map[string]*port
	order   []string // names of all outputs

	mu     sync.RWMutex // runs hold it shared, Close alone
	owner  *binding.DynamicAdvancedSession
	handle capi.Handle

	device    device
	allocator capi.Handle // of the device's memory, nil before the first value there
	resident  []*Value    // values there
}

// port is an input or output of a session.
type port struct {
	name     string
	kind     string // "input" or "output"
	declared onnxgraph.Type
	optional bool // an input with a default
	c        capi.Name
}

var errClosed = errors.New("closed")

// NewSession loads a model with all graph optimisations. The model is not kept.
func (e *Engine) NewSession(m *onnxgraph.Model, o SessionOptions) (*Session, error) {
	if m.Graph == nil {
		return nil, errors.New("session: the model has no graph")
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("session %q: %d threads, expected a number from 1 on, or 0 for the engine's", m.Graph.Name, o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = e.threads
	}
	data, err := inlined(m).Marshal()
	if err != nil {
		return nil, fmt.Errorf("session %q: %w", m.Graph.Name, err)
	}
	options, err := e.options(o)
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	owner, err := binding.NewDynamicAdvancedSessionWithONNXData(data, nil, nil, options)
	if err != nil {
		return nil, &RunError{Session: m.Graph.Name, Stage: "load", Message: message(err)}
	}
	handle, err := sessionHandle(owner)
	if err != nil {
		owner.Destroy()
		return nil, err
	}
	s := &Session{name: m.Graph.Name, owner: owner, handle: handle, device: e.device}
	s.inputs, s.outputs, s.order = ports(m.Graph)
	return s, nil
}

// message is the innermost error's text: ONNX Runtime's own, without what the
// binding puts before it.
func message(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// options are the library's session options, to be destroyed by the caller.
func (e *Engine) options(o SessionOptions) (*binding.SessionOptions, error) {
	so, err := binding.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	steps := []func() error{
		func() error { return so.SetGraphOptimizationLevel(binding.GraphOptimizationLevelEnableAll) },
		func() error { return so.SetIntraOpNumThreads(o.Threads) },
		func() error { return so.SetInterOpNumThreads(1) },
		func() error { return so.SetMemPattern(!o.LeastMemory) },
		// What it logs as an error it also returns as one, and a cancelled run is none.
		func() error { return so.SetLogSeverityLevel(binding.LoggingLevelFatal) },
		// Threads that spin while they wait take the cores from other sessions
		// and processes: on two cores that made products of matrices two to
		// eight times slower, and on no size faster.
		func() error { return so.AddSessionConfigEntry("session.intra_op.allow_spinning", "0") },
	}
	if o.Profile != "" {
		steps = append(steps, func() error { return so.EnableProfiling(o.Profile) })
	}
	if e.device.cuda {
		steps = append(steps, func() error { return e.useCUDA(so) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			so.Destroy()
			return nil, err
		}
	}
	return so, nil
}

// useCUDA makes sessions of these options run on the engine's GPU.
func (e *Engine) useCUDA(so *binding.SessionOptions) error {
	cuda, err := binding.NewCUDAProviderOptions()
	if err != nil {
		return e.noGPU(err)
	}
	defer cuda.Destroy()
	if err := cuda.Update(map[string]string{"device_id": strconv.Itoa(e.device.id)}); err != nil {
		return e.noGPU(err)
	}
	if err := so.AppendExecutionProviderCUDA(cuda); err != nil {
		return e.noGPU(err)
	}
	return nil
}

// noGPU reports that ONNX Runtime cannot use the GPU although it was built to.
func (e *Engine) noGPU(err error) error {
	return &DeviceError{Device: e.Device(), Reason: "ONNX Runtime cannot use it (the libraries of CUDA and cuDNN must be found by the system's loader): " + message(err)}
}

// sessionHandle takes the library's session out of the binding's, which has no
// method for it. The names of the fields are those of the version in go.mod.
func sessionHandle(s *binding.DynamicAdvancedSession) (capi.Handle, error) {
	inner := reflect.ValueOf(s).Elem().FieldByName("s")
	if inner.Kind() == reflect.Pointer && !inner.IsNil() {
		if p := inner.Elem().FieldByName("ortSession"); p.Kind() == reflect.Pointer && !p.IsNil() {
			return capi.Handle(p.UnsafePointer()), nil
		}
	}
	return nil, errors.New("the ONNX Runtime binding keeps its session in another place than in v1.35")
}

// inlined is m with the data of loaded external tensors in the model itself.
func inlined(m *onnxgraph.Model) *onnxgraph.Model {
	external := false
	m.EachTensor(func(t *onnxgraph.Tensor) { external = external || t.External != nil && t.Data != nil })
	if !external {
		return m
	}
	c := m.Clone()
	inline(c.Graph)
	for _, f := range c.Functions {
		inlineNodes(f.Nodes)
	}
	return c
}

func inline(g *onnxgraph.Graph) {
	for i, t := range g.Initializers {
		g.Initializers[i] = withData(t)
	}
	inlineNodes(g.Nodes)
}

func inlineNodes(nodes []*onnxgraph.Node) {
	for _, n := range nodes {
		for _, a := range n.Attrs {
			a.T = withData(a.T)
			if a.G != nil {
				inline(a.G)
			}
			for _, g := range a.Graphs {
				inline(g)
			}
		}
	}
}

// withData is t with its data inside the model.
func withData(t *onnxgraph.Tensor) *onnxgraph.Tensor {
	if t == nil || t.External == nil || t.Data == nil {
		return t
	}
	c := *t
	c.External = nil
	return &c
}

// ports lists the inputs and outputs of a graph. Inputs with an initializer of
// the same name have a default.
func ports(g *onnxgraph.Graph) (in, out map[string]*port, order []string) {
	defaults := map[string]bool{}
	for _, t := range g.Initializers {
		defaults[t.Name] = true
	}
	in, out = map[string]*port{}, map[string]*port{}
	for _, v := range g.Inputs {
		in[v.Name] = &port{name: v.Name, kind: "input", declared: v.Type, optional: defaults[v.Name], c: capi.NewName(v.Name)}
	}
	for _, v := range g.Outputs {
		out[v.Name] = &port{name: v.Name, kind: "output", declared: v.Type, c: capi.NewName(v.Name)}
		order = append(order, v.Name)
	}
	return in, out, order
}

// Inputs are the names of the inputs, sorted.
func (s *Session) Inputs() []string { return slices.Sorted(maps.Keys(s.inputs)) }

// Outputs are the names of the outputs in the order of the graph.
func (s *Session) Outputs() []string { return slices.Clone(s.order) }

// Run computes the named outputs, or all where none is named. The outputs are
// new values and belong to the caller. A cancelled context ends the run at the
// next operator.
func (s *Session) Run(ctx context.Context, in map[string]*Value, outputs ...string) (map[string]*Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(outputs) == 0 {
		outputs = s.order
	}
	if err := s.checkNames(in, outputs); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.handle == nil {
		return nil, fmt.Errorf("session %q: %w", s.name, errClosed)
	}
	inNames, inHandles, err := s.open(in)
	if err != nil {
		return nil, err
	}
	outNames := make([]capi.Name, len(outputs))
	for i, name := range outputs {
		outNames[i] = s.outputs[name].c
	}
	outHandles := make([]capi.Handle, len(outputs))
	err = watch(ctx, nil, func(o *capi.RunOptions) error {
		return capi.Run(s.handle, o, inNames, inHandles, outNames, outHandles)
	})
	runtime.KeepAlive(in)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.receive(outputs, outHandles)
}

// checkNames compares names with what the model has.
func (s *Session) checkNames(in map[string]*Value, outputs []string) error {
	missing := s.missing(in)
	var unknown []string
	for name := range in {
		if s.inputs[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if missing != nil || unknown != nil {
		slices.Sort(unknown)
		return &NamesError{Session: s.name, Kind: "input", Missing: missing, Unknown: unknown, Known: s.Inputs()}
	}
	for _, name := range outputs {
		if s.outputs[name] == nil {
			unknown = append(unknown, name)
		}
	}
	if unknown != nil {
		return &NamesError{Session: s.name, Kind: "output", Unknown: unknown, Known: s.Outputs()}
	}
	return nil
}

// missing lists the required inputs that in lacks, sorted.
func (s *Session) missing(in map[string]*Value) []string {
	var out []string
	for name, p := range s.inputs {
		if in[name] == nil && !p.optional {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// open checks the inputs and returns them as the library takes them.
func (s *Session) open(in map[string]*Value) ([]capi.Name, []capi.Handle, error) {
	names := make([]capi.Name, 0, len(in))
	handles := make([]capi.Handle, 0, len(in))
	for name, v := range in {
		if v == nil {
			continue
		}
		h, err := s.accept(s.inputs[name], v)
		if err != nil {
			return nil, nil, err
		}
		names, handles = append(names, s.inputs[name].c), append(handles, h)
	}
	return names, handles, nil
}

// accept checks v against the declaration of p and opens it.
func (s *Session) accept(p *port, v *Value) (capi.Handle, error) {
	if !fits(p.declared, v) {
		return nil, &ValueError{Session: s.name, Kind: p.kind, Name: p.name, Got: v.String(), Want: p.declared.String()}
	}
	h, err := v.open()
	if err != nil {
		return nil, &ValueError{Session: s.name, Kind: p.kind, Name: p.name, Got: err.Error()}
	}
	return h, nil
}

// fits says whether a value can be of a declared type as far as that is known.
func fits(t onnxgraph.Type, v *Value) bool {
	switch {
	case t.Kind == onnxgraph.NoType || t.Kind == onnxgraph.TensorKind && t.DType == onnxgraph.Undefined:
		return true
	case t.Kind == onnxgraph.OptionalKind && t.Elem != nil:
		return fits(*t.Elem, v)
	case t.Kind != v.Kind():
		return false
	case t.Kind == onnxgraph.SequenceKind:
		return t.Elem == nil || !slices.ContainsFunc(v.elems, func(e *Value) bool { return !fits(*t.Elem, e) })
	case t.DType != v.dtype:
		return false
	case t.Shape == nil:
		return true
	case len(t.Shape) != len(v.dims):
		return false
	}
	for i, d := range t.Shape {
		if d.IsKnown() && d.Value != v.dims[i] {
			return false
		}
	}
	return true
}

// failed is the error of a run: the context's where that ended it.
func (s *Session) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &RunError{Session: s.name, Stage: "run", Message: err.Error()}
}

// receive copies the outputs of a run to Go memory.
func (s *Session) receive(names []string, handles []capi.Handle) (map[string]*Value, error) {
	out := make(map[string]*Value, len(names))
	var first error
	for i, h := range handles {
		if h == nil {
			continue // an optional output that holds nothing
		}
		v, err := received(h)
		if err != nil && first == nil {
			first = &ValueError{Session: s.name, Kind: "output", Name: names[i], Got: err.Error()}
		}
		if v != nil {
			out[names[i]] = v
		}
	}
	if first != nil {
		return nil, first
	}
	return out, nil
}

// watch calls run and ends it when ctx is cancelled meanwhile. o is used for
// that, or options of its own where o is nil.
func watch(ctx context.Context, o *capi.RunOptions, run func(*capi.RunOptions) error) error {
	if ctx.Done() == nil {
		return run(nil)
	}
	if o == nil {
		var err error
		if o, err = capi.NewRunOptions(); err != nil {
			return err
		}
		defer o.Close()
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		o.Terminate(true)
	})
	err := run(o)
	if !stop() { // the flag is set or about to be: take it back before o is used again or closed
		<-ended
		if e := o.Terminate(false); err == nil {
			err = e
		}
	}
	return err
}

// Close frees the session; runs under way end first. Bindings of it must be
// closed on their own. More than one call is fine.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		return
	}
	s.free()
	s.handle = nil
	s.owner.Destroy()
	for _, ports := range []map[string]*port{s.inputs, s.outputs} {
		for _, p := range ports {
			capi.FreeName(p.c)
		}
	}
}
