package ops_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
)

// recorder is an op.FlowCtx that writes down what a rule says: x0.1 is axis 1
// of input 0, y0.1 of output 0, and (x0.1/0) the first factor or segment of it.
type recorder struct {
	node  *onnxgraph.Node
	facts *infer.Result
	names []string
	said  []string
}

func (r *recorder) Node() *onnxgraph.Node { return r.node }
func (r *recorder) Opset() int64          { return 17 }

func (r *recorder) InFact(i int) *op.Fact  { return r.facts.Fact(r.node.Input(i)) }
func (r *recorder) OutFact(i int) *op.Fact { return r.facts.Fact(r.node.Output(i)) }

func (r *recorder) axis(name string) op.Axis {
	if i := slices.Index(r.names, name); i >= 0 {
		return op.Axis(i)
	}
	r.names = append(r.names, name)
	return op.Axis(len(r.names) - 1)
}

func (r *recorder) In(i, a int) op.Axis {
	return r.axis(fmt.Sprintf("x%d.%d", i, wrap(a, r.InFact(i).Rank())))
}

func (r *recorder) Out(i, a int) op.Axis {
	return r.axis(fmt.Sprintf("y%d.%d", i, wrap(a, r.OutFact(i).Rank())))
}

func wrap(a, rank int) int {
	if a < 0 {
		return a + rank
	}
	return a
}

