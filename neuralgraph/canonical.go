package neuralgraph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Fingerprint is the same for two models exactly where their neuron graphs
// cannot be told apart by what follows from structure alone: groups, blocks,
// attention layers, and the layers of the NiNo graph of all parameters with the
// edges between them, by type, taps and number. It does not depend on names, on
// the order of nodes and parameters, or on how weights are stored.
//
// Groups and layers are coloured by what they are, then again and again by the
// colours of what they are joined to (Weisfeiler and Leman's method), until no
// colour splits any more.
func (g *Graph) Fingerprint() (string, error) {
	n, err := g.NiNo(nil)
	if err != nil {
		return "", err
	}
	parts := g.groupColours()
	parts = append(parts, n.layerColours()...)
	for _, a := range g.Attention {
		parts = append(parts, fmt.Sprint("attention ", a.Heads, a.KVHeads, a.HeadDim, a.Rope))
	}
	for _, r := range g.Residuals {
		parts = append(parts, fmt.Sprint("residual ", r.Size))
	}
	return digest(parts), nil
}

// colouring is a set of coloured vertices with labelled edges.
type colouring struct {
	colours []string
	edges   []colouredEdge
}

// colouredEdge joins sets of vertices; the order within a set means nothing.
type colouredEdge struct {
	label    string
	from, to []int
}

// refine colours until the number of colours stays, and returns the colours of
// all vertices and edges.
func (c *colouring) refine() []string {
	for count := 0; ; {
		seen := map[string]bool{}
		for _, s := range c.colours {
			seen[s] = true
		}
		if len(seen) == count {
			break
		}
		count = len(seen)
		next := make([][]string, len(c.colours))
		for _, e := range c.edges {
			seenAs := e.label + "(" + c.list(e.from) + ">" + c.list(e.to) + ")"
			for _, u := range e.from {
				next[u] = append(next[u], "out "+seenAs)
			}
			for _, u := range e.to {
				next[u] = append(next[u], "in "+seenAs)
			}
		}
		for u, list := range next {
			c.colours[u] = digest(append(list, "own "+c.colours[u]))
		}
	}
	out := slices.Clone(c.colours)
	for _, e := range c.edges {
		out = append(out, e.label+"("+c.list(e.from)+">"+c.list(e.to)+")")
	}
	return out
}

func (c *colouring) list(vertices []int) string {
	out := make([]string, len(vertices))
	for i, u := range vertices {
		out[i] = c.colours[u]
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// digest is a hash of a set of texts, whatever their order.
func digest(list []string) string {
	slices.Sort(list)
	h := sha256.Sum256([]byte(strings.Join(list, "\n")))
	return hex.EncodeToString(h[:16])
}

// groupColours are those of the groups and of the blocks between them.
func (g *Graph) groupColours() []string {
	c := &colouring{}
	at := map[string]int{}
	for i, gr := range g.Groups {
		at[gr.ID] = i
		c.colours = append(c.colours, fmt.Sprint("group ", gr.Role, gr.Size, gr.Permutable))
	}
	places := func(ids []string) []int {
		out := make([]int, len(ids))
		for i, id := range ids {
			out[i] = at[id]
		}
		return out
	}
	for _, b := range g.Blocks {
		c.edges = append(c.edges, colouredEdge{fmt.Sprint("block ", b.Type, b.Taps, b.Edges), places(b.Source), places(b.Target)})
	}
	return c.refine()
}

// layerColours are those of the layers and of all edges of one kind between two
// of them.
func (n *NiNo) layerColours() []string {
	c := &colouring{}
	layerOf := make([]int, n.Nodes)
	for i, l := range n.Layers {
		c.colours = append(c.colours, fmt.Sprint("layer ", l.Size))
		for u := l.First; u < l.First+l.Size; u++ {
			layerOf[u] = i
		}
	}
	type bundle struct {
		from, to int
		kind     EdgeType
		taps     int
		diagonal bool
	}
	edges := map[bundle]int{}
	for i := range n.Blocks {
		b := &n.Blocks[i]
		if b.Edges() > 0 {
			single := b.Source.Count == 1 || b.Target.Count == 1
			edges[bundle{layerOf[b.Source.Node(0)], layerOf[b.Target.Node(0)], b.Type, b.Taps, b.Diagonal && !single}] += b.Edges()
		}
	}
	for k, count := range edges {
		c.edges = append(c.edges, colouredEdge{fmt.Sprint("edges ", k.kind, k.taps, k.diagonal, count), []int{k.from}, []int{k.to}})
	}
	return c.refine()
}
