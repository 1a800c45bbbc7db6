package text

import (
	"math"
	"strconv"
	"strings"

	"github.com/x448/float16"
)

// parseFloat reads a number of the given width; -nan keeps its sign.
func parseFloat(s string, bits int) (float64, error) {
	if digits, negative := strings.CutPrefix(s, "-"); negative && isFloatWord(digits) {
		f, err := strconv.ParseFloat(digits, bits)
		return math.Copysign(f, -1), err
	}
	return strconv.ParseFloat(s, bits)
}

// appendFloat prints the shortest number that reads as f.
func appendFloat(b []byte, f float64, bits int) []byte {
	if math.Signbit(f) {
		b = append(b, '-')
		f = math.Copysign(f, 1)
	}
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 0):
		return append(b, "inf"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, bits)
}

// floatToBFloat rounds to the nearest bfloat16, ties to even.
func floatToBFloat(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40 // rounding could make an infinity of a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// floatToHalf rounds to the nearest IEEE 754 binary16 number, ties to even.
func floatToHalf(f float32) uint16 { return float16.Fromfloat32(f).Bits() }
