package training

import (
	"context"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// state holds every array that a step changes, twice: a step reads side cur
// and writes the other.
type state struct {
	slots []slot
	arts  *Artifacts
	cur   int
	bufs  map[string]*pair // by input name of the step models
	names []string         // of bufs, in order
	place map[string]place // where a parameter, moment or buffer lies
	chain map[string]*side // of the buffers: what the next of several batches reads

	device *resident // nil where sessions read and write the arrays in host memory
}

// pair is one array with its two sides: in host memory, and what sessions are
// bound to.
type pair struct {
	data  [2][]float32
	value [2]*ort.Value
}

// side is one array.
type side struct {
	data  []float32
	value *ort.Value
}

// place is a range of a pair.
type place struct {
	pair    string
	at, len int64
	dims    []int64
}

func newState(owned *closers, a *Artifacts, slots []slot) (*state, error) {
	s := &state{slots: slots, arts: a, bufs: map[string]*pair{}, place: map[string]place{}, chain: map[string]*side{}}
	for _, sl := range slots {
		if err := s.alloc(owned, sl.name, sl.dims); err != nil {
			return nil, err
		}
		for k := range a.Config.moments(sl.group) {
			if err := s.alloc(owned, sl.moment(k), sl.dims); err != nil {
				return nil, err
			}
		}
		at := int64(0)
		for _, p := range sl.params {
			s.place[p.Name] = place{sl.name, at, p.Len(), p.Dims}
			for k := range a.Config.moments(p.Group) {
				s.place[momentum(p.Name, k)] = place{sl.moment(k), at, p.Len(), p.Dims}
			}
			at += p.Len()
		}
	}
	for _, name := range a.Buffers {
		t := a.Checkpoint.Tensor(name)
		if t == nil {
			return nil, fmt.Errorf("running statistic %q is not in the checkpoint", name)
		}
		if err := s.alloc(owned, name, t.Dims); err != nil {
			return nil, err
		}
		s.place[name] = place{name, 0, t.Len(), t.Dims}
		c, err := newSide(owned, t.Dims)
		if err != nil {
			return nil, err
		}
		s.chain[name] = c
	}
	return s, nil
}

func (s *state) alloc(owned *closers, name string, dims []int64) error {
	p := &pair{}
	for i := range p.data {
		one, err := newSide(owned, dims)
		if err != nil {
			return err
		}
		p.data[i], p.value[i] = one.data, one.value
	}
	s.bufs[name] = p
	s.names = append(s.names, name)
	return nil
}

func newSide(owned *closers, dims []int64) (*side, error) {
	s := &side{data: make([]float32, Param{Dims: dims}.Len())}
	var err error
	if s.value, err = ort.FloatValue(dims, s.data); err != nil {
		return nil, err
	}
	owned.add(func() { s.value.Close() })
	return s, nil
}

// chainBuffers makes the next batch of an accumulated step read the buffers as
// they are before the step (first), or as the batch before it wrote them.
func (s *state) chainBuffers(ctx context.Context, first bool) error {
	from := s.cur
	if !first {
		from = 1 - s.cur
	}
	if s.device != nil && len(s.chain) > 0 {
		if err := s.device.fetch(ctx, from); err != nil {
			return err
		}
	}
	for name, c := range s.chain {
		copy(c.data, s.bufs[name].data[from])
	}
	return nil
}

// bindChain binds the buffers of a batch whose gradients are accumulated.
func (s *state) bindChain(b *ort.Binding, from int) error {
	for name, c := range s.chain {
		if err := b.Input(name, c.value); err != nil {
			return err
		}
		if err := b.Output(name+updatedSuffix, s.bufs[name].value[1-from]); err != nil {
			return err
		}
	}
	return nil
}

// flip makes the side that was just written the current one.
func (s *state) flip() {
	s.cur = 1 - s.cur
	if s.device != nil {
		s.device.stale = true
	}
}

// read brings the host's arrays of the current side up to date.
func (s *state) read() error {
	if s.device == nil || !s.device.stale {
		return nil
	}
	if err := s.device.fetch(context.Background(), s.cur); err != nil {
		return err
	}
	s.device.stale = false
	return nil
}

// written tells that the host's arrays of the current side have changed.
func (s *state) written() error {
	if s.device == nil {
		return nil
	}
	return s.device.send(s.cur)
}

// parameters are the current values of slots and buffers, by input name.
func (s *state) parameters() map[string]*ort.Value {
	out := map[string]*ort.Value{}
	for _, sl := range s.slots {
		out[sl.name] = s.bufs[sl.name].value[s.cur]
	}
	for _, name := range s.arts.Buffers {
		out[name] = s.bufs[name].value[s.cur]
	}
	return out
}

// bind sets the inputs of a binding to side from and, where outputs is set,
// its outputs to the other side.
func (s *state) bind(b *ort.Binding, from int, names []string, outputs bool) error {
	for _, name := range names {
		if err := b.Input(name, s.bufs[name].value[from]); err != nil {
			return err
		}
		if outputs {
			if err := b.Output(name+updatedSuffix, s.bufs[name].value[1-from]); err != nil {
				return err
			}
		}
	}
	return nil
}

// slotNames lists the slots, with their moments where asked for.
func (s *state) slotNames(moments bool) []string {
	var out []string
	for _, sl := range s.slots {
		out = append(out, sl.name)
		for k := range s.arts.Config.moments(sl.group) {
			if moments {
				out = append(out, sl.moment(k))
			}
		}
	}
	return out
}

// view is the data of a parameter, moment or buffer as of the last read.
func (s *state) view(name string) []float32 {
	p := s.place[name]
	return s.bufs[p.pair].data[s.cur][p.at : p.at+p.len]
}

// has says whether the name is part of the state.
func (s *state) has(name string) bool {
	_, ok := s.place[name]
	return ok
}

func (s *state) set(name string, t *onnxgraph.Tensor) error {
	p, ok := s.place[name]
	if !ok {
		return fmt.Errorf("%q is not part of the training state", name)
	}
	if t == nil {
		return fmt.Errorf("%q is not in the checkpoint", name)
	}
	if t.DType != onnxgraph.Float || !slices.Equal(t.Dims, p.dims) {
		return fmt.Errorf("%q is %s%v in the checkpoint, expected float%v", name, t.DType, t.Dims, p.dims)
	}
	v, err := t.AsFloats()
	if err != nil {
		return err
	}
	copy(s.view(name), v)
	return nil
}

// get copies arrays out.
func (s *state) get(names []string) (*weights.Set, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	out := &weights.Set{}
	for _, name := range names {
		out.AddFloats(name, s.place[name].dims, slices.Clone(s.view(name)))
	}
	return out, nil
}

// put copies arrays in, all or nothing.
func (s *state) put(names []string, from *weights.Set) error {
	views := make([][]float32, len(names))
	for i, name := range names {
		v, err := from.Floats(name)
		if err != nil {
			return err
		}
		if int64(len(v)) != s.place[name].len {
			return fmt.Errorf("array %q has %d elements, expected %v", name, len(v), s.place[name].dims)
		}
		views[i] = v
	}
	if err := s.read(); err != nil {
		return err
	}
	for i, name := range names {
		copy(s.view(name), views[i])
	}
	return s.written()
}

func (e *Executor) paramNames() []string {
	out := make([]string, len(e.art.Params))
	for i, p := range e.art.Params {
		out[i] = p.Name
	}
	return out
}

func (e *Executor) momentNames() []string {
	var out []string
	for _, p := range e.art.Params {
		for k := range e.art.Config.moments(p.Group) {
			out = append(out, momentum(p.Name, k))
		}
	}
	return out
}

// State is a copy of the trainable parameters.
func (e *Executor) State() (*weights.Set, error) { return e.state.get(e.paramNames()) }

// SetState replaces the trainable parameters; moments and step stay. Arrays
// of other names are ignored; a missing or misshapen one leaves all as it was.
func (e *Executor) SetState(s *weights.Set) error { return e.state.put(e.paramNames(), s) }

// Moments is a copy of the optimizer state: "<p>.momentum0", "<p>.momentum1".
func (e *Executor) Moments() (*weights.Set, error) { return e.state.get(e.momentNames()) }

// SetMoments replaces the optimizer state.
func (e *Executor) SetMoments(s *weights.Set) error { return e.state.put(e.momentNames(), s) }

// Buffers is a copy of the running statistics that training updates; empty
// for models without batch normalization.
func (e *Executor) Buffers() (*weights.Set, error) { return e.state.get(e.art.Buffers) }

// SetBuffers replaces the running statistics.
func (e *Executor) SetBuffers(s *weights.Set) error { return e.state.put(e.art.Buffers, s) }

// Checkpoint is the present state in the form that artifacts keep; lr is the
// learning rate to note in it.
func (e *Executor) Checkpoint(lr float64) (*Checkpoint, error) {
	if err := e.state.read(); err != nil {
		return nil, err
	}
	old := e.art.Checkpoint
	c := &Checkpoint{Version: old.Version, Properties: slices.Clone(old.Properties)}
	tensor := func(as, name string) *onnxgraph.Tensor {
		return onnxgraph.Floats(as, e.state.place[name].dims, e.state.view(name))
	}
	group := OptimizerGroup{Name: "group0", Step: e.step, InitialLearningRate: float32(e.art.LearningRate())}
	for _, p := range e.art.Params {
		c.Trainable = append(c.Trainable, tensor(p.Name, p.Name))
		st := ParameterState{Param: p.Name}
		for k := range e.art.Config.moments(p.Group) {
			st.Moments = append(st.Moments, tensor(fmt.Sprintf("momentum%d", k), momentum(p.Name, k)))
		}
		group.States = append(group.States, st)
	}
	for _, t := range old.Frozen {
		if slices.Contains(e.art.Buffers, t.Name) {
			t = tensor(t.Name, t.Name)
		}
		c.Frozen = append(c.Frozen, t)
	}
	c.Groups = []OptimizerGroup{group}
	c.SetProperty(PropLearningRate, float32(lr))
	c.SetProperty(PropStep, e.step)
	return c, nil
}
