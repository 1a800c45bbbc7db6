package training

import (
	"context"
	"fmt"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// resident is a state that lies in the memory of the device. The arrays in host
// memory are copies: fetched when somebody asks for them, sent when they change.
type resident struct {
	fetches, sends [2]*ort.Binding // of a session that copies all arrays, by side
	stale          bool            // the host's arrays of the current side are old
}

// newResident gives the state values in the memory of the device, which take the
// place of those in host memory wherever the state is bound.
func newResident(e *Executor) (*resident, error) {
	m, err := copier(e.state)
	if err != nil {
		return nil, err
	}
	s, err := e.engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return nil, fmt.Errorf("session that copies the state: %w", err)
	}
	e.owned.add(func() { s.Close() })
	r := &resident{}
	for side := range r.sends {
		if r.fetches[side], err = e.binding(s); err != nil {
			return nil, err
		}
		if r.sends[side], err = e.binding(s); err != nil {
			return nil, err
		}
	}
	for _, name := range e.state.names {
		for side := range r.sends {
			host := &e.state.bufs[name].value[side]
			v, err := s.DeviceValue(onnxgraph.Float, (*host).Dims())
			if err != nil {
				return nil, err
			}
			for b, ends := range map[*ort.Binding][2]*ort.Value{r.sends[side]: {*host, v}, r.fetches[side]: {v, *host}} {
				if err := b.Input(name, ends[0]); err != nil {
					return nil, err
				}
				if err := b.Output(name+updatedSuffix, ends[1]); err != nil {
					return nil, err
				}
			}
			*host = v
		}
	}
	return r, nil
}

// copier is a model that copies every array of a state.
func copier(s *state) (*onnxgraph.Model, error) {
	b := onnxgraph.NewBuilder("copy", 17)
	for _, name := range s.names {
		shape := onnxgraph.StaticShape(s.bufs[name].value[0].Dims()...)
		b.Output(b.Named(name+updatedSuffix, "Identity", []string{b.Input(name, onnxgraph.Float, shape)}), onnxgraph.Float, shape)
	}
	return b.Model()
}

// fetch copies a side from the device.
func (r *resident) fetch(ctx context.Context, side int) error {
	if err := r.fetches[side].Run(ctx); err != nil {
		return fmt.Errorf("reading the training state from the device: %w", err)
	}
	return nil
}

// send copies a side to the device.
func (r *resident) send(side int) error {
	r.stale = false
	if err := r.sends[side].Run(context.Background()); err != nil {
		return fmt.Errorf("writing the training state to the device: %w", err)
	}
	return nil
}
