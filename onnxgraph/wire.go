package onnxgraph

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

//go:generate go run ./internal/fieldgen onnx.proto fields.go

// Wire types (https://protobuf.dev/programming-guides/encoding).
const (
	wireVarint  = uint64(protowire.VarintType)
	wireFixed64 = uint64(protowire.Fixed64Type)
	wireBytes   = uint64(protowire.BytesType)
	wireFixed32 = uint64(protowire.Fixed32Type)
)

// externalLocation is the value of data_location for external data.
const externalLocation = 1

// wireError is a fault of the encoding itself: the bytes are no protobuf.
type wireError string

func (e wireError) Error() string { return string(e) }

// scanner walks over the fields of one message.
//
//	for s := (scanner{rest: b}); s.next(); {
//		switch s.key { … }
//	}
type scanner struct {
	rest []byte
	key  uint64 // number of the field << 3 | wire type
	num  uint64 // value of a varint, fixed32 or fixed64 field
	body []byte // content of a length-delimited field, an alias of the message
	raw  []byte // the whole field, key included
	err  error
}

// next advances to the next field, false at the end or where err is set.
func (s *scanner) next() bool {
	if len(s.rest) == 0 || s.err != nil {
		return false
	}
	start, b := s.rest, s.rest
	key, n := uvarint(b)
	if n == 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
		return s.fail("a key that is none")
	}
	b = b[n:]
	switch key & 7 {
	case wireVarint:
		if s.num, n = uvarint(b); n == 0 {
			return s.fail("a number that does not end")
		}
	case wireFixed64:
		if n = 8; len(b) < n {
			return s.fail("the data end within a number")
		}
		s.num = binary.LittleEndian.Uint64(b)
	case wireFixed32:
		if n = 4; len(b) < n {
			return s.fail("the data end within a number")
		}
		s.num = uint64(binary.LittleEndian.Uint32(b))
	case wireBytes:
		length, m := uvarint(b)
		if m == 0 || length > uint64(len(b)-m) {
			return s.fail(fmt.Sprintf("field %d reaches beyond the end of its message", key>>3))
		}
		n = m + int(length)
		s.body = b[m:n:n]
	default: // groups, which ONNX never used
		return s.fail(fmt.Sprintf("field %d has wire type %d", key>>3, key&7))
	}
	s.key, s.rest = key, b[n:]
	s.raw = start[: len(start)-len(s.rest) : len(start)-len(s.rest)]
	return true
}

func (s *scanner) fail(what string) bool {
	s.err = wireError(what)
	return false
}

// uvarint decodes a varint of at most ten bytes; n is 0 where it does not end.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 { // most are short
		return uint64(b[0]), 1
	}
	v, n = protowire.ConsumeVarint(b)
	return v, max(0, n)
}

// alike counts the fields behind the present one that have the same key.
func (s *scanner) alike() (n int) {
	for ahead := (scanner{rest: s.rest}); ahead.next() && ahead.key == s.key; {
		n++
	}
	return n
}

// keeper collects fields as they stand in the file, to be written back: those
// that this package does not model, and those whose spelling the model has no
// place for (an explicitly empty name).
type keeper struct {
	raw      []byte
	last     uint64 // number of the last field
	unsorted bool
}

func (k *keeper) add(s *scanner) {
	if k.raw == nil {
		k.raw = s.raw // an alias; its capacity makes append copy
	} else {
		k.raw = append(k.raw, s.raw...)
	}
	k.unsorted = k.unsorted || s.key>>3 < k.last
	k.last = s.key >> 3
}

// fields are those collected, in the order of their numbers.
func (k *keeper) fields() []byte {
	if !k.unsorted {
		return k.raw
	}
	var starts []int32 // a few bytes each, since there may be very many
	for s := (scanner{rest: k.raw}); ; {
		at := len(k.raw) - len(s.rest)
		if !s.next() {
			break
		}
		starts = append(starts, int32(at))
	}
	at := func(start int32) (s scanner) {
		s.rest = k.raw[start:]
		s.next()
		return s
	}
	slices.SortStableFunc(starts, func(a, b int32) int { return int(at(a).key>>3) - int(at(b).key>>3) })
	out := make([]byte, 0, len(k.raw))
	for _, start := range starts {
		s := at(start)
		out = append(out, s.raw...)
	}
	return out
}

// arena holds many short strings in few blocks of memory.
type arena struct{ block []byte }

const arenaBlock = 1 << 14

// bytes copies b.
func (a *arena) bytes(b []byte) []byte {
	switch {
	case len(b) > arenaBlock/8:
		return bytes.Clone(b)
	case len(b) > cap(a.block)-len(a.block):
		a.block = make([]byte, 0, arenaBlock)
	}
	at := len(a.block)
	a.block = append(a.block, b...)
	return a.block[at:len(a.block):len(a.block)]
}

// text copies b into a string.
func (a *arena) text(b []byte) string {
	c := a.bytes(b)
	return unsafe.String(unsafe.SliceData(c), len(c)) // nobody else has c
}

// joinNumbers appends the encoded numbers of one more field to those read so
// far: packed or one by one, the result is the packed form.
func joinNumbers(have []byte, s *scanner) []byte {
	add := s.body
	if s.key&7 != wireBytes {
		_, n := uvarint(s.raw)
		add = s.raw[n:]
	}
	if have == nil {
		return add
	}
	return append(have, add...)
}

// varints decodes packed numbers.
func varints(packed []byte) ([]int64, error) {
	n, err := countVarints(packed)
	if err != nil || n == 0 {
		return nil, err
	}
	out := make([]int64, n)
	for i := range out {
		v, used := uvarint(packed)
		if used == 0 {
			return nil, errLongVarint
		}
		out[i], packed = int64(v), packed[used:]
	}
	return out, nil
}

var errLongVarint = wireError("a number of more than ten bytes")

// countVarints is the number of packed varints.
func countVarints(packed []byte) (n int, err error) {
	if len(packed) > 0 && packed[len(packed)-1] >= 0x80 {
		return 0, wireError("a number that does not end")
	}
	for _, b := range packed {
		if b < 0x80 {
			n++
		}
	}
	return n, nil
}

// isWireError tells faults of the encoding from faults of the model.
func isWireError(err error) bool {
	var w wireError
	return errors.As(err, &w)
}
