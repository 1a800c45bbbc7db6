package rewrite_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// conversion is one node of an old opset. It is run before and after, on the
// same random inputs; where no runtime has that opset, same is a model of
// today that computes what the old one meant.
type conversion struct {
	from   int64
	node   *onnxgraph.Node
	in     []*onnxgraph.Value
	consts []*onnxgraph.Tensor
	same   []*onnxgraph.Node
	newest int64  // opset up to which the runtime has the operator; 0 for any
	fires  string // adapters that act, in order of names
	reason string
}

func (c conversion) model(opset int64, nodes ...*onnxgraph.Node) *onnxgraph.Model {
	g := &onnxgraph.Graph{Name: "old", Nodes: nodes, Inputs: c.in, Initializers: c.consts}
	for _, o := range c.node.Outputs {
		if o != "" {
			g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: o})
		}
	}
	return &onnxgraph.Model{IRVersion: 8, Opsets: []onnxgraph.Opset{{Version: opset}}, Graph: g}
}

func float(name string, dims ...int64) *onnxgraph.Value {
	return value(name, onnxgraph.Float, onnxgraph.StaticShape(dims...))
}

// one is a node from x, and more, to y.
func one(opType string, more []string, attrs ...*onnxgraph.Attribute) *onnxgraph.Node {
	return node(opType, append([]string{"x"}, more...), []string{"y"}, attrs...)
}

func with(more ...string) []string { return more }

var (
	attrI  = onnxgraph.IntAttr
	attrIs = onnxgraph.IntsAttr
	attrF  = onnxgraph.FloatAttr
	attrFs = onnxgraph.FloatsAttr
	attrS  = onnxgraph.StringAttr
)

var x234 = []*onnxgraph.Value{float("x", 2, 3, 4)}

func consts(t ...*onnxgraph.Tensor) []*onnxgraph.Tensor { return t }

func floatConst(name string, dims []int64, v ...float32) *onnxgraph.Tensor {
	return onnxgraph.Floats(name, dims, v)
}

