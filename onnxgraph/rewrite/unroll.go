package rewrite

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// maxUnrolled is the number of nodes that one model may gain by Unroll.
const maxUnrolled = 100_000

// Unroll returns a copy of m in which every Loop and Scan node that only
// selects, and whose number of iterations is known, is written out: its body
// once for each iteration. Loops inside bodies are written out in turn.
// refused says, by label, why other selected nodes stay.
func Unroll(m *onnxgraph.Model, reg *op.Registry, only func(*onnxgraph.Node) bool) (out *onnxgraph.Model, refused map[string]string, err error) {
	m = m.Clone()
	u := &unroller{model: m}
	for range maxNesting {
		facts, err := infer.Run(m, reg, infer.Options{})
		if err != nil {
			return nil, nil, err
		}
		u.names, u.refused = newFreshNames(m.Graph), map[string]string{}
		changed, err := u.graph(facts, only)
		if err != nil {
			return nil, nil, err
		}
		if !changed {
			return m, u.refused, nil
		}
		if err := dump(m, "unroll"); err != nil {
			return nil, nil, err
		}
		if err := Check(m, nil); err != nil {
			return nil, nil, fmt.Errorf("rewrite: after unrolling: %w", err)
		}
	}
	return m, u.refused, nil
}

type unroller struct {
	model   *onnxgraph.Model
	names   *freshNames
	refused map[string]string
	gained  int
}

func (u *unroller) graph(facts *infer.Result, only func(*onnxgraph.Node) bool) (bool, error) {
	changed := false
	var nodes []*onnxgraph.Node
	for _, n := range u.model.Graph.Nodes {
		if n.Domain != "" || n.OpType != "Loop" && n.OpType != "Scan" || !only(n) {
			nodes = append(nodes, n)
			continue
		}
		r, reason := readRounds(n, facts)
		if reason == "" && u.gained+r.trips*len(r.body.Nodes) > maxUnrolled {
			reason = fmt.Sprintf("%d iterations of %d nodes are too many to write out", r.trips, len(r.body.Nodes))
		}
		if reason != "" {
			u.refused[n.Label()] = reason
			nodes = append(nodes, n)
			continue
		}
		body, err := u.write(n, r)
		if err != nil {
			return false, err
		}
		u.gained += len(body)
		nodes = append(nodes, body...)
		changed = true
	}
	u.model.Graph.Nodes = nodes
	return changed, nil
}

// rounds is a Loop or Scan node with a known number of iterations.
type rounds struct {
	body    *onnxgraph.Graph
	trips   int
	counter string    // input of the body with the number of the iteration, "" for Scan
	always  string    // input of the body with the condition, "" for Scan
	carried []string  // inputs of the body that are carried
	initial []string  // their first values
	next    []string  // outputs of the body that carry on
	cuts    []scanned // inputs that are cut into slices
	stacks  []scanned // outputs that are stacked
	results []string  // outputs of the node for carried values
}

// scanned is a value of the outer graph, made of one value of the body for each
// iteration.
type scanned struct {
	outer, inner string
	axis         int64
	reverse      bool
}

// readRounds reads a node; reason says why it cannot be written out.
func readRounds(n *onnxgraph.Node, facts *infer.Result) (r rounds, reason string) {
	a := n.Attr("body")
	if a == nil || a.G == nil {
		return r, "it has no body"
	}
	r.body = a.G
	if n.OpType == "Scan" {
		return r, r.readScan(n, facts)
	}
	return r, r.readLoop(n, facts)
}

func (r *rounds) readLoop(n *onnxgraph.Node, facts *infer.Result) string {
	in, out := r.body.Inputs, r.body.Outputs
	carried := len(in) - 2
	if carried < 0 || len(out) < 1+carried || len(n.Inputs) < 2+carried || len(n.Outputs) > len(out)-1 {
		return "inputs and outputs do not fit the body"
	}
	trips, ok := facts.Fact(n.Input(0)).Ints()
	if n.Input(0) == "" || !ok || len(trips) != 1 {
		return "the number of iterations is not known before the model runs"
	}
	inner := facts.In(r.body)
	if inner == nil || !alwaysTrue(facts.Fact(n.Input(1)), n.Input(1) == "") || !alwaysTrue(inner.Fact(out[0].Name), out[0].Name == in[1].Name) {
		return "its condition is computed: the number of iterations is not known before the model runs"
	}
	if trips[0] < 1 || trips[0] > maxUnrolled {
		return fmt.Sprintf("%d iterations, expected 1 to %d", trips[0], maxUnrolled)
	}
	r.trips, r.counter, r.always = int(trips[0]), in[0].Name, in[1].Name
	for i := range carried {
		r.carried, r.initial = append(r.carried, in[2+i].Name), append(r.initial, n.Input(2+i))
		r.next, r.results = append(r.next, out[1+i].Name), append(r.results, n.Output(i))
	}
	for i, v := range out[1+carried:] {
		r.stacks = append(r.stacks, scanned{outer: n.Output(carried + i), inner: v.Name})
	}
	return ""
}

// alwaysTrue says whether a condition is known to hold; left says that it is
// left out or passed on as it came.
func alwaysTrue(f *op.Fact, left bool) bool {
	v, ok := f.Ints()
	return left || ok && len(v) == 1 && v[0] != 0
}

