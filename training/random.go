package training

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
)

// The random operators of ONNX Runtime keep a generator in the session, whose
// state cannot be read: a resumed run would go on with other draws. So the step
// models draw from an input instead, which the executor fills anew for every
// batch from seed, step, batch and worker. What a step draws then follows from
// these numbers alone.
//
// Element i of a random operator gets the 64 bits
//
//	(A[i mod 1024] + B[i/1024 mod 1024] + C[i/1024² mod 1024] + N)²  mod 2^64
//
// of three tables and one number N of the operator, all uniform. The sum alone
// would be the same for pairs of elements that differ alike; the high bits of
// its square are not. This costs two integer operations per element.
const (
	drawsName  = "ninox.draws" // input: A, B, C, and N of every random operator
	drawSpan   = 1024          // elements of a table
	drawTables = 3
)

// stillDraw has the square 2^63−7, close to the largest int64: where all draws
// are that, Dropout keeps every element.
const stillDraw = 0x59b4bb639c98c0b5

// drawFromTables replaces the random operators of a step model by draws from
// the input drawsName, which it declares where there are any, and returns their
// number. Those in the bodies of loops, which no artifacts of ninox have, stay.
func drawFromTables(m *onnxgraph.Model) (int, error) {
	if !drawsNumbers(m.Graph) {
		return 0, nil
	}
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		return 0, err
	}
	d := &drawer{}
	head := newGrower(&onnxgraph.Graph{}, "ninox.random/")
	for i := range d.table {
		d.table[i] = d.slice(head, drawsName, head.constant(onnxgraph.Vector("from", int64(i*drawSpan))), head.constant(onnxgraph.Vector("to", int64((i+1)*drawSpan))))
	}
	d.rewrite(m.Graph, facts)
	if d.n == 0 { // all are switched off
		return 0, nil
	}
	m.Graph.Nodes = append(head.g.Nodes, m.Graph.Nodes...)
	m.Graph.Initializers = append(m.Graph.Initializers, head.g.Initializers...)
	newGrower(m.Graph, "").input(drawsName, onnxgraph.Int64, onnxgraph.StaticShape(drawSize(d.n)))
	return d.n, nil
}

// drawSize is the number of elements of drawsName for so many operators.
func drawSize(operators int) int64 { return int64(drawTables*drawSpan + operators) }

// drawsNumbers says whether a graph, or a branch of it, has a random operator.
func drawsNumbers(g *onnxgraph.Graph) bool {
	return slices.ContainsFunc(g.Nodes, func(n *onnxgraph.Node) bool {
		return n.Domain == "" && (randomRules[n.OpType] != nil || n.OpType == "If" && slices.ContainsFunc(n.Subgraphs(), drawsNumbers))
	})
}

// drawer rewrites random operators.
type drawer struct {
	table [drawTables]string
	n     int // operators rewritten
}

// randomRules emit, for a random operator, the same from draws. They return
// false where the operator is not random after all.
var randomRules = map[string]func(d *drawer, w *grower, n *onnxgraph.Node, facts *infer.Result) bool{
	"Dropout":           (*drawer).dropout,
	"RandomUniform":     (*drawer).uniform,
	"RandomUniformLike": (*drawer).uniform,
	"RandomNormal":      (*drawer).normal,
	"RandomNormalLike":  (*drawer).normal,
	"Bernoulli":         (*drawer).bernoulli,
	"Multinomial":       (*drawer).multinomial,
}

func (d *drawer) rewrite(g *onnxgraph.Graph, facts *infer.Result) {
	all := g.Nodes
	g.Nodes = nil
	w := newGrower(&onnxgraph.Graph{Inputs: g.Inputs, Initializers: g.Initializers, Nodes: all}, "")
	w.g = g
	for _, n := range all {
		if n.Domain == "" {
			w.prefix = "ninox.random/" + n.Label() + "/"
			if rule := randomRules[n.OpType]; rule != nil && rule(d, w, n, facts) {
				continue
			}
			if n.OpType == "If" {
				n = d.branches(n, facts)
			}
		}
		g.Nodes = append(g.Nodes, n)
	}
}

// branches is an If with its branches rewritten.
func (d *drawer) branches(n *onnxgraph.Node, facts *infer.Result) *onnxgraph.Node {
	if !slices.ContainsFunc(n.Subgraphs(), drawsNumbers) {
		return n
	}
	c := n.Clone()
	for i, g := range c.Subgraphs() {
		d.rewrite(g, facts.In(n.Subgraphs()[i]))
	}
	return c
}

