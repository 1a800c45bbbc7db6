package nino

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// matchCase has five states of some arrays and a model that holds the newest.
type matchCase struct {
	rng        *rand.Rand
	states     []*weights.Set
	parameters []ModelParameter
}

func newMatchCase() *matchCase {
	c := &matchCase{rng: rand.New(rand.NewPCG(51, 52))}
	for range 5 {
		c.states = append(c.states, &weights.Set{})
	}
	return c
}

// array adds an array of random numbers to the states and returns those of the
// newest.
func (c *matchCase) array(name string, dims ...int64) []float32 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	var v []float32
	for _, s := range c.states {
		v = randomFloats(c.rng, int(n))
		s.AddFloats(name, dims, v)
	}
	return v
}

// parameter adds a parameter to the model.
func (c *matchCase) parameter(name string, v []float32, dims ...int64) {
	p := ModelParameter{Name: name, Shape: dims}
	if v != nil {
		p.Value = onnxgraph.Floats(name, dims, v)
	}
	c.parameters = append(c.parameters, p)
}

func turned(v []float32, rows, cols int) []float32 {
	out := make([]float32, len(v))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = v[i*cols+j]
		}
	}
	return out
}

// rounded keeps the upper bits of numbers, as bfloat16 (16) and float16 (19) do.
func rounded(v []float32, bits int) {
	for i, x := range v {
		v[i] = math.Float32frombits(math.Float32bits(x) &^ (1<<(32-bits) - 1))
	}
}

func TestMatchStates(t *testing.T) {
	c := newMatchCase()
	c.parameter("fc.weight", c.array("fc.weight", 3, 4), 3, 4)
	c.parameter("gate", nil, 1, 5)
	c.array("gate", 5)
	c.array("transformer.h.0.ln.weight", 6)
	c.parameter("h.0.ln.weight", nil, 6)
	c.array("model/dense/kernel:0", 4, 7)
	c.parameter("dense.kernel.0", nil, 7, 4)
	c.parameter("onnx::MatMul_9", turned(c.array("attn.q.weight", 5, 5), 5, 5), 5, 5)
	c.parameter("onnx::MatMul_10", turned(c.array("attn.k.weight", 5, 8), 5, 8), 8, 5)
	old := c.array("first", 9)
	oldest, _ := c.states[0].Floats("first")
	c.parameter("val_3", slices.Clone(oldest), 9)
	_ = old
	v := c.array("half", 64)
	whole := slices.Clone(v)
	for _, s := range c.states {
		x, _ := s.Floats("half")
		rounded(x, 16)
	}
	c.parameter("val_4", whole, 64)
	c.parameter("lost", nil, 11)
	c.array("buffer", 13)
	for _, s := range c.states {
		x, _ := s.Floats("fc.weight")
		s.AddFloats("head.weight", []int64{3, 4}, slices.Clone(x))
	}
	m, err := MatchStates(c.parameters, c.states)
	if err != nil {
		t.Fatal(err)
	}
	want := []Match{
		{"fc.weight", "fc.weight", ByName, false}, {"gate", "gate", ByName, false},
		{"h.0.ln.weight", "transformer.h.0.ln.weight", BySuffix, false}, {"dense.kernel.0", "model/dense/kernel:0", BySuffix, true},
		{"onnx::MatMul_9", "attn.q.weight", ByValue, true}, {"onnx::MatMul_10", "attn.k.weight", ByValue, true},
		{"val_3", "first", ByValue, false}, {"val_4", "half", ByValue, false},
	}
	if !slices.Equal(m.Matches, want) {
		t.Errorf("matches\n%+v, expected\n%+v", m.Matches, want)
	}
	if !slices.Equal(m.Missing, []string{"lost"}) || !slices.Equal(m.Rest, []string{"buffer"}) || !slices.Equal(m.Tied, []Tie{{"head.weight", "fc.weight"}}) {
		t.Errorf("missing %q, rest %q, tied %v", m.Missing, m.Rest, m.Tied)
	}
}

// Square matrices of which the model holds no state lie as all others lie whose
// names end alike.
func TestMatchTurnsSquares(t *testing.T) {
	for _, straight := range []bool{false, true} {
		c := newMatchCase()
		c.array("embedding", 9, 5)
		c.parameter("embedding", nil, 9, 5)
		c.array("up.kernel", 5, 8)
		c.parameter("up.kernel", nil, 8, 5)
		c.array("mix.kernel", 5, 5)
		c.parameter("mix.kernel", nil, 5, 5)
		if straight {
			c.array("down.kernel", 5, 7)
			c.parameter("down.kernel", nil, 5, 7)
		}
		m, err := MatchStates(c.parameters, c.states)
		if err != nil || m.Matches[2] != (Match{"mix.kernel", "mix.kernel", ByName, !straight}) {
			t.Errorf("another kernel as it is: %v; %+v, %v", straight, m, err)
		}
	}
}

