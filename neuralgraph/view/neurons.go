package view

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"ninox/neuralgraph"
)

// arrow is all edges of one parameter, or of one kind of auxiliary
// connection, from one layer of a NiNo graph to another.
type arrow struct {
	from, to  int // indices of Layers
	parameter string
	kind      neuralgraph.EdgeType
	edges     int64
	taps      int
}

// arrows sums up the blocks between layers, in the order of the blocks.
func arrows(n *neuralgraph.NiNo) []arrow {
	layerOf := func(node int) int {
		return sort.Search(len(n.Layers), func(i int) bool { return n.Layers[i].First > node }) - 1
	}
	var out []arrow
	at := map[arrow]int{}
	for i := range n.Blocks {
		b := &n.Blocks[i]
		key := arrow{from: layerOf(b.Source.Node(0)), to: layerOf(b.Target.Node(0)), parameter: b.Parameter, kind: b.Type, taps: b.Taps}
		k, ok := at[key]
		if !ok {
			k = len(out)
			at[key] = k
			out = append(out, key)
		}
		out[k].edges += int64(b.Edges())
	}
	return out
}

// extras are layers of one node that only lead away: biases and norm weights.
func extras(n *neuralgraph.NiNo, arrows []arrow) map[int]bool {
	out := map[int]bool{}
	for i, l := range n.Layers {
		out[i] = l.Size == 1
	}
	for _, a := range arrows {
		out[a.to] = false
		if a.kind != neuralgraph.EdgeBias && a.kind != neuralgraph.EdgeNorm {
			out[a.from] = false
		}
	}
	return out
}

// neurons is the scene of the layers of the NiNo graph. Biases and norm
// weights are notes of the layer that they lead to.
func (v *View) neurons() *scene {
	all := arrows(v.nino)
	extra := extras(v.nino, all)
	order, place := v.ordered(all, extra)
	s := &scene{nodes: make([]node, len(order))}
	opaque := map[string]string{}
	for _, o := range v.graph.Opaque {
		opaque[o.Parameter] = o.Reason
	}
	for i, l := range order {
		layer := v.nino.Layers[l]
		s.nodes[i] = node{kind: "layer", title: layer.Name, lines: []string{plural(int64(layer.Size), "neuron")}}
		if r := opaque[strings.TrimSuffix(layer.Name, ":source")]; r != "" {
			s.nodes[i].dashed = true
			s.nodes[i].kind = "opaque"
			s.nodes[i].facts = []fact{{"opaque", r}}
		}
	}
	v.entitleLayers(s, all, extra, place)
	notes := make([]map[string]int, len(order))
	for _, a := range all {
		if extra[a.from] {
			to := place[a.to]
			if notes[to] == nil {
				notes[to] = map[string]int{}
			}
			notes[to][a.kind.Name()]++
			v.attach(&s.nodes[to], a)
			continue
		}
		e := edge{from: place[a.from], to: place[a.to], kind: a.kind.Name(), label: v.arrowLabel(a), weight: a.edges * int64(a.taps)}
		if k, ok := v.paramIndex[a.parameter]; ok {
			e.params = []int{k}
			_, end := flowEnds(a)
			v.attach(&s.nodes[place[end]], a)
		}
		if e.from > e.to {
			e.from, e.to, e.reversed = e.to, e.from, true
		}
		s.edges = append(s.edges, e)
	}
	s.edges = bundled(s.edges)
	for _, e := range s.edges {
		n := &s.nodes[e.to]
		if name := projections[e.kind]; name != "" && !strings.Contains(n.lines[0], name) {
			n.lines[0] += ", " + name
		}
	}
	for i := range s.nodes {
		if text := noteText(notes[i]); text != "" {
			s.nodes[i].lines = append(s.nodes[i].lines, text)
		}
	}
	items := make([]item, len(order))
	for i := range items {
		items[i] = item{node: i}
	}
	s.items = boxed(items, v.layerSequence(s).fold(), 0)
	s.entitle()
	return s
}

// entitleLayers gives layers better names than they got where they were first
// met: after a parameter that leads to them rather than one that leads away, and
// after the module that reads it where an exporter made the name up.
func (v *View) entitleLayers(s *scene, all []arrow, extra map[int]bool, place map[int]int) {
	const away = ":input"
	rename := func(layer int, a arrow, suffix string) {
		n := &s.nodes[place[layer]]
		if !numbered(n.title) && (suffix != "" || !strings.HasSuffix(n.title, away)) {
			return
		}
		base := strings.TrimSuffix(strings.TrimSuffix(a.parameter, ".weight"), ".bias")
		n.title = v.named(base, a.parameter) + suffix
	}
	for _, a := range all {
		if from, to := flowEnds(a); a.parameter != "" && !extra[from] && !extra[to] && len(v.blocksOf[a.parameter]) > 0 {
			rename(to, a, "")
		}
	}
	for _, a := range all {
		if from, to := flowEnds(a); a.parameter != "" && !extra[from] && !extra[to] {
			rename(from, a, away)
		}
	}
}