var conversions = []conversion{
	{from: 12, node: one("Squeeze", nil, attrIs("axes", 1)), in: []*onnxgraph.Value{float("x", 2, 1, 3)}, fires: "Squeeze-13", reason: "axes"},
	{from: 12, node: one("Squeeze", nil), in: []*onnxgraph.Value{float("x", 2, 1, 3)}, fires: "Squeeze-13", reason: "no axes"},
	{from: 11, node: one("Unsqueeze", nil, attrIs("axes", -1, 0)), in: x234, fires: "Unsqueeze-13", reason: "axes"},
	{from: 11, node: one("ReduceSum", nil, attrIs("axes", 1), attrI("keepdims", 0)), in: x234, fires: "ReduceSum-13", reason: "axes"},
	{from: 11, node: one("ReduceSum", nil), in: x234, fires: "ReduceSum-13", reason: "no axes"},
	{from: 13, node: one("ReduceMean", nil, attrIs("axes", -1, 0)), in: x234, fires: "ReduceMean-18", reason: "axes"},
	{from: 8, node: one("ReduceL2", nil, attrIs("axes", 2)), in: x234, fires: "ReduceL2-18", reason: "axes"},
	{from: 9, node: one("Slice", nil, attrIs("starts", 0, 1), attrIs("ends", 1, 9), attrIs("axes", 1, 2)), in: x234, fires: "Slice-10", reason: "axes"},
	{from: 9, node: one("Slice", nil, attrIs("starts", 1, -2), attrIs("ends", 2, -1)), in: x234, fires: "Slice-10", reason: "no axes"},
	{from: 10, node: one("Pad", nil, attrIs("pads", 0, 1, 0, 1, 0, 2), attrF("value", 1.5)), in: x234, fires: "Pad-11", reason: "value"},
	{from: 10, node: one("Pad", nil, attrIs("pads", 0, 0, 1, 0, 1, 2), attrS("mode", "reflect")), in: x234, fires: "Pad-11", reason: "mode"},
	{from: 1, node: one("Pad", nil, attrIs("paddings", 0, 1, 0, 1, 0, 2)), in: x234, same: []*onnxgraph.Node{one("Pad", with("pads"))},
		consts: consts(onnxgraph.Vector("pads", 0, 1, 0, 1, 0, 2)), fires: "Pad-11 Pad-2", reason: "paddings"},
	{from: 10, node: one("Clip", nil, attrF("max", 0.25)), in: x234, fires: "Clip-11", reason: "upper bound only"},
	{from: 6, node: one("Clip", nil, attrF("min", -0.5), attrF("max", 0.25)), in: x234, fires: "Clip-11", reason: "both bounds"},
	{from: 9, node: node("TopK", with("x"), with("y", "at"), attrI("k", 2), attrI("axis", 1)), in: x234, fires: "TopK-10", reason: "k"},
	{from: 11, node: node("Split", with("x"), with("y", "z"), attrI("axis", 2), attrIs("split", 1, 3)), in: x234, fires: "Split-13 Split-18", reason: "sizes"},
	{from: 11, node: node("Split", with("x"), with("y", "z"), attrI("axis", 2)), in: x234, fires: "Split-13 Split-18", reason: "equal parts"},
	{from: 1, node: node("Split", with("x", "sizes"), with("y", "z"), attrI("axis", 2)), in: x234, consts: consts(onnxgraph.Vector("sizes", 1, 3)),
		same: []*onnxgraph.Node{node("Split", with("x", "sizes"), with("y", "z"), attrI("axis", 2))}, fires: "Split-13 Split-18 Split-2", reason: "sizes as an input"},
	{from: 1, node: one("Reshape", nil, attrIs("shape", 0, -1)), in: x234, consts: consts(onnxgraph.Vector("shape", 0, -1)),
		same: []*onnxgraph.Node{one("Reshape", with("shape"))}, fires: "Reshape-5", reason: "shape"},
	{from: 17, node: one("DFT", nil, attrI("axis", 1)), in: []*onnxgraph.Value{float("x", 2, 5, 1)}, fires: "DFT-20", reason: "axis"},
	{from: 17, node: one("DFT", nil), in: []*onnxgraph.Value{float("x", 2, 5, 4, 1)}, fires: "DFT-20", reason: "default axis"},
	{from: 1, node: one("Concat", with("x")), in: x234, same: []*onnxgraph.Node{one("Concat", with("x"), attrI("axis", 1))}, fires: "Concat-4", reason: "default axis"},
	{from: 5, node: one("Cast", nil, attrS("to", "FLOAT")), in: []*onnxgraph.Value{value("x", onnxgraph.Int64, vec(3))}, same: []*onnxgraph.Node{one("Cast", nil, attrI("to", 1))}, fires: "Cast-6", reason: "name of a type"},
	{from: 1, node: one("LpPool", nil, attrF("p", 2), attrIs("kernel_shape", 2)), in: x234,
		same: []*onnxgraph.Node{one("LpPool", nil, attrI("p", 2), attrIs("kernel_shape", 2))}, fires: "LpPool-2", reason: "order"},
	{from: 1, node: one("Tile", with("tiles", "axis")), in: x234, consts: consts(onnxgraph.Int64s("tiles", []int64{}, []int64{2}), onnxgraph.Int64s("axis", []int64{}, []int64{1}), onnxgraph.Vector("repeats", 1, 2, 1)),
		same: []*onnxgraph.Node{one("Tile", with("repeats"))}, fires: "Tile-6", reason: "tiles along an axis"},
	{from: 1, node: one("Selu", nil, attrIs("consumed_inputs", 0)), in: x234, same: []*onnxgraph.Node{one("Selu", nil, attrF("alpha", 1.6732), attrF("gamma", 1.0507))}, fires: "Selu-6", reason: "factors"},
	{from: 1, node: one("Relu", nil, attrIs("consumed_inputs", 0)), in: x234, same: []*onnxgraph.Node{one("Relu", nil)}, fires: "Relu-6", reason: "consumed"},

	{from: 6, node: one("Add", with("b"), attrI("broadcast", 1), attrI("axis", 1)), in: append(x234, float("b", 3)),
		same: []*onnxgraph.Node{node("Unsqueeze", with("b", "one"), with("column")), one("Add", with("column"))}, consts: consts(onnxgraph.Vector("one", 1)), fires: "Add-7 Unsqueeze-13", reason: "axis"},
	{from: 6, node: one("Mul", with("b"), attrI("broadcast", 1), attrI("axis", 0)), in: append(x234, float("b", 2, 3)),
		same: []*onnxgraph.Node{node("Unsqueeze", with("b", "one"), with("column")), one("Mul", with("column"))}, consts: consts(onnxgraph.Vector("one", 2)), fires: "Mul-7 Unsqueeze-13", reason: "two axes"},
	{from: 6, node: one("Sub", with("b"), attrI("broadcast", 1)), in: append(x234, float("b", 3, 4)), same: []*onnxgraph.Node{one("Sub", with("b"))}, fires: "Sub-7", reason: "from the last axis"},
	{from: 1, node: one("Div", with("b"), attrIs("consumed_inputs", 0, 0)), in: append(x234, float("b", 2, 3, 4)), same: []*onnxgraph.Node{one("Div", with("b"))}, fires: "Div-6 Div-7", reason: "none"},
	{from: 1, node: one("Gemm", with("b", "c"), attrI("broadcast", 1)), in: []*onnxgraph.Value{float("x", 2, 3), float("b", 3, 4), float("c", 4)}, same: []*onnxgraph.Node{one("Gemm", with("b", "c"))}, fires: "Gemm-7", reason: "broadcast"},
	{from: 6, node: one("PRelu", with("s")), in: append(x234, float("s", 3)), same: []*onnxgraph.Node{node("Unsqueeze", with("s", "one"), with("column")), one("PRelu", with("column"))},
		consts: consts(onnxgraph.Vector("one", 1)), fires: "PRelu-7 Unsqueeze-13", reason: "channels"},
	{from: 6, node: one("PRelu", with("s")), in: append(x234, float("s", 1)), same: []*onnxgraph.Node{one("PRelu", with("s"))}, fires: "PRelu-7", reason: "one slope"},

	{from: 6, node: one("Dropout", nil, attrI("is_test", 1)), in: x234, same: []*onnxgraph.Node{one("Dropout", nil)}, fires: "Dropout-10 Dropout-12 Dropout-7", reason: "test"},
	{from: 9, node: node("Dropout", with("x"), with("y", "mask"), attrF("ratio", 0.25)), in: x234, same: []*onnxgraph.Node{node("Dropout", with("x"), with("y", "kept")), node("Cast", with("kept"), with("mask"), attrI("to", 1))}, fires: "Dropout-10 Dropout-12", reason: "mask and ratio"},
	{from: 1, node: one("BatchNormalization", with("s", "b", "m", "v"), attrIs("consumed_inputs", 0, 0, 0, 1, 1), attrI("is_test", 1)), in: x234, consts: statistics(3),
		same: []*onnxgraph.Node{one("BatchNormalization", with("s", "b", "m", "v"))}, fires: "BatchNormalization-14 BatchNormalization-6 BatchNormalization-7 BatchNormalization-9", reason: "test"},
	{from: 7, node: one("BatchNormalization", with("s", "b", "m", "v"), attrI("spatial", 0), attrF("epsilon", 0.1)), in: x234, consts: statistics(3, 4),
		fires: "BatchNormalization-9", reason: "statistics of each place"},
	{from: 7, node: one("BatchNormalization", with("s", "b", "m", "v"), attrI("spatial", 1)), in: x234, consts: statistics(3), fires: "BatchNormalization-14 BatchNormalization-9", reason: "statistics of each channel"},
	{from: 9, node: node("BatchNormalization", with("x", "s", "b", "m", "v"), with("y", "m2", "v2")), in: x234, consts: statistics(3),
		same: []*onnxgraph.Node{node("BatchNormalization", with("x", "s", "b", "m", "v"), with("y", "m2", "v2"), attrI("training_mode", 1))}, fires: "BatchNormalization-14", reason: "training"},
	{from: 18, node: one("GroupNormalization", with("s", "b"), attrI("num_groups", 2)), in: []*onnxgraph.Value{float("x", 2, 4, 3)}, consts: groupStatistics(),
		same: []*onnxgraph.Node{one("GroupNormalization", with("s4", "b4"), attrI("num_groups", 2))}, fires: "GroupNormalization-21", reason: "two channels a group"},

	{from: 12, node: one("Softmax", nil), in: x234, fires: "Softmax-13", reason: "default axis"},
	{from: 12, node: one("Softmax", nil, attrI("axis", 2)), in: x234, fires: "Softmax-13", reason: "last axis"},
	{from: 11, node: one("LogSoftmax", nil, attrI("axis", -2)), in: x234, fires: "LogSoftmax-13", reason: "counted from behind"},
	{from: 8, node: one("Softmax", nil, attrI("axis", 1)), in: []*onnxgraph.Value{float("x", 2, 3, 1)}, fires: "Softmax-13", reason: "nothing behind"},
	{from: 11, node: one("Hardmax", nil, attrI("axis", 0)), in: x234, fires: "Hardmax-13", reason: "all axes"},

	{from: 1, node: one("Upsample", nil, attrF("height_scale", 2), attrF("width_scale", 3)), in: []*onnxgraph.Value{float("x", 1, 1, 2, 3)}, consts: consts(floatConst("scales", []int64{4}, 1, 1, 2, 3)),
		same: []*onnxgraph.Node{one("Resize", with("", "scales"), attrS("coordinate_transformation_mode", "asymmetric"), attrS("nearest_mode", "floor"))}, fires: "Resize-11 Resize-13 Upsample-10 Upsample-7 Upsample-9", reason: "factors"},
	{from: 7, node: one("Upsample", nil, attrFs("scales", 1, 1, 2.5, 3)), in: []*onnxgraph.Value{float("x", 1, 1, 4, 3)}, fires: "Resize-11 Resize-13 Upsample-10 Upsample-9", reason: "nearest"},
	{from: 9, node: one("Upsample", with("scales"), attrS("mode", "linear")), in: []*onnxgraph.Value{float("x", 1, 1, 4, 3)}, consts: consts(floatConst("scales", []int64{4}, 1, 1, 2.5, 3)),
		fires: "Resize-11 Resize-13 Upsample-10", reason: "linear"},
	{from: 10, node: one("Resize", with("scales")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 7)}, consts: consts(floatConst("scales", []int64{4}, 1, 1, 0.6, 0.3)), fires: "Resize-11 Resize-13", reason: "down"},
	{from: 10, node: one("Resize", with("scales")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 7)}, consts: consts(floatConst("scales", []int64{4}, 1, 1, 1.7, 0.6)), fires: "Resize-11 Resize-13", reason: "up and down"},
	{from: 10, node: one("Resize", with("scales"), attrS("mode", "linear")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 7)}, consts: consts(floatConst("scales", []int64{4}, 1, 1, 1.7, 0.6)), fires: "Resize-11 Resize-13", reason: "linear"},
	{from: 11, node: one("Resize", with("roi", "scales"), attrS("coordinate_transformation_mode", "tf_half_pixel_for_nn"), attrS("nearest_mode", "floor")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 7)},
		consts: consts(floatConst("scales", []int64{4}, 1, 1, 2.3, 0.6), floatConst("roi", []int64{0})), fires: "Resize-13", reason: "half pixels"},
	{from: 11, node: one("Resize", with("roi", "scales"), attrS("coordinate_transformation_mode", "tf_half_pixel_for_nn")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 7)},
		consts: consts(floatConst("scales", []int64{4}, 1, 1, 2.3, 0.6), floatConst("roi", []int64{0})), fires: "Resize-13", reason: "half pixels, default rounding"},
	{from: 10, node: one("RoiAlign", with("rois", "which"), attrI("output_height", 2), attrI("output_width", 2)), in: []*onnxgraph.Value{float("x", 1, 2, 6, 6)},
		consts: consts(floatConst("rois", []int64{1, 4}, 0.4, 1.1, 3.7, 4.9), onnxgraph.Vector("which", 0)), newest: 21, fires: "RoiAlign-16", reason: "half a pixel"},
	{from: 16, node: one("GridSample", with("grid"), attrS("mode", "bicubic")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 5), float("grid", 1, 3, 3, 2)}, fires: "GridSample-20", reason: "cubic"},
	{from: 16, node: one("GridSample", with("grid")), in: []*onnxgraph.Value{float("x", 1, 1, 5, 5), float("grid", 1, 3, 3, 2)}, fires: "GridSample-20", reason: "default mode"},
	{from: 10, node: one("Scatter", with("at", "u"), attrI("axis", 1)), in: append(x234, float("u", 1, 2, 1)), consts: consts(onnxgraph.Int64s("at", []int64{1, 2, 1}, []int64{2, 0})), fires: "Scatter-11", reason: "renamed"},
	{from: 8, node: node("Scan", with("", "h", "x"), with("hT", "y"), attrI("num_scan_inputs", 1), onnxgraph.GraphAttr("body", running())), in: append(x234, float("h", 2, 4)), fires: "Scan-9", reason: "samples"},
	{from: 1, node: node("GRU", with("x", "w", "r"), with("y"), attrI("hidden_size", 2), attrI("output_sequence", 1)), in: append(x234, float("w", 1, 6, 4), float("r", 1, 6, 2)),
		same: []*onnxgraph.Node{node("GRU", with("x", "w", "r"), with("y"), attrI("hidden_size", 2))}, fires: "GRU-7", reason: "sequence"},
}

