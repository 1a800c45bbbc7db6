package nino

import (
	"slices"

	"ninox/neuralgraph"
)

// CompatReference is a copy of the graph that ties the bias of a key projection
// to the neurons that the projection reads, as the reference does, instead of to
// the keys. Use it only to compare numbers: permuting the keys of a head, which
// changes nothing in the model, then changes the prediction.
func CompatReference(g *neuralgraph.NiNo) *neuralgraph.NiNo {
	out := *g
	out.Blocks = slices.Clone(g.Blocks)
	for i := range g.Blocks {
		key := &g.Blocks[i]
		if key.Type != neuralgraph.EdgeKey || key.Diagonal || key.Source.Count != key.Target.Count {
			continue
		}
		if b := keyBias(g, key); b >= 0 {
			out.Blocks[b].Target = key.Target // keys are entered reversed: their source is the key
		}
	}
	return &out
}

// keyBias is the block of the key projection's bias, -1 where there is none.
// Queries and keys share their neurons, so two biases lead there: the key's is
// the one whose name is more like its weight's, or, where both are parts of one
// parameter, the one at the place that the weight has.
func keyBias(g *neuralgraph.NiNo, key *neuralgraph.Block) int {
	var biases []int
	var query *neuralgraph.Block
	for i := range g.Blocks {
		b := &g.Blocks[i]
		if !sameNodes(b.Target, key.Source) {
			continue
		}
		switch {
		case b.Type == neuralgraph.EdgeBias && b.Source.Count == 1:
			biases = append(biases, i)
		case b.Type == neuralgraph.EdgeQuery:
			query = b
		}
	}
	if len(biases) != 2 || query == nil {
		return -1
	}
	first, second := &g.Blocks[biases[0]], &g.Blocks[biases[1]]
	later := (second.Offset > first.Offset) == (key.Offset > query.Offset)
	if first.Parameter != second.Parameter {
		later = commonPrefix(second.Parameter, key.Parameter) > commonPrefix(first.Parameter, key.Parameter)
	}
	if later {
		return biases[1]
	}
	return biases[0]
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func sameNodes(a, b neuralgraph.Span) bool {
	if a.Count != b.Count {
		return false
	}
	for i := range a.Count {
		if a.Node(i) != b.Node(i) {
			return false
		}
	}
	return true
}
