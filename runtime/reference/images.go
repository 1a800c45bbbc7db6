package reference

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// window holds the attributes of convolutions and pools in two dimensions.
type window struct {
	kernel, strides, dilations []int64
	pads                       [2]int64 // on both sides of each axis
}

// window reads the attributes; kernel is the size where they give none.
func (c *call) window(kernel []int64) (window, error) {
	w := window{kernel: c.ints("kernel_shape"), strides: c.ints("strides"), dilations: c.ints("dilations")}
	if w.kernel == nil {
		w.kernel = kernel
	}
	if w.strides == nil {
		w.strides = []int64{1, 1}
	}
	if w.dilations == nil {
		w.dilations = []int64{1, 1}
	}
	if len(w.kernel) != 2 || len(w.strides) != 2 || len(w.dilations) != 2 {
		return w, errors.New("only two dimensions are supported")
	}
	if a := c.node.Attr("auto_pad"); a != nil && string(a.S) != "NOTSET" && string(a.S) != "VALID" {
		return w, fmt.Errorf("auto_pad %s is not supported", a.S)
	}
	if p := c.ints("pads"); p != nil {
		if len(p) != 4 || p[0] != p[2] || p[1] != p[3] {
			return w, fmt.Errorf("pads %v are not the same on both sides", p)
		}
		w.pads = [2]int64{p[0], p[1]}
	}
	return w, nil
}

func conv(c *call) (*tensor.Dense, error) {
	err := errors.Join(c.arity(2, 3, 3), c.only("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group"))
	if err != nil {
		return nil, err
	}
	if g := c.int("group", 1); g != 1 {
		return nil, fmt.Errorf("%d groups are not supported", g)
	}
	shape := c.in[1].Shape()
	if len(shape) != 4 {
		return nil, errors.New("only two dimensions are supported")
	}
	w, err := c.window([]int64{int64(shape[2]), int64(shape[3])})
	if err != nil {
		return nil, err
	}
	// The engine takes two pads, one per axis; of four it takes others than
	// the specification means.
	return compute("Conv", c.in, onnxgraph.IntsAttr("kernel_shape", w.kernel...), onnxgraph.IntsAttr("strides", w.strides...),
		onnxgraph.IntsAttr("dilations", w.dilations...), onnxgraph.IntsAttr("pads", w.pads[:]...))
}

func maxPool(c *call) (*tensor.Dense, error) {
	err := errors.Join(c.arity(1, 1, 1), c.only("kernel_shape", "strides", "dilations", "pads", "auto_pad", "ceil_mode", "storage_order"))
	if err != nil {
		return nil, err
	}
	w, err := c.window(nil)
	if err != nil {
		return nil, err
	}
	if c.int("ceil_mode", 0) != 0 || !slices.Equal(w.dilations, []int64{1, 1}) {
		return nil, errors.New("ceil_mode and dilations are not supported")
	}
	// The engine's order is both pads of one axis, then both of the other.
	return compute("MaxPool", c.in, onnxgraph.IntsAttr("kernel_shape", w.kernel...), onnxgraph.IntsAttr("strides", w.strides...),
		onnxgraph.IntsAttr("pads", w.pads[0], w.pads[0], w.pads[1], w.pads[1]))
}

func globalAveragePool(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only()); err != nil {
		return nil, err
	}
	s := c.in[0].Shape()
	if len(s) != 4 {
		return nil, errors.New("only two dimensions are supported")
	}
	out, err := compute("GlobalAveragePool", c.in)
	if err != nil {
		return nil, err
	}
	return reshaped(out, []int{s[0], s[1], 1, 1})
}

// batchNormalization is that of inference.
func batchNormalization(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(5, 5, 5), c.only("epsilon", "momentum", "spatial", "training_mode")); err != nil {
		return nil, err
	}
	if c.int("training_mode", 0) != 0 || c.int("spatial", 1) != 1 || len(c.in[0].Shape()) != 4 {
		return nil, errors.New("only inference over the channels of images is supported")
	}
	return compute("BatchNormalization", c.in, onnxgraph.FloatAttr("epsilon", c.float("epsilon", 1e-5)))
}
