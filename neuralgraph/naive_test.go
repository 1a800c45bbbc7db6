package neuralgraph_test

import (
	"reflect"
	"testing"

	"ninox/models"
	"ninox/neuralgraph"
	"ninox/neuralgraph/graphtest"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

func ninoGraph(t *testing.T, m *onnxgraph.Model, err error) *neuralgraph.NiNo {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	n, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// nodesOf are the nodes of a span.
func nodesOf(s neuralgraph.Span) []int {
	out := make([]int, s.Count)
	for i := range out {
		out[i] = s.Node(i)
	}
	return out
}

// byParameter counts the numbers of each parameter that a graph places.
func byParameter(n *neuralgraph.NiNo) map[string]int {
	out := map[string]int{}
	for i := range n.Blocks {
		if b := &n.Blocks[i]; b.Parameter != "" {
			out[b.Parameter] += b.Edges() * b.Taps
		}
	}
	return out
}

func TestNaive(t *testing.T) {
	const layers, width, heads = 2, 12, 3
	m, err := graphtest.GPT2(layers, width, heads, 50).Model()
	n := ninoGraph(t, m, err)
	naive := n.Naive()
	if want := n.Nodes - layers*(heads+width); naive.Nodes != want {
		t.Errorf("%d nodes, expected %d: no heads, and values are queries", naive.Nodes, want)
	}
	if !reflect.DeepEqual(byParameter(naive), byParameter(n)) {
		t.Error("the parameters are not all placed")
	}
	// All three projections of a block lead from the same to the same neurons, from
	// the side of the data that the query is on.
	ends := map[[2]int][]int{} // by first node of source and target: numbers of edges
	for i := range n.Blocks {
		was, is := &n.Blocks[i], neuralgraph.Block{}
		if was.Type == neuralgraph.EdgeHead {
			continue
		}
		is = naive.Blocks[i-headsBefore(n, i)]
		switch was.Type {
		case neuralgraph.EdgeQuery, neuralgraph.EdgeKey, neuralgraph.EdgeValue:
			if is.Type != neuralgraph.EdgeLinear || is.Parameter != was.Parameter || is.Offset != was.Offset {
				t.Fatalf("block %+v became %+v", was, is)
			}
			at := [2]int{is.Source.Node(0), is.Target.Node(0)}
			ends[at] = append(ends[at], is.Edges())
		default:
			if is.Type != was.Type || is.Edges() != was.Edges() {
				t.Errorf("block %+v became %+v", was, is)
			}
		}
	}
	for at, edges := range ends {
		if len(edges) != 3 {
			t.Errorf("%d projections lead from node %d to node %d, expected 3", len(edges), at[0], at[1])
		}
	}
	if len(ends) == 0 {
		t.Error("no projections found")
	}
	for _, b := range naive.Blocks {
		for _, s := range []neuralgraph.Span{b.Source, b.Target} {
			for _, node := range nodesOf(s) {
				if node < 0 || node >= naive.Nodes {
					t.Fatalf("node %d of %d", node, naive.Nodes)
				}
			}
		}
	}
}

// headsBefore counts the blocks that the naive graph leaves out.
func headsBefore(n *neuralgraph.NiNo, block int) int {
	count := 0
	for _, b := range n.Blocks[:block] {
		if b.Type == neuralgraph.EdgeHead {
			count++
		}
	}
	return count
}

// Grouped queries leave fewer values than queries, which stay what they are; the
// parameters are still all placed. A network without attention does not change.
func TestNaiveOfOthers(t *testing.T) {
	m, err := graphtest.Transformer{Llama: true, Layers: 1, Width: 8, Heads: 4, KVHeads: 2, Hidden: 16, Vocabulary: 20}.Model()
	llama := ninoGraph(t, m, err)
	if naive := llama.Naive(); !reflect.DeepEqual(byParameter(naive), byParameter(llama)) || naive.Nodes >= llama.Nodes {
		t.Errorf("Llama: %d nodes of %d", naive.Nodes, llama.Nodes)
	}
	task, err := models.Lookup("fm-16")
	if err != nil {
		t.Fatal(err)
	}
	m, err = task.Model(1)
	if n := ninoGraph(t, m, err); !reflect.DeepEqual(n.Naive(), n) {
		t.Error("the graph of a convolutional network changes")
	}
}
