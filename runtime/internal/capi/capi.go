// Package capi calls the part of ONNX Runtime's C API that the Go binding
// leaves out: tensors of rank zero, of no elements and of every element type,
// sequences and maps of them, outputs whose memory is copied once, runs of a binding that can be cancelled,
// and the list of providers.
//
// Handles are addresses of objects of the library. They mean nothing to the
// garbage collector: who makes one frees it, once.
package capi

// #include <stdlib.h>
// #include "api.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

// Handle is an object of the library.
type Handle unsafe.Pointer

// Kinds of values (ONNXType in the C API). KindNone is an optional value that
// holds nothing.
const (
	KindNone     = 0
	KindTensor   = 1
	KindSequence = 2
	KindMap      = 3
)

// kinds names the values that cannot be exchanged.
var kinds = map[int]string{4: "an opaque value", 5: "a sparse tensor", 6: "an optional"}

// memory describes host memory to the library.
var memory unsafe.Pointer

// Probe loads the library at path and returns its version, e.g. "1.31.1".
func Probe(path string) (version string, err error) {
	base, err := entry(path)
	if err != nil {
		return "", err
	}
	v := C.base_version(base)
	if v == nil {
		return "", fmt.Errorf("%s: ONNX Runtime gives no version", path)
	}
	return C.GoString(v), nil
}

// Use makes the library at path the one that all other functions call, through
// the API of the given minor version. It is to be called once, before them.
func Use(path string, api int) error {
	base, err := entry(path)
	if err != nil {
		return err
	}
	if C.base_use(base, C.uint32_t(api)) == 0 {
		return fmt.Errorf("%s: ONNX Runtime %s is too old, expected 1.%d or newer", path, C.GoString(C.base_version(base)), api)
	}
	return check(C.memory_cpu(&memory))
}

// check turns a status into an error and frees it.
func check(status unsafe.Pointer) error {
	if status == nil {
		return nil
	}
	defer C.status_free(status)
	return errors.New(strings.TrimSpace(C.GoString(C.status_text(status))))
}

// Name is a C string.
type Name unsafe.Pointer

// NewName copies s to C memory, to be freed with FreeName.
func NewName(s string) Name { return Name(unsafe.Pointer(C.CString(s))) }

// FreeName frees a name.
func FreeName(n Name) { C.free(unsafe.Pointer(n)) }

func dimsPointer(dims []int64) *C.int64_t {
	return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(dims)))
}

// NewTensor makes a tensor over data, which must outlive it, be pinned, and
// hold exactly the elements. dtype is ONNX's number of the element type as the
// C API has it.
func NewTensor(dtype int, dims []int64, data []byte) (Handle, error) {
	var out unsafe.Pointer
	var first unsafe.Pointer
	if len(data) > 0 {
		first = unsafe.Pointer(unsafe.SliceData(data))
	}
	err := check(C.value_over(memory, first, C.size_t(len(data)), dimsPointer(dims), C.size_t(len(dims)), C.int(dtype), &out))
	return Handle(out), err
}

// NewAllocator makes an allocator of the memory in which a session computes on a
// device ("Cpu", "Cuda"), to be freed with FreeAllocator before the session and
// after what it allocated.
func NewAllocator(session Handle, device string, id int) (Handle, error) {
	name := C.CString(device)
	defer C.free(unsafe.Pointer(name))
	var out unsafe.Pointer
	err := check(C.allocator_new(unsafe.Pointer(session), name, C.int(id), &out))
	return Handle(out), err
}

// FreeAllocator frees an allocator.
func FreeAllocator(a Handle) { C.allocator_free(unsafe.Pointer(a)) }

// NewTensorIn makes a tensor of unset elements in an allocator's memory.
func NewTensorIn(a Handle, dtype int, dims []int64) (Handle, error) {
	var out unsafe.Pointer
	err := check(C.value_in(unsafe.Pointer(a), dimsPointer(dims), C.size_t(len(dims)), C.int(dtype), &out))
	return Handle(out), err
}

// NewStrings makes a tensor of strings, which are copied and must not contain
// a zero byte.
func NewStrings(dims []int64, texts [][]byte) (Handle, error) {
	c := make([]*C.char, len(texts))
	defer func() {
		for _, p := range c {
			C.free(unsafe.Pointer(p))
		}
	}()
	for i, s := range texts {
		c[i] = C.CString(string(s))
	}
	var out unsafe.Pointer
	err := check(C.value_strings(unsafe.SliceData(c), C.size_t(len(c)), dimsPointer(dims), C.size_t(len(dims)), &out))
	return Handle(out), err
}

// FreeValue frees a value.
func FreeValue(v Handle) { C.value_free(unsafe.Pointer(v)) }

// maxRank bounds the shapes that Describe reads.
const maxRank = 64

// Kind is the kind of a value.
func Kind(v Handle) (int, error) {
	var has, kind C.int
	if err := check(C.value_present(unsafe.Pointer(v), &has)); err != nil || has == 0 {
		return KindNone, err
	}
	err := check(C.value_kind(unsafe.Pointer(v), &kind))
	return int(kind), err
}

// NewList makes a sequence of the elements, or a map of keys and values. It
// shares them.
func NewList(kind int, elems []Handle) (Handle, error) {
	var out unsafe.Pointer
	err := check(C.list_new((*unsafe.Pointer)(unsafe.Pointer(unsafe.SliceData(elems))), C.size_t(len(elems)), C.int(kind), &out))
	return Handle(out), err
}

// Count is the number of elements of a sequence, 2 for a map.
func Count(v Handle) (int, error) {
	var n C.size_t
	err := check(C.list_count(unsafe.Pointer(v), &n))
	return int(n), err
}