// bundled makes edges of one kind between the same layers one, in the order of
// their ends.
func bundled(list []edge) []edge {
	sortedEdges(list)
	var out []edge
	at := map[string]int{}
	for _, e := range list {
		key := fmt.Sprint(e.from, e.to, e.label, e.reversed)
		k, ok := at[key]
		if !ok {
			at[key] = len(out)
			out = append(out, e)
			continue
		}
		out[k].params = append(out[k].params, e.params...)
		out[k].weight += e.weight
	}
	for i := range out {
		if n := len(out[i].params); n > 1 {
			out[i].label += fmt.Sprintf(", %d×", n)
		}
	}
	return out
}

// projections of attention: what the neurons are to which edges of a kind lead.
var projections = map[string]string{"query": "queries", "key": "keys", "value": "values"}

// attach notes that a parameter leads to a layer, and to which groups.
func (v *View) attach(n *node, a arrow) {
	k, ok := v.paramIndex[a.parameter]
	if !ok {
		return
	}
	if !slices.Contains(n.params, k) {
		n.params = append(n.params, k)
	}
	for _, b := range v.blocksOf[a.parameter] {
		if b.Type != a.kind {
			continue
		}
		for _, id := range b.Target {
			if !slices.Contains(n.group, id) {
				n.group = append(n.group, id)
			}
		}
	}
}

// noteText says what else leads to a layer: "bias, 2 norms".
func noteText(n map[string]int) string {
	var out []string
	for _, name := range []string{"bias", "norm"} {
		switch k := n[name]; {
		case k == 1:
			out = append(out, name)
		case k > 1:
			out = append(out, fmt.Sprintf("%d× %s", k, name))
		}
	}
	return strings.Join(out, ", ")
}

// arrowLabel is the kind of an arrow and its kernel.
func (v *View) arrowLabel(a arrow) string {
	label := strings.Replace(a.kind.Name(), "convolution", "conv", 1)
	if a.taps > 1 {
		label += " " + v.kernel(a.parameter, int64(a.taps))
	}
	return label
}

// kernel prints the taps of a parameter by axis where they are its last ones,
// as of a convolution.
func (v *View) kernel(parameter string, taps int64) string {
	if k, ok := v.paramIndex[parameter]; ok {
		shape := v.graph.Parameters[k].Shape
		n := int64(1)
		for i := len(shape) - 1; i >= 0; i-- {
			n *= shape[i]
			if n == taps && i > 0 {
				return dims(shape[i:])
			}
		}
	}
	return fmt.Sprintf("·%d", taps)
}

// flowEnds are the ends of an arrow in the order of the flow. Edges of keys lead
// against it.
func flowEnds(a arrow) (from, to int) {
	if a.kind == neuralgraph.EdgeKey {
		return a.to, a.from
	}
	return a.from, a.to
}

// ordered puts the layers that are drawn into the order of the flow: by the
// operator at which a parameter first leads to them. Layers without parameters
// follow what they are joined to. place is the inverse.
func (v *View) ordered(all []arrow, extra map[int]bool) (order []int, place map[int]int) {
	key := make([]float64, len(v.nino.Layers))
	for i := range key {
		key[i] = math.Inf(1)
	}
	use := func(a arrow) float64 { return float64(v.firstUse[a.parameter]) }
	for _, a := range all {
		if _, to := flowEnds(a); a.parameter != "" {
			key[to] = min(key[to], use(a))
		}
	}
	source := slices.Clone(key)
	for _, a := range all {
		if from, to := flowEnds(a); a.parameter != "" && math.IsInf(key[from], 1) {
			source[from] = min(source[from], use(a)-0.5, key[to]-0.5)
		}
	}
	key = source
	for range 3 { // layers without parameters, behind what leads to them or before what they lead to
		for _, a := range all {
			if a.parameter != "" {
				continue
			}
			if math.IsInf(key[a.to], 1) && !math.IsInf(key[a.from], 1) {
				key[a.to] = key[a.from] + 0.25
			} else if math.IsInf(key[a.from], 1) && !math.IsInf(key[a.to], 1) {
				key[a.from] = key[a.to] - 0.25
			}
		}
	}
	for i := range v.nino.Layers {
		if !extra[i] {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case key[a] < key[b]:
			return -1
		case key[a] > key[b]:
			return 1
		}
		return a - b
	})
	place = map[int]int{}
	for i, l := range order {
		place[l] = i
	}
	return order, place
}

// layerSequence describes the layers so that repeats among them can be found.
func (v *View) layerSequence(s *scene) *sequence {
	q := &sequence{labels: make([]int, len(s.nodes)), reads: make([][]int, len(s.nodes))}
	into := make([][]edge, len(s.nodes))
	for _, e := range s.edges {
		into[e.to] = append(into[e.to], e)
	}
	known := numbers{}
	for i := range s.nodes {
		slices.SortStableFunc(into[i], func(a, b edge) int { return strings.Compare(a.kind, b.kind) })
		text := s.nodes[i].kind + strings.Join(s.nodes[i].lines, ";")
		for _, e := range into[i] {
			text += fmt.Sprintf(";%s %d %v", e.label, e.weight, e.reversed)
			q.reads[i] = append(q.reads[i], e.from)
		}
		q.labels[i] = known.of(text)
	}
	return q
}
