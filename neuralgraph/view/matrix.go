package view

import (
	"fmt"
	"sort"

	"ninox/neuralgraph"
)

// pageMatrix is the adjacency matrix of the NiNo graph as rectangles.
type pageMatrix struct {
	Nodes  int           `json:"nodes"`
	Layers []pageLayer   `json:"layers"`
	Spans  [][]int       `json:"spans"` // first, count, first, count …
	Blocks []matrixBlock `json:"blocks"`
	Kinds  []string      `json:"kinds"`
}

type pageLayer struct {
	Name  string `json:"name"`
	First int    `json:"first"`
	Size  int    `json:"size"`
}

type matrixBlock struct {
	Kind     string `json:"kind"`
	Param    int    `json:"param"`
	Source   int    `json:"source"` // index of a span
	Target   int    `json:"target"`
	Diagonal bool   `json:"diagonal,omitempty"`
}

// mostRuns is how many runs of a span are kept apart. The runs of more are
// drawn as one, which no screen could tell from the truth.
const mostRuns = 512

// matrix lists the blocks of the NiNo graph, whose layers it puts into the order
// of the flow; nodes of biases and norms stand in front of the layer that they
// lead to. titles names the layers that the scene of neurons has.
func (v *View) matrix(titles []string) pageMatrix {
	n := v.nino
	m := pageMatrix{Nodes: n.Nodes, Layers: []pageLayer{}, Spans: [][]int{}, Blocks: make([]matrixBlock, 0, len(n.Blocks)), Kinds: []string{}}
	moved := m.order(v, titles)
	spans, kinds := numbers{}, numbers{}
	add := func(s neuralgraph.Span) int {
		list := moved.runs(s)
		k := spans.of(fmt.Sprint(list))
		if k == len(m.Spans) {
			m.Spans = append(m.Spans, list)
		}
		return k
	}
	for i := range n.Blocks {
		b := &n.Blocks[i]
		x := matrixBlock{Kind: b.Type.Name(), Param: -1, Source: add(b.Source), Target: add(b.Target), Diagonal: b.Diagonal}
		if k, ok := v.paramIndex[b.Parameter]; ok {
			x.Param = k
		}
		if kinds.of(x.Kind) == len(m.Kinds) {
			m.Kinds = append(m.Kinds, x.Kind)
		}
		m.Blocks = append(m.Blocks, x)
	}
	return m
}

// moves says where the layers of a NiNo graph went.
type moves struct {
	layers []neuralgraph.Layer
	first  []int // new first nodes
}

func (m *pageMatrix) order(v *View, titles []string) *moves {
	n := v.nino
	all := arrows(n)
	extra := extras(n, all)
	order, place := v.ordered(all, extra)
	before := map[int][]int{} // extra layers by the layer that they lead to
	led := map[int]bool{}
	for _, a := range all {
		if extra[a.from] && !led[a.from] {
			led[a.from] = true
			before[a.to] = append(before[a.to], a.from)
		}
	}
	out := &moves{n.Layers, make([]int, len(n.Layers))}
	at := 0
	put := func(layer int, name string) {
		out.first[layer] = at
		m.Layers = append(m.Layers, pageLayer{name, at, n.Layers[layer].Size})
		at += n.Layers[layer].Size
	}
	for _, layer := range order {
		for _, k := range before[layer] {
			put(k, n.Layers[k].Name)
		}
		put(layer, titles[place[layer]])
	}
	for layer := range n.Layers {
		if extra[layer] && !led[layer] {
			put(layer, n.Layers[layer].Name)
		}
	}
	return out
}

// runs lists the stretches of consecutive nodes of a span, at their new places.
func (m *moves) runs(s neuralgraph.Span) []int {
	var out []int
	add := func(node, count int) {
		for count > 0 {
			l := sort.Search(len(m.layers), func(i int) bool { return m.layers[i].First > node }) - 1
			inside := node - m.layers[l].First
			k := min(count, m.layers[l].Size-inside)
			to := m.first[l] + inside
			if last := len(out) - 2; last >= 0 && to == out[last]+out[last+1] {
				out[last+1] += k
			} else {
				out = append(out, to, k)
			}
			node, count = node+k, count-k
		}
	}
	if s.Index == nil {
		add(s.First, s.Count)
	}
	for i := 0; i < len(s.Index); {
		j := i + 1
		for j < len(s.Index) && s.Index[j] == s.Index[j-1]+1 {
			j++
		}
		add(int(s.Index[i]), j-i)
		i = j
	}
	if len(out) <= 2*mostRuns {
		return out
	}
	first, end := out[0], 0
	for i := 0; i < len(out); i += 2 {
		first, end = min(first, out[i]), max(end, out[i]+out[i+1])
	}
	return []int{first, end - first}
}
