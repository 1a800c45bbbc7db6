package rewrite

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Pass is one transformation of a model. Its run edits the model in place and
// returns how often it found something to do.
type Pass struct {
	Name    string
	Pattern string // what it looks for, and what becomes of it
	Reason  string // why it exists, and why in this place
	run     func(m *onnxgraph.Model, reg *op.Registry) (int, error)
}

// Passes are those of Standard, in order.
func Passes() []Pass {
	return []Pass{
		{"inline", "a call of a local function → the function's nodes", "rules exist for operators only; first, because every other pass should see what is inside local functions", inline},
		{"sort", "a node before one whose result it reads → behind it", "inference goes through the nodes once, in order; files are not always sorted", sortNodes},
		{"branches", "If on a condition that inference knows → the branch taken", "a condition on shapes decides which branch exists at all", branches},
		{"lists", "SplitToSequence of known sizes, read by SequenceAt at known places → Split", "a list of parts taken apart again is a Split; axes can be followed through that", lists},
		{"fold", "a node whose result inference knows, and that no parameter flows into → an initializer", "shape arithmetic on known numbers; while constants still are nodes, which tells them from parameters", fold},
		{"constants", "Constant, in subgraphs too → an initializer of the outermost graph", "a Constant node is an initializer by another name; lifted out of subgraphs, so that bodies hold computation only", constants},
		{"aliases", "Identity of an initializer → the initializer itself", "exporters share tied parameters through Identity nodes; rules should see the one parameter", aliases},
		{"dead", "a node or initializer that no output needs → nothing", "earlier passes orphan nodes and initializers", dead},
	}
}

// Standard returns a copy of m that is ready for analysis: local functions
// inlined, nodes sorted, constants as initializers, dead code dropped. The
// graph's inputs and outputs stay as they are.
func Standard(m *onnxgraph.Model, reg *op.Registry) (*onnxgraph.Model, error) {
	out, _, err := Apply(m, reg, Passes())
	return out, err
}

// Apply runs passes on a copy of m and returns it with how often each pass
// fired, by name. The graph is checked after every pass.
func Apply(m *onnxgraph.Model, reg *op.Registry, passes []Pass) (*onnxgraph.Model, map[string]int, error) {
	m = m.Clone()
	fired := map[string]int{}
	if err := dump(m, "input"); err != nil {
		return nil, nil, err
	}
	for _, p := range passes {
		n, err := p.run(m, reg)
		if err != nil {
			return nil, nil, fmt.Errorf("rewrite %s: %w", p.Name, err)
		}
		fired[p.Name] += n
		if err := dump(m, p.Name); err != nil {
			return nil, nil, err
		}
		if p.Name == "inline" {
			continue // the nodes are not sorted yet
		}
		if err := Check(m, nil); err != nil {
			return nil, nil, fmt.Errorf("rewrite: after pass %s: %w", p.Name, err)
		}
	}
	return m, fired, nil
}

// freshNames makes value names that a graph does not use yet.
type freshNames struct {
	used   map[string]bool
	serial map[string]int
}

func newFreshNames(g *onnxgraph.Graph) *freshNames {
	return &freshNames{used: g.Names(), serial: map[string]int{}}
}

// take returns name, or name with a number behind it where it is taken.
func (f *freshNames) take(name string) string {
	candidate := name
	for candidate == "" || f.used[candidate] {
		f.serial[name]++
		candidate = fmt.Sprintf("%s_%d", name, f.serial[name])
	}
	f.used[candidate] = true
	return candidate
}

// substitute replaces names as the map says.
func substitute(names []string, by map[string]string) {
	for i, s := range names {
		if r, ok := by[s]; ok {
			names[i] = r
		}
	}
}

// renameReads replaces the values that the graph's nodes read, in subgraphs
// too, where no subgraph value of the same name hides them.
func renameReads(g *onnxgraph.Graph, by map[string]string) {
	for _, n := range g.Nodes {
		substitute(n.Inputs, by)
		for _, sub := range n.Subgraphs() {
			renameReads(sub, by)
		}
	}
}

func outputNames(g *onnxgraph.Graph) map[string]bool {
	out := map[string]bool{}
	for _, v := range g.Outputs {
		out[v.Name] = true
	}
	return out
}
