package onnxgraph

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"unsafe"
)

// minMapped is the size from which a file is mapped into memory. Smaller ones
// are read, which is as fast and leaves nothing to release.
const minMapped = 1 << 18

// mappings are the files that the tensors of a model alias. The model and its
// clones share one.
type mappings struct {
	mu     sync.Mutex
	mapped [][]byte
}

// load gives the first size bytes of an open file: mapped where that is worth
// it and the system can, else read.
func (ms *mappings) load(f *os.File, size int64) ([]byte, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes are more than this system can address", size)
	}
	if size >= minMapped {
		if b, err := mapFile(f, int(size)); err == nil {
			ms.mu.Lock()
			defer ms.mu.Unlock()
			ms.mapped = append(ms.mapped, b)
			return b, nil
		} // some file systems cannot
	}
	b := make([]byte, size)
	_, err := io.ReadFull(io.NewSectionReader(f, 0, size), b)
	return b, err
}

// Mapped is a file's bytes, mapped into memory where the system can. Close it
// when nothing aliases them any more.
type Mapped struct {
	Data  []byte
	files mappings
}

// MapFile maps a plain file.
func MapFile(path string) (*Mapped, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a plain file", path)
	}
	if err != nil {
		return nil, err
	}
	m := &Mapped{}
	m.Data, err = m.files.load(f, st.Size())
	return m, err
}

// Scratch is memory of a temporary file in a folder, zero at first: the system
// keeps in memory what it has room for. The file has no name and is gone after
// Close. Where the system cannot map files it is plain memory.
func Scratch(folder string, size int64) (*Mapped, error) {
	f, err := os.CreateTemp(folder, ".ninox-scratch-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes are more than this system can address", size)
	}
	b, err := mapShared(f, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	m := &Mapped{Data: b}
	if b == nil {
		m.Data = make([]byte, size)
	} else {
		m.files.mapped = [][]byte{b}
	}
	return m, nil
}

// Close releases the bytes.
func (m *Mapped) Close() error {
	m.Data = nil
	return m.files.close()
}

func (ms *mappings) close() error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	var errs []error
	for _, b := range ms.mapped {
		errs = append(errs, unmapFile(b))
	}
	ms.mapped = nil
	return errors.Join(errs...)
}

// Close releases the files that ReadFile mapped. Afterwards the data of
// tensors read from them is gone: in this model, where their Data becomes nil,
// and in everything made from it, where it must not be used any more. A model
// that is not closed keeps its mappings, which take address space but hardly
// memory, until the process ends; a program that reads one model need not care.
func (m *Model) Close() error {
	if m.files == nil || len(m.files.mapped) == 0 {
		return nil
	}
	m.EachTensor(func(t *Tensor) {
		if m.files.hold(t.Data) {
			t.Data = nil
		}
		if len(t.Strings) > 0 && m.files.hold(t.Strings[0]) {
			t.Strings = nil
		}
	})
	return m.files.close()
}

// hold says whether b lies in a mapped file.
func (ms *mappings) hold(b []byte) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for _, file := range ms.mapped {
		if start := uintptr(unsafe.Pointer(unsafe.SliceData(file))); at >= start && at < start+uintptr(len(file)) {
			return true
		}
	}
	return false
}

// errChanged is what a fault on a mapped page means.
var errChanged = errors.New("the file was cut short while it was in use")

// Guarded runs f and turns a fault on a mapped page into an error. Another
// process that truncates a mapped file makes its pages vanish; the system then
// sends a signal, which without this ends the program.
func Guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = errChanged
		default:
			panic(fault)
		}
	}()
	return f()
}