// statistics are scale, bias, mean and variance of some shape.
func statistics(dims ...int64) []*onnxgraph.Tensor {
	var out []*onnxgraph.Tensor
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	for i, name := range []string{"s", "b", "m", "v"} {
		v := make([]float32, n)
		for k := range v {
			v[k] = float32(i+1)*0.3 + float32(k)*0.1
		}
		out = append(out, onnxgraph.Floats(name, dims, v))
	}
	return out
}

// groupStatistics are scale and bias of two groups, and of their four channels.
func groupStatistics() []*onnxgraph.Tensor {
	return consts(floatConst("s", []int64{2}, 0.5, 2), floatConst("b", []int64{2}, -1, 1),
		floatConst("s4", []int64{4}, 0.5, 0.5, 2, 2), floatConst("b4", []int64{4}, -1, -1, 1, 1))
}

// running is the body of a scan: h ← h/2 + x, y = tanh h.
func running() *onnxgraph.Graph {
	return &onnxgraph.Graph{Name: "running", Inputs: []*onnxgraph.Value{float("hIn", 4), float("xIn", 4)}, Outputs: []*onnxgraph.Value{float("hOut", 4), float("yOut", 4)},
		Initializers: consts(onnxgraph.Scalar("half", 0.5)),
		Nodes: []*onnxgraph.Node{
			node("Mul", with("hIn", "half"), with("less")), node("Add", with("less", "xIn"), with("hOut")), node("Tanh", with("hOut"), with("yOut")),
		}}
}

