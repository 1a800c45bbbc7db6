package neuralgraph_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"sort"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
)

// stored is a graph as the reference built it.
type stored struct {
	params []string
	first  map[string]int64 // flat index of a parameter's first element
	last   map[string]int64
	edges  []storedEdge
	nodes  int
}

type storedEdge struct {
	source, target int64
	kind           neuralgraph.EdgeType
	taps           []int64 // flat parameter indices
}

func readStored(t *testing.T, name string) *stored {
	t.Helper()
	raw, err := os.ReadFile(testenv.Shared(t, "fixtures/nino/"+name+"/meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Params   [][]any `json:"params"`
		NumNodes int     `json:"num_nodes"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	s := &stored{first: map[string]int64{}, last: map[string]int64{}, nodes: meta.NumNodes}
	at := int64(0)
	for _, p := range meta.Params {
		name, n := p[0].(string), int64(1)
		for _, d := range p[1].([]any) {
			n *= int64(d.(float64))
		}
		s.params = append(s.params, name)
		s.first[name], s.last[name] = at, at+n
		at += n
	}
	set, _, err := weights.ReadSafetensors(testenv.Shared(t, "fixtures/nino/"+name+"/graph.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	index, kind, param := set.Get("edge_index").Data().([]int64), set.Get("edge_type").Data().([]int64), set.Get("edge_param").Data().([]int64)
	n := len(kind)
	width := len(param) / n
	for e := range n {
		edge := storedEdge{source: index[e], target: index[n+e], kind: neuralgraph.EdgeType(kind[e])}
		for _, i := range param[e*width : (e+1)*width] {
			if i >= 0 {
				edge.taps = append(edge.taps, i)
			}
		}
		s.edges = append(s.edges, edge)
	}
	return s
}

// expand writes a NiNo graph as one record per edge.
func expand(n *neuralgraph.NiNo, first map[string]int64) []storedEdge {
	var out []storedEdge
	for i := range n.Blocks {
		b := &n.Blocks[i]
		for s := range b.Source.Count {
			for t := range b.Target.Count {
				if b.Diagonal && s != t {
					continue
				}
				e := storedEdge{source: int64(b.Source.Node(s)), target: int64(b.Target.Node(t)), kind: b.Type}
				for k := range b.Taps {
					tap := int64(k)
					if b.TapOffsets != nil {
						tap = b.TapOffsets[k]
					}
					at := b.Offset + int64(s)*b.SourceStride + int64(t)*b.TargetStride + tap
					if b.Diagonal {
						at = b.Offset + int64(s)*b.SourceStride + tap
					}
					e.taps = append(e.taps, first[b.Parameter]+at)
				}
				out = append(out, e)
			}
		}
	}
	for u := range n.Nodes {
		out = append(out, storedEdge{source: int64(u), target: int64(u), kind: neuralgraph.EdgeSelfLoop})
	}
	return out
}

// renaming finds the one renaming of nodes under which every edge of ours that
// carries parameters is the stored one; skip excuses parameters.
func renaming(t *testing.T, ours, theirs []storedEdge, skip func(flat int64) bool) map[int64]int64 {
	t.Helper()
	by := map[string]storedEdge{}
	for _, e := range theirs {
		if len(e.taps) > 0 {
			by[fmt.Sprint(e.taps)] = e
		}
	}
	to, from := map[int64]int64{}, map[int64]int64{}
	seen := 0
	for _, e := range ours {
		if len(e.taps) == 0 {
			continue
		}
		want, ok := by[fmt.Sprint(e.taps)]
		if !ok {
			t.Fatalf("edge %+v carries numbers that no stored edge carries together", e)
		}
		seen++
		if skip(e.taps[0]) {
			continue
		}
		if want.kind != e.kind {
			t.Fatalf("edge %+v has type %d, stored %+v", e, e.kind, want)
		}
		for _, p := range [][2]int64{{e.source, want.source}, {e.target, want.target}} {
			x, okx := to[p[0]]
			y, oky := from[p[1]]
			if okx != oky || okx && (x != p[1] || y != p[0]) {
				t.Fatalf("edge %+v against stored %+v: nodes %v are already %d and %d", e, want, p, x, y)
			}
			to[p[0]], from[p[1]] = p[1], p[0]
		}
	}
	if seen != len(by) {
		t.Fatalf("%d edges with parameters, stored %d", seen, len(by))
	}
	return to
}

func compareStored(t *testing.T, name, model string, skipParam func(name string, rel int64) bool) {
	t.Helper()
	s := readStored(t, name)
	m, err := onnxgraph.ReadFile(testenv.Shared(t, "fixtures/nino/"+name+"/"+model))
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	n, err := g.NiNo(s.params)
	if err != nil {
		t.Fatal(err)
	}
	if n.Nodes != s.nodes {
		t.Errorf("%d nodes, stored %d", n.Nodes, s.nodes)
	}
	ours := expand(n, s.first)
	if len(ours) != len(s.edges) {
		t.Errorf("%d edges, stored %d", len(ours), len(s.edges))
	}
	skip := func(flat int64) bool {
		for p, first := range s.first {
			if flat >= first && flat < s.last[p] {
				return skipParam(p, flat-first)
			}
		}
		return false
	}
	to := renaming(t, ours, s.edges, skip)
	auxiliary(t, ours, s.edges, to)
}

// auxiliary compares the edges without parameters under the renaming. Nodes
// that only auxiliary edges touch (heads) are named here, by what they reach.
func auxiliary(t *testing.T, ours, theirs []storedEdge, to map[int64]int64) {
	t.Helper()
	named := map[int64]bool{}
	for _, v := range to {
		named[v] = true
	}
	heads := func(edges []storedEdge, rename func(int64) (int64, bool)) (plain, stars map[string]int) {
		plain = map[string]int{}
		reach := map[int64][]int64{}
		for _, e := range edges {
			if len(e.taps) > 0 || e.kind == neuralgraph.EdgeSelfLoop {
				continue
			}
			u, known := rename(e.source)
			v, ok := rename(e.target)
			switch {
			case !ok:
				t.Errorf("auxiliary edge %+v to a node that no parameter reaches", e)
			case known:
				plain[fmt.Sprint(e.kind, u, v)]++
			default:
				reach[e.source] = append(reach[e.source], v)
			}
		}
		stars = map[string]int{}
		for _, list := range reach {
			sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
			stars[fmt.Sprint(list)]++
		}
		return plain, stars
	}
	p, q := heads(ours, func(u int64) (int64, bool) { v, ok := to[u]; return v, ok })
	r, s := heads(theirs, func(u int64) (int64, bool) { return u, named[u] })
	if fmt.Sprint(p) != fmt.Sprint(r) {
		t.Errorf("auxiliary edges differ:\nours   %v\nstored %v", p, r)
	}
	if fmt.Sprint(q) != fmt.Sprint(s) {
		t.Errorf("head nodes differ:\nours   %v\nstored %v", q, s)
	}
}

func TestConvNetIsStoredGraph(t *testing.T) {
	for _, model := range []string{"model.onnx", "model_folded.onnx", "model_dynamo.onnx"} {
		t.Run(model, func(t *testing.T) {
			compareStored(t, "a_fm16", model, func(string, int64) bool { return false })
		})
	}
}

// TestGPT2IsStoredGraph: all but the key bias, which the reference leads to the
// block's input neurons instead of the keys.
func TestGPT2IsStoredGraph(t *testing.T) {
	for _, model := range []string{"model.onnx", "model_folded.onnx"} {
		t.Run(model, func(t *testing.T) {
			compareStored(t, "c_gpt2_v256", model, func(p string, rel int64) bool {
				return strings.HasSuffix(p, "attn.c_attn.bias") && rel >= 24 && rel < 48
			})
		})
	}
}

// TestLlama: the reference has grouped queries wrong, so the graph is held to
// the data flow: 2 key heads, each read by 2 of 4 query heads.
func TestLlama(t *testing.T) {
	for _, model := range []string{"model.onnx", "model_dynamo.onnx"} {
		s := readStored(t, "e_llama_gqa")
		m, err := onnxgraph.ReadFile(testenv.Shared(t, "fixtures/nino/e_llama_gqa/"+model))
		if err != nil {
			t.Fatal(err)
		}
		g, err := neuralgraph.Analyse(m, ops.Registry())
		if err != nil {
			t.Fatal(err)
		}
		n, err := g.NiNo(s.params)
		if err != nil {
			t.Fatal(err)
		}
		// Vocabulary, 5 layers of the stream, 5 norm weights, output; in each
		// block queries, keys, values, their copies, gated neurons, heads.
		if want := 128 + 5*32 + 5 + 128 + 2*(32+16+16+32+64+4); n.Nodes != want {
			t.Errorf("%s: %d nodes, expected %d", model, n.Nodes, want)
		}
		edges := map[string]int64{"1": 18432, "4": 160, "5": 4096, "7": 2048, "8": 1024, "9": 1024,
			"10": 4*32 + 2*(32+32), "11": 2 * (32 + 32), "13": int64(n.Nodes)}
		if got := n.Summary().EdgesByType; !maps.Equal(got, edges) {
			t.Errorf("%s: edges %v, expected %v", model, got, edges)
		}
		for i, a := range g.Attention {
			if a.Heads != 4 || a.KVHeads != 2 || a.HeadDim != 8 || !a.Rope || a.Packed {
				t.Errorf("%s: attention %d is %+v", model, i, a)
			}
		}
		if len(g.Attention) != 2 {
			t.Errorf("%s: %d attention layers", model, len(g.Attention))
		}
		llamaValues(t, expand(n, s.first), s)
	}
}

// llamaValues: input i of the output projection reads value head (i/8)/2.
func llamaValues(t *testing.T, edges []storedEdge, s *stored) {
	t.Helper()
	at := func(param string, flat int64) storedEdge {
		for _, e := range edges {
			if len(e.taps) > 0 && e.taps[0] == s.first[param]+flat {
				return e
			}
		}
		t.Fatalf("no edge for %s[%d]", param, flat)
		return storedEdge{}
	}
	copies := map[[2]int64]bool{}
	for _, e := range edges {
		if e.kind == neuralgraph.EdgeResidual {
			copies[[2]int64{e.source, e.target}] = true
		}
	}
	const block = "model.layers.1.self_attn."
	for i := range int64(32) {
		head, d := i/8, i%8
		value := at(block+"v_proj.weight", (head/2*8+d)*32).target
		reader := at(block+"o_proj.weight", i).source
		if !copies[[2]int64{value, reader}] {
			t.Errorf("no edge from the value that input %d of the projection reads", i)
		}
		key := at(block+"k_proj.weight", (head/2*8+d)*32).source // entered reversed
		query := at(block+"q_proj.weight", i*32).target
		if !copies[[2]int64{query, key}] {
			t.Errorf("no edge from query %d to its key", i)
		}
	}
}

// TestStoredPositions: the first three columns belong to simple eigenvalues,
// so they are the stored ones up to sign; the others are any basis of a space.
func TestStoredPositions(t *testing.T) {
	s := readStored(t, "a_fm16")
	m, err := onnxgraph.ReadFile(testenv.Shared(t, "fixtures/nino/a_fm16/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	n, err := g.NiNo(s.params)
	if err != nil {
		t.Fatal(err)
	}
	to := renaming(t, expand(n, s.first), s.edges, func(int64) bool { return false })
	set, _, err := weights.ReadSafetensors(testenv.Shared(t, "fixtures/nino/a_fm16/graph.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := set.Floats("pos")
	if err != nil {
		t.Fatal(err)
	}
	ours := n.Positions()
	for col := range 3 {
		dot := 0.0
		for u, v := range to {
			dot += float64(ours[u*8+int64(col)]) * float64(theirs[v*8+int64(col)])
		}
		if math.Abs(math.Abs(dot)-1) > 1e-5 {
			t.Errorf("column %d: product with the stored one %g", col, dot)
		}
	}
}
