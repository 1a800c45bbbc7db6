package onnxgraph

import (
	"fmt"
	"slices"
)

// IsPermutation says whether perm lists the axes 0 to rank-1, each once.
func IsPermutation(perm []int64, rank int) bool {
	if len(perm) != rank {
		return false
	}
	seen := make([]bool, rank)
	for _, p := range perm {
		if p < 0 || p >= int64(rank) || seen[p] {
			return false
		}
		seen[p] = true
	}
	return true
}

// Transposed is a new tensor of the given name whose axis i is axis perm[i] of
// t, as the operator Transpose has it. Elements are of one byte at least.
func (t *Tensor) Transposed(name string, perm []int64) (*Tensor, error) {
	if !IsPermutation(perm, len(t.Dims)) {
		return nil, fmt.Errorf("tensor %q: %v is no permutation of %d axes", t.Name, perm, len(t.Dims))
	}
	if t.DType.Bits() == 0 || t.DType.Bits()%8 != 0 {
		return nil, fmt.Errorf("tensor %q: elements of %s cannot be moved one by one", t.Name, t.DType)
	}
	if _, err := t.checkedLen(); err != nil {
		return nil, err
	}
	out := &Tensor{Name: name, Doc: t.Doc, DType: t.DType, Dims: make([]int64, len(perm)), Data: make([]byte, len(t.Data)), Typed: t.Typed, Metadata: slices.Clone(t.Metadata)}
	steps := make([]int, len(perm)) // in t, in bytes, along each axis of out
	size := t.DType.Bits() / 8
	step := size
	for a, d := range slices.Backward(t.Dims) {
		i := slices.Index(perm, int64(a))
		out.Dims[i], steps[i] = d, step
		step *= int(d)
	}
	if len(out.Data) > 0 {
		err := t.guarded(func() error {
			gather(out.Data, t.Data, out.Dims, steps, size)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// gather fills to, row-major with extents dims of at least one, with elements
// of size bytes that lie steps apart.
func gather(to, from []byte, dims []int64, steps []int, size int) {
	at := make([]int64, len(dims))
	source := 0
	for k := 0; k < len(to); k += size {
		copy(to[k:k+size], from[source:])
		for a := len(dims) - 1; a >= 0; a-- {
			source += steps[a]
			if at[a]++; at[a] < dims[a] {
				break
			}
			source -= steps[a] * int(dims[a])
			at[a] = 0
		}
	}
}
