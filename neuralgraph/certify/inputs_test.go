package certify_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/neuralgraph/certify"
	"ninox/onnxgraph"
	"ninox/runtime/runtimetest"
)

// chooser runs one of two networks as the integer "rate" asks: for 7, first,
// else second. It also has a state whose open axis must be as long as the
// batch, and a window that the sequence must fill.
func chooser(n *net) {
	open := onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim()}
	x := n.Input("signal", onnxgraph.Float, open)
	state := n.Input("state", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Known(2), onnxgraph.UnknownDim(), onnxgraph.Known(6)})
	rate := n.Input("rate", onnxgraph.Int64, onnxgraph.Shape{})
	frames := n.reshape(x, 0, 2, 36) // 72 numbers, not more
	branch := func(name string, hidden int64) *onnxgraph.Attribute {
		in, out := n.weight(name+".in", 36, hidden), n.weight(name+".out", hidden, 6)
		node := func(op, x, y, to string) *onnxgraph.Node {
			return &onnxgraph.Node{OpType: op, Inputs: []string{x, y}, Outputs: []string{name + to}}
		}
		relu := &onnxgraph.Node{OpType: "Relu", Inputs: []string{name + "h"}, Outputs: []string{name + "r"}}
		return onnxgraph.GraphAttr(name, &onnxgraph.Graph{
			Name:    name,
			Nodes:   []*onnxgraph.Node{node("MatMul", frames, in, "h"), relu, node("MatMul", name+"r", out, "y")},
			Outputs: []*onnxgraph.Value{{Name: name + "y", Type: onnxgraph.TensorOf(onnxgraph.Float, nil)}},
		})
	}
	y := n.Op("If", []string{n.Op("Equal", []string{n.Op("Identity", []string{rate}), n.Const(onnxgraph.Int64s("", []int64{}, []int64{7}))})}, branch("then_branch", 5), branch("else_branch", 9))
	first := n.Op("Gather", []string{state, n.Const(onnxgraph.Int64s("", []int64{}, []int64{0}))}, onnxgraph.IntAttr("axis", 0))
	n.result(n.Op("Add", []string{y, n.Op("Unsqueeze", []string{first, n.ints(1)})}), 3)
}

