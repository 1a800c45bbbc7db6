package view

import (
	"slices"
	"testing"

	"ninox/neuralgraph"
)

// TestMatrix: every node has one place, and the blocks cover as many cells as
// the graph has edges.
func TestMatrix(t *testing.T) {
	v := residual(t, 3, nil)
	titles := make([]string, len(v.neurons().nodes))
	m := v.matrix(titles)
	at := 0
	for _, l := range m.Layers {
		if l.First != at {
			t.Errorf("a layer at %d, expected %d", l.First, at)
		}
		at += l.Size
	}
	if at != v.nino.Nodes {
		t.Errorf("%d nodes have places, of %d", at, v.nino.Nodes)
	}
	size := func(k int) int {
		n := 0
		for i := 1; i < len(m.Spans[k]); i += 2 {
			n += m.Spans[k][i]
		}
		return n
	}
	cells := int64(v.nino.Nodes) // self-loops
	for _, b := range m.Blocks {
		if b.Diagonal {
			cells += int64(size(b.Source))
		} else {
			cells += int64(size(b.Source) * size(b.Target))
		}
	}
	if cells != v.document.NiNo.Edges {
		t.Errorf("%d cells, %d edges", cells, v.document.NiNo.Edges)
	}
}

func TestRuns(t *testing.T) {
	m := &moves{[]neuralgraph.Layer{{First: 0, Size: 4}, {First: 4, Size: 2}}, []int{2, 0}}
	if got := m.runs(neuralgraph.Span{First: 2, Count: 4}); !slices.Equal(got, []int{4, 2, 0, 2}) {
		t.Errorf("across layers: %v", got)
	}
	if got := m.runs(neuralgraph.Span{Count: 3, Index: []int32{0, 1, 3}}); !slices.Equal(got, []int{2, 2, 5, 1}) {
		t.Errorf("by index: %v", got)
	}
}
