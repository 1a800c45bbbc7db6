package rewrite

import (
	"fmt"
	"strings"

	"ninox/onnxgraph"
)

// Adapters is every change of the default domain up to Newest that gives an
// old node another meaning, or makes it invalid. All other versions of
// operators only add types, attributes or inputs that may be left out.
// https://github.com/onnx/onnx/blob/main/docs/Changelog.md
func Adapters() []Adapter {
	return []Adapter{
		{names("Abs Add BatchNormalization Ceil Clip Div Dropout Elu Exp Floor HardSigmoid InstanceNormalization LeakyRelu Log Max Mean Min Mul Neg PRelu Reciprocal Relu Sigmoid Sqrt Sub Sum Tanh"), 6,
			"consumed_inputs, a hint about memory, is gone", drop("consumed_inputs")},
		{names("Selu"), 6, "the default factors got more digits, and consumed_inputs is gone", adaptSelu},

		{names("Add Sub Mul Div Pow And Or Xor Equal Greater Less"), 7, "operands are aligned from the last axis instead of by axis and broadcast", adaptBroadcast},
		{names("Gemm"), 7, "the third operand is always broadcast", drop("broadcast")},
		{names("PRelu"), 7, "slopes are aligned from the last axis instead of with the channels", adaptSlopes},

		{names("Concat"), 4, "axis has no default any more; it was 1", adaptConcat},
		{names("Cast"), 6, "the type is a number instead of a name", adaptCast},
		{names("LpPool GlobalLpPool"), 2, "p is an integer", adaptNormOrder},
		{names("Tile"), 6, "one number of repeats for each axis, instead of tiles along one", adaptTile},
		{names("RNN GRU LSTM"), 7, "whether the sequence is wanted shows in the outputs alone", drop("output_sequence")},

		{names("Reshape"), 5, "the shape is an input", toInput("shape", 1)},
		{names("TopK"), 10, "k is an input", toInput("k", 1)},
		{names("Slice"), 10, "starts, ends and axes are inputs", toInputs("starts", "ends", "axes")},
		{names("Split"), 2, "the sizes are an attribute", adaptSplitSizes},
		{names("Split"), 13, "the sizes are an input", toInput("split", 1)},
		{names("Split"), 18, "without sizes, their number is said", adaptSplitCount},
		{names("Squeeze Unsqueeze ReduceSum"), 13, "axes are an input", toInput("axes", 1)},
		{names("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare"), 18, "axes are an input", toInput("axes", 1)},
		{names("DFT"), 20, "the axis is an input, whose default is no longer 1", adaptDFT},
		{names("Pad"), 2, "paddings are called pads", adaptPaddings},
		{names("Pad"), 11, "pads and the value are inputs", adaptPad},
		{names("Clip"), 11, "bounds are inputs", adaptClip},

		{names("Dropout"), 7, "is_test is gone: only outside of training", drop("is_test")},
		{names("Dropout"), 10, "the mask is bool", adaptMask},
		{names("Dropout"), 12, "the ratio is an input", adaptRatio},
		{names("BatchNormalization"), 7, "the outputs alone say whether statistics are of the batch", drop("is_test")},
		{names("BatchNormalization"), 9, "statistics are by channel; spatial=0 had one for each place", adaptSpatial},
		{names("BatchNormalization"), 14, "training is an attribute, and the saved statistics are gone", adaptTraining},
		{names("GroupNormalization"), 21, "scale and bias are by channel instead of by group", adaptGroups},
		{names("Softmax LogSoftmax Hardmax"), 13, "over one axis, the last by default, instead of over all from an axis on, the second by default", adaptSoftmax},

		{names("Upsample"), 7, "scales are a list instead of two factors", adaptFactors},
		{names("Upsample"), 9, "scales are an input", toInput("scales", 1)},
		{names("Upsample"), 10, "replaced by Resize", adaptUpsample},
		{names("Resize"), 11, "a region and sizes were added before and behind scales; coordinates and rounding can be chosen, and others are the default", adaptResize},
		{names("Resize"), 13, "tf_half_pixel_for_nn is gone", adaptHalfPixel},
		{names("RoiAlign"), 16, "coordinates are shifted by half a pixel by default", adaptRoiAlign},
		{names("GridSample"), 20, "modes were renamed", adaptGridSample},

		{names("Scatter"), 11, "renamed ScatterElements", func(c *adapting) error { c.OpType = "ScatterElements"; return nil }},
		{names("Scan"), 9, "no axis of samples: they are scanned by one Scan around the other", adaptScan},
	}
}

func names(list string) []string { return strings.Fields(list) }

// drop removes attributes.
func drop(attrs ...string) func(*adapting) error {
	return func(c *adapting) error {
		for _, a := range attrs {
			c.Node.Attrs = without(c.Node.Attrs, a)
		}
		return nil
	}
}

func without(attrs []*onnxgraph.Attribute, name string) []*onnxgraph.Attribute {
	var out []*onnxgraph.Attribute
	for _, a := range attrs {
		if a.Name != name {
			out = append(out, a)
		}
	}
	return out
}

// toInput makes an attribute, where it is set and not empty, input i.
func toInput(attr string, i int) func(*adapting) error {
	return func(c *adapting) error {
		a := c.take(attr)
		if a == nil {
			return nil
		}
		switch a.Type {
		case onnxgraph.AttrInts:
			if len(a.Ints) > 0 {
				c.setInput(i, c.vector(attr, a.Ints...))
			}
		case onnxgraph.AttrInt:
			c.setInput(i, c.vector(attr, a.I))
		case onnxgraph.AttrFloats:
			c.setInput(i, c.constant(attr, onnxgraph.Floats("", []int64{int64(len(a.Floats))}, a.Floats)))
		default:
			return fmt.Errorf("attribute %q is no list of numbers", attr)
		}
		return nil
	}
}

