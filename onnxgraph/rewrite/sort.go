package rewrite

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// sortNodes puts the nodes of every graph into topological order, changing
// the file's order as little as possible. It counts the graphs it had to sort.
func sortNodes(m *onnxgraph.Model, _ *op.Registry) (int, error) {
	sorted := 0
	var err error
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		if err != nil {
			return
		}
		var changed bool
		if changed, err = sortGraph(g); changed {
			sorted++
		}
	})
	return sorted, err
}

// sortGraph places each node behind the producers of what it reads.
func sortGraph(g *onnxgraph.Graph) (bool, error) {
	producer := map[string]int{}
	for i, n := range g.Nodes {
		for _, out := range n.Outputs {
			if out != "" {
				producer[out] = i
			}
		}
	}
	const (
		open = iota + 1
		done
	)
	state := make([]int, len(g.Nodes))
	order := make([]*onnxgraph.Node, 0, len(g.Nodes))
	// An explicit stack: graphs are deeper than goroutine stacks like to be.
	type frame struct {
		node  int
		reads []string
	}
	for start := range g.Nodes {
		if state[start] != 0 {
			continue
		}
		stack := []frame{{start, g.Nodes[start].Reads()}}
		state[start] = open
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.reads) == 0 {
				state[top.node] = done
				order = append(order, g.Nodes[top.node])
				stack = stack[:len(stack)-1]
				continue
			}
			name := top.reads[0]
			top.reads = top.reads[1:]
			p, ok := producer[name]
			switch {
			case !ok || state[p] == done:
			case state[p] == open:
				return false, fmt.Errorf("node %q: input %q depends on the node itself", g.Nodes[top.node].Label(), name)
			default:
				state[p] = open
				stack = append(stack, frame{p, g.Nodes[p].Reads()})
			}
		}
	}
	changed := false
	for i := range order {
		changed = changed || order[i] != g.Nodes[i]
	}
	g.Nodes = order
	return changed, nil
}