func TestConvert(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, c := range conversions {
		t.Run(fmt.Sprintf("%s-%d/%s", c.node.OpType, c.from, c.reason), func(t *testing.T) {
			old := c.model(c.from, c.node)
			before := old
			if c.same != nil {
				before = c.model(21, c.same...)
			}
			want := execute(t, engine, before, feed{limit: 9})
			for _, to := range []int64{21, rewrite.Newest} {
				m, fired, err := rewrite.Convert(old, reg, to)
				if err != nil {
					t.Fatal(err)
				}
				if err := rewrite.Check(m, reg); err != nil {
					t.Errorf("opset %d: %v", to, err)
				}
				if got := strings.Join(slices.Sorted(maps.Keys(fired)), " "); got != c.fires {
					t.Errorf("opset %d: %q acted, expected %q", to, got, c.fires)
				}
				if m.OpsetVersion("") != to || old.OpsetVersion("") != c.from {
					t.Errorf("opset is %d, and that of the original %d", m.OpsetVersion(""), old.OpsetVersion(""))
				}
				if c.newest == 0 || to <= c.newest {
					sameResults(t, want, execute(t, engine, m, feed{limit: 9}))
				}
			}
		})
	}
}

func sameResults(t *testing.T, want, got map[string]*ort.Value) {
	t.Helper()
	if len(want) == 0 {
		t.Error("no outputs compared")
	}
	for name, w := range want {
		if err := close(w, got[name]); err != nil {
			t.Errorf("output %q: %v", name, err)
		}
	}
}

