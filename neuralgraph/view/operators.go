package view

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
)

// operators is the scene of the operators of the model in standard form, with
// its inputs and outputs. Bodies of operators are boxes. Operators that only
// compute shapes are left out unless all are asked for.
func (v *View) operators(all bool) *scene {
	b := &operatorScene{v: v, s: &scene{}, all: all, labels: numbers{}}
	g := v.graph.Model().Graph
	outer := &scope{facts: v.facts, producer: map[string]int{}, constants: map[string]*onnxgraph.Tensor{}}
	given := map[string]bool{}
	for _, t := range g.Initializers {
		given[t.Name] = true
	}
	var items []item
	for _, in := range g.Inputs {
		if !given[in.Name] {
			outer.producer[in.Name] = b.add(node{kind: "input", title: in.Name, lines: typeLines(in.Type), facts: []fact{{"type", in.Type.String()}}})
			items = append(items, item{node: outer.producer[in.Name]})
		}
	}
	body, _ := b.graph(g, outer)
	items = append(items, body...)
	for _, out := range g.Outputs {
		i := b.add(node{kind: "output", title: out.Name, lines: typeLines(outer.typeOf(out.Name)), facts: []fact{{"type", outer.typeOf(out.Name).String()}}})
		b.read(out.Name, i, outer)
		items = append(items, item{node: i})
	}
	b.s.items = items
	b.s.entitle()
	sortedEdges(b.s.edges)
	return b.s
}

func typeLines(t onnxgraph.Type) []string {
	if t.Kind != onnxgraph.TensorKind {
		return []string{t.String()}
	}
	text := t.DType.String()
	if len(t.Shape) > 0 {
		text += " " + shapeText(t.Shape)
	}
	return []string{text}
}

type operatorScene struct {
	v      *View
	s      *scene
	labels numbers
	all    bool
}

// shapeOps compute shapes where they read nothing but shapes and constants.
var shapeOps = map[string]bool{
	"Shape": true, "Size": true, "Gather": true, "Unsqueeze": true, "Squeeze": true, "Concat": true, "Slice": true, "Cast": true, "Reshape": true,
	"Add": true, "Sub": true, "Mul": true, "Div": true, "Mod": true, "Min": true, "Max": true, "Equal": true, "Where": true, "Floor": true,
	"ReduceProd": true, "Expand": true, "ConstantOfShape": true, "Identity": true,
}

// aside says whether an operator only computes a shape.
func (b *operatorScene) aside(n *onnxgraph.Node, s *scope) bool {
	if b.all || !shapeOps[n.OpType] || n.Domain != "" || len(n.Outputs) != 1 {
		return false
	}
	t := s.typeOf(n.Output(0))
	if t.Kind != onnxgraph.TensorKind || t.DType.IsFloat() || t.Shape == nil || len(t.Shape) > 1 {
		return false
	}
	if n.OpType == "Shape" || n.OpType == "Size" {
		return true
	}
	for _, in := range n.Inputs {
		if in != "" && s.constant(in) == nil && !s.isAside(in) {
			return false
		}
	}
	return true
}

// scope is what the nodes of one graph see.
type scope struct {
	outer     *scope
	facts     *infer.Result
	producer  map[string]int // nodes of the scene by value
	constants map[string]*onnxgraph.Tensor
	aside     map[string]bool // values that are shapes, whose operators are left out
}

func (s *scope) isAside(value string) bool {
	for ; s != nil; s = s.outer {
		if s.aside[value] {
			return true
		}
	}
	return false
}

// of finds the node that makes a value, -1 where none does.
func (s *scope) of(value string) int {
	for ; s != nil; s = s.outer {
		if i, ok := s.producer[value]; ok {
			return i
		}
		if s.constants[value] != nil {
			return -1
		}
	}
	return -1
}

// constant is the initializer of that name, nil where there is none.
func (s *scope) constant(value string) *onnxgraph.Tensor {
	for ; s != nil; s = s.outer {
		if t := s.constants[value]; t != nil {
			return t
		}
		if _, ok := s.producer[value]; ok {
			return nil
		}
	}
	return nil
}

func (s *scope) typeOf(value string) onnxgraph.Type {
	if s.facts == nil {
		return onnxgraph.Type{}
	}
	if f := s.facts.Fact(value); f != nil {
		return f.Type
	}
	return onnxgraph.Type{}
}

func (b *operatorScene) add(n node) int {
	b.s.nodes = append(b.s.nodes, n)
	return len(b.s.nodes) - 1
}

// read joins the node that makes a value, if one does, to a reader.
func (b *operatorScene) read(value string, reader int, s *scope) int {
	from := s.of(value)
	if from >= 0 {
		b.s.edges = append(b.s.edges, edge{from: from, to: reader, kind: "flow", label: shapeText(s.typeOf(value).Shape), weight: 1})
	}
	return from
}

