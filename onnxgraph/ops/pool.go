// Pools: https://onnx.ai/onnx/operators/onnx__MaxPool.html and AveragePool,
// GlobalMaxPool, GlobalAveragePool.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var pools = []*op.Def{
	{
		Name: "MaxPool", Versions: since(1, 8, 10, 11, 12, 22), In: op.Exactly(1), Out: op.Between(1, 2),
		Attrs: append(attrs(aInt("storage_order"), aInt("ceil_mode")), poolAttrs...),
		Infer: func(c *op.InferCtx) error {
			if err := inferPool(c); err != nil {
				return err
			}
			c.Set(1, onnxgraph.Int64, c.Out[0].Shape().Clone())
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			flowPool(c)
			if c.OutFact(1) != nil {
				fixOut(c, 1, "holds positions")
			}
			return nil
		}),
		Grad: op.Gradient(gradMaxPool), Lower: op.Primitive,
	},
	{
		Name: "AveragePool", Versions: since(1, 7, 10, 11, 19, 22), In: op.Exactly(1), Out: op.Exactly(1),
		Attrs: append(attrs(aInt("count_include_pad"), aInt("ceil_mode")), poolAttrs...),
		Infer: inferPool, Flow: op.Flows(flowPool), Grad: op.Gradient(gradAveragePool), Lower: op.Primitive,
	},
	globalPool("GlobalAveragePool", func(k calc, r reduced) string { return k.expand(r.perElement(k, r.dy), r.x) }),
	globalPool("GlobalMaxPool", gradReduceExtremum),
}

// poolAttrs are the window's attributes, of which pools require the kernel.
var poolAttrs = attrs(aStr("auto_pad"), need(aInts("kernel_shape")), aInts("strides"), aInts("dilations"), aInts("pads"))

func inferPool(c *op.InferCtx) error {
	x := c.I(0)
	spatial := len(c.Node.Ints("kernel_shape"))
	if spatial == 0 {
		return c.Errorf("kernel_shape", "missing")
	}
	in := x.Shape()
	if in == nil {
		in = unknowns(spatial + 2)
	}
	if len(in) != spatial+2 {
		return c.Errorf("kernel_shape", "%d entries do not fit input %s", spatial, in)
	}
	win, bad := windowOf(c.Node, spatial, nil)
	if bad != "" || !win.known() {
		return c.Errorf(bad, "does not fit %d spatial axes", spatial)
	}
	out, err := win.slide(c, in[:2], in[2:])
	if err != nil {
		return err
	}
	c.Set(0, x.DType(), out)
	return nil
}

func flowPool(c op.FlowCtx) error {
	if c.InFact(0).Rank() < 3 {
		return opaque(c, "the rank is unknown")
	}
	flowSpatial(c, "a window slides along it")
	c.Link(c.In(0, 1), c.Out(0, 1))
	return nil
}

// gradMaxPool sends each gradient to the element that was chosen; the second
// output of MaxPool names it, counted over the whole tensor.
func gradMaxPool(c op.GradCtx) error {
	k := calc{c}
	x := c.Fact(c.I(0))
	if x.Rank() < 3 {
		return c.Errorf("the rank of %q is unknown", c.I(0))
	}
	win, _ := windowOf(c.Node(), x.Rank()-2, nil)
	if c.Node().Int("storage_order", 0) != 0 {
		return c.Errorf("no gradient for storage_order 1")
	}
	overlap := false
	for i := range win.kernel {
		overlap = overlap || win.strides[i] < win.reach(i)
	}
	if overlap && c.Opset() < 16 {
		return c.Errorf("windows overlap, and ScatterElements adds from opset 16 on only; convert the model")
	}
	index := k.reshape(c.Output(1), -1)
	zeros := k.zeros(k.reshape(k.one("Size", c.I(0)), 1), x.DType())
	flat := k.scatter(zeros, index, k.reshape(c.GO(0), -1), 0, overlap)
	c.SetGI(0, k.likeShape(flat, c.I(0)))
	return nil
}

