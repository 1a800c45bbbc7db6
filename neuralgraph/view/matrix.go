package view

import (
	"fmt"

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

func (v *View) matrix() pageMatrix {
	n := v.nino
	m := pageMatrix{Nodes: n.Nodes, Layers: []pageLayer{}, Spans: [][]int{}, Blocks: make([]matrixBlock, 0, len(n.Blocks)), Kinds: []string{}}
	for _, l := range n.Layers {
		m.Layers = append(m.Layers, pageLayer{l.Name, l.First, l.Size})
	}
	spans, kinds := numbers{}, numbers{}
	add := func(s neuralgraph.Span) int {
		list := runs(s)
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

// runs lists the stretches of consecutive nodes of a span.
func runs(s neuralgraph.Span) []int {
	if s.Index == nil {
		return []int{s.First, s.Count}
	}
	var out []int
	for i, k := range s.Index {
		if last := len(out) - 2; i > 0 && int(k) == out[last]+out[last+1] {
			out[last+1]++
			continue
		}
		out = append(out, int(k), 1)
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
