package neuralgraph_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// stored is a graph as the reference built it.
type stored struct {
	name   string
	params []string
	first  map[string]int64 // flat index of a parameter's first element
	shape  map[string][]int64
	edges  []storedEdge
	nodes  int
	styles map[string]map[string]renaming // by export: parameters with another name or layout
}

// renaming is a parameter's name in an export, and whether it is transposed.
type renaming struct {
	name       string
	transposed bool
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
		ONNX     map[string]struct {
			Renamed map[string][][2]string `json:"renamed"`
		} `json:"onnx"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	s := &stored{name: name, first: map[string]int64{}, shape: map[string][]int64{}, nodes: meta.NumNodes, styles: map[string]map[string]renaming{}}
	at := int64(0)
	for _, p := range meta.Params {
		name, n := p[0].(string), int64(1)
		for _, d := range p[1].([]any) {
			s.shape[name] = append(s.shape[name], int64(d.(float64)))
			n *= int64(d.(float64))
		}
		s.params = append(s.params, name)
		s.first[name] = at
		at += n
	}
	for style, o := range meta.ONNX {
		s.styles[style] = map[string]renaming{}
		for name, list := range o.Renamed {
			s.styles[style][name] = renaming{list[0][0], list[0][1] == "transposed"}
		}
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

// graph is the neural graph of one export, with its parameters in the stored
// order.
func (s *stored) graph(t *testing.T, style string) (*neuralgraph.Graph, *neuralgraph.NiNo) {
	t.Helper()
	m, err := onnxgraph.ReadFile(testenv.Shared(t, "fixtures/nino/"+s.name+"/"+style+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	g := analysed(t, m)
	params := slices.Clone(s.params)
	for i, p := range params {
		if r, ok := s.styles[style][p]; ok {
			params[i] = r.name
		}
	}
	n, err := g.NiNo(params)
	if err != nil {
		t.Fatal(err)
	}
	return g, n
}

// expand writes the NiNo graph of an export as one record per edge.
func (s *stored) expand(n *neuralgraph.NiNo, style string) []storedEdge {
	original := map[string]string{}
	for name, r := range s.styles[style] {
		original[r.name] = name
	}
	var out []storedEdge
	for i := range n.Blocks {
		b := &n.Blocks[i]
		param := b.Parameter
		if name, ok := original[param]; ok {
			param = name
		}
		for e := range b.All() {
			edge := storedEdge{source: int64(e.Source), target: int64(e.Target), kind: b.Type}
			for _, at := range e.Elements {
				if s.styles[style][param].transposed {
					rows, cols := s.shape[param][0], s.shape[param][1]
					at = at%rows*cols + at/rows
				}
				edge.taps = append(edge.taps, s.first[param]+at)
			}
			out = append(out, edge)
		}
	}
	for u := range n.Nodes {
		out = append(out, storedEdge{source: int64(u), target: int64(u), kind: neuralgraph.EdgeSelfLoop})
	}
	return out
}

// owner is the parameter of a flat index, and the index within it.
func (s *stored) owner(flat int64) (param string, at int64) {
	for _, p := range s.params {
		if s.first[p] <= flat {
			param, at = p, flat-s.first[p]
		}
	}
	return param, at
}

// matched finds the one renaming of nodes under which every edge of ours that
// carries parameters is the stored one; skip excuses parameters.
func matched(t *testing.T, ours, theirs []storedEdge, skip func(flat int64) bool) map[int64]int64 {
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

// compareStored requires an export's graph to be the stored one up to the order
// of nodes: the same edges of every type. skip excuses parameters.
func compareStored(t *testing.T, s *stored, style string, skip func(param string, at int64) bool) {
	t.Helper()
	_, n := s.graph(t, style)
	if n.Nodes != s.nodes {
		t.Errorf("%d nodes, stored %d", n.Nodes, s.nodes)
	}
	ours := s.expand(n, style)
	if x, y := byType(ours), byType(s.edges); !maps.Equal(x, y) {
		t.Errorf("edges by type %v, stored %v", x, y)
	}
	to := matched(t, ours, s.edges, func(flat int64) bool { return skip(s.owner(flat)) })
	auxiliary(t, ours, s.edges, to)
}

func byType(edges []storedEdge) map[neuralgraph.EdgeType]int {
	out := map[neuralgraph.EdgeType]int{}
	for _, e := range edges {
		out[e.kind]++
	}
	return out
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

// styles are the exports of every fixture.
var styles = []string{"model", "model_folded", "model_dynamo"}

func TestConvNetIsStoredGraph(t *testing.T) {
	s := readStored(t, "a_fm16")
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			compareStored(t, s, style, func(string, int64) bool { return false })
		})
	}
}

// TestGPT2IsStoredGraph: all but the key bias, which the reference leads to the
// block's input neurons instead of the keys.
func TestGPT2IsStoredGraph(t *testing.T) {
	s := readStored(t, "c_gpt2_v256")
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			compareStored(t, s, style, func(p string, at int64) bool {
				return strings.HasSuffix(p, "attn.c_attn.bias") && at >= 24 && at < 48
			})
		})
	}
}

// TestExportsAreOneGraph: the exports of one network have one fingerprint,
// other networks have others.
func TestExportsAreOneGraph(t *testing.T) {
	of := map[string]string{}
	for _, name := range []string{"a_fm16", "c_gpt2_v256", "e_llama_gqa"} {
		s := readStored(t, name)
		prints := map[string]bool{}
		for _, style := range styles {
			g, _ := s.graph(t, style)
			f, err := g.Fingerprint()
			if err != nil {
				t.Fatal(err)
			}
			prints[f] = true
			if other, ok := of[f]; ok && other != name {
				t.Errorf("%s and %s have the same fingerprint", name, other)
			}
			of[f] = name
		}
		if len(prints) != 1 {
			t.Errorf("%s: exports have %d fingerprints", name, len(prints))
		}
	}
}

// TestLlama: the reference has grouped queries wrong, so the graph is held to
// the data flow: 2 key heads, each read by 2 of 4 query heads.
func TestLlama(t *testing.T) {
	s := readStored(t, "e_llama_gqa")
	for _, style := range styles {
		g, n := s.graph(t, style)
		// Vocabulary, 5 layers of the stream, 5 norm weights, output; in each
		// block queries, keys, values, their copies, gated neurons, heads.
		if want := 128 + 5*32 + 5 + 128 + 2*(32+16+16+32+64+4); n.Nodes != want {
			t.Errorf("%s: %d nodes, expected %d", style, n.Nodes, want)
		}
		edges := map[string]int64{"1": 18432, "4": 160, "5": 4096, "7": 2048, "8": 1024, "9": 1024,
			"10": 4*32 + 2*(32+32), "11": 2 * (32 + 32), "13": int64(n.Nodes)}
		if got := n.Summary().EdgesByType; !maps.Equal(got, edges) {
			t.Errorf("%s: edges %v, expected %v", style, got, edges)
		}
		for i, a := range g.Attention {
			if a.Heads != 4 || a.KVHeads != 2 || a.HeadDim != 8 || !a.Rope || a.Packed {
				t.Errorf("%s: attention %d is %+v", style, i, a)
			}
		}
		if len(g.Attention) != 2 {
			t.Errorf("%s: %d attention layers", style, len(g.Attention))
		}
		llamaValues(t, s.expand(n, style), s)
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
	_, n := s.graph(t, "model")
	to := matched(t, s.expand(n, "model"), s.edges, func(int64) bool { return false })
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
