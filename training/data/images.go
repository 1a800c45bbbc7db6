package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
)

// Norm standardises images: (value/255 - Mean[c]) / Std[c] per channel c.
type Norm struct{ Mean, Std []float32 }

// The constants of the paper's reference code, which standardises
// FashionMNIST with the statistics of MNIST and CIFAR-100 with those of
// CIFAR-10. They are kept, because its targets were measured with them.
var (
	NormMNIST = Norm{Mean: []float32{0.1307}, Std: []float32{0.3081}}
	NormCIFAR = Norm{
		Mean: []float32{0.49139968, 0.48215827, 0.44653124},
		Std:  []float32{0.24703233, 0.24348505, 0.26158768},
	}
	// NormImageNet is that of the pretrained networks of torchvision.
	NormImageNet = Norm{Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225}}
	// NormGrey brings grey values to -1..1.
	NormGrey = Norm{Mean: []float32{0.5}, Std: []float32{0.5}}
)

// normOf is the standardisation of images about which nothing but their shape is
// known: that of MNIST and of CIFAR for images of their shape.
func normOf(f frame) Norm {
	switch {
	case f == frame{1, 28, 28}:
		return NormMNIST
	case f == frame{3, 32, 32}:
		return NormCIFAR
	case f.channels == 1:
		return NormGrey
	}
	return NormImageNet
}

// table is the standardised value by channel and byte.
func (n Norm) table() [][256]float32 {
	out := make([][256]float32, len(n.Mean))
	for c := range out {
		for v := range out[c] {
			out[c][v] = (float32(v)/255 - n.Mean[c]) / n.Std[c]
		}
	}
	return out
}

// Images is a data set of labelled 8-bit images held in memory. Its columns
// are "image", float [channels, height, width], standardised, and "label",
// int64 scalar.
type Images struct {
	name   string
	cols   []Column
	pixels []byte // samples x channels x height x width
	labels []byte
	plane  int            // height x width
	lut    [][256]float32 // standardised value by channel and byte
	hash   func() string
}

// NewImages makes a data set of pixels [len(labels), channels, height, width].
// The slices are kept, not copied.
func NewImages(name string, channels, height, width int, pixels, labels []byte, norm Norm) (*Images, error) {
	size := channels * height * width
	if len(pixels) != len(labels)*size {
		return nil, fmt.Errorf("data %s: %d bytes of pixels for %d labels, expected %d", name, len(pixels), len(labels), len(labels)*size)
	}
	if len(norm.Mean) != channels || len(norm.Std) != channels {
		return nil, fmt.Errorf("data %s: statistics of %d channels for images of %d", name, len(norm.Mean), channels)
	}
	d := &Images{
		name: name, pixels: pixels, labels: labels, plane: height * width,
		cols: imageColumns(frame{channels, height, width}), lut: norm.table(),
	}
	d.hash = sync.OnceValue(func() string {
		h := sha256.New()
		var dims [32]byte
		for i, n := range []int{len(labels), channels, height, width} {
			binary.LittleEndian.PutUint64(dims[8*i:], uint64(n))
		}
		h.Write(dims[:])
		h.Write(pixels)
		h.Write(labels)
		return hex.EncodeToString(h.Sum(nil))
	})
	return d, nil
}

// Name implements Dataset.
func (d *Images) Name() string { return d.name }

// Len implements Dataset.
func (d *Images) Len() int { return len(d.labels) }

// Columns implements Dataset.
func (d *Images) Columns() []Column { return d.cols }

// Hash implements Dataset: the SHA-256 of shape, pixels and labels.
func (d *Images) Hash() string { return d.hash() }

// Pixels returns the raw image of one sample, [channels, height, width], and
// its label. The caller must not change the slice.
func (d *Images) Pixels(i int) (pixels []byte, label int) {
	size := d.plane * len(d.lut)
	return d.pixels[i*size : (i+1)*size], int(d.labels[i])
}

// Batch implements Dataset.
func (d *Images) Batch(indices []int, into []Buffer) error {
	if err := checkBuffers(d, indices, into); err != nil {
		return err
	}
	out := into[0].Floats
	for n, i := range indices {
		if into[1].Int64s != nil {
			into[1].Int64s[n] = int64(d.labels[i])
		}
		if out == nil {
			continue
		}
		src, _ := d.Pixels(i)
		standardise(out[:len(src)], src, d.lut)
		out = out[len(src):]
	}
	return nil
}

// standardise looks up the values of pixels [channels, …], a table per channel.
func standardise(out []float32, pixels []byte, lut [][256]float32) {
	plane := len(pixels) / len(lut)
	for c := range lut {
		table, to := &lut[c], out[c*plane:(c+1)*plane]
		for p, v := range pixels[c*plane : (c+1)*plane] {
			to[p] = table[v]
		}
	}
}
