package autodiff

import (
	"fmt"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// analysis says which nodes lie between the wanted values and the loss.
type analysis struct {
	active  map[string]bool          // values that depend on a wanted value with a derivative that may be non-zero
	onPath  map[*onnxgraph.Node]bool // active nodes on which the loss depends
	blocked []Blocker
}

// Blocker is one node through which no gradient flows although it lies
// between wanted values and the loss.
type Blocker struct {
	Node   string
	Op     string
	Reason string
	Params []string // the wanted values whose gradient it blocks
}

// RefusalError lists everything that stands between the wanted values and
// the loss.
type RefusalError struct{ Blockers []Blocker }

func (r *RefusalError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "autodiff: %d operators block the gradient:", len(r.Blockers))
	for _, k := range r.Blockers {
		fmt.Fprintf(&b, "\n  node %q (%s): %s; blocks %s", k.Node, k.Op, k.Reason, shortList(k.Params))
		if r := Remedy(k.Op); r != "" {
			fmt.Fprintf(&b, "; to train them, %s", r)
		}
	}
	return b.String()
}

// shortList prints the first few names and counts the others.
func shortList(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (a *analysis) refusal() error {
	if len(a.blocked) == 0 {
		return nil
	}
	return &RefusalError{a.blocked}
}

// Blocking lists what would stand in the way of Gradients, without emitting
// anything: the answer to "which parameters can be trained?".
func Blocking(m *onnxgraph.Model, reg *op.Registry, facts Facts, o Options) []Blocker {
	return analyse(m.Graph, reg, facts, o).blocked
}

func analyse(g *onnxgraph.Graph, reg *op.Registry, facts Facts, o Options) *analysis {
	a := &analysis{active: map[string]bool{}, onPath: map[*onnxgraph.Node]bool{}}
	for _, w := range o.Wrt {
		a.active[w] = true
	}
	for _, n := range g.Nodes {
		def := reg.For(n)
		if def != nil && def.Grad.Zero() {
			continue
		}
		if !anyOf(n.Reads(), a.active) {
			continue
		}
		for _, out := range n.Outputs {
			if f := facts.Fact(out); out != "" && (f == nil || f.DType() == onnxgraph.Undefined || f.DType().IsFloat()) {
				a.active[out] = true
			}
		}
	}
	wanted := map[string]bool{o.Loss: true}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		reaches := false
		for _, out := range n.Outputs {
			reaches = reaches || wanted[out] && a.active[out]
		}
		if !reaches || !anyOf(n.Reads(), a.active) {
			continue
		}
		a.onPath[n] = true
		for _, in := range n.Reads() {
			wanted[in] = true
		}
	}
	for _, n := range g.Nodes {
		if !a.onPath[n] {
			continue
		}
		if reason := refuses(reg.For(n), n, a.active); reason != "" {
			a.blocked = append(a.blocked, Blocker{n.Label(), n.Op(), reason, upstream(g, n, o.Wrt, a.active)})
		}
	}
	return a
}

// refuses says why no gradient flows through an active node, "" where one does.
func refuses(def *op.Def, n *onnxgraph.Node, active map[string]bool) string {
	switch {
	case def == nil:
		return "unknown operator"
	case def.Grad.Rule() == nil && !def.ThroughLowering(n):
		return def.Grad.Refusal()
	}
	for _, name := range n.Captured() {
		if active[name] {
			return fmt.Sprintf("its subgraph uses %q, and gradients do not enter subgraphs", name)
		}
	}
	return ""
}

// upstream lists the wanted values on which the node depends.
func upstream(g *onnxgraph.Graph, n *onnxgraph.Node, wrt []string, active map[string]bool) []string {
	seen := map[string]bool{}
	for _, in := range n.Reads() {
		seen[in] = active[in]
	}
	past := false
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		if g.Nodes[i] == n {
			past = true
			continue
		}
		if past && anyOf(g.Nodes[i].Outputs, seen) {
			for _, in := range g.Nodes[i].Reads() {
				seen[in] = seen[in] || active[in]
			}
		}
	}
	var out []string
	for _, w := range wrt {
		if seen[w] {
			out = append(out, w)
		}
	}
	return out
}

func anyOf(names []string, set map[string]bool) bool {
	for _, n := range names {
		if set[n] {
			return true
		}
	}
	return false
}
