package ort

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/runtime/internal/capi"
)

// DeviceValue makes a tensor, of unset elements, in the memory in which the session
// computes: a GPU's, or the host's where it runs on the processor. Bound as input
// or output of any session on that device it is not copied. Go cannot reach its
// elements; a binding of a session that copies, with a value in host memory at the
// other side, moves them. Closing the session closes the value: bindings that hold
// it must be closed before.
func (s *Session) DeviceValue(d onnxgraph.DType, dims []int64) (*Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		return nil, fmt.Errorf("session %q: %w", s.name, errClosed)
	}
	if s.allocator == nil {
		a, err := capi.NewAllocator(s.handle, s.device.memory(), s.device.id)
		if err != nil {
			return nil, fmt.Errorf("session %q: memory of device %s: %w", s.name, s.device, err)
		}
		s.allocator = a
	}
	h, err := capi.NewTensorIn(s.allocator, elementType(d), dims)
	if err != nil {
		return nil, fmt.Errorf("session %q: %s%v in the memory of device %s: %w", s.name, d, dims, s.device, err)
	}
	v := &Value{dtype: d, dims: slices.Clone(dims), device: true, handle: h}
	s.resident = append(s.resident, v)
	return v, nil
}

// memory is ONNX Runtime's name for the device's memory.
func (d device) memory() string {
	if d.cuda {
		return "Cuda"
	}
	return "Cpu"
}

// free gives back what the session allocated for values.
func (s *Session) free() {
	for _, v := range s.resident {
		v.Close()
	}
	if s.allocator != nil {
		capi.FreeAllocator(s.allocator)
	}
	s.resident, s.allocator = nil, nil
}

// GPU says whether sessions run on one.
func (e *Engine) GPU() bool { return e.device.cuda }
