package text

import (
	"math"
	"strconv"
	"strings"
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
func floatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	abs := math.Abs(float64(f))
	switch {
	case f != f:
		return sign | 0x7e00
	case abs >= 65520: // halfway between the largest number and the next
		return sign | 0x7c00
	case abs < 1.0/(1<<14): // subnormal: multiples of 2^-24
		return sign | uint16(math.RoundToEven(abs*(1<<24)))
	}
	_, exp := math.Frexp(abs) // abs = frac·2^exp with 0.5 ≤ frac < 1
	frac := math.RoundToEven(math.Ldexp(abs, 11-exp))
	// frac is in [1024, 2048]; its carry runs into the exponent.
	return sign | (uint16(exp+13)<<10 + uint16(frac))
}
