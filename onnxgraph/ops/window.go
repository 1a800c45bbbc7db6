package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// window holds the sliding-window attributes that convolutions and pools
// share, one entry per spatial axis; pads are all begins, then all ends.
type window struct {
	kernel, strides, dilations, pads []int64
	auto                             string // "" unless pads follow from the extents: SAME_UPPER or SAME_LOWER
	ceil                             bool   // round output extents up (pools)
}

var windowAttrs = attrs(aStr("auto_pad"), aInts("kernel_shape"), aInts("strides"), aInts("dilations"), aInts("pads"))

// windowOf reads the attributes for a number of spatial axes. kernel gives the
// extents that the weights have, nil for pools.
func windowOf(n *onnxgraph.Node, spatial int, kernel onnxgraph.Shape) (window, string) {
	w := window{ceil: n.Int("ceil_mode", 0) != 0}
	list := func(attr string, count int, fill int64) ([]int64, string) {
		v := n.Ints(attr)
		if v == nil {
			v = make([]int64, count)
			for i := range v {
				v[i] = fill
			}
		}
		if len(v) != count {
			return nil, attr
		}
		for _, x := range v {
			if x < fill { // strides, dilations and extents are at least 1
				if attr != "pads" {
					return nil, attr
				}
			}
		}
		return v, ""
	}
	var bad string
	if w.strides, bad = list("strides", spatial, 1); bad != "" {
		return w, bad
	}
	if w.dilations, bad = list("dilations", spatial, 1); bad != "" {
		return w, bad
	}
	if w.pads, bad = list("pads", 2*spatial, 0); bad != "" {
		return w, bad
	}
	if w.kernel = n.Ints("kernel_shape"); w.kernel == nil && kernel != nil {
		for _, d := range kernel {
			w.kernel = append(w.kernel, d.Value)
		}
	}
	if len(w.kernel) != spatial {
		return w, "kernel_shape"
	}
	for i := range kernel {
		if kernel[i].IsKnown() && kernel[i].Value != w.kernel[i] {
			return w, "kernel_shape"
		}
	}
	switch auto := n.Str("auto_pad", "NOTSET"); auto {
	case "NOTSET", "":
	case "VALID":
		w.pads = make([]int64, 2*spatial)
	case "SAME_UPPER", "SAME_LOWER":
		w.auto = auto
	default:
		return w, "auto_pad"
	}
	return w, ""
}

// known says whether the extents of the kernel are numbers.
func (w window) known() bool {
	for _, k := range w.kernel {
		if k < 1 {
			return false
		}
	}
	return true
}

// reach is the extent that the dilated kernel covers on axis i.
func (w window) reach(i int) int64 { return w.dilations[i]*(w.kernel[i]-1) + 1 }

// resolved replaces SAME pads by numbers where the extents are known; false
// where they are not.
func (w window) resolved(in onnxgraph.Shape) (window, bool) {
	if w.auto == "" {
		return w, true
	}
	n := len(w.kernel)
	pads := make([]int64, 2*n)
	for i, d := range in {
		total := w.reach(i) - 1 // with stride 1 whatever the extent is
		if w.strides[i] != 1 {
			if !d.IsKnown() {
				return w, false
			}
			out := (d.Value + w.strides[i] - 1) / w.strides[i]
			total = max(0, (out-1)*w.strides[i]+w.reach(i)-d.Value)
		}
		pads[i], pads[i+n] = total/2, total-total/2
		if w.auto == "SAME_LOWER" {
			pads[i], pads[i+n] = pads[i+n], pads[i]
		}
	}
	w.pads, w.auto = pads, ""
	return w, true
}

// output is the extent that sliding along axis i of extent d gives; negative
// where the kernel does not fit.
func (w window) output(i int, d onnxgraph.Dim) onnxgraph.Dim {
	one, s := onnxgraph.Known(1), onnxgraph.Known(w.strides[i])
	if w.auto != "" { // ⌈d/s⌉
		return floorDims(addDims(d, onnxgraph.Known(w.strides[i]-1)), s)
	}
	if w.kernel[i] < 1 {
		return onnxgraph.UnknownDim()
	}
	n := len(w.kernel)
	room := w.pads[i] + w.pads[i+n] - w.reach(i)
	if !d.IsKnown() {
		if w.ceil && w.strides[i] != 1 {
			return onnxgraph.UnknownDim()
		}
		return addDims(floorDims(moved(d, room), s), one)
	}
	if d.Value+room < 0 {
		return onnxgraph.Dim{Value: -2}
	}
	if !w.ceil {
		return onnxgraph.Known((d.Value+room)/w.strides[i] + 1)
	}
	out := (d.Value+room+w.strides[i]-1)/w.strides[i] + 1
	if (out-1)*w.strides[i] >= d.Value+w.pads[i] { // a window that starts in the end padding is left out
		out--
	}
	return onnxgraph.Known(out)
}

// slide appends the output extents of all spatial axes to lead.
func (w window) slide(c *op.InferCtx, lead onnxgraph.Shape, in onnxgraph.Shape) (onnxgraph.Shape, error) {
	out := lead.Clone()
	for i, d := range in {
		o := w.output(i, d)
		if o.Value == -2 {
			return nil, c.Errorf("kernel_shape", "%d positions do not fit spatial axis %d of extent %s with pads %d and %d",
				w.reach(i), i, d, w.pads[i], w.pads[i+len(w.kernel)])
		}
		out = append(out, o)
	}
	return out, nil
}

// attributes are the window as attributes of an emitted node, without
// kernel_shape.
func (w window) attributes() []*onnxgraph.Attribute {
	return []*onnxgraph.Attribute{
		onnxgraph.IntsAttr("strides", w.strides...), onnxgraph.IntsAttr("dilations", w.dilations...), onnxgraph.IntsAttr("pads", w.pads...),
	}
}

// flowSpatial fixes the spatial axes of input 0 and output 0, and links the
// batch.
func flowSpatial(c op.FlowCtx, reason string) {
	c.Link(c.In(0, 0), c.Out(0, 0))
	for a := 2; a < c.InFact(0).Rank(); a++ {
		c.Fix(c.In(0, a), reason)
		c.Fix(c.Out(0, a), reason)
	}
}
