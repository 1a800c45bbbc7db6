package graph

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// matching says which operators of two models correspond.
type matching struct {
	a, b     *flow
	to, from []int // steps of b by steps of a and the other way round, -1: none
}

// flow is the operators of a model in an order that follows from the structure
// alone: each behind what it reads, beginning at the first output.
type flow struct {
	model   *onnxgraph.Model
	steps   []step
	at      map[*onnxgraph.Node]int
	tensors map[string]*onnxgraph.Tensor // initializers, of subgraphs too
	inputs  map[string]int               // places of the model's inputs
}

type step struct {
	node    *onnxgraph.Node
	does    string  // what it is, without names
	label   string  // the same with the shapes of its constants
	sources []maker // of its inputs
	forward hash    // of all that leads to it
	back    hash    // of all that it leads to
}

// maker is what makes a value: a step, or an input of the model.
type maker struct {
	step   int // -1: not a step
	output int
	input  int // place among the inputs, -1
}

type hash [sha256.Size]byte

func hashOf(parts ...any) hash { return sha256.Sum256([]byte(fmt.Sprint(parts...))) }

func newFlow(m *onnxgraph.Model) *flow {
	f := &flow{model: m, at: map[*onnxgraph.Node]int{}, tensors: map[string]*onnxgraph.Tensor{}, inputs: map[string]int{}}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, t := range g.Initializers {
			f.tensors[t.Name] = t
		}
	})
	for i, v := range m.Graph.Inputs {
		f.inputs[v.Name] = i
	}
	makers := map[string]maker{}
	f.walk(m.Graph, makers)
	f.hashBack()
	return f
}

// walk adds the operators of a graph, those of subgraphs before their owner.
func (f *flow) walk(g *onnxgraph.Graph, makers map[string]maker) {
	producer := map[string]*onnxgraph.Node{}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			producer[out] = n
		}
	}
	var visit func(n *onnxgraph.Node)
	visit = func(n *onnxgraph.Node) {
		if n == nil {
			return
		}
		if _, ok := f.at[n]; ok {
			return
		}
		f.at[n] = -1 // on the way; a graph has no cycles
		for _, in := range n.Reads() {
			visit(producer[in])
		}
		for _, sub := range n.Subgraphs() {
			f.walk(sub, makers)
		}
		f.add(n, makers)
	}
	for _, v := range g.Outputs {
		visit(producer[v.Name])
	}
	for _, n := range g.Nodes {
		visit(n)
	}
}

func (f *flow) add(n *onnxgraph.Node, makers map[string]maker) {
	s := step{node: n}
	s.does, s.label = f.describe(n)
	parts := []any{s.label}
	for _, in := range n.Inputs {
		m, ok := makers[in]
		if !ok {
			m = maker{-1, 0, -1}
			if i, ok := f.inputs[in]; ok && f.tensors[in] == nil {
				m.input = i
			}
		}
		s.sources = append(s.sources, m)
		if m.step >= 0 {
			parts = append(parts, f.steps[m.step].forward, m.output)
		} else {
			parts = append(parts, m.input)
		}
	}
	s.forward = hashOf(parts...)
	f.at[n] = len(f.steps)
	for i, out := range n.Outputs {
		makers[out] = maker{len(f.steps), i, -1}
	}
	f.steps = append(f.steps, s)
}

// describe says what an operator does: its attributes, and which inputs are
// constants; label adds their types.
func (f *flow) describe(n *onnxgraph.Node) (does, label string) {
	var attrs, types []string
	for _, a := range n.Attrs {
		if a.G == nil && len(a.Graphs) == 0 {
			attrs = append(attrs, a.Name+"="+attributeText(a))
		}
	}
	slices.Sort(attrs)
	for i, in := range n.Inputs {
		if t := f.tensors[in]; t != nil {
			attrs = append(attrs, fmt.Sprintf("constant input %d", i))
			types = append(types, onnxgraph.TensorOf(t.DType, t.Shape()).String())
		}
	}
	does = n.Op()
	if len(attrs) > 0 {
		does += " (" + strings.Join(attrs, ", ") + ")"
	}
	return does, does + strings.Join(types, " ")
}

func attributeText(a *onnxgraph.Attribute) string {
	switch a.Type {
	case onnxgraph.AttrFloat:
		return fmt.Sprint(a.F)
	case onnxgraph.AttrInt:
		return fmt.Sprint(a.I)
	case onnxgraph.AttrString:
		return string(a.S)
	case onnxgraph.AttrFloats:
		return fmt.Sprint(a.Floats)
	case onnxgraph.AttrInts:
		return fmt.Sprint(a.Ints)
	case onnxgraph.AttrStrings:
		return fmt.Sprintf("%q", a.Strings)
	case onnxgraph.AttrTensor:
		h := hashOf(a.T.DType, a.T.Dims, string(a.T.Data), a.T.Strings)
		return fmt.Sprintf("%s#%x", onnxgraph.TensorOf(a.T.DType, a.T.Shape()), h[:4])
	}
	return fmt.Sprintf("attribute of type %d", a.Type)
}

// hashBack hashes what each step leads to, from the end.
func (f *flow) hashBack() {
	readers := make([][]string, len(f.steps))
	for i, v := range f.model.Graph.Outputs {
		for k, s := range f.steps {
			for o, name := range s.node.Outputs {
				if name == v.Name {
					readers[k] = append(readers[k], fmt.Sprint("output ", i, " ", o))
				}
			}
		}
	}
	for k := len(f.steps) - 1; k >= 0; k-- {
		s := &f.steps[k]
		slices.Sort(readers[k])
		s.back = hashOf(s.label, readers[k])
		for i, m := range s.sources {
			if m.step >= 0 {
				readers[m.step] = append(readers[m.step], fmt.Sprintf("%x %d %d", s.back, i, m.output))
			}
		}
	}
}

