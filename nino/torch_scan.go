package nino

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// argument says what follows an opcode: so many bytes, or one of the forms
// below.
type argument int

const (
	counted1 argument = -1 - iota // a length of one byte, then that many bytes
	counted4                      // a length of four bytes
	names                         // module and name, each ended by a newline
)

// tensorOpcodes are the pickle opcodes that dicts of tensors, numbers and
// strings need, in the protocol that torch.save uses. Everything else is
// refused before the decoder sees it.
var tensorOpcodes = map[byte]argument{
	0x80: 1, '(': 0, '.': 0, 'N': 0, 0x88: 0, 0x89: 0, // PROTO MARK STOP NONE NEWTRUE NEWFALSE
	'K': 1, 'M': 2, 'J': 4, 0x8a: counted1, 'G': 8, 'X': counted4, // BININT1 BININT2 BININT LONG1 BINFLOAT BINUNICODE
	'}': 0, ']': 0, ')': 0, 0x85: 0, 0x86: 0, 0x87: 0, 't': 0, // EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE1-3 TUPLE
	's': 0, 'u': 0, 'a': 0, 'e': 0, // SETITEM SETITEMS APPEND APPENDS
	'q': 1, 'r': 4, 'h': 1, 'j': 4, // BINPUT LONG_BINPUT BINGET LONG_BINGET
	'c': names, 'Q': 0, 'R': 0, 'b': 0, // GLOBAL BINPERSID REDUCE BUILD
}

// scanPickle walks the opcodes without running them: only those of
// tensorOpcodes, with arguments that lie inside the data, and only globals that
// make tensors.
func scanPickle(raw []byte) error {
	at := 0
	for {
		if at >= len(raw) {
			return errors.New("pickle ends without STOP")
		}
		op := raw[at]
		arg, ok := tensorOpcodes[op]
		if !ok {
			return fmt.Errorf("pickle opcode 0x%02x at byte %d is refused: only tensors are read", op, at)
		}
		at++
		n, err := argumentLength(raw[at:], op, arg)
		if err != nil {
			return fmt.Errorf("pickle opcode 0x%02x at byte %d: %w", op, at-1, err)
		}
		at += n
		if op == '.' {
			return nil
		}
	}
}

// argumentLength is the number of bytes that the argument takes.
func argumentLength(rest []byte, op byte, arg argument) (int, error) {
	n := int(arg)
	switch arg {
	case counted1:
		if len(rest) < 1 || rest[0] == 0 || rest[0] > 8 {
			return 0, errors.New("an integer of no bytes or more than eight")
		}
		n = 1 + int(rest[0])
	case counted4:
		if len(rest) < 4 {
			return 0, errors.New("the data ends early")
		}
		n = 4 + int(binary.LittleEndian.Uint32(rest))
	case names:
		lines := bytes.SplitN(rest, []byte("\n"), 3)
		if len(lines) < 3 {
			return 0, errors.New("the data ends early")
		}
		if err := checkGlobal(string(lines[0]), string(lines[1])); err != nil {
			return 0, err
		}
		n = len(lines[0]) + len(lines[1]) + 2
	}
	if n > len(rest) {
		return 0, errors.New("the data ends early")
	}
	return n, nil
}

// checkGlobal admits the classes and functions that make tensors.
func checkGlobal(module, name string) error {
	if module == "collections" && name == "OrderedDict" {
		return nil
	}
	if _, err := torchClass(module, name); err != nil {
		return fmt.Errorf("%w: only tensors, numbers, strings and dicts are read", err)
	}
	return nil
}
