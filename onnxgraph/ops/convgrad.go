package ops

import (
	"math"
	"slices"

	"ninox/onnxgraph"
)

// convWeightGrad is dW[m, c, t] = Σ over samples n and positions o of
// dY[n, m, o]·X[n, c, o·stride + t·dilation − pad]: again a convolution, of X
// with dY as the kernel, in which the samples take the place of the input
// channels, and stride and dilation change places.
func (k calc) convWeightGrad(x, dy string, win window, group int64) string {
	n := len(win.kernel)
	if group == 1 && win.points() {
		return k.weightGradOfPoints(x, dy, win)
	}
	if channels := k.Fact(x).Shape()[1]; group == 1 && n <= 2 {
		switch {
		case !channels.IsKnown() || channels.Value >= leastChannelsLast:
			return k.weightGradChannelsLast(x, dy, win)
		case win.dense() && win.taps() >= 1 && win.taps() <= mostSlices:
			return k.weightGradOfSlices(x, dy, win)
		}
	}
	swap := append([]int64{1, 0}, upTo(2, n+2)...)
	images := k.transpose(x, swap...) // [C, N, …]
	if group > 1 {
		images = k.groupedImages(x, n, group) // [C/group, group·N, …]
	}
	a := append(win.adjoint().attributes(), onnxgraph.IntAttr("group", group))
	dw := k.Emit("Conv", []string{images, k.transpose(dy, swap...)}, a...) // [C/group, M, taps…]
	return k.transpose(k.cropTaps(dw, 2, win), swap...)
}

// leastChannelsLast is the number of input channels from which on the
// channels-last form of the weight gradient is the faster one: its inner loop
// copies runs of channels.
const leastChannelsLast = 4

// weightGradChannelsLast makes the channels the last spatial axis of one
// image, [1, N, …, C], with a kernel of extent 1 there. The result holds
// all taps of all channels, so that the matrix product within has C·taps
// columns instead of taps, and its columns are gathered in runs of C.
//
// Measured on ONNX Runtime 1.31.1 (CPU, one thread, milliseconds, batch 128
// unless given):
//
//	                          plain form  channels last  slices and Gemm
//	1→16 3x3 stride 2, 28x28         0.9            2.3              1.2
//	16→32 3x3, 13x13                10.6            5.3             10.5
//	32→32 3x3, 13x13                20.5            9.1             20.4
//	64→64 3x3, 7x7                  22.5            8.9             18.1
//	64→64 3x3, 28x28, batch 16      31.9           14.8             27.9
//	64→128 3x3 stride 2, batch 32    7.6            6.3              5.7
//	3→32 3x3, 16x16, batch 64        1.6            1.6
//	3→16 3x3, 32x32, batch 64        8.4            6.9              3.6
//	1→16 3x3, 28x28                  4.9            6.2              2.9
//	3→32 3x3 stride 2, 32x32         4.3            4.6              4.4
//	4→32 3x3, 16x16, batch 64        2.2            1.7
//
// The forward convolution 32→32 takes 9.1 to 12.4 in the same minutes.
func (k calc) weightGradChannelsLast(x, dy string, win window) string {
	n := len(win.kernel)
	last := append(append([]int64{0}, upTo(2, n+2)...), 1)
	image := k.unsqueeze(k.transpose(x, last...), 0)
	swap := append([]int64{1, 0}, upTo(2, n+2)...)
	kernels := k.unsqueeze(k.transpose(dy, swap...), int64(n)+2)
	w := win.adjoint()
	pads := append(append(append([]int64{}, w.pads[:n]...), 0), append(w.pads[n:len(w.pads):len(w.pads)], 0)...)
	w = window{strides: append(w.strides[:n:n], 1), dilations: append(w.dilations[:n:n], 1), pads: pads}
	dw := k.Emit("Conv", []string{image, kernels}, w.attributes()...) // [1, M, taps…, C]
	dw = k.squeeze(k.cropTaps(dw, 2, win), 0)
	return k.transpose(dw, append([]int64{0, int64(n) + 1}, upTo(1, n+1)...)...)
}

// mostSlices bounds the taps that are written out as slices.
const mostSlices = 9

// weightGradOfSlices is a product of dY with the shifted images of all taps,
// [M, N·positions]·[N·positions, taps·C]: for images of few channels, of which
// all taps together are no larger than dY is. The stride is 1.
func (k calc) weightGradOfSlices(x, dy string, win window) string {
	n := len(win.kernel)
	swap := append([]int64{1, 0}, upTo(2, n+2)...)
	pads := append(append(append([]int64{0, 0}, win.pads[:n]...), 0, 0), win.pads[n:]...)
	padded := k.transpose(k.Emit("Pad", []string{x, k.vector(pads...)}), swap...) // [C, N, …]
	axes := k.vector(upTo(2, n+2)...)
	shifted := make([]string, win.taps())
	for t := range shifted {
		from, to := win.reached(t)
		shifted[t] = k.Emit("Slice", []string{padded, k.vector(from...), k.vector(to...), axes})
	}
	images := k.Emit("Concat", shifted, onnxgraph.IntAttr("axis", 0)) // [taps·C, N, …]
	flat := func(v string) string { return k.Emit("Flatten", []string{v}, onnxgraph.IntAttr("axis", 1)) }
	dw := k.Emit("Gemm", []string{flat(k.transpose(dy, swap...)), flat(images)}, onnxgraph.IntAttr("transB", 1)) // [M, taps·C]
	dw = k.reshape(dw, append(append([]int64{0}, win.kernel...), -1)...)
	return k.transpose(dw, append([]int64{0, int64(n) + 1}, upTo(1, n+1)...)...)
}

