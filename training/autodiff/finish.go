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
	for _, n := range slices.Backward(e.emitted) {
		if anyOf(n.Outputs, live) {
			kept = append(kept, n)
			for _, in := range n.Inputs {
				live[in] = true
			}
		}
	}
	slices.Reverse(kept)
	e.rename(kept, res)
	e.model.Graph.Nodes = append(e.model.Graph.Nodes, kept...)
	e.dropConstants()
}

// ownOutputs makes sure that every wanted gradient is a value of its own,
// produced by a backward node: a model output can have one name only.
func (e *engine) ownOutputs(res *Result, o Options) {
	produced := map[string]bool{}
	for _, n := range e.emitted {
		for _, out := range n.Outputs {
			produced[out] = true
		}
	}
	e.prefix = "Grad/"
	for _, w := range o.Wrt {
		grad := res.Grads[w]
		if !produced[grad] {
			e.appending = false // no sharing: each gradient needs its own node
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
		if _, done := names[grad]; !done && live[grad] && !e.used[value+"_grad"] {
			e.used[value+"_grad"] = true
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
	for _, n := range nodes {
		substitute(n.Inputs, names)
		substitute(n.Outputs, names)
	}
	for old, name := range names {
		e.facts.Set(name, e.facts.Fact(old))
	}
	for v, grad := range res.Grads {
		if name, ok := names[grad]; ok {
			res.Grads[v] = name
		}
	}
}

// dropConstants removes the constants that were emitted and are not used.
func (e *engine) dropConstants() {
	g := e.model.Graph
	used := map[string]bool{}
	for _, n := range g.Nodes {
		for _, in := range inputsOf(n) {
			used[in] = true
		}
	}
	emitted := map[string]bool{}
	for _, name := range e.consts {
		emitted[name] = true
	}
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *onnxgraph.Tensor) bool { return emitted[t.Name] && !used[t.Name] })
}