// match pairs operators: those with the same past, those with the same future,
// and in between the longest sequence of equal labels and then of equal kinds.
func match(a, b *onnxgraph.Model) *matching {
	m := &matching{a: newFlow(a), b: newFlow(b)}
	m.to, m.from = unpaired(len(m.a.steps)), unpaired(len(m.b.steps))
	m.alike(func(s *step) any { return s.forward })
	m.alike(func(s *step) any { return s.back })
	m.inOrder(func(s *step) string { return s.label })
	m.inOrder(func(s *step) string { return s.does })
	m.inOrder(func(s *step) string { return s.node.Op() })
	return m
}

func unpaired(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = -1
	}
	return out
}

func (m *matching) pair(i, j int) { m.to[i], m.from[j] = j, i }

// alike pairs steps that share a key, where both models have as many of them.
func (m *matching) alike(key func(*step) any) {
	group := func(f *flow, paired []int) map[any][]int {
		out := map[any][]int{}
		for i := range f.steps {
			if paired[i] < 0 {
				k := key(&f.steps[i])
				out[k] = append(out[k], i)
			}
		}
		return out
	}
	b := group(m.b, m.from)
	for k, list := range group(m.a, m.to) {
		if len(list) == len(b[k]) {
			for n, i := range list {
				m.pair(i, b[k][n])
			}
		}
	}
}

// mostCells bounds the table of the longest common sequence.
const mostCells = 16_000_000

// inOrder pairs what is left by a longest common subsequence, or, where that
// would take too long, each with the next one of its text.
func (m *matching) inOrder(text func(*step) string) {
	left := func(f *flow, paired []int) (index []int, texts []string) {
		for i := range f.steps {
			if paired[i] < 0 {
				index, texts = append(index, i), append(texts, text(&f.steps[i]))
			}
		}
		return index, texts
	}
	ia, ta := left(m.a, m.to)
	ib, tb := left(m.b, m.from)
	if len(ta)*len(tb) > mostCells {
		at := 0
		for i := range ta {
			if j := slices.Index(tb[at:], ta[i]); j >= 0 {
				m.pair(ia[i], ib[at+j])
				at += j + 1
			}
		}
		return
	}
	length := make([][]int32, len(ta)+1)
	for i := range length {
		length[i] = make([]int32, len(tb)+1)
	}
	for i := len(ta) - 1; i >= 0; i-- {
		for j := len(tb) - 1; j >= 0; j-- {
			if length[i][j] = max(length[i+1][j], length[i][j+1]); ta[i] == tb[j] {
				length[i][j] = max(length[i][j], length[i+1][j+1]+1)
			}
		}
	}
	for i, j := 0, 0; i < len(ta) && j < len(tb); {
		switch {
		case ta[i] == tb[j] && length[i][j] == length[i+1][j+1]+1:
			m.pair(ia[i], ib[j])
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
}

// rewired is the first input at which two corresponding steps read values that
// do not correspond, -1 where there is none. Values of operators that only one
// model has do not count: those are differences themselves.
func (m *matching) rewired(i, j int) int {
	x, y := m.a.steps[i].sources, m.b.steps[j].sources
	for k := range min(len(x), len(y)) {
		p, q := x[k], y[k]
		switch {
		case p.step >= 0 && q.step >= 0:
			if m.to[p.step] >= 0 && m.from[q.step] >= 0 && (m.to[p.step] != q.step || p.output != q.output) {
				return k
			}
		case p.step < 0 && q.step < 0:
			if p.input != q.input {
				return k
			}
		case p.step >= 0 && m.to[p.step] >= 0, q.step >= 0 && m.from[q.step] >= 0:
			return k
		}
	}
	return -1
}

// origin names what an input of a step comes from.
func (f *flow) origin(i, k int) string {
	m := f.steps[i].sources[k]
	if m.step >= 0 {
		return f.steps[m.step].node.Label()
	}
	return f.steps[i].node.Input(k)
}

// parameters pairs initializers: by the operators that read them, then by name,
// then by content.
func (m *matching) parameters() map[string]string {
	out, taken := map[string]string{}, map[string]bool{}
	pair := func(a, b string) {
		if m.a.tensors[a] != nil && m.b.tensors[b] != nil && out[a] == "" && !taken[b] {
			out[a], taken[b] = b, true
		}
	}
	for i, j := range m.to {
		if j < 0 {
			continue
		}
		x, y := m.a.steps[i].node.Inputs, m.b.steps[j].node.Inputs
		for k := range min(len(x), len(y)) {
			pair(x[k], y[k])
		}
	}
	for name := range m.a.tensors {
		pair(name, name)
	}
	content := func(t *onnxgraph.Tensor) hash { return hashOf(t.DType, t.Dims, string(t.Data), t.Strings) }
	same := map[hash][]string{}
	for _, name := range slices.Sorted(maps.Keys(m.b.tensors)) {
		if !taken[name] {
			h := content(m.b.tensors[name])
			same[h] = append(same[h], name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.a.tensors)) {
		if out[name] == "" {
			if list := same[content(m.a.tensors[name])]; len(list) > 0 {
				pair(name, list[0])
				same[content(m.a.tensors[name])] = list[1:]
			}
		}
	}
	return out
}
