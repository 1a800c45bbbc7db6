package training

import (
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"ninox/onnxgraph"
)

// maxInline is the amount of tensor data above which it goes to a file of its
// own: flatbuffers cannot exceed 2 GiB.
const maxInline = 1_900_000_000

// minExternal is the size from which a tensor goes to the data file, when
// there is one; upstream's loader expects the small ones inline.
const minExternal = 64

// encodeCheckpoint returns the flatbuffer and, where the tensors exceed limit
// bytes, the contents of the data file.
func encodeCheckpoint(c *Checkpoint, limit int64) (buf, external []byte, err error) {
	total := int64(0)
	count := func(list []*onnxgraph.Tensor) {
		for _, t := range list {
			total += int64(len(t.Data))
		}
	}
	count(c.Trainable)
	count(c.Frozen)
	for _, g := range c.Groups {
		for _, s := range g.States {
			count(s.Moments)
		}
	}
	w := &flatWriter{Builder: flatbuffers.NewBuilder(1024 + int(min(total, limit)))}
	if total > limit {
		w.external = make([]byte, 0, total)
	}
	module := w.module(c)
	var groups []flatbuffers.UOffsetT
	for _, g := range c.Groups {
		groups = append(groups, w.group(g))
	}
	groupList := w.list(groups)
	bag, err := w.properties(c.Properties)
	if err != nil {
		return nil, nil, err
	}
	w.StartObject(4)
	w.PrependInt32Slot(slotVersion, c.Version, 0)
	w.PrependUOffsetTSlot(slotModule, module, 0)
	w.PrependUOffsetTSlot(slotGroups, groupList, 0)
	w.PrependUOffsetTSlot(slotProperties, bag, 0)
	w.FinishWithFileIdentifier(w.EndObject(), []byte(checkpointID))
	return w.FinishedBytes(), w.external, nil
}

type flatWriter struct {
	*flatbuffers.Builder
	external []byte // nil where everything goes inline
}

func (w *flatWriter) list(items []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	if len(items) == 0 {
		return 0
	}
	w.StartVector(4, len(items), 4)
	for i := len(items) - 1; i >= 0; i-- {
		w.PrependUOffsetT(items[i])
	}
	return w.EndVector(len(items))
}

func (w *flatWriter) module(c *Checkpoint) flatbuffers.UOffsetT {
	trainable, frozen := w.tensors(c.Trainable), w.tensors(c.Frozen)
	w.StartObject(4)
	w.PrependUOffsetTSlot(slotTrainable, trainable, 0)
	w.PrependUOffsetTSlot(slotFrozen, frozen, 0)
	w.PrependBoolSlot(slotNominal, c.Nominal, false)
	w.PrependBoolSlot(slotExternal, w.external != nil, false)
	return w.EndObject()
}

func (w *flatWriter) tensors(list []*onnxgraph.Tensor) flatbuffers.UOffsetT {
	items := make([]flatbuffers.UOffsetT, len(list))
	for i, t := range list {
		items[i] = w.tensor(t)
	}
	return w.list(items)
}

func (w *flatWriter) tensor(t *onnxgraph.Tensor) flatbuffers.UOffsetT {
	name := w.CreateString(t.Name)
	w.StartVector(8, len(t.Dims), 8)
	for i := len(t.Dims) - 1; i >= 0; i-- {
		w.PrependInt64(t.Dims[i])
	}
	dims := w.EndVector(len(t.Dims))
	var raw flatbuffers.UOffsetT
	offset := int64(-1)
	switch {
	case w.external != nil && len(t.Data) >= minExternal:
		offset = int64(len(w.external))
		w.external = append(w.external, t.Data...)
	case t.Data != nil:
		raw = w.CreateByteVector(t.Data)
	}
	w.StartObject(7)
	w.PrependUOffsetTSlot(slotTensorName, name, 0)
	w.PrependUOffsetTSlot(slotTensorDims, dims, 0)
	w.PrependInt32Slot(slotTensorType, int32(t.DType), 0)
	w.PrependUOffsetTSlot(slotTensorRaw, raw, 0)
	w.PrependInt64Slot(slotTensorOffset, offset, -1)
	return w.EndObject()
}

func (w *flatWriter) group(g OptimizerGroup) flatbuffers.UOffsetT {
	name := w.CreateString(g.Name)
	var states []flatbuffers.UOffsetT
	for _, s := range g.States {
		param, moments := w.CreateString(s.Param), w.tensors(s.Moments)
		w.StartObject(2)
		w.PrependUOffsetTSlot(slotStateParam, param, 0)
		w.PrependUOffsetTSlot(slotStateMoments, moments, 0)
		states = append(states, w.EndObject())
	}
	list := w.list(states)
	w.StartObject(4)
	w.PrependUOffsetTSlot(slotGroupName, name, 0)
	w.PrependInt64Slot(slotGroupStep, g.Step, 0)
	w.PrependFloat32Slot(slotGroupRate, g.InitialLearningRate, 0)
	w.PrependUOffsetTSlot(slotGroupStates, list, 0)
	return w.EndObject()
}

func (w *flatWriter) properties(props []Property) (flatbuffers.UOffsetT, error) {
	var ints, floats, strings []flatbuffers.UOffsetT
	for _, p := range byType(props) {
		name := w.CreateString(p.Name)
		var text flatbuffers.UOffsetT
		if s, ok := p.Value.(string); ok {
			text = w.CreateString(s)
		}
		w.StartObject(2)
		w.PrependUOffsetTSlot(slotPropName, name, 0)
		to := &strings
		switch v := p.Value.(type) {
		case int64:
			w.PrependInt64Slot(slotPropValue, v, 0)
			to = &ints
		case float32:
			w.PrependFloat32Slot(slotPropValue, v, 0)
			to = &floats
		case string:
			w.PrependUOffsetTSlot(slotPropValue, text, 0)
		default:
			return 0, fmt.Errorf("property %q is a %T, expected int64, float32 or string", p.Name, p.Value)
		}
		*to = append(*to, w.EndObject())
	}
	lists := [3]flatbuffers.UOffsetT{w.list(ints), w.list(floats), w.list(strings)}
	w.StartObject(3)
	w.PrependUOffsetTSlot(slotInts, lists[0], 0)
	w.PrependUOffsetTSlot(slotFloats, lists[1], 0)
	w.PrependUOffsetTSlot(slotStrings, lists[2], 0)
	return w.EndObject(), nil
}
