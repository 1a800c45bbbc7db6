package models

import (
	"fmt"
	"math"
	"math/rand/v2"

	"ninox/onnxgraph"
)

// opset is the default-domain operator set of the models.
const opset = 18

// Names of the input and the output of the image classifiers.
const (
	InputName  = "input"
	OutputName = "output"
)

// ConvNet describes the paper's convolutional classifier: 3x3 convolutions, the
// first with stride 2 and no padding, the others with stride 1 and "same"
// padding, each followed by ReLU; then global average pooling and a linear
// layer. Biases everywhere.
type ConvNet struct {
	Name     string
	Channels int // of the input images
	Side     int // height and width of the input images
	Hidden   []int
	Classes  int
}

// Model builds the network for a batch of any size: input float
// [batch, Channels, Side, Side], output float [batch, Classes] (logits).
// Parameters have the names and the initial distribution that PyTorch gives the
// same network: layer i of an nn.Sequential called fc, weight and bias uniform
// in ±1/sqrt(fan-in). Equal seeds give equal weights.
func (c ConvNet) Model(seed uint64) (*onnxgraph.Model, error) {
	if c.Channels < 1 || c.Side < 3 || c.Classes < 1 || len(c.Hidden) == 0 {
		return nil, fmt.Errorf("model %s: %d channels, side %d, hidden layers %v, %d classes", c.Name, c.Channels, c.Side, c.Hidden, c.Classes)
	}
	b := onnxgraph.NewBuilder(c.Name, opset)
	init := initializer{b, rand.New(rand.NewPCG(seed, 0))}
	batch := onnxgraph.Sym("batch")
	image := onnxgraph.Shape{batch}
	image = append(image, onnxgraph.StaticShape(int64(c.Channels), int64(c.Side), int64(c.Side))...)
	x := b.Input(InputName, onnxgraph.Float, image)
	in, layer := c.Channels, 0
	for i, out := range c.Hidden {
		w, bias := init.layer(layer, int64(out), int64(in), 3, 3)
		stride, pad := int64(1), int64(1)
		if i == 0 {
			stride, pad = 2, 0
		}
		x = b.Named(fmt.Sprintf("fc.%d", layer), "Conv", []string{x, w, bias},
			onnxgraph.IntsAttr("kernel_shape", 3, 3), onnxgraph.IntsAttr("strides", stride, stride), onnxgraph.IntsAttr("pads", pad, pad, pad, pad))
		x = b.Named(fmt.Sprintf("fc.%d", layer+1), "Relu", []string{x})
		in, layer = out, layer+2
	}
	x = b.Named(fmt.Sprintf("fc.%d", layer), "GlobalAveragePool", []string{x})
	x = b.Named(fmt.Sprintf("fc.%d", layer+1), "Flatten", []string{x}, onnxgraph.IntAttr("axis", 1))
	w, bias := init.layer(layer+2, int64(c.Classes), int64(in))
	out := b.Named(OutputName, "Gemm", []string{x, w, bias}, onnxgraph.IntAttr("transB", 1))
	b.Output(out, onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(int64(c.Classes))})
	return b.Model()
}

// Parameters is the number of trainable values.
func (c ConvNet) Parameters() int {
	n, in := 0, c.Channels
	for _, out := range c.Hidden {
		n += out * (in*9 + 1)
		in = out
	}
	return n + c.Classes*(in+1)
}

// initializer adds parameters with PyTorch's default initial values.
type initializer struct {
	b   *onnxgraph.Builder
	rng *rand.Rand
}

// layer adds weight and bias of layer number i; dims are those of the weight,
// [out, in, kernel...].
func (n initializer) layer(i int, dims ...int64) (weight, bias string) {
	fanIn := int64(1)
	for _, d := range dims[1:] {
		fanIn *= d
	}
	name := fmt.Sprintf("fc.%d.", i)
	bound := 1 / math.Sqrt(float64(fanIn)) // kaiming_uniform_(a=sqrt(5)) of the weight comes to the same bound as the bias has
	weight = n.b.Init(n.uniform(name+"weight", bound, dims...))
	bias = n.b.Init(n.uniform(name+"bias", bound, dims[0]))
	return weight, bias
}

func (n initializer) uniform(name string, bound float64, dims ...int64) *onnxgraph.Tensor {
	size := int64(1)
	for _, d := range dims {
		size *= d
	}
	v := make([]float32, size)
	for i := range v {
		v[i] = float32(bound * (2*n.rng.Float64() - 1))
	}
	return onnxgraph.Floats(name, dims, v)
}