// graph adds the nodes of a graph, folded, and returns a text by which its
// structure is recognised.
func (b *operatorScene) graph(g *onnxgraph.Graph, s *scope) ([]item, string) {
	for _, t := range g.Initializers {
		s.constants[t.Name] = t
	}
	s.aside = map[string]bool{}
	start := len(b.s.nodes)
	var items []item
	q := &sequence{}
	unitOf := map[int]int{} // units of the sequence by node of the scene
	for _, n := range g.Nodes {
		if b.aside(n, s) {
			s.aside[n.Output(0)] = true
			b.s.hidden++
			continue
		}
		first := len(b.s.nodes)
		it, text := b.operator(n, s)
		items = append(items, it)
		q.labels = append(q.labels, b.labels.of(text))
		for i := first; i < len(b.s.nodes); i++ {
			unitOf[i] = len(items) - 1
		}
	}
	q.reads = make([][]int, len(items))
	for _, e := range b.s.edges {
		if to, ok := unitOf[e.to]; ok && e.to >= start && unitOf[e.from] != to {
			from := -1
			if u, ok := unitOf[e.from]; ok {
				from = u
			}
			q.reads[to] = append(q.reads[to], from)
		}
	}
	return boxed(items, q.fold(), 0), fmt.Sprint(q.labels)
}

// operator adds one operator: a node, or a box with its subgraphs.
func (b *operatorScene) operator(n *onnxgraph.Node, s *scope) (item, string) {
	text := b.text(n, s)
	subs := n.Subgraphs()
	if len(subs) == 0 {
		i := b.leaf(n, s)
		return item{node: i}, text
	}
	first := len(b.s.nodes)
	bx := &box{title: n.OpType + " " + n.Name, first: first, copies: 1}
	var ends []int
	for k, sub := range subs {
		inner := &scope{outer: s, facts: factsIn(s.facts, sub), producer: map[string]int{}, constants: map[string]*onnxgraph.Tensor{}}
		for i, in := range sub.Inputs {
			if from := s.of(n.Input(i)); from >= 0 && n.OpType != "If" {
				inner.producer[in.Name] = from
			}
		}
		at := len(b.s.nodes)
		items, body := b.graph(sub, inner)
		text += body
		if len(items) > 0 {
			bx.items = append(bx.items, item{box: &box{title: subgraphName(n, k), first: at, period: len(b.s.nodes) - at, copies: 1, items: items}})
		}
		for _, out := range sub.Outputs {
			ends = append(ends, inner.of(out.Name))
		}
	}
	i := b.leaf(n, s)
	for _, from := range ends {
		if from >= 0 && !slices.ContainsFunc(b.s.edges, func(e edge) bool { return e.from == from && e.to == i }) {
			b.s.edges = append(b.s.edges, edge{from: from, to: i, kind: "flow", weight: 1})
		}
	}
	bx.items = append(bx.items, item{node: i})
	bx.period = len(b.s.nodes) - first
	return item{box: bx}, text
}

// factsIn is the facts of a subgraph, nil where it was not inferred.
func factsIn(r *infer.Result, sub *onnxgraph.Graph) *infer.Result {
	if r == nil {
		return nil
	}
	return r.In(sub)
}

func subgraphName(n *onnxgraph.Node, k int) string {
	for _, a := range n.Attrs {
		if a.G != nil {
			if k == 0 {
				return a.Name
			}
			k--
		}
	}
	return "body"
}

// leaf adds the node of an operator.
func (b *operatorScene) leaf(n *onnxgraph.Node, s *scope) int {
	d := node{kind: kindOf(n), title: n.Op(), name: n.Name, result: shapeText(s.typeOf(n.Output(0)).Shape), facts: []fact{{"name", n.Name}}}
	i := b.add(d)
	var constants []string
	for k, in := range n.Inputs {
		if in == "" {
			continue
		}
		b.read(in, i, s)
		t := s.constant(in)
		if p, ok := b.v.paramIndex[in]; ok && t != nil {
			d.params = append(d.params, p)
			d.lines = append(d.lines, shortName(in)+" "+dims(t.Dims))
		} else if t != nil {
			if c := constantText(t); c != "" && len(n.Inputs) > 1 {
				constants = append(constants, c)
			}
		}
		d.facts = append(d.facts, fact{fmt.Sprintf("input %d", k), in + ": " + s.typeOf(in).String() + valueText(t)})
	}
	if len(constants) > 0 {
		d.lines = append(d.lines, strings.Join(constants, " "))
	}
	for k, out := range n.Outputs {
		if out == "" {
			continue
		}
		s.producer[out] = i
		d.facts = append(d.facts, fact{fmt.Sprintf("output %d", k), out + ": " + s.typeOf(out).String()})
	}
	for _, a := range n.Attrs {
		if a.G == nil && len(a.Graphs) == 0 {
			d.facts = append(d.facts, fact{a.Name, attrText(a)})
		}
	}
	if k := n.Ints("kernel_shape"); len(k) > 0 && len(d.params) == 0 {
		d.lines = append(d.lines, dims(k))
	}
	b.s.nodes[i] = d
	return i
}