// dropout: y = x·mask/(1−ratio) with P(mask) = 1−ratio.
func (d *drawer) dropout(w *grower, n *onnxgraph.Node, facts *infer.Result) bool {
	on := n.Input(2)
	always, known := boolOf(facts, on)
	if on == "" || known && !always {
		return false
	}
	x := n.Input(0)
	ratio := n.Input(1)
	if ratio == "" {
		ratio = w.scalar(0.5)
	}
	ratio = cast(w, ratio, onnxgraph.Double)
	// A draw is at least threshold with probability 1−ratio.
	threshold := cast(w, w.op("Sub", []string{w.op("Mul", []string{ratio, double(w, 1<<64)}), double(w, 1<<63)}), onnxgraph.Int64)
	mask := d.draw(w, sizeOf(w, x), func(y string) string { return w.op("GreaterOrEqual", []string{y, threshold}) })
	kept := w.op("Sub", []string{double(w, 1), ratio})
	if !known {
		mask = w.op("Or", []string{mask, w.op("Not", []string{on})})
		kept = w.op("Where", []string{on, kept, double(w, 1)})
	}
	out := n.Output(1)
	if out == "" {
		out = w.fresh("mask")
	}
	w.named(out, "Reshape", []string{mask, w.op("Shape", []string{x})})
	dtype := facts.Fact(x).DType()
	factor := w.op("Where", []string{out, cast(w, w.op("Div", []string{double(w, 1), kept}), dtype), cast(w, double(w, 0), dtype)})
	w.named(n.Output(0), "Mul", []string{x, factor})
	return true
}

func (d *drawer) uniform(w *grower, n *onnxgraph.Node, facts *infer.Result) bool {
	low, high := n.Float("low", 0), n.Float("high", 1)
	shape, size := drawnShape(w, n)
	u := d.draw(w, size, func(y string) string { return unit(w, y) })
	v := w.op("Add", []string{w.op("Mul", []string{u, w.scalar(float64(high - low))}), w.scalar(float64(low))})
	finishDraw(w, n, facts, v, shape)
	return true
}

// normal draws by the Box–Muller transform of two uniform numbers.
func (d *drawer) normal(w *grower, n *onnxgraph.Node, facts *infer.Result) bool {
	shape, size := drawnShape(w, n)
	zero, twice := w.constant(onnxgraph.Vector("zero", 0)), w.op("Add", []string{size, size})
	u := d.draw(w, twice, func(y string) string { return unit(w, y) })
	first, second := d.slice(w, u, zero, size), d.slice(w, u, size, twice)
	log := w.op("Log", []string{w.op("Sub", []string{w.scalar(1), first})})
	radius := w.op("Sqrt", []string{w.op("Mul", []string{log, w.scalar(-2)})})
	angle := w.op("Cos", []string{w.op("Mul", []string{second, w.scalar(2 * math.Pi)})})
	z := w.op("Mul", []string{w.op("Mul", []string{radius, angle}), w.scalar(float64(n.Float("scale", 1)))})
	finishDraw(w, n, facts, w.op("Add", []string{z, w.scalar(float64(n.Float("mean", 0)))}), shape)
	return true
}

func (d *drawer) bernoulli(w *grower, n *onnxgraph.Node, facts *infer.Result) bool {
	shape, size := drawnShape(w, n)
	flat := w.op("Reshape", []string{n.Input(0), w.constant(onnxgraph.Vector("flat", -1))})
	u := d.draw(w, size, func(y string) string { return unit(w, y) })
	finishDraw(w, n, facts, w.op("Less", []string{u, cast(w, flat, onnxgraph.Float)}), shape)
	return true
}

// multinomial draws classes by their unnormalised log probabilities: the largest
// of these plus Gumbel noise.
func (d *drawer) multinomial(w *grower, n *onnxgraph.Node, _ *infer.Result) bool {
	x := n.Input(0)
	samples := w.constant(onnxgraph.Vector("samples", n.Int("sample_size", 1)))
	size := w.op("Mul", []string{sizeOf(w, x), samples})
	u := d.draw(w, size, func(y string) string { return unit(w, y) })
	noise := u
	for range 2 {
		noise = w.op("Neg", []string{w.op("Log", []string{noise})})
	}
	one := w.constant(onnxgraph.Vector("one", 1))
	shape := w.op("Shape", []string{x})
	batch := d.slice(w, shape, w.constant(onnxgraph.Vector("zero", 0)), one)
	classes := d.slice(w, shape, one, w.constant(onnxgraph.Vector("two", 2)))
	noise = w.op("Reshape", []string{noise, w.op("Concat", []string{batch, samples, classes}, onnxgraph.IntAttr("axis", 0))})
	score := w.op("Add", []string{w.op("Unsqueeze", []string{cast(w, x, onnxgraph.Float), one}), noise})
	best := w.op("ArgMax", []string{score}, onnxgraph.IntAttr("axis", 2), onnxgraph.IntAttr("keepdims", 0))
	w.named(n.Output(0), "Cast", []string{best}, onnxgraph.IntAttr("to", n.Int("dtype", int64(onnxgraph.Int32))))
	return true
}