// Element copies element i of a sequence; of a map, 0 are the keys and 1 the
// values.
func Element(v Handle, i int) (Handle, error) {
	var out unsafe.Pointer
	err := check(C.list_element(unsafe.Pointer(v), C.int(i), &out))
	return Handle(out), err
}

// Describe returns the element type and shape of a value of the given kind, an
// error where that is no tensor.
func Describe(v Handle, kind int) (dtype int, dims []int64, err error) {
	if kind != KindTensor {
		return 0, nil, fmt.Errorf("%s; only tensors, sequences and maps can be exchanged", kinds[kind])
	}
	var t C.int
	var rank C.size_t
	var buf [maxRank]C.int64_t
	if err := check(C.value_info(unsafe.Pointer(v), &t, &rank, &buf[0], maxRank)); err != nil {
		return 0, nil, err
	}
	if rank > maxRank {
		return 0, nil, fmt.Errorf("rank %d, at most %d is supported", rank, maxRank)
	}
	dims = make([]int64, rank)
	for i := range dims {
		dims[i] = int64(buf[i])
	}
	return int(t), dims, nil
}

// CopyData copies the first len(to) bytes of a tensor's elements.
func CopyData(v Handle, to []byte) error {
	if len(to) == 0 {
		return nil
	}
	var p unsafe.Pointer
	if err := check(C.value_data(unsafe.Pointer(v), &p)); err != nil {
		return err
	}
	copy(to, unsafe.Slice((*byte)(p), len(to)))
	return nil
}

// Strings copies the n elements of a tensor of strings.
func Strings(v Handle, n int) ([][]byte, error) {
	out := make([][]byte, n)
	var size C.size_t
	if n == 0 {
		return out, nil
	}
	if err := check(C.value_text_length(unsafe.Pointer(v), &size)); err != nil {
		return nil, err
	}
	text := make([]byte, size+1) // one more, so that there is an address
	offsets := make([]C.size_t, n)
	if err := check(C.value_text(unsafe.Pointer(v), unsafe.Pointer(&text[0]), size, &offsets[0], C.size_t(n))); err != nil {
		return nil, err
	}
	for i := range out {
		end := size
		if i+1 < n {
			end = offsets[i+1]
		}
		out[i] = text[offsets[i]:end:end]
	}
	return out, nil
}

// RunOptions can end a run from another goroutine.
type RunOptions struct{ p unsafe.Pointer }

// NewRunOptions makes run options, to be freed with Close.
func NewRunOptions() (*RunOptions, error) {
	o := &RunOptions{}
	return o, check(C.options_new(&o.p))
}

// Terminate ends (or, with false, no longer ends) the runs that use o.
func (o *RunOptions) Terminate(on bool) error {
	flag := C.int(0)
	if on {
		flag = 1
	}
	return check(C.options_terminate(o.p, flag))
}

// Close frees o.
func (o *RunOptions) Close() { C.options_free(o.p) }

func (o *RunOptions) pointer() unsafe.Pointer {
	if o == nil {
		return nil
	}
	return o.p
}

// Run runs a session. Elements of out that are nil are made by the library and
// then belong to the caller; on an error none is.
func Run(session Handle, o *RunOptions, inNames []Name, in []Handle, outNames []Name, out []Handle) error {
	// The arrays lie in Go memory but hold addresses of C memory only, as the
	// rules of cgo allow.
	err := check(C.session_run(unsafe.Pointer(session), o.pointer(),
		(**C.char)(unsafe.Pointer(unsafe.SliceData(inNames))), (*unsafe.Pointer)(unsafe.Pointer(unsafe.SliceData(in))), C.size_t(len(in)),
		(**C.char)(unsafe.Pointer(unsafe.SliceData(outNames))), C.size_t(len(out)), (*unsafe.Pointer)(unsafe.Pointer(unsafe.SliceData(out)))))
	runtime.KeepAlive(o)
	return err
}

// NewBinding makes an IO binding of a session, to be freed with FreeBinding.
func NewBinding(session Handle) (Handle, error) {
	var out unsafe.Pointer
	err := check(C.binding_new(unsafe.Pointer(session), &out))
	return Handle(out), err
}

// BindInput makes v the named input, in place of an earlier one.
func BindInput(b Handle, name Name, v Handle) error {
	return check(C.binding_input(unsafe.Pointer(b), (*C.char)(unsafe.Pointer(name)), unsafe.Pointer(v)))
}

// BindOutput makes v take the named output, in place of an earlier one.
func BindOutput(b Handle, name Name, v Handle) error {
	return check(C.binding_output(unsafe.Pointer(b), (*C.char)(unsafe.Pointer(name)), unsafe.Pointer(v)))
}

// RunBinding runs a session on what is bound.
func RunBinding(session Handle, o *RunOptions, b Handle) error {
	err := check(C.binding_run(unsafe.Pointer(session), o.pointer(), unsafe.Pointer(b)))
	runtime.KeepAlive(o)
	return err
}

// FreeBinding frees a binding, not the values.
func FreeBinding(b Handle) { C.binding_free(unsafe.Pointer(b)) }

// Providers lists the execution providers that the library was built with, in
// its order of preference.
func Providers() ([]string, error) {
	var names **C.char
	var n C.int
	if err := check(C.providers(&names, &n)); err != nil {
		return nil, err
	}
	defer C.providers_free(names, n)
	out := make([]string, n)
	for i, s := range unsafe.Slice(names, n) {
		out[i] = C.GoString(s)
	}
	return out, nil
}
