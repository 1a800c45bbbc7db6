package models

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// Variant describes an image classifier in the ways in which small networks
// differ: it makes training runs for meta-training, where a network that
// generalises has to have seen more than one architecture. The JSON form is
// part of the plans of meta-training.
type Variant struct {
	Channels   int    `json:"channels"`             // of the input images
	Side       int    `json:"side"`                 // height and width of the input images
	Classes    int    `json:"classes"`              //
	Hidden     []int  `json:"hidden"`               // width of each layer
	Kernel     int    `json:"kernel,omitempty"`     // of the convolutions, odd; 0: a perceptron of linear layers
	Strides    []int  `json:"strides,omitempty"`    // of the convolutions; those without are 1
	Norm       string `json:"norm,omitempty"`       // before each activation: "batch", "group" (4 channels each), "" for none
	Activation string `json:"activation,omitempty"` // "relu" (default), "silu" or "tanh"
	Residual   bool   `json:"residual,omitempty"`   // a layer that keeps shape and width adds its input
	Flatten    bool   `json:"flatten,omitempty"`    // the last image is flattened, not averaged
}

var (
	norms       = []string{"", "batch", "group"}
	activations = []string{"", "relu", "silu", "tanh"}
)

const groupChannels = 4 // channels of one group of group normalisation

// Validate names every field that makes no sense.
func (v Variant) Validate() error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if v.Channels < 1 || v.Side < 1 || v.Classes < 2 {
		fault("%d channels, side %d, %d classes", v.Channels, v.Side, v.Classes)
	}
	if len(v.Hidden) == 0 || slices.Min(v.Hidden) < 1 {
		fault("hidden %v, expected at least one layer", v.Hidden)
	}
	if v.Kernel < 0 || v.Kernel > 0 && v.Kernel%2 == 0 {
		fault("kernel %d, expected an odd number or 0", v.Kernel)
	}
	if len(v.Strides) > len(v.Hidden) || len(v.Strides) > 0 && slices.Min(v.Strides) < 1 {
		fault("strides %v for %d layers", v.Strides, len(v.Hidden))
	}
	if !slices.Contains(norms, v.Norm) {
		fault("norm %q, expected one of %q", v.Norm, norms)
	}
	if !slices.Contains(activations, v.Activation) {
		fault("activation %q, expected one of %q", v.Activation, activations)
	}
	if v.Norm == "group" && slices.ContainsFunc(v.Hidden, func(h int) bool { return h%groupChannels != 0 }) {
		fault("hidden %v with group normalisation, expected multiples of %d", v.Hidden, groupChannels)
	}
	if v.Kernel == 0 && (v.Norm != "" || v.Flatten || len(v.Strides) > 0) {
		fault("norm, flatten and strides are for convolutions, kernel is 0")
	}
	if len(faults) > 0 {
		return fmt.Errorf("model variant: %s", strings.Join(faults, "; "))
	}
	return nil
}

// Model builds the network with weights initialised from seed as PyTorch does:
// input float [batch, Channels, Side, Side], output float [batch, Classes].
func (v Variant) Model(seed uint64) (*onnxgraph.Model, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	n := &variantNet{Variant: v, b: onnxgraph.NewBuilder("variant", opset)}
	n.init = initializer{n.b, rand.New(rand.NewPCG(seed, 0))}
	batch := onnxgraph.Sym("batch")
	image := onnxgraph.Shape{batch}
	x := n.b.Input(InputName, onnxgraph.Float, append(image, onnxgraph.StaticShape(int64(v.Channels), int64(v.Side), int64(v.Side))...))
	if v.Kernel > 0 {
		x = n.convolutions(x)
	} else {
		x = n.perceptron(x)
	}
	w, bias := n.init.layer(len(v.Hidden), int64(v.Classes), n.features)
	n.b.Named(OutputName, "Gemm", []string{x, w, bias}, onnxgraph.IntAttr("transB", 1))
	n.b.Output(OutputName, onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(int64(v.Classes))})
	return n.b.Model()
}

// variantNet is a network being built.
type variantNet struct {
	Variant
	b        *onnxgraph.Builder
	init     initializer
	features int64 // of the value before the last layer
}

func (n *variantNet) flatten(x string) string {
	return n.b.Op("Flatten", []string{x}, onnxgraph.IntAttr("axis", 1))
}

