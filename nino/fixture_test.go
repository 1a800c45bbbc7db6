package nino

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// cases are the networks for which the reference's results are stored.
var cases = []string{"a_fm16", "c_gpt2_v256", "e_llama_gqa"}

var testHorizons = []int{1, 20, 40}

// fixture is one case of shared/fixtures/nino.
type fixture struct {
	name, dir string
	graph     *weights.Set // graph.safetensors
	params    []string
	dims      map[string][]int64
	blocks    []fixtureBlock
}

type fixtureBlock struct {
	name           string
	start, end     int // edges
	source, target [2]int
}

func readSet(t testing.TB, path string) *weights.Set {
	t.Helper()
	s, _, err := weights.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loadFixture(t testing.TB, name string) *fixture {
	t.Helper()
	f := &fixture{name: name, dir: testenv.Shared(t, "fixtures/nino/"+name), dims: map[string][]int64{}}
	f.graph = readSet(t, filepath.Join(f.dir, "graph.safetensors"))
	raw, err := os.ReadFile(filepath.Join(f.dir, "meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Params     [][2]json.RawMessage `json:"params"`
		EdgeBlocks struct {
			Rows [][]json.RawMessage `json:"rows"`
		} `json:"edge_blocks"`
	}
	decode := func(raw []byte, v any) {
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
	}
	decode(raw, &meta)
	for _, p := range meta.Params {
		var n string
		var d []int64
		decode(p[0], &n)
		decode(p[1], &d)
		f.params = append(f.params, n)
		f.dims[n] = d
	}
	for _, r := range meta.EdgeBlocks.Rows {
		var b fixtureBlock
		for i, v := range map[int]any{0: &b.name, 2: &b.start, 3: &b.end, 4: &b.source, 5: &b.target} {
			decode(r[i], v)
		}
		f.blocks = append(f.blocks, b)
	}
	return f
}

func (f *fixture) ints(t testing.TB, name string) []int64 {
	t.Helper()
	v, ok := f.graph.Get(name).Data().([]int64)
	if !ok {
		t.Fatalf("%s: %s holds no integers", f.name, name)
	}
	return v
}

func (f *fixture) floats(t testing.TB, name string) []float32 {
	t.Helper()
	v, err := f.graph.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f *fixture) states(t testing.TB) []*weights.Set {
	t.Helper()
	var out []*weights.Set
	for i := range 5 {
		out = append(out, readSet(t, filepath.Join(f.dir, fmt.Sprintf("state_%d.safetensors", i))))
	}
	return out
}

// raw is the reference's scaled prediction, flat.
func (f *fixture) raw(t testing.TB, checkpoint string, k int) []float32 {
	t.Helper()
	v, err := readSet(t, filepath.Join(f.dir, "raw_"+checkpoint+".safetensors")).Floats(fmt.Sprintf("raw_vector_k%d", k))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// locate finds the tensor of an element of the flat parameter vector, and the
// element in it.
func (f *fixture) locate(flat int64) (string, int64) {
	for _, n := range f.params {
		size := int64(1)
		for _, d := range f.dims[n] {
			size *= d
		}
		if flat < size {
			return n, flat
		}
		flat -= size
	}
	return "", -1
}

// nino is the reference's graph as blocks. Where the elements of a block are
// not laid out evenly it becomes one block for each edge.
func (f *fixture) nino(t testing.TB) *neuralgraph.NiNo {
	t.Helper()
	g := &neuralgraph.NiNo{Nodes: f.graph.Get("pos").Shape()[0]}
	for _, b := range f.blocks {
		if block, ok := f.block(t, b, b.start, b.end); ok {
			g.Blocks = append(g.Blocks, block)
			continue
		}
		for e := b.start; e < b.end; e++ {
			block, ok := f.block(t, b, e, e+1)
			if !ok {
				t.Fatalf("%s: edge %d is no block", f.name, e)
			}
			g.Blocks = append(g.Blocks, block)
		}
	}
	return g
}

// block makes a block of edges start to end, if they form one.
func (f *fixture) block(t testing.TB, b fixtureBlock, start, end int) (neuralgraph.Block, bool) {
	index, params := f.ints(t, "edge_index"), f.ints(t, "edge_param")
	edges := len(index) / 2
	width := len(params) / edges
	at := func(e int) (s, d int) { return int(index[e]), int(index[edges+e]) }
	s0, d0 := at(start)
	out := neuralgraph.Block{Type: neuralgraph.EdgeType(f.ints(t, "edge_type")[start])}
	out.Source, out.Target = neuralgraph.Span{First: s0, Count: 1}, neuralgraph.Span{First: d0, Count: 1}
	if end-start > 1 {
		out.Source = neuralgraph.Span{First: b.source[0], Count: b.source[1] - b.source[0]}
		out.Target = neuralgraph.Span{First: b.target[0], Count: b.target[1] - b.target[0]}
	}
	out.Diagonal = out.Type == neuralgraph.EdgeResidual
	if out.Edges() != end-start {
		return out, false
	}
	flat := func(e int) int64 { return params[e*width] }
	if flat(start) >= 0 {
		name, element := f.locate(flat(start))
		base := flat(start) - element
		out.Parameter = name
		for out.Taps < width && params[start*width+out.Taps] >= 0 {
			out.Taps++
		}
		element = int64(1 << 40) // the least element belongs to the first nodes
		for e := start; e < end; e++ {
			s, d := at(e)
			if s == out.Source.First && d == out.Target.First {
				element = flat(e) - base
			}
		}
		out.Offset = element
		for e := start; e < end; e++ {
			s, d := at(e)
			if s == out.Source.First+1 && d == out.Target.First {
				out.SourceStride = flat(e) - base - element
			}
			if s == out.Source.First && d == out.Target.First+1 {
				out.TargetStride = flat(e) - base - element
			}
		}
		for e := start; e < end; e++ {
			s, d := at(e)
			i, j := int64(s-out.Source.First), int64(d-out.Target.First)
			if n, _ := f.locate(flat(e)); n != name || flat(e)-base != element+i*out.SourceStride+j*out.TargetStride {
				return out, false
			}
		}
	}
	return out, true
}

// importWeights imports one of the reference's checkpoints.
func importWeights(t testing.TB, checkpoint string) *Weights {
	t.Helper()
	w, err := Import(testenv.Shared(t, "fixtures/weights/"+checkpoint+".pt"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func distance(a, b []float32) (largest float64) {
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if !(d <= largest) { // a NaN counts
			largest = d
		}
	}
	return largest
}

func floatValue(t testing.TB, v []float32, dims ...int64) *ort.Value {
	t.Helper()
	x, err := ort.FloatValue(dims, v)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func intValue(t testing.TB, v []int64, dims ...int64) *ort.Value {
	t.Helper()
	x, err := ort.Int64Value(dims, v)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// edgeInputsOf are the inputs of the edges form for a stored graph.
func edgeInputsOf(t testing.TB, s *ort.Session, f *fixture, k int64) map[string]*ort.Value {
	t.Helper()
	edges, nodes := int64(f.graph.Get("edge_type").DataSize()), int64(f.graph.Get("pos").Shape()[0])
	columns := int64(f.graph.Get("edge_attr").Shape()[1])
	all := map[string]*ort.Value{
		inEdges: intValue(t, f.ints(t, "edge_index"), 2, edges), inTypes: intValue(t, f.ints(t, "edge_type"), edges),
		inFeatures: floatValue(t, f.floats(t, "edge_attr"), edges, columns), inPositions: floatValue(t, f.floats(t, "pos"), nodes, 8),
		inHorizon: intValue(t, []int64{k}),
	}
	in := map[string]*ort.Value{}
	for _, name := range s.Inputs() {
		in[name] = all[name]
	}
	return in
}

// runEdges runs the edges form on a stored graph and returns pred [E, F].
func runEdges(t testing.TB, s *ort.Session, f *fixture, k int) []float32 {
	t.Helper()
	out, err := s.Run(context.Background(), edgeInputsOf(t, s, f, int64(k)))
	if err != nil {
		t.Fatal(err)
	}
	return out[outPred].Floats()
}

func newSession(t testing.TB, w *Weights) *ort.Session {
	t.Helper()
	m, err := EdgesModel(w, DefaultOpset)
	if err != nil {
		t.Fatal(err)
	}
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