// weightGradOfPoints is the weight gradient of kernels of one tap:
// [M, N·positions]·[N·positions, C].
func (k calc) weightGradOfPoints(x, dy string, win window) string {
	n := len(win.kernel)
	if !win.dense() {
		ends := make([]int64, n)
		for i := range ends {
			ends[i] = math.MaxInt64
		}
		x = k.Emit("Slice", []string{x, k.vector(make([]int64, n)...), k.vector(ends...), k.vector(upTo(2, n+2)...), k.vector(win.strides...)})
	}
	rows := func(v string) string { // [channels, N·positions]
		return k.Emit("Flatten", []string{k.transpose(v, append([]int64{1, 0}, upTo(2, n+2)...)...)}, onnxgraph.IntAttr("axis", 1))
	}
	dw := k.Emit("Gemm", []string{rows(dy), rows(x)}, onnxgraph.IntAttr("transB", 1))
	return k.unsqueeze(dw, upTo(2, n+2)...)
}

// points says whether windows are single positions of the input itself.
func (w window) points() bool {
	return w.taps() == 1 && !slices.ContainsFunc(w.pads, func(p int64) bool { return p != 0 })
}

// dense says whether windows move by single positions.
func (w window) dense() bool {
	return !slices.ContainsFunc(w.strides, func(s int64) bool { return s != 1 })
}

// taps is the number of places of the kernel, meaningless for sizes that no
// memory holds.
func (w window) taps() int {
	t := int64(1)
	for _, d := range w.kernel {
		t *= d
	}
	return int(t)
}

// reached is the range of the padded input that tap t reads with stride 1,
// row-major, its ends counted from behind.
func (w window) reached(t int) (from, to []int64) {
	n := len(w.kernel)
	from, to = make([]int64, n), make([]int64, n)
	for i := n - 1; i >= 0; i-- {
		at := int64(t) % w.kernel[i]
		t /= int(w.kernel[i])
		from[i], to[i] = at*w.dilations[i], (at+1-w.kernel[i])*w.dilations[i]
		if to[i] == 0 {
			to[i] = math.MaxInt64
		}
	}
	return from, to
}

// adjoint exchanges stride and dilation.
func (w window) adjoint() window {
	return window{strides: w.dilations, dilations: w.strides, pads: w.pads}
}

// cropTaps cuts the spatial axes, from axis first on, to the kernel's extents:
// where the stride did not divide, there is more.
func (k calc) cropTaps(dw string, first int, win window) string {
	have := k.Fact(dw).Shape()
	n := len(win.kernel)
	exact := true
	for i, d := range win.kernel {
		exact = exact && have[first+i] == onnxgraph.Known(d)
	}
	if exact {
		return dw
	}
	return k.Emit("Slice", []string{dw, k.vector(make([]int64, n)...), k.vector(win.kernel...), k.vector(upTo(first, first+n)...)})
}

// groupedImages reorders [N, group·C, …] to [C, group·N, …]: the images of a
// grouped convolution whose channels are the samples.
func (k calc) groupedImages(x string, n int, group int64) string {
	per := onnxgraph.UnknownDim()
	if c := k.Fact(x).Shape()[1]; c.IsKnown() {
		per = onnxgraph.Known(c.Value / group)
	}
	split := k.two("Reshape", x, k.shapeWithTail(x, 2, 0, group, per.Value))
	perm := append([]int64{2, 1, 0}, upTo(3, n+3)...)
	moved := k.transpose(split, perm...) // [C, group, N, …]
	return k.two("Reshape", moved, k.shapeWithTail(x, 2, per.Value, -1))
}

// shapeWithTail is a target for Reshape: lead, and the extents of x from an
// axis on.
func (k calc) shapeWithTail(x string, from int, lead ...int64) string {
	s := k.Fact(x).Shape()
	if tail, ok := s[from:].Static(); ok {
		return k.vector(append(lead, tail...)...)
	}
	if from == len(s) {
		return k.vector(lead...)
	}
	return k.Emit("Concat", []string{k.vector(lead...), k.slice(k.ShapeOf(x), 0, int64(from), int64(len(s)))}, onnxgraph.IntAttr("axis", 0))
}