func (n *variantNet) perceptron(x string) string {
	x = n.flatten(x)
	n.features = int64(n.Channels * n.Side * n.Side)
	for i, width := range n.Hidden {
		w, bias := n.init.layer(i, int64(width), n.features)
		y := n.activate(n.b.Op("Gemm", []string{x, w, bias}, onnxgraph.IntAttr("transB", 1)))
		if n.Residual && n.features == int64(width) {
			y = n.b.Op("Add", []string{x, y})
		}
		x, n.features = y, int64(width)
	}
	return x
}

func (n *variantNet) convolutions(x string) string {
	in, side, k, pad := n.Channels, n.Side, int64(n.Kernel), int64(n.Kernel/2)
	for i, out := range n.Hidden {
		stride := 1
		if i < len(n.Strides) {
			stride = n.Strides[i]
		}
		w, bias := n.init.layer(i, int64(out), int64(in), k, k)
		y := n.b.Op("Conv", []string{x, w, bias}, onnxgraph.IntsAttr("kernel_shape", k, k),
			onnxgraph.IntsAttr("strides", int64(stride), int64(stride)), onnxgraph.IntsAttr("pads", pad, pad, pad, pad))
		y = n.activate(n.normalise(y, i, out))
		if n.Residual && in == out && stride == 1 {
			y = n.b.Op("Add", []string{x, y})
		}
		x, in, side = y, out, (side-1)/stride+1
	}
	n.features = int64(in)
	if n.Flatten {
		n.features *= int64(side * side)
	} else {
		x = n.b.Op("GlobalAveragePool", []string{x})
	}
	return n.flatten(x)
}

func (n *variantNet) activate(x string) string {
	switch n.Activation {
	case "silu":
		return n.b.Op("Mul", []string{x, n.b.Op("Sigmoid", []string{x})})
	case "tanh":
		return n.b.Op("Tanh", []string{x})
	}
	return n.b.Op("Relu", []string{x})
}

// normalise puts the normalisation of layer i behind a convolution.
func (n *variantNet) normalise(x string, i, channels int) string {
	if n.Norm == "" {
		return x
	}
	vector := func(name string, size int, value float32) string {
		return n.b.Init(onnxgraph.Floats(fmt.Sprintf("norm.%d.%s", i, name), []int64{int64(size)}, slices.Repeat([]float32{value}, size)))
	}
	if n.Norm == "batch" {
		return n.b.Op("BatchNormalization", []string{
			x, vector("weight", channels, 1), vector("bias", channels, 0), vector("running_mean", channels, 0), vector("running_var", channels, 1),
		})
	}
	// Group normalisation as opset 18 can say it with a scale per channel.
	groups := channels / groupChannels
	one := constant(n.b, onnxgraph.Floats("", []int64{int64(groups)}, slices.Repeat([]float32{1}, groups)))
	zero := constant(n.b, onnxgraph.Floats("", []int64{int64(groups)}, make([]float32, groups)))
	grouped := n.b.Op("Reshape", []string{x, constant(n.b, onnxgraph.Vector("", 0, int64(groups), -1))})
	normed := n.b.Op("InstanceNormalization", []string{grouped, one, zero})
	normed = n.b.Op("Reshape", []string{normed, n.b.Op("Shape", []string{x})})
	spread := constant(n.b, onnxgraph.Vector("", 1, 2))
	scaled := n.b.Op("Mul", []string{normed, n.b.Op("Unsqueeze", []string{vector("weight", channels, 1), spread})})
	return n.b.Op("Add", []string{scaled, n.b.Op("Unsqueeze", []string{vector("bias", channels, 0), spread})})
}

// Parameters is the number of trainable values, 0 where Validate finds faults.
func (v Variant) Parameters() int {
	if v.Validate() != nil {
		return 0
	}
	n, in, side := 0, v.Channels, v.Side
	if v.Kernel == 0 {
		in *= side * side
	}
	for i, out := range v.Hidden {
		n += out * (in*max(1, v.Kernel*v.Kernel) + 1)
		if v.Norm != "" {
			n += 2 * out
		}
		if in = out; i < len(v.Strides) {
			side = (side-1)/v.Strides[i] + 1
		}
	}
	if v.Flatten {
		in *= side * side
	}
	return n + v.Classes*(in+1)
}
