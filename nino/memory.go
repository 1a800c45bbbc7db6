package nino

import (
	"unsafe"

	"ninox/onnxgraph"
)

// Sizes that Memory counts with, in bytes, as measured: the library and its
// sessions, what a run of a tile takes for each worker, and room for what the
// garbage collector has not freed yet.
const (
	memoryLibrary = 64 << 20
	memoryWorker  = 16 << 20
	memoryGarbage = 96 << 20
)

// Memory is the bytes that Predict takes at most, what the process has for other
// things included and mapped files not.
func (n *Nowcaster) Memory() int64 {
	return n.Heap() + memoryLibrary + int64(n.workers)*memoryWorker
}

// Heap is the part of Memory that Go's garbage collector can keep: a limit to
// give to debug.SetMemoryLimit.
func (n *Nowcaster) Heap() int64 {
	total := int64(memoryGarbage)
	if t, ok := n.form.(*tilesForm); ok {
		total += t.kept()
		if !t.spills() {
			total += t.nodeBytes()
		}
	}
	return total
}

// kept is what lies in memory in any case: positions, tokens, shares of types
// and degrees.
func (f *tilesForm) kept() int64 {
	return 4*int64(len(f.positions)+len(f.mix)+len(f.degree)) + 8*int64(len(f.tokens)) + 32*int64(f.plan.nodes)
}

// nodeBytes is the size of the arrays of node values that are there at once:
// node, source, sum and weighted, and two for each round but the last, whose
// two take the place of node and source.
func (f *tilesForm) nodeBytes() int64 {
	d := int64(f.config.Width)
	rounds := int64(len(f.pass))
	if rounds == 0 {
		return 4 * d * int64(f.plan.nodes)
	}
	return 4 * (4 + 2*(rounds-1)) * d * int64(f.plan.nodes)
}

// spills says whether the arrays of node values go to a file, because they
// would not fit.
func (f *tilesForm) spills() bool {
	fixed := memoryGarbage + memoryLibrary + int64(f.workers)*memoryWorker + f.kept()
	return f.limit > 0 && fixed+f.nodeBytes() > f.limit
}

// scratch gives room for arrays of node values and takes it back.
type scratch struct {
	folder string // empty: memory
	files  []*onnxgraph.Mapped
}

// floats is room for n numbers, zero at first.
func (s *scratch) floats(n int) ([]float32, error) {
	if s.folder == "" || n == 0 {
		return make([]float32, n), nil
	}
	m, err := onnxgraph.Scratch(s.folder, 4*int64(n))
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, m)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m.Data))), n), nil
}

func (s *scratch) close() {
	for _, m := range s.files {
		m.Close() // of a file that nobody reads any more
	}
}