// gradAveragePool spreads dY, divided by the number of averaged elements, over
// each window: a transposed convolution with ones, each channel by itself.
func gradAveragePool(c op.GradCtx) error {
	k := calc{c}
	x, y := c.Fact(c.I(0)), c.Fact(c.O(0))
	n := x.Rank() - 2
	if n < 1 {
		return c.Errorf("the rank of %q is unknown", c.I(0))
	}
	win, bad := windowOf(c.Node(), n, nil)
	win, ok := win.resolved(x.Shape()[2:])
	if bad != "" || !ok {
		return c.Errorf("the pads are unknown")
	}
	ones := k.filled(k.vector(append([]int64{1, 1}, win.kernel...)...), x.DType(), 1)
	each, err := k.averaged(c, win, ones)
	if err != nil {
		return err
	}
	// Channels become samples, so that one kernel serves all.
	single := k.two("Reshape", each, k.shapeWithTail(c.O(0), 2, -1, 1))
	extent := k.two("Reshape", c.I(0), k.shapeWithTail(c.I(0), 2, -1, 1))
	if win.ceil {
		win, err = win.rounded(c, x.Shape()[2:], y.Shape()[2:])
		if err != nil {
			return err
		}
	}
	c.SetGI(0, k.likeShape(k.convInputGrad(single, ones, extent, win, 1), c.I(0)))
	return nil
}

// averaged is dY divided by the number of elements in each window.
func (k calc) averaged(c op.GradCtx, win window, ones string) (string, error) {
	all := int64(1)
	padded := win.ceil
	for i, d := range win.kernel {
		all *= d
		padded = padded || win.pads[i] != 0 || win.pads[i+len(win.kernel)] != 0
	}
	x, y := c.Fact(c.I(0)), c.Fact(c.O(0))
	include := c.Node().Int("count_include_pad", 0) != 0
	if !padded || include && !win.ceil {
		return k.scale(c.GO(0), 1/float64(all)), nil
	}
	n := len(win.kernel)
	// Counting is the same convolution of ones. Elements of the padding count
	// where the attribute says so, those beyond it never do.
	area := k.filled(k.shapeWithTail(c.I(0), 2, 1, 1), x.DType(), 1)
	counted := win
	if include {
		pads := append([]int64{0, 0}, win.pads[:n]...)
		pads = append(append(pads, 0, 0), win.pads[n:]...)
		area = k.Emit("Pad", []string{area, k.vector(pads...), k.ScalarLike(area, 1)})
		counted.pads = make([]int64, 2*n)
	}
	if win.ceil {
		in := k.Fact(area).Shape()[2:]
		var err error
		if counted, err = counted.rounded(c, in, y.Shape()[2:]); err != nil {
			return "", err
		}
	}
	return k.div(c.GO(0), k.Emit("Conv", []string{area, ones}, counted.attributes()...)), nil
}

// rounded gives the window the end pads with which rounding down yields the
// extents that ceil_mode did.
func (w window) rounded(c op.GradCtx, in, out onnxgraph.Shape) (window, error) {
	n := len(w.kernel)
	pads := append([]int64{}, w.pads...)
	for i := range n {
		if !in[i].IsKnown() || !out[i].IsKnown() {
			return w, c.Errorf("ceil_mode with a spatial extent that is not known")
		}
		need := (out[i].Value-1)*w.strides[i] + w.reach(i) - in[i].Value - w.pads[i]
		pads[i+n] = max(need, 0)
	}
	w.pads, w.ceil = pads, false
	return w, nil
}

// globalPool is a reduction over all spatial axes.
func globalPool(name string, grad func(k calc, r reduced) string) *op.Def {
	return &op.Def{
		Name: name, Versions: since(1, 22), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			x := c.I(0)
			if x.Rank() < 0 {
				c.Set(0, x.DType(), nil)
				return nil
			}
			if x.Rank() < 2 {
				return c.Errorf("", "input %s, expected batch and channels at least", x.Shape())
			}
			out := x.Shape().Clone()
			for a := 2; a < len(out); a++ {
				out[a] = onnxgraph.Known(1)
			}
			c.Set(0, x.DType(), out)
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			if c.InFact(0).Rank() < 2 {
				return opaque(c, "the rank is unknown")
			}
			c.Link(c.In(0, 0), c.Out(0, 0))
			c.Link(c.In(0, 1), c.Out(0, 1))
			return nil
		}),
		Grad: op.Gradient(func(c op.GradCtx) error {
			rank := c.Fact(c.I(0)).Rank()
			if rank < 2 {
				return c.Errorf("the rank of %q is unknown", c.I(0))
			}
			c.SetGI(0, grad(calc{c}, reduced{x: c.I(0), y: c.O(0), dy: c.GO(0), axes: upTo(2, rank)}))
			return nil
		}),
		Lower: op.Primitive,
	}
}