func certified(t *testing.T, s *sample, change func(g *neuralgraph.Graph)) (*neuralgraph.Graph, *certify.Certificate) {
	t.Helper()
	engine := runtimetest.Engine(t)
	m, g := analyse(t, s)
	if change != nil {
		change(g)
	}
	cert, err := certify.Run(context.Background(), engine, m, g, certify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g, cert
}

// TestInputsAreFound: sizes and values that make a demanding model run, once
// for each of its ways.
func TestInputsAreFound(t *testing.T) {
	s := &sample{name: "chooser", build: chooser}
	g, cert := certified(t, s, nil)
	if cert.Inputs != 2 || cert.Groups != 2 || cert.Passed != 2 || !cert.NegativeControl.Changed {
		t.Errorf("certificate %+v of groups %+v", cert, g.Groups)
	}
	// A group of either branch that is claimed wrongly must be found out.
	for _, wrong := range []string{"then_branch.in", "else_branch.in"} {
		_, cert := certified(t, s, func(g *neuralgraph.Graph) {
			for i := range g.Blocks { // its targets: claim that its rows are permuted alone
				if b := &g.Blocks[i]; b.Parameter == wrong {
					for k := range g.Groups {
						if g.Groups[k].ID == b.Source[0] {
							g.Groups[k].Permutable = true
						}
					}
				}
			}
		})
		if len(cert.Failed) == 0 {
			t.Errorf("%s: permuting what the model input fixes goes unnoticed: %+v", wrong, cert)
		}
	}
}

// TestListsAreCompared: outputs that are sequences and maps count, and so do
// inputs that are sequences.
func TestListsAreCompared(t *testing.T) {
	floats := func(dims ...int64) onnxgraph.Type {
		return onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(dims...))
	}
	tests := map[string]func(n *net){
		"sequence out": func(n *net) {
			h := n.Op("Relu", []string{n.linear(n.input("x", 5), "a", 5, 7)})
			y := n.Op("SplitToSequence", []string{n.linear(h, "b", 7, 6)}, onnxgraph.IntAttr("axis", 1))
			elem := floats(2, 1)
			n.Graph().Outputs = append(n.Graph().Outputs, &onnxgraph.Value{Name: y, Type: onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}})
		},
		"map out": func(n *net) {
			n.Import("ai.onnx.ml", 1)
			h := n.Op("Relu", []string{n.linear(n.input("x", 5), "a", 5, 7)})
			p := n.Op("Softmax", []string{n.linear(h, "b", 7, 3)}, onnxgraph.IntAttr("axis", 1))
			y := n.Node("ai.onnx.ml", "ZipMap", []string{p}, []string{n.Fresh("map")}, onnxgraph.IntsAttr("classlabels_int64s", 0, 1, 2))[0]
			value := onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{})
			elem := onnxgraph.Type{Kind: onnxgraph.MapKind, DType: onnxgraph.Int64, Elem: &value}
			n.Graph().Outputs = append(n.Graph().Outputs, &onnxgraph.Value{Name: y, Type: onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}})
		},
		"sequence in": func(n *net) {
			elem := floats(2, 5)
			n.Graph().Inputs = append(n.Graph().Inputs, &onnxgraph.Value{Name: "list", Type: onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}})
			n.Reserve("list")
			x := n.Op("ConcatFromSequence", []string{"list"}, onnxgraph.IntAttr("axis", 0))
			n.result(n.linear(n.Op("Relu", []string{n.linear(x, "a", 5, 7)}), "b", 7, 3), 2)
		},
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			s := &sample{name: name, build: build}
			g, cert := certified(t, s, nil)
			if cert.Groups != 1 || cert.Passed != 1 || !cert.NegativeControl.Changed || cert.Refused.Changed != cert.Refused.Groups {
				t.Errorf("certificate %+v of groups %+v", cert, g.Groups)
			}
		})
	}
}

// TestRefusedGroups: groups that are not permutable change the outputs; one
// that is refused without a reason is reported as unknown.
func TestRefusedGroups(t *testing.T) {
	_, cert := certified(t, &samples[0], nil)
	if r := cert.Refused; r.Groups != 2 || r.Changed != 2 || len(r.Unknown) != 0 {
		t.Errorf("refused groups %+v, expected input and output to change the outputs", r)
	}
	var hidden string
	_, cert = certified(t, &samples[0], func(g *neuralgraph.Graph) {
		for i := range g.Groups {
			if g.Groups[i].Permutable {
				g.Groups[i].Permutable, hidden = false, g.Groups[i].ID
			}
		}
	})
	if r := cert.Refused; r.Groups != 3 || r.Changed != 2 || !reflect.DeepEqual(r.Unknown, []string{hidden}) {
		t.Errorf("refused groups %+v, expected %s to be unknown", r, hidden)
	}
	if s := cert.String(); !strings.Contains(s, "2 of 3 refused groups change the outputs, unknown: "+hidden) {
		t.Errorf("certificate reads %q", s)
	}
}

// A loop that an exporter wrote out reads a fixed number of places: the extent
// stands nowhere, only the last place does.
func TestLengthOfAWrittenOutLoop(t *testing.T) {
	_, cert := certified(t, &sample{name: "written out", build: func(n *net) {
		x := n.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim(), onnxgraph.Known(4)})
		w, v := n.weight("w", 4, 6), n.weight("v", 6, 4)
		var steps []string
		for i := range int64(7) {
			at := n.Op("Gather", []string{x, n.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))}, onnxgraph.IntAttr("axis", 1))
			y := n.Op("MatMul", []string{n.Op("Relu", []string{n.Op("MatMul", []string{at, w})}), v})
			steps = append(steps, n.Op("Unsqueeze", []string{y, n.ints(1)}))
		}
		n.result(n.Op("Add", []string{x, n.Op("Concat", steps, onnxgraph.IntAttr("axis", 1))}), 3)
	}}, nil)
	if cert.Groups == 0 || cert.Passed != cert.Groups {
		t.Errorf("certificate %+v", cert)
	}
}