// shortName is the last part of a dotted or slashed name.
func shortName(name string) string {
	if i := strings.LastIndexAny(name, "./:"); i >= 0 && i+1 < len(name) {
		return name[i+1:]
	}
	return name
}

// shownElements is how many elements of a constant are shown.
const shownElements = 6

// constantText prints a small constant of integers, or a scalar.
func constantText(t *onnxgraph.Tensor) string {
	if t.Len() > shownElements || t.Len() > 1 && !t.DType.IsInteger() {
		return ""
	}
	if t.DType.IsInteger() {
		list, err := t.AsInts()
		if err != nil {
			return ""
		}
		out := make([]string, len(list))
		for i, n := range list {
			out[i] = boundText(n)
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	list, err := t.AsDoubles()
	if err != nil || len(list) != 1 {
		return ""
	}
	return fmt.Sprintf("%.4g", list[0])
}

// boundText prints an integer, those that mean "to the end" as ∞.
func boundText(n int64) string {
	switch {
	case n >= math.MaxInt32:
		return "∞"
	case n <= -math.MaxInt32:
		return "-∞"
	}
	return strconv.FormatInt(n, 10)
}

func valueText(t *onnxgraph.Tensor) string {
	if t == nil {
		return ""
	}
	if c := constantText(t); c != "" {
		return " = " + c
	}
	return ""
}

// attrText prints an attribute's value, long ones cut.
func attrText(a *onnxgraph.Attribute) string {
	var v any
	switch a.Type {
	case onnxgraph.AttrFloat:
		v = a.F
	case onnxgraph.AttrInt:
		v = a.I
	case onnxgraph.AttrString:
		v = string(a.S)
	case onnxgraph.AttrFloats:
		v = a.Floats
	case onnxgraph.AttrInts:
		v = a.Ints
	case onnxgraph.AttrTensor:
		return onnxgraph.TensorOf(a.T.DType, a.T.Shape()).String() + valueText(a.T)
	case onnxgraph.AttrStrings:
		list := make([]string, len(a.Strings))
		for i, s := range a.Strings {
			list[i] = string(s)
		}
		v = list
	default:
		return "…"
	}
	text := []rune(fmt.Sprint(v))
	if len(text) > 80 {
		text = append(text[:79], '…')
	}
	return string(text)
}

// text describes an operator so that alike ones have the same text.
func (b *operatorScene) text(n *onnxgraph.Node, s *scope) string {
	var t strings.Builder
	t.WriteString(n.Op())
	for _, a := range n.Attrs {
		if a.G == nil {
			t.WriteString(" " + a.Name + "=" + attrText(a))
		}
	}
	for _, in := range n.Inputs {
		switch c := s.constant(in); {
		case in == "":
			t.WriteString(" -")
		case s.isAside(in):
			t.WriteString(" shape")
		case c != nil:
			t.WriteString(" " + c.DType.String() + dims(c.Dims))
		default:
			t.WriteString(" v")
		}
	}
	for _, out := range n.Outputs {
		t.WriteString(" " + shapeText(s.typeOf(out).Shape))
	}
	return t.String()
}

// kindOf is the family of an operator, which gives it its colour.
func kindOf(n *onnxgraph.Node) string {
	if k := families[n.OpType]; k != "" {
		return k
	}
	switch {
	case strings.Contains(n.OpType, "Conv"):
		return "conv"
	case strings.Contains(n.OpType, "Norm"):
		return "norm"
	case strings.Contains(n.OpType, "Pool"):
		return "pool"
	case strings.Contains(n.OpType, "Attention"), strings.Contains(n.OpType, "MatMul"), strings.Contains(n.OpType, "LSTM"):
		return "linear"
	case strings.HasPrefix(n.OpType, "Reduce"):
		return "pool"
	}
	return "other"
}

// families of operators, where the name does not say it.
var families = map[string]string{
	"Gemm": "linear", "Einsum": "linear", "GRU": "linear", "RNN": "linear",
	"Relu": "activation", "Gelu": "activation", "Sigmoid": "activation", "Tanh": "activation", "Softmax": "activation", "LogSoftmax": "activation",
	"LeakyRelu": "activation", "PRelu": "activation", "Elu": "activation", "Selu": "activation", "Celu": "activation", "HardSigmoid": "activation",
	"HardSwish": "activation", "Swish": "activation", "Mish": "activation", "Softplus": "activation", "Softsign": "activation", "Erf": "activation", "Clip": "activation",
	"Reshape": "shape", "Transpose": "shape", "Concat": "shape", "Split": "shape", "Slice": "shape", "Squeeze": "shape", "Unsqueeze": "shape",
	"Flatten": "shape", "Expand": "shape", "Gather": "shape", "Pad": "shape", "Tile": "shape", "Identity": "shape", "Shape": "shape", "Cast": "shape",
	"If": "control", "Loop": "control", "Scan": "control", "SequenceMap": "control",
}
