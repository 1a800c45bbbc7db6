package finetune

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// layer is a weight and the nodes that multiply by it.
type layer struct {
	weight *onnxgraph.Tensor
	module string // as PyTorch calls the layer
	uses   []use
	others []string // readers that an adapter does not change
}

// use is a node that multiplies by a weight.
type use struct {
	node   *onnxgraph.Node
	input  int  // the weight's place
	turned bool // the node reads the weight's transpose
}

// view is a weight, or its transpose, under another name.
type view struct {
	of     *layer
	turned bool
}

// layersOf finds the float initializers of at least two axes and who reads
// them, through Identity and, for matrices, Transpose.
func layersOf(g *onnxgraph.Graph) []*layer {
	var layers []*layer
	views := map[string]view{}
	for _, t := range g.Initializers {
		if t.DType == onnxgraph.Float && len(t.Dims) >= 2 && t.Len() > 0 {
			l := &layer{weight: t}
			layers, views[t.Name] = append(layers, l), view{of: l}
		}
	}
	for _, n := range g.Nodes {
		for i, in := range n.Inputs {
			v, ok := views[in]
			if !ok {
				continue
			}
			if turned, is := isView(n, v); is {
				views[n.Outputs[0]] = view{v.of, turned}
			} else if multiplies(n, i, v, views) {
				v.of.uses = append(v.of.uses, use{n, i, v.turned})
			} else {
				v.of.others = append(v.of.others, fmt.Sprintf("node %q (%s)", n.Label(), n.Op()))
			}
		}
		for _, name := range n.Captured() {
			if v, ok := views[name]; ok {
				v.of.others = append(v.of.others, fmt.Sprintf("a subgraph of node %q", n.Label()))
			}
		}
	}
	for _, out := range g.Outputs {
		if v, ok := views[out.Name]; ok {
			v.of.others = append(v.of.others, fmt.Sprintf("output %q", out.Name))
		}
	}
	for _, l := range layers {
		l.module = moduleOf(l)
	}
	return layers
}

// isView says whether a node only renames or transposes a weight, and which way
// round its result is.
func isView(n *onnxgraph.Node, v view) (turned, is bool) {
	switch {
	case n.Domain != "" || len(n.Outputs) != 1:
	case n.OpType == "Identity":
		return v.turned, true
	case n.OpType == "Transpose" && len(v.of.weight.Dims) == 2:
		perm := n.Ints("perm")
		return v.turned != (perm == nil || perm[0] == 1), perm == nil || onnxgraph.IsPermutation(perm, 2)
	}
	return false, false
}

// multiplies says whether a node multiplies something else by the weight that is
// its input i.
func multiplies(n *onnxgraph.Node, i int, v view, views map[string]view) bool {
	if n.Domain != "" || i > 1 {
		return false
	}
	if _, constant := views[n.Input(1-i)]; constant {
		return false
	}
	rank := len(v.of.weight.Dims)
	return n.OpType == "Conv" && i == 1 && rank >= 3 || (n.OpType == "MatMul" || n.OpType == "Gemm") && rank == 2
}

// outIn says whether the rows of the stored weight are outputs, as PyTorch's
// Linear has it and every convolution.
func (u use) outIn() bool {
	if u.node.OpType == "Conv" {
		return true
	}
	turned := u.turned != (u.node.OpType == "Gemm" && u.node.Int([]string{"transA", "transB"}[u.input], 0) != 0)
	return turned == (u.input == 1)
}

// factor is what the node multiplies the product by.
func (u use) factor() float64 {
	if u.node.OpType == "Gemm" {
		return float64(u.node.Float("alpha", 1))
	}
	return 1
}

func (u use) groups() int64 {
	if u.node.OpType == "Conv" {
		return u.node.Int("group", 1)
	}
	return 1
}

// dilated says whether the layer is a convolution with gaps in its kernel.
func (l *layer) dilated() bool {
	return slices.ContainsFunc(l.uses[0].node.Ints("dilations"), func(d int64) bool { return d != 1 })
}