func (r *rounds) readScan(n *onnxgraph.Node, facts *infer.Result) string {
	cuts := int(n.Int("num_scan_inputs", 0))
	states := len(r.body.Inputs) - cuts
	if cuts < 1 || states < 0 || len(n.Inputs) != len(r.body.Inputs) || len(r.body.Outputs) < states || len(n.Outputs) > len(r.body.Outputs) {
		return "inputs and outputs do not fit the body"
	}
	at := func(attr string, i int) int64 {
		if v := n.Ints(attr); i < len(v) {
			return v[i]
		}
		return 0
	}
	for i := range states {
		r.carried, r.initial = append(r.carried, r.body.Inputs[i].Name), append(r.initial, n.Input(i))
		r.next, r.results = append(r.next, r.body.Outputs[i].Name), append(r.results, n.Output(i))
	}
	for i, v := range r.body.Inputs[states:] {
		outer := n.Input(states + i)
		s := facts.Fact(outer).Shape()
		axis := at("scan_input_axes", i)
		if axis < 0 {
			axis += int64(len(s))
		}
		if axis < 0 || axis >= int64(len(s)) || !s[axis].IsKnown() {
			return fmt.Sprintf("the number of iterations, an extent of %q, is not known", outer)
		}
		if r.trips = int(s[axis].Value); r.trips < 1 {
			return fmt.Sprintf("%d iterations, expected at least 1", r.trips)
		}
		r.cuts = append(r.cuts, scanned{outer, v.Name, axis, at("scan_input_directions", i) != 0})
	}
	for i, v := range r.body.Outputs[states:] {
		r.stacks = append(r.stacks, scanned{n.Output(states + i), v.Name, at("scan_output_axes", i), at("scan_output_directions", i) != 0})
	}
	return ""
}

// write returns the nodes of all iterations, in order.
func (u *unroller) write(n *onnxgraph.Node, r rounds) ([]*onnxgraph.Node, error) {
	w := &writer{unroller: u, prefix: n.Label() + "/", fixed: map[string]string{"": ""}}
	probe := onnxgraph.Node{Attrs: []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", r.body)}}
	for _, outer := range probe.Captured() {
		w.fixed[outer] = outer
	}
	for _, t := range r.body.Initializers {
		w.fixed[t.Name] = w.constant(t)
	}
	if r.always != "" {
		w.fixed[r.always] = w.constant(&onnxgraph.Tensor{Name: r.always, DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{1}})
	}
	pieces := make([][]string, len(r.cuts))
	for i, c := range r.cuts {
		pieces[i] = w.cut(c, r.trips)
	}
	stacked := make([][]string, len(r.stacks))
	state := slices.Clone(r.initial)
	for trip := range r.trips {
		b := &binding{names: u.names, prefix: fmt.Sprintf("%s%d/", w.prefix, trip), values: map[string]string{}}
		for name, v := range w.fixed {
			b.values[name] = v
		}
		if r.counter != "" {
			b.values[r.counter] = w.constant(onnxgraph.Int64s(r.counter, []int64{}, []int64{int64(trip)}))
		}
		for i, name := range r.carried {
			b.values[name] = state[i]
		}
		for i, c := range r.cuts {
			b.values[c.inner] = pieces[i][trip]
		}
		for _, inner := range r.body.Nodes {
			c := inner.Clone()
			if err := b.node(c); err != nil {
				return nil, err
			}
			w.nodes = append(w.nodes, c)
		}
		next := make([]string, len(r.next))
		for i, name := range r.next {
			next[i] = b.value(name)
		}
		state = next
		for i, s := range r.stacks {
			if s.outer != "" {
				stacked[i] = append(stacked[i], w.emit("Unsqueeze", []string{b.value(s.inner), w.constant(onnxgraph.Vector("axis", s.axis))}))
			}
		}
	}
	for i, out := range r.results {
		if out != "" {
			w.named(out, "Identity", []string{state[i]})
		}
	}
	for i, s := range r.stacks {
		if s.outer == "" {
			continue
		}
		if s.reverse {
			slices.Reverse(stacked[i])
		}
		w.named(s.outer, "Concat", stacked[i], onnxgraph.IntAttr("axis", s.axis))
	}
	return w.nodes, nil
}

// writer collects the nodes that replace one node.
type writer struct {
	*unroller
	prefix string
	fixed  map[string]string // values of the body that are the same in every iteration
	nodes  []*onnxgraph.Node
}

// constant adds an initializer to the model and returns its name.
func (w *writer) constant(t *onnxgraph.Tensor) string {
	c := *t
	c.Name = w.names.take(w.prefix + t.Name)
	w.model.Graph.Initializers = append(w.model.Graph.Initializers, &c)
	return c.Name
}

func (w *writer) emit(opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	return w.named(w.names.take(w.prefix+opType), opType, inputs, attrs...)
}

func (w *writer) named(out, opType string, inputs []string, attrs ...*onnxgraph.Attribute) string {
	w.nodes = append(w.nodes, &onnxgraph.Node{Name: w.names.take(w.prefix + opType), OpType: opType, Inputs: inputs, Outputs: []string{out}, Attrs: attrs})
	return out
}

// cut takes an input apart into one value per iteration.
func (w *writer) cut(c scanned, trips int) []string {
	ones, parts := make([]int64, trips), make([]string, trips)
	for i := range parts {
		ones[i], parts[i] = 1, w.names.take(w.prefix+c.inner)
	}
	w.nodes = append(w.nodes, &onnxgraph.Node{
		Name: w.names.take(w.prefix + "Split"), OpType: "Split", Outputs: parts, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", c.axis)},
		Inputs: []string{c.outer, w.constant(onnxgraph.Vector("split", ones...))},
	})
	out := make([]string, trips)
	for i, p := range parts {
		out[i] = w.emit("Squeeze", []string{p, w.constant(onnxgraph.Vector("axis", c.axis))})
	}
	if c.reverse {
		slices.Reverse(out)
	}
	return out
}