// TestConvertModels takes every shared model that runs to newer opsets.
func TestConvertModels(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, path := range modelFiles(t, "models") {
		t.Run(short(path), func(t *testing.T) {
			m, in := read(t, path), feedOf(path)
			want := execute(t, engine, m, in)
			for _, to := range []int64{rewrite.Trainable, 21} {
				if to < m.OpsetVersion("") {
					continue
				}
				out, _, err := rewrite.Convert(m, reg, to)
				if err != nil {
					t.Fatal(err)
				}
				if err := rewrite.Check(out, reg); err != nil {
					t.Errorf("opset %d: %v", to, err)
				}
				sameResults(t, want, execute(t, engine, out, in))
			}
		})
	}
}

func TestConvertRefuses(t *testing.T) {
	m := model([]*onnxgraph.Node{one("Relu", nil)}, "y")
	unranked := model([]*onnxgraph.Node{one("Add", with("b"), attrI("broadcast", 1), attrI("axis", 0))}, "y")
	unranked.Opsets[0].Version = 6
	unranked.Graph.Inputs = []*onnxgraph.Value{value("x", onnxgraph.Float, nil), float("b", 2)}
	saved := model([]*onnxgraph.Node{node("BatchNormalization", with("x", "s", "b", "m", "v"), with("y", "", "", "saved"))}, "saved")
	saved.Opsets[0].Version = 9
	saved.Graph.Inputs[0] = float("x", 2, 3)
	saved.Graph.Initializers = statistics(3)
	for _, c := range []struct {
		m    *onnxgraph.Model
		to   int64
		want string
	}{
		{m, 13, "the model is of opset 17, it cannot be taken down to 13"},
		{m, rewrite.Newest + 1, "expected at most"},
		{unranked, 13, `convert: node "y" (Add-6): the rank of input 0 ("x") is not known, which opset 7 needs: operands are aligned`},
		{saved, 14, "output 3, a statistic of the batch, is used"},
	} {
		if _, _, err := rewrite.Convert(c.m, reg, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, expected one that says %q", err, c.want)
		}
	}
}

