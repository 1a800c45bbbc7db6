package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"ninox/neuralgraph"
)

// textWidth is what tables keep to.
const textWidth = 80

// Text writes what there is to know for reading: the model in numbers, its
// layers or operators with repeats folded, and what was found out about them.
// With Expand every layer is there, and all groups and blocks.
func (v *View) Text(w io.Writer, o Options) error {
	t := &textWriter{v: v, o: o}
	t.line("%s", v.name)
	t.line("%s", v.numbers())
	t.line("")
	if o.Operators {
		t.operators()
	} else {
		t.layers()
	}
	t.line("")
	t.findings()
	if o.Expand && !o.Operators {
		t.groups()
		t.blocks()
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// headline is the head of pictures.
func (v *View) headline() []string {
	d := v.document
	second := fmt.Sprintf("NiNo graph of %s and %s, coverage %s", plural(int64(d.NiNo.Nodes), "node"), plural(d.NiNo.Edges, "edge"), percent(d.Coverage.InBlocks, d.Coverage.Parameters))
	out := []string{v.name, v.numbers(), second}
	if len(d.Coverage.Opaque) > 0 {
		out[2] += ", " + plural(int64(len(d.Coverage.Opaque)), "opaque tensor")
	}
	if v.verdict != nil {
		out = append(out, fmt.Sprintf("certificate: %v", v.verdict.Certificate))
	}
	return out
}

// numbers is the model in one line.
func (v *View) numbers() string {
	m := v.document.Model
	return fmt.Sprintf("%s in %s, %s MACs, %s, opset %d", plural(m.Parameters, "parameter"), plural(int64(len(v.graph.Parameters)), "tensor"), short(m.MACs), plural(int64(m.Nodes), "operator"), m.Opset)
}

func percent(part, whole int64) string {
	switch {
	case whole == 0 || part == whole:
		return "100 %"
	case float64(part) > 0.9995*float64(whole):
		return "99.9 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

type textWriter struct {
	v *View
	o Options
	b strings.Builder
}

func (t *textWriter) line(format string, args ...any) {
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// column of a table.
type column struct {
	title string
	right bool
	least int // width to which it may be cut; 0: never cut
}

// table prints cells in columns within textWidth, as far as those that may be
// cut allow it. indent shifts the first cell.
func (t *textWriter) table(columns []column, cells [][]string, indent []int) {
	width := make([]int, len(columns))
	for i, c := range columns {
		width[i] = utf8.RuneCountInString(c.title)
	}
	for k, r := range cells {
		for i, s := range r {
			n := utf8.RuneCountInString(s)
			if i == 0 {
				n += indent[k]
			}
			width[i] = max(width[i], n)
		}
	}
	total := 2 * (len(columns) - 1)
	for _, n := range width {
		total += n
	}
	for total > textWidth && !t.o.Expand { // the widest gives way
		widest := -1
		for i, c := range columns {
			if c.least > 0 && width[i] > c.least && (widest < 0 || width[i] > width[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		width[widest]--
		total--
	}
	print := func(r []string, shift int) {
		var line strings.Builder
		for i, c := range columns {
			cell := ""
			if i < len(r) {
				cell = r[i]
			}
			if i == 0 {
				cell = strings.Repeat(" ", shift) + cutMiddle(cell, width[i]-shift)
			}
			cell = cutMiddle(cell, width[i])
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if c.right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		t.line("%s", line.String())
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	print(titles, 0)
	for k, r := range cells {
		print(r, indent[k])
	}
}

// cutMiddle shortens a text to n letters.
func cutMiddle(s string, n int) string {
	letters := []rune(s)
	if len(letters) <= n || n < 1 {
		return s
	}
	head := (n - 1) / 3
	return string(letters[:head]) + "…" + string(letters[len(letters)-(n-1-head):])
}

// layers prints the table of layers, repeats folded.
func (t *textWriter) layers() {
	rows := t.v.layerRows()
	if len(rows) == 0 {
		t.line("no parameters")
		return
	}
	columns := []column{{"LAYER", false, 24}, {"TYPE", false, 16}, {"NEURONS", false, 0}, {"PARAMETERS", true, 0}}
	var cells [][]string
	var indent []int
	put := func(depth int, cell ...string) {
		cells, indent = append(cells, cell), append(indent, 2*depth)
	}
	name := func(i int) string { return rows[i].name }
	// walk prints rows lo … hi-1; names holds what they are called in all copies.
	var walk func(lo, hi, depth int, repeats []repeat, stem string)
	walk = func(lo, hi, depth int, repeats []repeat, prefix string) {
		for i := lo; i < hi; i++ {
			if len(repeats) == 0 || repeats[0].first != i {
				x := rows[i]
				put(depth, strings.TrimPrefix(name(i), prefix), x.kind(), x.neurons(), count(x.parameters))
				continue
			}
			r, outer := repeats[0], name
			repeats = repeats[1:]
			sum, names := int64(0), map[int]string{}
			for _, x := range rows[r.first:r.end()] {
				sum += x.parameters
			}
			var all []string
			for k := r.first; k < r.first+r.period; k++ {
				names[k] = pattern(copies(outer, k, r.period, r.copies))
				all = append(all, names[k])
			}
			inner := stem(all)
			name = func(k int) string { return names[k] }
			put(depth, strings.TrimSpace(strings.TrimRight(strings.TrimPrefix(inner, prefix), "./")+fmt.Sprintf(" ×%d", r.copies)), "", "", count(sum))
			walk(r.first, r.first+r.period, depth+1, r.inner, max(inner, prefix))
			name = outer
			i = r.end() - 1
		}
	}
	var repeats []repeat
	if !t.o.Expand {
		repeats = rowSequence(rows).fold()
	}
	walk(0, len(rows), 0, repeats, "")
	t.table(columns, cells, indent)
}

// operators prints the table of operators, repeats folded.
func (t *textWriter) operators() {
	s := t.v.operators(t.o.Expand)
	columns := []column{{"OPERATOR", false, 20}, {"OUTPUT", false, 16}, {"NAME", false, 20}, {"PARAMETERS", true, 0}}
	var cells [][]string
	var indent []int
	var walk func(items []item, shift, depth int)
	walk = func(items []item, shift, depth int) {
		for _, it := range items {
			if it.box == nil {
				cells, indent = append(cells, t.operator(&s.nodes[it.node+shift])), append(indent, 2*depth)
				continue
			}
			copies := 1
			if t.o.Expand {
				copies = it.box.copies
			}
			for c := range copies {
				title := it.box.title
				if copies > 1 {
					title = fmt.Sprintf("%d of %d", c+1, copies)
				}
				cells, indent = append(cells, []string{title}), append(indent, 2*depth)
				walk(it.box.items, shift+c*it.box.period, depth+1)
			}
		}
	}
	walk(s.items, 0, 0)
	t.table(columns, cells, indent)
	if s.hidden > 0 {
		t.line("%s of shapes left out (--expand)", plural(int64(s.hidden), "operator"))
	}
}

func (t *textWriter) operator(n *node) []string {
	sum := int64(0)
	for _, p := range n.params {
		sum += t.v.graph.Parameters[p].Elements()
	}
	size := ""
	if len(n.params) > 0 {
		size = count(sum)
	}
	switch n.kind {
	case "input", "output":
		return []string{n.kind, strings.Join(n.lines, " "), n.title, size}
	}
	return []string{n.title, n.result, n.name, size}
}

// findings prints what was found out about the neurons, a line each.
func (t *textWriter) findings() {
	d := t.v.document
	say := func(what, format string, args ...any) {
		for _, line := range wrapped(fmt.Sprintf(format, args...), textWidth-13) {
			t.line("%-12s %s", what, line)
			what = ""
		}
	}
	for _, a := range attentionText(d.Attention) {
		say("attention", "%s", a)
	}
	for _, r := range residualText(d.Residuals) {
		say("residuals", "%s", r)
	}
	permutable, reasons := 0, map[string]int{}
	for _, g := range d.Groups {
		if g.Permutable {
			permutable++
		} else {
			reasons[g.Reason]++
		}
	}
	say("neurons", "%s, %s permutable", plural(int64(len(d.Groups)), "group"), count(int64(permutable)))
	for _, line := range counted(reasons) {
		say("", "%s", line)
	}
	say("NiNo graph", "%s, %s", plural(int64(d.NiNo.Nodes), "node"), plural(d.NiNo.Edges, "edge"))
	certified := ""
	if t.v.verdict != nil {
		certified = fmt.Sprintf(", %s in certified groups", percent(d.Coverage.Certified, d.Coverage.Parameters))
	}
	say("coverage", "%s: %s of %s lie on edges%s", percent(d.Coverage.InBlocks, d.Coverage.Parameters), count(d.Coverage.InBlocks), plural(d.Coverage.Parameters, "parameter"), certified)
	for _, line := range t.opaque() {
		say("opaque", "%s", line)
	}
	if t.v.verdict == nil {
		say("certificate", "not run (--verify)")
	} else {
		say("certificate", "%v", t.v.verdict.Certificate)
	}
}

// wrapped cuts a text into lines at its blanks.
func wrapped(text string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line+" "+word) > width {
			out = append(out, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(out, line)
}

// opaqueShown is how many opaque parameters are named one by one.
const opaqueShown = 8

func (t *textWriter) opaque() []string {
	list := t.v.document.Coverage.Opaque
	var out []string
	for i, o := range list {
		if i == opaqueShown && !t.o.Expand && len(list) > opaqueShown+1 {
			return append(out, fmt.Sprintf("and %d more (--expand)", len(list)-i))
		}
		out = append(out, o.Parameter+": "+o.Reason)
	}
	return out
}

// counted prints texts and how often each occurs, the most frequent first.
func counted(n map[string]int) []string {
	var texts []string
	for text := range n {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	})
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%d fixed: %s", n[text], text)
	}
	return texts
}

func attentionText(list []neuralgraph.Attention) []string {
	var order []string
	n := map[string]int{}
	for _, a := range list {
		text := fmt.Sprintf("%s of %d", plural(a.Heads, "head"), a.HeadDim)
		if a.KVHeads != a.Heads {
			text += fmt.Sprintf(", %s of keys and values", plural(a.KVHeads, "head"))
		}
		text += when(a.Rope, ", rotary") + when(a.Packed, ", packed")
		if n[text] == 0 {
			order = append(order, text)
		}
		n[text]++
	}
	for i, text := range order {
		order[i] = fmt.Sprintf("%s with %s", plural(int64(n[text]), "layer"), text)
	}
	return order
}

// residualText sums up residual connections by the size of their stream.
func residualText(list []neuralgraph.Residual) []string {
	var sizes []int64
	n := map[int64]int64{}
	for _, r := range list {
		if n[r.Size] == 0 {
			sizes = append(sizes, r.Size)
		}
		n[r.Size]++
	}
	var parts []string
	for _, s := range sizes {
		parts = append(parts, fmt.Sprintf("%s of %s", plural(n[s], "sum"), plural(s, "neuron")))
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{strings.Join(parts, ", ")}
}

// groups prints all groups.
func (t *textWriter) groups() {
	t.line("")
	columns := []column{{"GROUP", false, 0}, {"ROLE", false, 0}, {"SIZE", true, 0}, {"PERMUTABLE", false, 0}, {"NAME", false, 0}}
	var cells [][]string
	for _, g := range t.v.document.Groups {
		can := "yes"
		if !g.Permutable {
			can = "no: " + g.Reason
		}
		cells = append(cells, []string{g.ID, string(g.Role), count(g.Size), can, g.Name})
	}
	t.table(columns, cells, make([]int, len(cells)))
}

// blocks prints all blocks.
func (t *textWriter) blocks() {
	t.line("")
	columns := []column{{"BLOCK", false, 0}, {"TYPE", false, 0}, {"EDGES", true, 0}, {"TAPS", true, 0}, {"GROUPS", false, 0}}
	var cells [][]string
	for _, b := range t.v.document.Blocks {
		label := b.Parameter
		if b.Slice != "" {
			label += "[" + b.Slice + "]"
		}
		path := "→ " + strings.Join(b.Target, "·")
		if len(b.Source) > 0 {
			path = strings.Join(b.Source, "·") + " " + path
		}
		cells = append(cells, []string{label, b.Type.Name(), count(b.Edges), count(b.Taps), path})
	}
	t.table(columns, cells, make([]int, len(cells)))
}
