package view

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// scene is what a picture shows. Nodes stand in the order of the flow, so that
// edges lead forward but for the few that close a loop.
type scene struct {
	nodes  []node
	edges  []edge
	items  []item
	hidden int // operators left out
}

// node is a layer of neurons, an operator, an input or an output.
type node struct {
	kind   string   // chooses the colour: a key of kinds
	title  string   // what it is
	name   string   // of the operator
	alias  string   // its name where it stands for all copies
	inside string   // the same within its box, whose title is left out
	result string   // shape of the operator's first output
	lines  []string // more about it, a line each
	facts  []fact   // all about it, for a panel or a tooltip
	params []int    // indices of parameters that belong to it
	group  []string // ids of groups of neurons
	dashed bool
}

// fact is one line of a panel of details.
type fact struct{ name, value string }

// edge joins two nodes in the direction of the flow.
type edge struct {
	from, to int
	kind     string // chooses the colour: a key of kinds
	label    string
	params   []int // indices of the parameters whose values lie on it
	weight   int64 // numbers on it
	reversed bool  // its arrow points against the flow
}

// item is a node or a box.
type item struct {
	node int // where box is nil
	box  *box
}

// box holds items: the first copy of a part that occurs several times. Further
// copies are the nodes that follow, period apart.
type box struct {
	title  string
	stem   string // with which the names in all copies begin
	first  int
	period int
	copies int
	items  []item
}

// width is how many nodes an item stands for.
func (it item) width() int {
	if it.box == nil {
		return 1
	}
	return it.box.period * it.box.copies
}

// boxed puts the repeats found among a list of items into boxes.
func boxed(items []item, repeats []repeat, offset int) []item {
	var out []item
	at := 0
	for _, r := range repeats {
		first := r.first - offset
		out = append(out, items[at:first]...)
		unit := items[first : first+r.period]
		b := &box{first: unit[0].first(), copies: r.copies, items: boxed(unit, r.inner, r.first)}
		for _, it := range unit {
			b.period += it.width()
		}
		out = append(out, item{box: b})
		at = first + r.period*r.copies
	}
	return append(out, items[at:]...)
}

// first is the first node of an item.
func (it item) first() int {
	if it.box == nil {
		return it.node
	}
	return it.box.first
}

// entitle names boxes after what their nodes have in common in all copies, and
// those nodes likewise.
func (s *scene) entitle() {
	for i := range s.nodes {
		s.nodes[i].alias = s.nodes[i].path()
	}
	s.entitleItems(s.items)
	s.shorten(s.items, "")
}

// shorten leaves out of the names what the titles of boxes say.
func (s *scene) shorten(items []item, prefix string) {
	for _, it := range items {
		if it.box == nil {
			n := &s.nodes[it.node]
			n.inside = strings.TrimPrefix(n.alias, prefix)
			continue
		}
		s.shorten(it.box.items, max(prefix, it.box.stem))
	}
}

func (s *scene) entitleItems(items []item) {
	for _, it := range items {
		b := it.box
		if b == nil {
			continue
		}
		s.entitleItems(b.items)
		if b.copies == 1 {
			continue
		}
		name := func(i int) string { return s.nodes[i].alias }
		var all []string
		for i := b.first; i < b.first+b.period; i++ {
			s.nodes[i].alias = pattern(copies(name, i, b.period, b.copies))
			if n := &s.nodes[i]; len(n.params) > 0 || n.name != "" {
				all = append(all, n.alias)
			}
		}
		b.stem = stem(all)
		if b.title = strings.TrimRight(b.stem, "./"); b.title != "" {
			b.title += " "
		}
		b.title += fmt.Sprintf("×%d", b.copies)
	}
}

// path is the name of a node in the model.
func (n *node) path() string {
	if n.name != "" {
		return n.name
	}
	return n.title
}

// numbers gives equal numbers to equal texts.
type numbers map[string]int

func (n numbers) of(text string) int {
	k, ok := n[text]
	if !ok {
		k = len(n)
		n[text] = k
	}
	return k
}

// dims prints a shape as "64×3×7×7".
func dims(list []int64) string {
	out := ""
	for i, d := range list {
		if i > 0 {
			out += "×"
		}
		out += strconv.FormatInt(d, 10)
	}
	return out
}

// shapeText prints a tensor shape like dims, unknown extents by name; a formula
// is only shown as one.
func shapeText(s onnxgraph.Shape) string {
	out := ""
	for i, d := range s {
		if i > 0 {
			out += "×"
		}
		if name := d.String(); strings.ContainsAny(name, " (*/+") {
			out += "ƒ"
		} else {
			out += name
		}
	}
	return out
}

// count prints a number with its digits in groups of three.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short prints a number in at most five characters: 987, 12.3k, 4.56M.
func short(n int64) string {
	f, unit := float64(n), ""
	for _, u := range []string{"k", "M", "G", "T"} {
		if f < 999.5 {
			break
		}
		f, unit = f/1000, u
	}
	switch {
	case unit == "":
		return strconv.FormatInt(n, 10)
	case f < 9.995:
		return strconv.FormatFloat(f, 'f', 2, 64) + unit
	case f < 99.95:
		return strconv.FormatFloat(f, 'f', 1, 64) + unit
	}
	return strconv.FormatFloat(f, 'f', 0, 64) + unit
}

// plural prints a count and its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// sortedEdges puts edges in the order of their ends.
func sortedEdges(list []edge) {
	slices.SortStableFunc(list, func(a, b edge) int {
		if a.to != b.to {
			return a.to - b.to
		}
		return a.from - b.from
	})
}