// TestConvertLeaves: what other domains and subgraphs hold is converted by the
// same rules, or not at all.
func TestConvertLeaves(t *testing.T) {
	branch := func(name string) *onnxgraph.Graph {
		return &onnxgraph.Graph{Name: name, Outputs: []*onnxgraph.Value{{Name: name + "out"}}, Nodes: []*onnxgraph.Node{
			node("Squeeze", with("x"), with(name+"out"), attrIs("axes", 0)),
		}}
	}
	foreign := node("Squeeze", with("y"), with("z"), attrIs("axes", 0))
	foreign.Domain = "com.example"
	m := model([]*onnxgraph.Node{node("If", with("c"), with("y"), onnxgraph.GraphAttr("then_branch", branch("a")), onnxgraph.GraphAttr("else_branch", branch("b"))), foreign}, "z")
	m.Opsets = []onnxgraph.Opset{{Version: 11}, {Domain: "com.example", Version: 1}}
	m.Graph.Inputs = []*onnxgraph.Value{float("x", 1, 4), value("c", onnxgraph.Bool, onnxgraph.Shape{})}
	out, fired, err := rewrite.Convert(m, reg, 13)
	if err != nil {
		t.Fatal(err)
	}
	if fired["Squeeze-13"] != 2 || foreign.Attr("axes") == nil || out.Graph.Nodes[1].Attr("axes") == nil {
		t.Errorf("fired %v, expected both branches and not the operator of another domain", fired)
	}
	for i, a := range out.Graph.Nodes[0].Attrs {
		if n := a.G.Nodes[0]; out.Graph.Initializer(n.Input(1)) == nil || len(n.Attrs) != 0 {
			t.Errorf("branch %d holds %v with %d attributes, expected axes as an initializer", i, n.Inputs, len(n.Attrs))
		}
	}
}