// toInputs makes attributes the inputs behind the first.
func toInputs(attrs ...string) func(*adapting) error {
	return func(c *adapting) error {
		for i, a := range attrs {
			if err := toInput(a, i+1)(c); err != nil {
				return err
			}
		}
		return nil
	}
}

func adaptSelu(c *adapting) error {
	c.take("consumed_inputs")
	c.set(onnxgraph.FloatAttr("alpha", c.Float("alpha", 1.6732)))
	c.set(onnxgraph.FloatAttr("gamma", c.Float("gamma", 1.0507)))
	return nil
}

// adaptBroadcast: with an axis, the second operand covers the axes of the
// first from there on; it gets an extent of 1 for each of those behind.
func adaptBroadcast(c *adapting) error {
	broadcast, axis := c.take("broadcast"), c.take("axis")
	if broadcast == nil || broadcast.I == 0 || axis == nil || axis.I < 0 {
		return nil
	}
	a, err := c.rank(0)
	if err != nil {
		return err
	}
	b, err := c.rank(1)
	if err != nil {
		return err
	}
	behind := a - int(axis.I) - b
	if behind < 0 {
		return fmt.Errorf("axis %d leaves no place for the %d axes of input 1 among the %d of input 0", axis.I, b, a)
	}
	c.trailingOnes(1, b, behind)
	return nil
}

// trailingOnes appends n axes of extent 1 to input i, which has rank r.
func (c *adapting) trailingOnes(i, r, n int) {
	if r == 0 || n == 0 {
		return
	}
	var axes []int64
	for a := range n {
		axes = append(axes, int64(r+a))
	}
	c.setInput(i, c.emit("Unsqueeze", []string{c.Input(i)}, onnxgraph.IntsAttr("axes", axes...)))
}

// adaptSlopes: one slope for each channel, axis 1.
func adaptSlopes(c *adapting) error {
	slope := c.fact(1).Shape()
	if len(slope) == 1 && slope[0] == onnxgraph.Known(1) {
		return nil
	}
	x, err := c.rank(0)
	if err != nil {
		return err
	}
	c.trailingOnes(1, 1, max(x-2, 0))
	return nil
}

func adaptConcat(c *adapting) error {
	c.set(onnxgraph.IntAttr("axis", c.Int("axis", 1)))
	return nil
}

func adaptCast(c *adapting) error {
	to := c.take("to")
	if to == nil || to.Type != onnxgraph.AttrString {
		return fmt.Errorf(`attribute "to" is no name of a type`)
	}
	for d := onnxgraph.Float; d <= onnxgraph.BFloat16; d++ {
		if strings.EqualFold(d.String(), string(to.S)) {
			c.set(onnxgraph.IntAttr("to", int64(d)))
			return nil
		}
	}
	return fmt.Errorf(`attribute "to": there is no type %q`, to.S)
}

func adaptNormOrder(c *adapting) error {
	p := c.take("p")
	if p == nil || p.Type != onnxgraph.AttrFloat {
		return nil
	}
	if p.F != float32(int64(p.F)) {
		return fmt.Errorf("p is %v", p.F)
	}
	c.set(onnxgraph.IntAttr("p", int64(p.F)))
	return nil
}

// adaptTile: inputs are the data, the number of tiles and the axis.
func adaptTile(c *adapting) error {
	r, err := c.rank(0)
	if err != nil {
		return err
	}
	tiles, ok1 := c.fact(1).Ints()
	axis, ok2 := c.fact(2).Ints()
	if !ok1 || !ok2 || len(tiles) != 1 || len(axis) != 1 || axis[0] < 0 || axis[0] >= int64(r) {
		return fmt.Errorf("tiles and axis are no constants")
	}
	repeats := make([]int64, r)
	for i := range repeats {
		repeats[i] = 1
	}
	repeats[axis[0]] = tiles[0]
	c.Inputs = []string{c.Input(0), c.vector("repeats", repeats...)}
	return nil
}

func adaptSplitSizes(c *adapting) error {
	if c.Input(1) == "" {
		return nil
	}
	sizes, ok := c.fact(1).Ints()
	if !ok {
		return fmt.Errorf("input 1, the sizes, is no constant")
	}
	c.Inputs = c.Inputs[:1]
	c.set(onnxgraph.IntsAttr("split", sizes...))
	return nil
}

func adaptSplitCount(c *adapting) error {
	if c.Input(1) == "" {
		c.set(onnxgraph.IntAttr("num_outputs", int64(len(c.Outputs))))
	}
	return nil
}

func adaptDFT(c *adapting) error {
	axis := c.Int("axis", 1)
	c.take("axis")
	c.setInput(2, c.constant("axis", onnxgraph.Int64s("", []int64{}, []int64{axis})))
	return nil
}

func adaptPaddings(c *adapting) error {
	if a := c.take("paddings"); a != nil {
		c.set(onnxgraph.IntsAttr("pads", a.Ints...))
	}
	return nil
}

func adaptPad(c *adapting) error {
	if err := toInput("pads", 1)(c); err != nil {
		return err
	}
	return c.scalarInput("value", 2)
}

func adaptClip(c *adapting) error {
	if err := c.scalarInput("min", 1); err != nil {
		return err
	}
	return c.scalarInput("max", 2)
}

// scalarInput makes a number input i, of the element type of input 0.
func (c *adapting) scalarInput(attr string, i int) error {
	a := c.take(attr)
	if a == nil {
		return nil
	}
	v, err := c.scalarLike(attr, float64(a.F))
	if err != nil {
		return err
	}
	c.setInput(i, v)
	return nil
}
