package autodiff

import (
	"slices"

	"ninox/onnxgraph"
)

// finish drops emitted nodes and constants that no wanted gradient needs, and
// gives gradients their names.
func (e *engine) finish(res *Result, o Options) {
	e.ownOutputs(res, o)
	live := map[string]bool{}
	for _, grad := range res.Grads {
		live[grad] = true
	}
	var kept []*onnxgraph.Node
	for _, n := range slices.Backward(e.Emitted) {
		if anyOf(n.Outputs, live) {
			kept = append(kept, n)
			for _, in := range n.Reads() {
				live[in] = true
			}
		}
	}
	slices.Reverse(kept)
	e.rename(kept, res)
	e.Model.Graph.Nodes = append(e.Model.Graph.Nodes, kept...)
	e.DropUnusedConstants()
}

// ownOutputs makes sure that every wanted gradient is a value of its own,
// produced by a backward node: a model output can have one name only.
func (e *engine) ownOutputs(res *Result, o Options) {
	produced := map[string]bool{}
	for _, n := range e.Emitted {
		for _, out := range n.Outputs {
			produced[out] = true
		}
	}
	e.Prefix = "Grad/"
	for _, w := range o.Wrt {
		grad := res.Grads[w]
		if !produced[grad] {
			e.Sharing = false // no sharing: each gradient needs its own node
			grad = e.Emit("Identity", []string{grad})
			res.Grads[w] = grad
		}
		produced[grad] = false
	}
}

// rename calls the gradient of value v "v_grad" where that name is free, the
// wanted values first.
func (e *engine) rename(nodes []*onnxgraph.Node, res *Result) {
	live := map[string]bool{}
	for _, n := range nodes {
		for _, out := range n.Outputs {
			live[out] = true
		}
	}
	names := map[string]string{}
	claim := func(grad, value string) {
		if _, done := names[grad]; !done && live[grad] && !e.Used(value+"_grad") {
			e.Reserve(value + "_grad")
			names[grad] = value + "_grad"
		}
	}
	values := make([]string, 0, len(e.total))
	for v := range e.total {
		values = append(values, v)
	}
	slices.Sort(values) // the map's order must not reach the file
	wanted := make([]string, 0, len(res.Grads))
	for v := range res.Grads {
		wanted = append(wanted, v)
	}
	slices.Sort(wanted)
	for _, v := range wanted {
		claim(res.Grads[v], v)
	}
	for _, v := range values {
		claim(e.total[v], v)
	}
	renameReads(nodes, names)
	for _, n := range nodes {
		substitute(n.Outputs, names)
	}
	for old, name := range names {
		e.Facts.Set(name, e.Facts.Fact(old))
	}
	for v, grad := range res.Grads {
		if name, ok := names[grad]; ok {
			res.Grads[v] = name
		}
	}
}

// renameReads renames what nodes and their subgraphs read.
func renameReads(nodes []*onnxgraph.Node, names map[string]string) {
	for _, n := range nodes {
		substitute(n.Inputs, names)
		for _, g := range n.Subgraphs() {
			renameReads(g.Nodes, names)
			for _, v := range g.Outputs {
				if to, ok := names[v.Name]; ok {
					v.Name = to
				}
			}
		}
	}
}

func substitute(names []string, by map[string]string) {
	for i, s := range names {
		if r, ok := by[s]; ok {
			names[i] = r
		}
	}
}
