package autodiff

import (
	"fmt"

	"ninox/onnxgraph"
)

// maxLowering bounds repeated lowering of one model: a lowering emits simpler
// operators, so more rounds mean a rule that lowers to itself.
const maxLowering = 8

// lowerPath replaces, in the copied graph, every node that lies on the way of
// a gradient and is differentiated through its lowering.
func (e *engine) lowerPath(o Options) error {
	for range maxLowering {
		a := analyse(e.Model.Graph, e.reg, e.Facts, o)
		var nodes []*onnxgraph.Node
		changed := false
		for _, n := range e.Model.Graph.Nodes {
			def := e.reg.For(n)
			if !a.onPath[n] || def == nil || !def.ThroughLowering(n) {
				nodes = append(nodes, n)
				continue
			}
			repl, err := e.Lower(n, def)
			if err != nil {
				return err
			}
			nodes = append(nodes, repl...)
			changed = true
		}
		e.Model.Graph.Nodes = nodes
		if !changed {
			return nil
		}
	}
	return fmt.Errorf("autodiff: lowering does not end after %d rounds", maxLowering)
}