// compatible lists, by version, the operators whose new definition only adds
// to the one before: element types, attributes whose default is what held
// before, optional inputs and outputs, negative axes. OneHot-11 counts negative
// indices from the end, where before they were outside; ONNX Runtime always did.
var compatible = map[int64]string{
	3:  "GRU",
	6:  "Gemm",
	7:  "AveragePool",
	8:  "Max MaxPool Mean Min Sum",
	9:  "Cast Constant Flatten Gemm Greater Less MatMul PRelu",
	10: "AveragePool MaxPool",
	11: "ArgMax ArgMin AveragePool Compress Concat Constant Conv ConvTranspose DepthToSpace Equal Flatten Gather Gemm Hardmax If LogSoftmax Loop LpPool MaxPool MaxUnpool NonMaxSuppression OneHot ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Scan Slice Softmax Split Squeeze TopK Unsqueeze",
	12: "ArgMax ArgMin Clip Constant GatherND Max MaxPool Min Pow ReduceMax ReduceMin",
	13: "Abs Add ArgMax ArgMin Cast Ceil Clip Concat Constant DepthToSpace DequantizeLinear Div Dropout Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gemm Greater Identity If IsNaN LRN Less Log Loop MatMul Max Mean MeanVarianceNormalization Min Mod Mul Neg NegativeLogLikelihoodLoss NonZero Pad Pow QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare Relu Reshape ScatterElements ScatterND Shape Sigmoid Sign Size Slice SoftmaxCrossEntropyLoss SpaceToDepth Sqrt Sub Sum Tanh Tile Transpose",
	14: "Add CumSum Div GRU Identity LSTM Mul RNN Relu Reshape Sub",
	15: "BatchNormalization Pow Shape",
	16: "GreaterOrEqual Identity If LeakyRelu LessOrEqual Loop PRelu Scan ScatterElements ScatterND Where",
	17: "LayerNormalization",
	18: "LpPool OptionalGetElement OptionalHasElement Pad Resize ScatterElements ScatterND",
	19: "AveragePool Cast CastLike Constant DequantizeLinear Equal Identity If Loop Pad QuantizeLinear Reshape Resize Scan Shape Size",
	20: "ConstantOfShape IsInf IsNaN ReduceMax ReduceMin",
	21: "Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten Identity If Loop Pad QLinearMatMul QuantizeLinear Reshape Scan Shape Size Squeeze Transpose Unsqueeze",
	22: "Acos Acosh Asin Asinh Atan Atanh AveragePool Bernoulli Conv ConvTranspose Cos Cosh DeformConv Det Dropout Elu EyeLike GRU GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample HardSigmoid HardSwish InstanceNormalization LSTM LpNormalization LpPool MaxPool MaxRoiPool MaxUnpool Mish Multinomial NegativeLogLikelihoodLoss RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike RoiAlign Round Selu Sin Sinh Softplus Softsign Tan ThresholdedRelu",
	23: "Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten Identity If Loop Pad QuantizeLinear Reshape Scan Shape Size Squeeze Transpose Unsqueeze",
	24: "Attention Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten Identity If Loop Pad QuantizeLinear Reshape Scan Shape Size SplitToSequence Squeeze TopK Transpose Unsqueeze",
}

// TestEveryVersion: each version of each operator that the registry knows has
// an adapter, or is known to need none.
func TestEveryVersion(t *testing.T) {
	adapted := map[string]bool{}
	for _, a := range rewrite.Adapters() {
		for _, name := range a.Ops {
			adapted[fmt.Sprintf("%s-%d", name, a.Version)] = true
		}
	}
	for v, list := range compatible {
		for _, name := range strings.Fields(list) {
			key := fmt.Sprintf("%s-%d", name, v)
			if adapted[key] {
				t.Errorf("%s is listed as compatible, but has an adapter", key)
			}
			adapted[key] = true
		}
	}
	for _, def := range reg.All() {
		if def.Domain != "" {
			continue
		}
		for _, v := range def.Versions[1:] {
			if key := fmt.Sprintf("%s-%d", def.Name, v); v <= rewrite.Newest && !adapted[key] {
				t.Errorf("%s has neither an adapter nor an entry among those that need none", key)
			}
		}
	}
}
