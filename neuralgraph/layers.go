package neuralgraph

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// arrow is all edges of one parameter, or of one kind of auxiliary
// connection, from one layer of a NiNo graph to another.
type arrow struct {
	from, to  int // indices of Layers
	parameter string
	kind      EdgeType
	edges     int
}

// arrows sums up the blocks between layers, in the order of the blocks.
func (n *NiNo) arrows() []arrow {
	layerOf := func(node int) int {
		return sort.Search(len(n.Layers), func(i int) bool { return n.Layers[i].First > node }) - 1
	}
	var out []arrow
	at := map[arrow]int{}
	for i := range n.Blocks {
		b := &n.Blocks[i]
		key := arrow{from: layerOf(b.Source.Node(0)), to: layerOf(b.Target.Node(0)), parameter: b.Parameter, kind: b.Type}
		k, ok := at[key]
		if !ok {
			k = len(out)
			at[key] = k
			out = append(out, key)
		}
		out[k].edges += b.Edges()
	}
	return out
}

// extras are layers of one node that only lead away: biases and norm weights.
func (n *NiNo) extras(arrows []arrow) map[int]bool {
	out := map[int]bool{}
	for i, l := range n.Layers {
		out[i] = l.Size == 1
	}
	for _, a := range arrows {
		out[a.to] = false
		if a.kind != EdgeBias && a.kind != EdgeNorm {
			out[a.from] = false
		}
	}
	return out
}

// DOT writes the layers of the NiNo graph of all parameters, and what joins
// them, in Graphviz' language.
func (g *Graph) DOT(w io.Writer) error {
	n, err := g.NiNo(nil)
	if err != nil {
		return err
	}
	arrows := n.arrows()
	extra := n.extras(arrows)
	var b strings.Builder
	b.WriteString("digraph neurons {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for i, l := range n.Layers {
		shape := ""
		if extra[i] {
			shape = ", shape=circle, width=0.2, fontsize=9"
		}
		fmt.Fprintf(&b, "  l%d [label=%q%s];\n", i, fmt.Sprintf("%s\n%d", l.Name, l.Size), shape)
	}
	for _, a := range arrows {
		style := ""
		if a.parameter == "" {
			style = ", style=dashed"
		}
		fmt.Fprintf(&b, "  l%d -> l%d [label=%q%s];\n", a.from, a.to, a.label(), style)
	}
	b.WriteString("}\n")
	_, err = io.WriteString(w, b.String())
	return err
}

func (a *arrow) label() string {
	if a.parameter == "" {
		return a.kind.Name()
	}
	return fmt.Sprintf("%s (%s)", a.parameter, a.kind.Name())
}