// folded says what an exporter has multiplied into the weight, "" for nothing: then
// an adapter of the layer in PyTorch is not one of this weight. PyTorch's exporters
// fold batch normalizations; the newer one leaves the name of its rule with the
// node, the older one a made-up name of the weight.
func (l *layer) folded() string {
	for _, u := range l.uses {
		for _, kv := range u.node.Metadata {
			if kv.Key == "pkg.onnxscript.rewriter.rule_name" && strings.Contains(kv.Value, "FuseBatchNorm") {
				return "the exporter has folded a batch normalization into its weight; export again with optimize=False"
			}
		}
		if u.node.OpType == "Conv" && strings.HasPrefix(l.weight.Name, "onnx::Conv_") {
			return "the exporter has computed its weight, most likely with a batch normalization in it; export again with training=TrainingMode.PRESERVE"
		}
	}
	return ""
}

// sizes are those of the map that the weight is: outputs, and inputs of each
// group with the extents of the kernel.
func (l *layer) sizes() (out int64, in []int64) {
	d := l.weight.Dims
	if l.uses[0].outIn() {
		return d[0], d[1:]
	}
	return d[1], d[:1]
}

// adapterDims are the shapes of A and B of a rank.
func (l *layer) adapterDims(rank int64) (a, b []int64) {
	out, in := l.sizes()
	return append([]int64{rank}, in...), append([]int64{out, rank / l.uses[0].groups()}, slices.Repeat([]int64{1}, len(in)-1)...)
}

// unfit says why a layer can have no adapter of a rank, "" where it can.
func (l *layer) unfit(rank int64) string {
	if len(l.uses) == 0 {
		return "no MatMul, Gemm or Conv multiplies by it, only " + strings.Join(l.others, ", ")
	}
	first := l.uses[0]
	for _, u := range l.uses {
		switch {
		case u.factor() == 0:
			return fmt.Sprintf("node %q multiplies by alpha 0", u.node.Label())
		case u.outIn() != first.outIn():
			return fmt.Sprintf("nodes %q and %q read it in opposite directions", first.node.Label(), u.node.Label())
		case u.factor() != first.factor() || u.groups() != first.groups():
			return fmt.Sprintf("nodes %q and %q differ in alpha or group", first.node.Label(), u.node.Label())
		}
	}
	if g := first.groups(); g < 1 || rank%g != 0 {
		return fmt.Sprintf("the rank %d is no multiple of the %d groups of node %q", rank, g, first.node.Label())
	}
	return ""
}

// named says whether a glob names the layer: its weight, its module, or the
// module without leading parts, as the target modules of PEFT do.
func (l *layer) named(glob string) bool {
	for _, name := range []string{l.weight.Name, l.module} {
		if ok, _ := path.Match(glob, name); ok || glob == name {
			return true
		}
	}
	parts := strings.Split(l.module, ".")
	for i := range parts {
		if ok, _ := path.Match(glob, strings.Join(parts[i:], ".")); ok {
			return true
		}
	}
	return false
}

// moduleOf is the path of the layer in PyTorch: the weight's name without
// ".weight", or, where the exporter made up that name ("onnx::MatMul_12"), the
// scope in the name of the node that reads it.
func moduleOf(l *layer) string {
	name := l.weight.Name
	if len(l.uses) > 0 && strings.Contains(name, "::") {
		if scope := scopeOf(l.uses[0].node.Name); scope != "" {
			return scope
		}
	}
	return strings.TrimSuffix(name, ".weight")
}

// scopeOf turns "/layer1/layer1.0/conv1/Conv", where children of lists carry
// the names of their parents, into "layer1.0.conv1".
func scopeOf(node string) string {
	parts := strings.Split(node, "/")
	if len(parts) < 3 || parts[0] != "" {
		return ""
	}
	var scope []string
	for _, p := range parts[1 : len(parts)-1] {
		if n := len(scope); n > 0 && strings.HasPrefix(p, scope[n-1]+".") {
			scope[n-1] = p
			continue
		}
		scope = append(scope, p)
	}
	return strings.Join(scope, ".")
}

// find is the layer of a weight, nil where there is none.
func find(layers []*layer, weight string) *layer {
	if i := slices.IndexFunc(layers, func(l *layer) bool { return l.weight.Name == weight }); i >= 0 {
		return layers[i]
	}
	return nil
}

// reaching is the set of nodes on which a value depends.
func reaching(g *onnxgraph.Graph, value string) map[*onnxgraph.Node]bool {
	needed, nodes := map[string]bool{value: true}, map[*onnxgraph.Node]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		if slices.ContainsFunc(n.Outputs, func(out string) bool { return out != "" && needed[out] }) {
			nodes[n] = true
			for _, in := range n.Reads() {
				needed[in] = true
			}
		}
	}
	return nodes
}
