package finetune

import (
	"fmt"
	"math"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

// Head says which classifier replaces the last layer of a model.
type Head struct {
	Classes int    // at least 1
	Output  string // of the model; default the first of type float
	Seed    uint64 // of the initial weights
}

// headPasses are operators between the last layer and an output that keep its
// classes apart.
var headPasses = []string{
	"Identity", "Flatten", "Squeeze", "Reshape", "Cast", "Dropout", "Relu", "Softmax", "LogSoftmax", "Sigmoid",
	"GlobalAveragePool", "AveragePool", "ReduceMean",
}

// NewHead returns a copy of m, its local functions inlined, whose last layer,
// a Gemm, MatMul or Conv before the output, has new weights for another number of
// classes, initialised as PyTorch does: uniform in ±1/sqrt(fan-in). They have the
// names of the old ones, which are returned, unless something else reads those.
func NewHead(m *onnxgraph.Model, reg *op.Registry, o Head) (*onnxgraph.Model, []string, error) {
	if o.Classes < 1 {
		return nil, nil, fmt.Errorf("new head: %d classes, expected at least 1", o.Classes)
	}
	m, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, nil, err
	}
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("new head: %w", err)
	}
	g := m.Graph
	name, err := facts.FloatOutput(o.Output)
	if err != nil {
		return nil, nil, fmt.Errorf("new head: %w", err)
	}
	at := slices.IndexFunc(g.Outputs, func(v *onnxgraph.Value) bool { return v.Name == name })
	if at < 0 {
		return nil, nil, fmt.Errorf("new head: %q is no output of the model", name)
	}
	out := g.Outputs[at]
	h, err := lastLayer(g, out.Name)
	if err != nil {
		return nil, nil, err
	}
	names, err := h.renew(g, o)
	if err != nil {
		return nil, nil, err
	}
	before := out.Type.Shape
	for _, v := range g.Outputs {
		v.Type.Shape = nil
	}
	g.ValueInfo = nil // shapes behind the new layer differ
	if facts, err = infer.Run(m, reg, infer.Options{}); err != nil {
		return nil, nil, fmt.Errorf("new head: something behind the last layer expects the old number of classes: %w", err)
	}
	for _, v := range g.Outputs {
		v.Type = facts.Fact(v.Name).Type
	}
	if s := out.Type.Shape; before != nil && len(s) != len(before) || !hasExtent(s, o.Classes) {
		return nil, nil, fmt.Errorf("new head: output %q would be %s, expected an axis of %d classes", out.Name, out.Type, o.Classes)
	}
	return m, names, nil
}

func hasExtent(s onnxgraph.Shape, n int) bool {
	return slices.ContainsFunc(s, func(d onnxgraph.Dim) bool { return d.IsKnown() && d.Value == int64(n) })
}

// head is the last layer: a use of a weight, and its bias, if any.
type head struct {
	layer *layer
	use   use
	bias  string          // initializer, "" where there is none
	adds  *onnxgraph.Node // the node that reads the bias
}

// lastLayer follows an output back to the layer that makes its classes.
func lastLayer(g *onnxgraph.Graph, output string) (*head, error) {
	producer := map[string]*onnxgraph.Node{}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			producer[out] = n
		}
	}
	layers := layersOf(g)
	h := &head{}
	for value := output; ; {
		n := producer[value]
		if n == nil {
			return nil, fmt.Errorf("new head: no layer was found before output %q", output)
		}
		for _, l := range layers {
			for _, u := range l.uses {
				if u.node == n {
					h.layer, h.use = l, u
				}
			}
		}
		switch {
		case h.layer != nil:
			if n.OpType != "MatMul" && n.Input(2) != "" {
				h.bias, h.adds = n.Input(2), n
			}
			if h.bias != "" && g.Initializer(h.bias) == nil {
				return nil, fmt.Errorf("new head: the bias %q of node %q is no initializer", h.bias, n.Label())
			}
			return h, nil
		case n.Op() == "Add" && h.bias == "" && (g.Initializer(n.Inputs[0]) != nil) != (g.Initializer(n.Inputs[1]) != nil):
			at := 0
			if g.Initializer(n.Inputs[0]) == nil {
				at = 1
			}
			h.bias, h.adds, value = n.Inputs[at], n, n.Inputs[1-at]
		case n.Domain == "" && slices.Contains(headPasses, n.OpType):
			value = n.Inputs[0]
		default:
			return nil, fmt.Errorf("new head: node %q (%s) stands before output %q, expected a Gemm, MatMul or Conv with a weight of its own", n.Label(), n.Op(), output)
		}
	}
}

// renew puts new weights into the layer and returns their names.
func (h *head) renew(g *onnxgraph.Graph, o Head) ([]string, error) {
	if why := h.layer.unfit(1); why != "" {
		return nil, fmt.Errorf("new head: weight %q: %s", h.layer.weight.Name, why)
	}
	_, in := h.layer.sizes()
	bound := 1 / math.Sqrt(float64(size(in)))
	classes := int64(o.Classes)
	dims := append([]int64{classes}, in...)
	if !h.use.outIn() {
		dims = []int64{in[0], classes}
	}
	shared := len(h.layer.others) > 0 || len(h.layer.uses) > 1
	weight := uniform(h.layer.weight.Name, dims, bound, o.Seed)
	if !shared {
		g.Initializers[slices.Index(g.Initializers, h.layer.weight)] = weight
	} else {
		if h.use.turned { // a new weight is read as it is stored
			weight.Dims = []int64{dims[1], dims[0]}
		}
		weight.Name = freshName(g, weight.Name+".head")
		g.Initializers = append(g.Initializers, weight)
		h.use.node.Inputs[h.use.input] = weight.Name
	}
	names := []string{weight.Name}
	if h.bias != "" {
		at := slices.IndexFunc(g.Initializers, func(t *onnxgraph.Tensor) bool { return t.Name == h.bias })
		old := g.Initializers[at].Dims
		dims := slices.Repeat([]int64{1}, max(len(old), 1))
		dims[h.classAxis(len(dims))] = classes
		bias := uniform(h.bias, dims, bound, o.Seed)
		if countReads(g, h.bias) > 1 {
			bias.Name = freshName(g, h.bias+".head")
			g.Initializers = append(g.Initializers, bias)
			h.adds.Inputs[slices.Index(h.adds.Inputs, h.bias)] = bias.Name
		} else {
			g.Initializers[at] = bias
		}
		names = append(names, bias.Name)
	}
	return names, nil
}

// classAxis is the axis of a bias of a rank along which its classes lie.
func (h *head) classAxis(rank int) int {
	if h.use.node.OpType == "Conv" && h.adds.OpType == "Add" {
		return max(0, rank-1-(len(h.layer.weight.Dims)-2)) // [classes, 1, 1]
	}
	return rank - 1
}

func countReads(g *onnxgraph.Graph, value string) int {
	n := 0
	for _, node := range g.Nodes {
		for _, in := range node.Reads() {
			if in == value {
				n++
			}
		}
	}
	return n
}

func freshName(g *onnxgraph.Graph, name string) string {
	for used := g.Names(); used[name]; {
		name += "_"
	}
	return name
}
