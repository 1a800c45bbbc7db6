package ops

import (
	"slices"

	"ninox/onnxgraph"
)

// scalar is a value of one element without axes: scales and zero points may be
// vectors of one element, which operators would take for one per channel.
func (k calc) scalar(x string) string {
	if x != "" && k.Fact(x).Rank() == 1 && k.Fact(x).Shape()[0] == onnxgraph.Known(1) {
		return k.squeeze(x, 0)
	}
	return x
}

// dequantize is scale·(x − zero); vectors belong to an axis of x, which may be
// negative.
func (k calc) dequantize(x, scale, zero string, axis int64) string {
	if r := k.Fact(x).Rank(); r > 0 && axis < 0 {
		axis += int64(r)
	}
	in := []string{x, k.scalar(scale)}
	if zero != "" {
		in = append(in, k.scalar(zero))
	}
	return k.Emit("DequantizeLinear", in, onnxgraph.IntAttr("axis", axis))
}

// quantized is the number that inputs i, i+1 and i+2 stand for: data, scale
// and zero point.
func (k lowCalc) quantized(i int, axis int64) string {
	return k.dequantize(k.I(i), k.I(i+1), k.I(i+2), axis)
}

// setQuantized gives output 0 the number y with the scale and zero point of
// inputs i and i+1; without a scale y itself.
func (k lowCalc) setQuantized(y string, i int) {
	if k.I(i) == "" {
		k.SetO(0, y)
		return
	}
	in := []string{y, k.scalar(k.I(i))}
	if k.I(i+1) != "" {
		in = append(in, k.scalar(k.I(i+1)))
	}
	k.SetO(0, k.Emit("QuantizeLinear", in))
}

// centred is x − zero in float, exact for numbers of 8 bits; a zero that is a
// vector belongs to an axis of x.
func (k calc) centred(x, zero string, axis int) string {
	d := k.cast(x, onnxgraph.Float)
	if zero == "" {
		return d
	}
	z := k.cast(k.scalar(zero), onnxgraph.Float)
	if behind := k.Fact(x).Rank() - 1 - axis; k.Fact(z).Rank() == 1 && behind > 0 {
		z = k.unsqueeze(z, upTo(1, behind+1)...)
	}
	return k.sub(d, z)
}

// lowerConvInteger computes in float, which holds the sums of 8-bit products
// exactly up to 2^24.
func lowerConvInteger(k lowCalc) error {
	x, w := k.centred(k.I(0), k.I(2), 1), k.centred(k.I(1), k.I(3), 0)
	k.SetO(0, k.cast(k.Emit("Conv", []string{x, w}, k.Node().Attrs...), onnxgraph.Int32))
	return nil
}

// lowerQLinearConv: the bias has the scale of the products.
func lowerQLinearConv(k lowCalc) error {
	attrs := attributesBut(k.Node(), conv.Attrs)
	in := []string{k.quantized(0, 1), k.quantized(3, 0)}
	if k.I(8) != "" {
		in = append(in, k.dequantize(k.I(8), k.mul(k.scalar(k.I(1)), k.scalar(k.I(4))), "", 0))
	}
	if k.Node().Int("channels_last", 0) == 0 {
		k.setQuantized(k.Emit("Conv", in, attrs...), 6)
		return nil
	}
	r := k.Fact(k.I(0)).Rank()
	if r < 3 {
		return k.Errorf("the rank of the input is not known")
	}
	in[0] = k.transpose(in[0], channelsFirst(r)...)
	k.setQuantized(k.transpose(k.Emit("Conv", in, attrs...), channelsLast(r)...), 6)
	return nil
}

// channelsFirst takes [N, positions, C] to [N, C, positions]; channelsLast is
// its inverse.
func channelsFirst(r int) []int64 {
	return slices.Concat([]int64{0, int64(r - 1)}, upTo(1, r-1))
}

func channelsLast(r int) []int64 {
	return slices.Concat([]int64{0}, upTo(2, r), []int64{1})
}
