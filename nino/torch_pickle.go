package nino

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"

	"ninox/onnxgraph"
)

// dict is a Python dict in order.
type dict []struct{ key, value any }

func (d dict) get(key string) (any, bool) {
	for _, e := range d {
		if e.key == key {
			return e.value, true
		}
	}
	return nil, false
}

func dictOf(v any) (dict, bool) {
	var out dict
	switch d := v.(type) {
	case *types.Dict:
		for _, e := range *d {
			out = append(out, struct{ key, value any }{e.Key, e.Value})
		}
	case *types.OrderedDict:
		for e := d.List.Front(); e != nil; e = e.Next() {
			entry := e.Value.(*types.OrderedDictEntry)
			out = append(out, struct{ key, value any }{entry.Key, entry.Value})
		}
	default:
		return nil, false
	}
	return out, true
}

// unpickle decodes a pickle that passed scanPickle.
func unpickle(raw []byte) (top dict, err error) {
	if err := scanPickle(raw); err != nil {
		return nil, err
	}
	// The decoder panics on some malformed pickles.
	defer func() {
		if r := recover(); r != nil {
			top, err = nil, fmt.Errorf("malformed pickle: %v", r)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(raw))
	u.FindClass = torchClass
	u.PersistentLoad = storageOf
	v, err := u.Load()
	if err != nil {
		return nil, err
	}
	top, ok := dictOf(v)
	if !ok {
		return nil, fmt.Errorf("holds %T, expected a dict", v)
	}
	return top, nil
}

// storageClass is a storage class of torch, by its element type.
type storageClass struct{ dtype onnxgraph.DType }

// torchClass resolves the globals that scanPickle admits.
func torchClass(module, name string) (any, error) {
	if module == "torch._utils" && name == "_rebuild_tensor_v2" {
		return rebuildTensor{}, nil
	}
	if d, ok := torchTypes[name]; ok && module == "torch" {
		return storageClass{d}, nil
	}
	return nil, fmt.Errorf("global %s.%s is refused", module, name)
}

// storageOf resolves the persistent id ("storage", class, key, device, elements).
func storageOf(id any) (any, error) {
	t, ok := id.(*types.Tuple)
	if !ok || t.Len() != 5 || t.Get(0) != "storage" {
		return nil, errors.New("persistent id is no storage")
	}
	class, okClass := t.Get(1).(storageClass)
	key, okKey := t.Get(2).(string)
	n, okN := t.Get(4).(int)
	if !okClass || !okKey || !okN || n < 1 || n > maxStorage {
		return nil, errors.New("persistent id of a storage is malformed")
	}
	return &torchStorage{class.dtype, key, n}, nil
}

// rebuildTensor is torch._utils._rebuild_tensor_v2(storage, offset, size,
// stride, requires_grad, hooks).
type rebuildTensor struct{}

// Call makes the tensor.
func (rebuildTensor) Call(args ...any) (any, error) {
	if len(args) < 4 {
		return nil, errors.New("tensor with too few arguments")
	}
	s, ok := args[0].(*torchStorage)
	offset, okOffset := args[1].(int)
	dims, okDims := intTuple(args[2])
	strides, okStrides := intTuple(args[3])
	if !ok || !okOffset || !okDims || !okStrides || len(dims) != len(strides) {
		return nil, errors.New("tensor with malformed arguments")
	}
	return &torchTensor{s, offset, dims, strides}, nil
}

func intTuple(v any) ([]int64, bool) {
	t, ok := v.(*types.Tuple)
	if !ok {
		return nil, false
	}
	out := make([]int64, t.Len())
	for i := range out {
		n, ok := t.Get(i).(int)
		if !ok {
			return nil, false
		}
		out[i] = int64(n)
	}
	return out, true
}