// States are matched as they are stored: a model's own numbers, rounded.
func TestMatchElementTypes(t *testing.T) {
	for _, dtype := range []onnxgraph.DType{onnxgraph.Float16, onnxgraph.BFloat16, onnxgraph.Double} {
		c := newMatchCase()
		v := c.array("w", 40, 20)
		c.parameter("onnx::MatMul_1", turned(v, 40, 20), 20, 40)
		var states []stored
		for _, s := range c.states {
			x, _ := s.Floats("w")
			data := make([]byte, dtype.RawSize(800))
			for i, f := range x {
				(column{dtype, data}).set(int64(i), f)
			}
			states = append(states, stored{{Name: "w", DType: dtype, Dims: []int64{40, 20}, Data: data}})
		}
		m, err := MatchStates(c.parameters, states)
		if err != nil || m.Matches[0] != (Match{"onnx::MatMul_1", "w", ByValue, true}) {
			t.Errorf("%s: %+v, %v", dtype, m, err)
		}
	}
}

// stored is a checkpoint of arrays as a file stores them.
type stored []*onnxgraph.Tensor

func (s stored) Tensor(name string) *onnxgraph.Tensor {
	for _, t := range s {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (s stored) Names() (names []string) {
	for _, t := range s {
		names = append(names, t.Name)
	}
	return names
}

func TestMatchRefuses(t *testing.T) {
	same := []float32{1, 2, 3}
	cases := map[string]func(c *matchCase){
		`"w" has shape [3 4] in the model, [4 5] in the states`: func(c *matchCase) {
			c.array("w", 4, 5)
			c.parameter("w", nil, 3, 4)
		},
		`"val_1" of the model could be "a" or "b"`: func(c *matchCase) {
			for _, s := range c.states {
				s.AddFloats("a", []int64{3}, same)
				s.AddFloats("b", []int64{3}, same)
			}
			c.parameter("val_1", same, 3)
		},
		`"val_2" of the model could be "a"`: func(c *matchCase) {
			v := c.array("a", 3)
			c.parameter("val_1", v, 3)
			c.parameter("val_2", v, 3)
		},
		"no array of the states is a parameter of the model, by name or by value; the states hold a, the model's parameters are b": func(c *matchCase) {
			c.array("a", 3)
			c.parameter("b", same, 3)
		},
	}
	for want, make := range cases {
		c := newMatchCase()
		make(c)
		if _, err := MatchStates(c.parameters, c.states); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

// An array whose name merely ends like the parameter's does not win over the one
// that has its numbers.
func TestMatchValuesOverSuffix(t *testing.T) {
	c := newMatchCase()
	c.array("x.fc.weight", 3, 2)
	v := c.array("y", 3, 2)
	c.parameter("fc.weight", v, 3, 2)
	m, err := MatchStates(c.parameters, c.states)
	if err != nil || m.Matches[0] != (Match{"fc.weight", "y", ByValue, false}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// A transposed matrix lies under the same edges: each number of the model belongs
// to the same pair of nodes as in the checkpoints.
func TestMatchingGraph(t *testing.T) {
	const rows, cols = 6, 10
	span := func(first, count int) neuralgraph.Span { return neuralgraph.Span{First: first, Count: count} }
	blocks := map[string][]neuralgraph.Block{
		"whole":    {{Source: span(0, 10), Target: span(10, 6), Taps: 1, SourceStride: 1, TargetStride: cols}},
		"parts":    {{Source: span(0, 10), Target: span(10, 3), Taps: 1, SourceStride: 1, TargetStride: cols}, {Source: span(0, 10), Target: span(13, 3), Taps: 1, Offset: 3 * cols, SourceStride: 1, TargetStride: cols}},
		"taps":     {{Source: span(0, 5), Target: span(10, 6), Taps: 2, SourceStride: 2, TargetStride: cols}},
		"far taps": {{Source: span(0, 5), Target: span(10, 6), Taps: 2, SourceStride: 1, TargetStride: cols, TapOffsets: []int64{0, 5}}},
	}
	for name, list := range blocks {
		g := &neuralgraph.NiNo{Nodes: 16}
		for _, b := range list {
			b.Parameter, b.Type = "w", neuralgraph.EdgeLinear
			g.Blocks = append(g.Blocks, b)
		}
		m := &Matching{Matches: []Match{{"w", "array", ByValue, true}}, shapes: map[string][]int64{"w": {rows, cols}}}
		out, err := m.Graph(g)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		numbers := func(g *neuralgraph.NiNo, array string, place func(int64) int64) map[[3]int]int64 {
			p, err := newPlan(g, 9, 15)
			if err != nil || p.parameters[0] != array {
				t.Fatal(p, err)
			}
			got := map[[3]int]int64{}
			p.each(func(_ int, x *piece, i, j int) {
				for f, tap := range x.taps {
					got[[3]int{x.source.Node(i), x.target.Node(j), f}] = place(x.element(i, j) + tap)
				}
			})
			return got
		}
		want := numbers(g, "w", func(at int64) int64 { return at%cols*rows + at/cols })
		got := numbers(out, "array", func(at int64) int64 { return at })
		if len(want) != rows*cols || len(got) != len(want) {
			t.Errorf("%s: %d and %d numbers", name, len(want), len(got))
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: edge %v carries number %d, expected %d", name, k, got[k], v)
				break
			}
		}
	}
	wrapped := &neuralgraph.NiNo{Nodes: 70, Blocks: []neuralgraph.Block{{Parameter: "w", Type: neuralgraph.EdgeLinear, Source: span(0, 60), Target: span(60, 1), Taps: 1, SourceStride: 1}}}
	m := &Matching{Matches: []Match{{"w", "array", ByValue, true}}, shapes: map[string][]int64{"w": {rows, cols}}}
	if _, err := m.Graph(wrapped); err == nil || !strings.Contains(err.Error(), "rows and columns") {
		t.Errorf("error %v", err)
	}
}

// Convolutions with batch normalizations folded in are found again, the
// normalization's scale gets its edges, and nothing is left over but statistics.
func TestMatchFolded(t *testing.T) {
	for variant, names := range normalNames[:2] {
		kept := variant == 1 // an exporter that keeps the names of weights
		c := newMatchCase()
		for i, layer := range []string{"a.", "b."} {
			const outputs, inputs, taps = 4, 3, 9
			v := c.array(layer+"conv.weight", outputs, inputs, 3, 3)
			gamma, beta := c.array(layer+"bn."+names[0], outputs), c.array(layer+"bn."+names[1], outputs)
			mean, mass := c.array(layer+"bn."+names[2], outputs), c.array(layer+"bn."+names[3], outputs)
			own := make([]float32, outputs)
			if i == 1 {
				own = c.array(layer+"conv.bias", outputs)
			}
			for j := range mass {
				mass[j] = float32(math.Abs(float64(mass[j])) + 0.1)
			}
			weight, bias := make([]float32, len(v)), make([]float32, outputs)
			for o := range outputs {
				r := float64(gamma[o]) / math.Sqrt(float64(mass[o])+1e-5)
				for k := range inputs * taps {
					weight[o*inputs*taps+k] = float32(float64(v[o*inputs*taps+k]) * r)
				}
				bias[o] = float32(float64(beta[o]) + (float64(own[o])-float64(mean[o]))*r)
			}
			name := "onnx::Conv_" + layer
			if kept {
				name = layer + "conv.weight"
			}
			c.parameter(name, weight, outputs, inputs, 3, 3)
			c.parameter("onnx::Conv_bias_"+layer, bias, outputs)
		}
		m, err := MatchStates(c.parameters, c.states)
		if err != nil {
			t.Fatal(err)
		}
		want := []Match{
			{"onnx::Conv_a.", "a.conv.weight", ByFold, false}, {"onnx::Conv_bias_a.", "a.bn." + names[1], ByFold, false},
			{"onnx::Conv_b.", "b.conv.weight", ByFold, false}, {"onnx::Conv_bias_b.", "b.bn." + names[1], ByFold, false},
		}
		if kept {
			want[0].Parameter, want[2].Parameter = "a.conv.weight", "b.conv.weight"
		}
		if !slices.Equal(m.Matches, want) || len(m.Missing) > 0 {
			t.Errorf("matches\n%+v, expected\n%+v; missing %v", m.Matches, want, m.Missing)
		}
		rest := []string{"a.bn." + names[2], "a.bn." + names[3], "b.bn." + names[2], "b.bn." + names[3], "b.conv.bias"}
		if !slices.Equal(m.Rest, rest) {
			t.Errorf("rest %q, expected %q", m.Rest, rest)
		}
		g := &neuralgraph.NiNo{Nodes: 5, Blocks: []neuralgraph.Block{
			{Parameter: "onnx::Conv_bias_a.", Type: neuralgraph.EdgeBias, Source: neuralgraph.Span{First: 4, Count: 1}, Target: neuralgraph.Span{Count: 4}, Taps: 1, TargetStride: 1},
			{Parameter: "onnx::Conv_bias_b.", Type: neuralgraph.EdgeBias, Source: neuralgraph.Span{First: 4, Count: 1}, Target: neuralgraph.Span{Count: 4}, Taps: 1, TargetStride: 1},
		}}
		out, err := m.Graph(g)
		if err != nil {
			t.Fatal(err)
		}
		scale := out.Blocks[2]
		if out.Nodes != 7 || len(out.Blocks) != 4 || scale.Parameter != "a.bn."+names[0] || scale.Type != neuralgraph.EdgeNorm || scale.Source.First != 5 || scale.Target.Count != 4 {
			t.Errorf("graph %+v", out)
		}
	}
}