// draw gives the next operator its draws: size (int64 [1]) of them, as a vector.
// use maps the 64 bits to what is wanted, before they are cut to size.
func (d *drawer) draw(w *grower, size string, use func(bits string) string) string {
	span, less := w.constant(onnxgraph.Vector("span", drawSpan)), w.constant(onnxgraph.Vector("less", drawSpan-1))
	flat, zero, one := w.constant(onnxgraph.Vector("flat", -1)), w.constant(onnxgraph.Vector("zero", 0)), w.constant(onnxgraph.Vector("one", 1))
	blocks := func(n string) string { return w.op("Div", []string{w.op("Add", []string{n, less}), span}) }
	number := d.slice(w, drawsName, w.constant(onnxgraph.Vector("from", drawSize(d.n))), w.constant(onnxgraph.Vector("to", drawSize(d.n+1))))
	d.n++

	rows := blocks(size)
	outer := d.slice(w, d.table[2], zero, blocks(rows))
	outer = w.op("Unsqueeze", []string{w.op("Add", []string{outer, number}), one})
	row := w.op("Reshape", []string{w.op("Add", []string{outer, d.table[1]}), flat})
	row = w.op("Unsqueeze", []string{d.slice(w, row, zero, rows), one})
	sum := w.op("Add", []string{row, d.table[0]})
	used := use(w.op("Mul", []string{sum, sum}))
	return d.slice(w, w.op("Reshape", []string{used, flat}), zero, size)
}

func (d *drawer) slice(w *grower, v, from, to string) string {
	return w.op("Slice", []string{v, from, to})
}

// unit maps 64 bits to a float32 in [0, 1), a multiple of 2^-24.
func unit(w *grower, bits string) string {
	high := cast(w, w.op("Div", []string{bits, w.constant(onnxgraph.Vector("high", 1<<40))}), onnxgraph.Float)
	return w.op("Add", []string{w.op("Mul", []string{high, w.scalar(1.0 / (1 << 24))}), w.scalar(0.5)})
}

// drawnShape is the shape of what a random operator draws, and its size.
func drawnShape(w *grower, n *onnxgraph.Node) (shape, size string) {
	if x := n.Input(0); x != "" {
		return w.op("Shape", []string{x}), sizeOf(w, x)
	}
	dims := n.Ints("shape")
	return w.constant(onnxgraph.Vector("shape", dims...)), w.constant(onnxgraph.Vector("size", Param{Dims: dims}.Len()))
}

// finishDraw gives a vector of draws the operator's shape, element type and name.
func finishDraw(w *grower, n *onnxgraph.Node, facts *infer.Result, v, shape string) {
	v = w.op("Reshape", []string{v, shape})
	w.named(n.Output(0), "Cast", []string{v}, onnxgraph.IntAttr("to", int64(facts.Fact(n.Output(0)).DType())))
}

// sizeOf is the number of elements of a value, as int64 [1].
func sizeOf(w *grower, x string) string {
	return w.op("Reshape", []string{w.op("Size", []string{x}), w.constant(onnxgraph.Vector("one", 1))})
}

func cast(w *grower, v string, to onnxgraph.DType) string {
	return w.op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(to)))
}

func double(w *grower, v float64) string {
	return w.constant(onnxgraph.Doubles("number", []int64{}, []float64{v}))
}

// boolOf is the value of a constant bool.
func boolOf(facts *infer.Result, value string) (v, known bool) {
	f := facts.Fact(value)
	if f == nil || f.Const == nil || len(f.Const.Data) != 1 {
		return false, false
	}
	return f.Const.Data[0] != 0, true
}

// draws is what one session reads as drawsName; nil where its model draws
// nothing.
type draws struct {
	table  []int64
	value  *ort.Value
	source *rand.ChaCha8
}

func newDraws(owned *closers, operators int) (*draws, error) {
	if operators == 0 {
		return nil, nil
	}
	d := &draws{table: make([]int64, drawSize(operators)), source: rand.NewChaCha8([32]byte{})}
	var err error
	if d.value, err = ort.Int64Value([]int64{int64(len(d.table))}, d.table); err != nil {
		return nil, err
	}
	owned.add(func() { d.value.Close() })
	return d, nil
}

// bind makes a binding read the draws.
func (d *draws) bind(b *ort.Binding) error {
	if d == nil {
		return nil
	}
	return b.Input(drawsName, d.value)
}

// fill draws for the part of a worker of a batch of a step.
func (d *draws) fill(seed uint64, step int64, batch, worker int) {
	if d == nil {
		return
	}
	var key [32]byte
	for i, v := range []uint64{seed, uint64(step), uint64(batch), uint64(worker)} {
		binary.LittleEndian.PutUint64(key[8*i:], v)
	}
	d.source.Seed(key)
	for i := range d.table {
		d.table[i] = int64(d.source.Uint64())
	}
}

// still fills in draws that are all the same, at which Dropout keeps every
// element, so that a batch can be compared with its parts.
func (d *draws) still() {
	if d == nil {
		return
	}
	clear(d.table)
	for i := range drawSpan {
		d.table[i] = stillDraw
	}
}
