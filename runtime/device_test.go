package ort_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// copying has a session that copies three numbers.
func copying(t *testing.T) *ort.Session {
	t.Helper()
	b := onnxgraph.NewBuilder("copy", 17)
	shape := onnxgraph.StaticShape(3)
	b.Output(b.Named("to", "Identity", []string{b.Input("from", onnxgraph.Float, shape)}), onnxgraph.Float, shape)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return newSession(t, m)
}

func deviceValue(t *testing.T, s *ort.Session) *ort.Value {
	t.Helper()
	v, err := s.DeviceValue(onnxgraph.Float, []int64{3})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Steps between two values in the device's memory, filled and read by a session
// that copies, do as those between values in host memory. Without a GPU the device
// is the processor, whose values ONNX Runtime allocates the same way.
func TestDeviceValue(t *testing.T) {
	s, c := newSession(t, sgd(t)), copying(t)
	sides := [2]*ort.Value{deviceValue(t, c), deviceValue(t, c)}
	host := floats(t, []int64{3}, 1, 2, 3)
	run := func(s *ort.Session, bind func(b *ort.Binding) error) {
		t.Helper()
		b, err := s.Bind()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := errors.Join(bind(b), b.Run(context.Background())); err != nil {
			t.Fatal(err)
		}
	}
	move := func(from, to *ort.Value) {
		t.Helper()
		run(c, func(b *ort.Binding) error { return errors.Join(b.Input("from", from), b.Output("to", to)) })
	}
	move(host, sides[0])
	g, rate := floats(t, []int64{3}, 1, 1, 1), floats(t, nil, 0.5)
	for step := range 4 {
		run(s, func(b *ort.Binding) error {
			return errors.Join(b.Input("w", sides[step%2]), b.Input("g", g), b.Input("rate", rate), b.Output("w_next", sides[1-step%2]))
		})
	}
	if !slices.Equal(host.Floats(), []float32{1, 2, 3}) || sides[0].Floats() != nil {
		t.Errorf("host %v, device %v: expected the steps in the device's memory", host.Floats(), sides[0].Floats())
	}
	move(sides[0], host)
	if want := []float32{-1, 0, 1}; !slices.Equal(host.Floats(), want) {
		t.Errorf("%v after four steps, expected %v", host.Floats(), want)
	}
	c.Close()
	if err := newBinding(t, s).Input("w", sides[0]); err == nil || !strings.Contains(err.Error(), "device: closed") {
		t.Errorf("error %v, expected that the value went with its session", err)
	}
	if _, err := c.DeviceValue(onnxgraph.Float, []int64{3}); err == nil {
		t.Error("a value of a closed session")
	}
}