func (r *recorder) say(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Link(a, b op.Axis)     { r.say("%s=%s", r.names[a], r.names[b]) }
func (r *recorder) Contract(a, b op.Axis) { r.say("%s*%s", r.names[a], r.names[b]) }
func (r *recorder) Index(a op.Axis, reason string) {
	r.say("index %s", r.names[a])
}
func (r *recorder) Fix(a op.Axis, reason string) { r.say("fix %s", r.names[a]) }
func (r *recorder) Taps(a op.Axis)               { r.say("taps %s", r.names[a]) }

func (r *recorder) Factor(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis {
	r.say("%s=product%v", r.names[a], sizes)
	return r.parts(a, len(sizes))
}

func (r *recorder) Segment(a op.Axis, sizes ...onnxgraph.Dim) []op.Axis {
	r.say("%s=segments%v", r.names[a], sizes)
	return r.parts(a, len(sizes))
}

func (r *recorder) parts(a op.Axis, n int) []op.Axis {
	out := make([]op.Axis, n)
	for i := range out {
		out[i] = r.axis(fmt.Sprintf("(%s/%d)", r.names[a], i))
	}
	return out
}

func (r *recorder) Regroup(from, to []op.Axis) {
	join := func(list []op.Axis) string {
		var s []string
		for _, a := range list {
			s = append(s, r.names[a])
		}
		return strings.Join(s, ",")
	}
	r.say("[%s]=[%s]", join(from), join(to))
}

func (r *recorder) Body(*onnxgraph.Graph, []op.Binding, []op.Binding) { r.say("body") }

// TestFlows states the axis flow of the core operators.
func TestFlows(t *testing.T) {
	d := onnxgraph.StaticShape
	type value any // a shape of a float input, or a constant tensor
	rows := []struct {
		op    string
		attrs []*onnxgraph.Attribute
		in    []value
		outs  int
		want  string
	}{
		{"Add", nil, []value{d(2, 3), d(3)}, 1, "x0.1=y0.1 x0.0=y0.0 x1.0=y0.1"},
		{"MatMul", nil, []value{d(5, 2, 3), d(3, 4)}, 1, "x0.2*x1.0 x1.1=y0.2 x0.1=y0.1 x0.0=y0.0"},
		{"Gemm", with(i("transB", 1)), []value{d(2, 3), d(4, 3), d(4)}, 1, "x0.0=y0.0 x1.0=y0.1 x0.1*x1.1 x2.0=y0.1"},
		{"Conv", nil, []value{d(1, 4, 5, 5), d(6, 4, 3, 3), d(6)}, 1,
			"x0.0=y0.0 fix x0.2 fix y0.2 fix x0.3 fix y0.3 taps x1.2 taps x1.3 x0.1*x1.1 x1.0=y0.1 x2.0=y0.1"},
		{"Conv", with(i("group", 2)), []value{d(1, 4, 5), d(6, 2, 3)}, 1,
			"x0.0=y0.0 fix x0.2 fix y0.2 taps x1.2 x0.1=product[2 2] y0.1=product[2 3] x1.0=product[2 3] " +
				"(x0.1/0)=(x1.0/0) (x1.0/0)=(y0.1/0) (x0.1/1)*x1.1 (x1.0/1)=(y0.1/1)"},
		{"Conv", with(i("group", 4)), []value{d(1, 4, 5), d(4, 1, 3)}, 1, "x0.0=y0.0 fix x0.2 fix y0.2 taps x1.2 x0.1=x1.0 x1.0=y0.1"},
		{"ConvTranspose", nil, []value{d(1, 4, 5), d(4, 6, 3)}, 1, "x0.0=y0.0 fix x0.2 fix y0.2 taps x1.2 x0.1*x1.0 x1.1=y0.1"},
		{"MaxPool", with(is("kernel_shape", 2)), []value{d(1, 4, 6)}, 1, "x0.0=y0.0 fix x0.2 fix y0.2 x0.1=y0.1"},
		{"GlobalAveragePool", nil, []value{d(2, 4, 6, 6)}, 1, "x0.0=y0.0 x0.1=y0.1"},
		{"BatchNormalization", nil, []value{d(2, 4), d(4), d(4), d(4), d(4)}, 1, "x0.1=y0.1 x0.0=y0.0 x1.0=y0.1 x2.0=y0.1 x3.0=y0.1 x4.0=y0.1"},
		{"Softmax", nil, []value{d(2, 3)}, 1, "x0.1=y0.1 x0.0=y0.0"},
		{"ReduceMean", with(is("axes", 1), i("keepdims", 0)), []value{d(2, 3, 4)}, 1, "x0.0=y0.0 x0.2=y0.1"},
		{"Transpose", with(is("perm", 1, 2, 0)), []value{d(2, 3, 4)}, 1, "x0.1=y0.0 x0.2=y0.1 x0.0=y0.2"},
		{"Flatten", nil, []value{d(2, 3, 4)}, 1, "x0.0=y0.0 [x0.1,x0.2]=[y0.1]"},
		{"Flatten", nil, []value{d(2, 3, 1, 1)}, 1, "x0.0=y0.0 x0.1=y0.1"},
		{"Reshape", nil, []value{d(2, 6, 5), onnxgraph.Vector("", 2, 2, 3, 5)}, 1, "x0.0=y0.0 x0.2=y0.3 [x0.1]=[y0.1,y0.2] fix x1.0"},
		{"Reshape", nil, []value{d(4, 6, 5), onnxgraph.Vector("", 2, 2, 3, 10)}, 1, "[x0.0]=[y0.0,y0.1] [x0.1,x0.2]=[y0.2,y0.3] fix x1.0"},
		{"Squeeze", nil, []value{d(1, 3, 1, 4), onnxgraph.Vector("", 0)}, 1, "fix x1.0 x0.1=y0.0 x0.2=y0.1 x0.3=y0.2"},
		{"Unsqueeze", nil, []value{d(3, 4), onnxgraph.Vector("", 1)}, 1, "fix x1.0 y0.0=x0.0 y0.2=x0.1"},
		{"Concat", with(i("axis", 1)), []value{d(2, 3), d(2, 4)}, 1, "y0.1=segments[3 4] x0.0=y0.0 x0.1=(y0.1/0) x1.0=y0.0 x1.1=(y0.1/1)"},
		{"Split", with(i("axis", 1)), []value{d(2, 6)}, 2, "x0.1=segments[3 3] x0.0=y0.0 (x0.1/0)=y0.1 x0.0=y1.0 (x0.1/1)=y1.1"},
		{"Slice", nil, []value{d(2, 6), onnxgraph.Vector("", 1), onnxgraph.Vector("", 4), onnxgraph.Vector("", 1)}, 1,
			"fix x1.0 fix x2.0 fix x3.0 x0.0=y0.0 x0.1=segments[1 3 2] (x0.1/1)=y0.1"},
		{"Slice", nil, []value{d(2, 6), onnxgraph.Vector("", 0), onnxgraph.Vector("", 6), onnxgraph.Vector("", 1), onnxgraph.Vector("", 2)}, 1,
			"fix x1.0 fix x2.0 fix x3.0 fix x4.0 x0.0=y0.0 fix x0.1 fix y0.1"},
		{"Pad", nil, []value{d(2, 6), onnxgraph.Vector("", 0, 1, 0, 2)}, 1, "fix x1.0 x0.0=y0.0 y0.1=segments[1 6 2] x0.1=(y0.1/1)"},
		{"Tile", nil, []value{d(2, 6), onnxgraph.Vector("", 1, 3)}, 1, "fix x1.0 x0.0=y0.0 y0.1=product[3 6] x0.1=(y0.1/1)"},
		{"Gather", nil, []value{d(50, 6), onnxgraph.Int64}, 1, "x0.1=y0.2 x1.0=y0.0 x1.1=y0.1 index x0.0"},
		{"Gather", with(i("axis", 1)), []value{d(2, 6), onnxgraph.Int64s("", []int64{}, []int64{0})}, 1, "x0.0=y0.0 fix x0.1"},
		{"Gather", with(i("axis", 1)), []value{d(2, 6), onnxgraph.Vector("", 2, 3)}, 1, "x0.0=y0.0 x1.0=y0.1 x0.1=segments[2 2 2] (x0.1/1)=y0.1"},
		{"GatherElements", with(i("axis", 1)), []value{d(4, 6), onnxgraph.Int64}, 1, "x0.0=x1.0 x1.0=y0.0 index x0.1 x1.1=y0.1"},
		{"CumSum", nil, []value{d(2, 6), onnxgraph.Int64s("", []int64{}, []int64{1})}, 1, "x0.1=y0.1 x0.0=y0.0 fix x0.1"},
		{"Einsum", with(s("equation", "bhid,bhjd->bhij")), []value{d(2, 3, 4, 5), d(2, 3, 6, 5)}, 1,
			"x0.0=y0.0 x0.1=y0.1 x0.2=y0.2 x1.0=y0.0 x1.1=y0.1 x1.2=y0.3 x0.3*x1.3"},
		{"Expand", nil, []value{d(3, 1), onnxgraph.Vector("", 2, 3, 4)}, 1, "x0.1=y0.2 x0.0=y0.1 fix x1.0"},
		{"NonZero", nil, []value{d(3)}, 1, "fix x0.0 fix y0.0 fix y0.1"},
	}
	for _, r := range rows {
		b := onnxgraph.NewBuilder("flow", 17)
		var inputs []string
		for k, v := range r.in {
			name := fmt.Sprintf("in%d", k)
			switch v := v.(type) {
			case onnxgraph.Shape:
				inputs = append(inputs, b.Input(name, onnxgraph.Float, v))
			case onnxgraph.DType:
				inputs = append(inputs, b.Input(name, v, d(4, 6)))
			case *onnxgraph.Tensor:
				inputs = append(inputs, b.Const(v))
			}
		}
		b.OpN(r.op, inputs, r.outs, r.attrs...)
		m, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		facts, err := infer.Run(m, ops.Registry(), infer.Options{})
		if err != nil {
			t.Errorf("%s: %v", r.op, err)
			continue
		}
		c := &recorder{node: m.Graph.Nodes[0], facts: facts}
		if err := ops.Registry().Lookup("", r.op).Flow.Apply(c); err != nil {
			t.Errorf("%s: %v", r.op, err)
		}
		if got := strings.Join(c.said, " "); got != r.want {
			t.Errorf("%s %v:\n got %s\nwant %s", r.op, r.in, got, r.want)
		}
	}
}
