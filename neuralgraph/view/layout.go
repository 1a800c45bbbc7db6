package view

import (
	"cmp"
	"math"
	"slices"
)

// Measures of pictures, in pixels.
const (
	gapX      = 24.0 // between neighbours in a row
	gapY      = 36.0 // between rows
	padding   = 14.0 // inside a box
	boxHeader = 24.0
	lineSpace = 10.0 // that a line takes between nodes
	longest   = 40   // rows that a line may span; longer ones are cut
)

// block is a rectangle of a picture: a node, or a box with what lies in it.
type block struct {
	node     int // -1 for a box
	box      *box
	copy     int // which of the copies of the box, -1 where it stands for all
	parent   *block
	children []*block
	x, y     float64 // left top, in the parent while it is laid out, in the picture in the end
	w, h     float64
	self     *vertex // in the rows of the parent
	in       map[port]*vertex
	out      map[string]*vertex // by kind of edge
	ports    []*vertex          // of in and out, in the order of their making
	lines    []*line            // between children, or between one and the border
	joined   map[lineKey]bool
}

// port is where lines enter a box: those that come from one vertex outside go
// in together.
type port struct {
	from *vertex
	kind string
}

// vertex is what rows are made of: a child, a port, or the bend of a line.
type vertex struct {
	child    *block
	role     vertexRole
	seq      int // order of the flow
	row      int
	x        float64 // middle
	w, h     float64
	y        float64
	up, down []link
}

type vertexRole int

const (
	roleChild vertexRole = iota
	roleIn
	roleOut
	roleBend
)

// link joins vertices of neighbouring rows, from dx right of the middle of one
// to far right of the middle of the other.
type link struct {
	to      *vertex
	dx, far float64
	weight  float64
}

// line is an edge within one box.
type line struct {
	from, to *vertex
	e        edge
	label    string
	cut      bool      // too long to be drawn
	bends    []*vertex // from top to bottom
}

// turn says which copy of a box a node belongs to, and whether one copy stands
// for all.
type turn struct {
	box    *box
	copy   int
	folded bool
}

// arranger lays a scene out.
type arranger struct {
	s      *scene
	expand bool
	size   func(b *block) (w, h float64)
	title  func(b *block) float64 // width of a box's title
	label  func(s string) float64 // width of a label
	leaf   []*block               // which shows a node
	turns  [][]turn               // of a node, outermost first
}

// arrange gives every block its place within what holds it. With expand all copies of a repeat are
// there, otherwise one stands for all.
func (a *arranger) arrange() *block {
	root := a.blocks()
	for _, e := range a.s.edges {
		if from, to := a.leaf[e.from], a.leaf[e.to]; from != to && !carried(a.turns[e.from], a.turns[e.to]) {
			route(e, from, to)
		}
	}
	a.compose(root)
	return root
}

// blocks makes the tree of blocks, without lines and places.
func (a *arranger) blocks() *block {
	root := &block{node: -1}
	a.leaf, a.turns = make([]*block, len(a.s.nodes)), make([][]turn, len(a.s.nodes))
	a.place(root, a.s.items, 0, nil)
	return root
}

// place makes the blocks of a list of items, whose nodes are shifted.
func (a *arranger) place(parent *block, items []item, shift int, turns []turn) {
	add := func(b *block) {
		b.parent = parent
		b.self = &vertex{child: b, seq: len(parent.children)}
		parent.children = append(parent.children, b)
	}
	for _, it := range items {
		if it.box == nil {
			b := &block{node: it.node + shift}
			a.leaf[b.node], a.turns[b.node] = b, turns
			add(b)
			continue
		}
		shown := it.box.copies
		if !a.expand {
			shown = 1
		}
		for c := range shown {
			t := turn{it.box, c, shown < it.box.copies}
			b := &block{node: -1, box: it.box, copy: c}
			if t.folded {
				b.copy = -1
			}
			add(b)
			a.place(b, it.box.items, shift+c*it.box.period, append(slices.Clone(turns), t))
		}
		first := it.box.first + shift
		for i := shown * it.box.period; i < it.width(); i++ {
			same := first + i%it.box.period
			a.leaf[first+i], a.turns[first+i] = a.leaf[same], slices.Clone(a.turns[same])
			a.turns[first+i][len(turns)].copy = i / it.box.period
		}
	}
}

// carried says whether an edge leads from one copy of a folded box to another,
// which the copy that stands for all has no line for.
func carried(a, b []turn) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i].box == b[i].box && a[i].folded
		}
	}
	return false
}

// route splits an edge into lines, one for every box that it passes.
func route(e edge, from, to *block) {
	var up, down []*block // what holds each end, from the inside
	depth := map[*block]int{}
	for p := from; p != nil; p = p.parent {
		depth[p] = len(up)
		up = append(up, p)
	}
	for p := to; ; p = p.parent {
		if i, ok := depth[p]; ok {
			up = up[:i]
			break
		}
		down = append(down, p)
	}
	for i := 0; i+1 < len(up); i++ {
		up[i+1].join(up[i].self, up[i+1].leaving(e.kind), e, "")
	}
	at, inner := up[len(up)-1].self, down[len(down)-1]
	label := func(i int) string {
		if i == 0 {
			return e.label
		}
		return ""
	}
	inner.parent.join(at, inner.self, e, label(len(down)-1))
	for i := len(down) - 1; i > 0; i-- {
		at = down[i].entering(at, e.kind)
		down[i].join(at, down[i-1].self, e, label(i-1))
	}
}

func (b *block) leaving(kind string) *vertex {
	if b.out == nil {
		b.out = map[string]*vertex{}
	}
	v := b.out[kind]
	if v == nil {
		v = &vertex{role: roleOut, seq: 1 << 30}
		b.out[kind], b.ports = v, append(b.ports, v)
	}
	return v
}

func (b *block) entering(from *vertex, kind string) *vertex {
	if b.in == nil {
		b.in = map[port]*vertex{}
	}
	p := port{from, kind}
	v := b.in[p]
	if v == nil {
		v = &vertex{role: roleIn, seq: -1}
		b.in[p], b.ports = v, append(b.ports, v)
	}
	return v
}

// join adds a line unless there is one like it.
func (b *block) join(from, to *vertex, e edge, label string) {
	k := lineKey{from, to, e.kind, label}
	if b.joined[k] {
		return
	}
	if b.joined == nil {
		b.joined = map[lineKey]bool{}
	}
	b.joined[k] = true
	b.lines = append(b.lines, &line{from: from, to: to, e: e, label: label})
}

// lineKey is what makes a line different from others of its box.
type lineKey struct {
	from, to    *vertex
	kind, label string
}

// compose lays out the inside of a box, those of its children first.
func (a *arranger) compose(b *block) {
	for _, c := range b.children {
		if c.box != nil {
			a.compose(c)
		} else {
			c.w, c.h = a.size(c)
		}
		c.self.w, c.self.h = c.w, c.h
	}
	a.widen(b)
	rows := b.rows()
	order(rows)
	align(rows)
	straighten(rows)
	left, right := 0.0, 0.0
	for i, r := range rows {
		for j, v := range r {
			if i == 0 && j == 0 || v.x-v.w/2 < left {
				left = v.x - v.w/2
			}
			if i == 0 && j == 0 || v.x+v.w/2 > right {
				right = v.x + v.w/2
			}
		}
	}
	b.w = right - left + 2*padding
	if b.box != nil {
		if t := a.title(b) + 2*padding; t > b.w {
			left -= (t - b.w) / 2
			b.w = t
		}
	}
	b.h = heights(rows, b.box != nil)
	for _, r := range rows {
		for _, v := range r {
			v.x += padding - left
			if v.child != nil {
				v.child.x, v.child.y = v.x-v.child.w/2, v.y
			}
		}
	}
}

// widen makes room for the labels of lines that lead to a node.
func (a *arranger) widen(b *block) {
	type labels struct {
		n     int
		width float64
	}
	need := map[*vertex]*labels{}
	for _, l := range b.lines {
		v := l.end()
		if need[v] == nil {
			need[v] = &labels{}
		}
		need[v].n++
		if l.label != "" {
			need[v].width += a.label(l.label) + 14
		}
	}
	for v, n := range need {
		if v.child != nil && v.child.box == nil && n.n <= mostLabels {
			v.w = max(v.w, n.width*float64(3-min(n.n, 2)))
		}
	}
}

// mostLabels is how many lines into one node have labels.
const mostLabels = 4

// rows puts vertices below those that they follow from, and adds the bends of
// lines that pass several rows.
func (b *block) rows() [][]*vertex {
	first, last := 0, 0
	for _, p := range b.ports {
		if p.role == roleIn {
			first = 1
		}
	}
	for _, c := range b.children {
		c.self.row = first
	}
	slices.SortStableFunc(b.lines, func(x, y *line) int { return cmp.Compare(x.start().seq, y.start().seq) })
	leads := map[*vertex]bool{}
	for _, l := range b.lines {
		s, e := l.start(), l.end()
		leads[e] = true
		if e.role == roleChild {
			e.row = max(e.row, s.row+1)
		}
	}
	for i := len(b.lines) - 1; i >= 0; i-- { // sources come down to what they lead to
		if s := b.lines[i].start(); s.role == roleChild && !leads[s] {
			s.row = 1 << 30
		}
	}
	for _, l := range b.lines {
		if s := l.start(); s.role == roleChild && !leads[s] && l.end().role == roleChild {
			s.row = min(s.row, l.end().row-1)
		}
	}
	for _, c := range b.children {
		if c.self.row == 1<<30 {
			c.self.row = first
		}
		last = max(last, c.self.row)
	}
	for _, p := range b.ports {
		if p.role == roleOut {
			p.row = last + 1
		}
	}
	out := make([][]*vertex, last+2)
	put := func(v *vertex) { out[v.row] = append(out[v.row], v) }
	for _, p := range b.ports {
		put(p)
	}
	for _, c := range b.children {
		put(c.self)
	}
	type chain struct {
		from *vertex
		kind string
		row  int
	}
	bends := map[chain]*vertex{}
	for _, l := range b.lines {
		s, e := l.start(), l.end()
		if l.cut = e.row-s.row > longest || e.row <= s.row; l.cut {
			continue
		}
		at, out := s, s.leaves(l.e.kind)
		for r := s.row + 1; r < e.row; r++ {
			k := chain{s, l.e.kind, r}
			if bends[k] == nil {
				bends[k] = &vertex{role: roleBend, row: r, w: lineSpace, seq: s.seq}
				put(bends[k])
				connect(at, bends[k], out, 0)
			}
			at, out = bends[k], 0
			l.bends = append(l.bends, at)
		}
		connect(at, e, out, e.enters(s, l.e.kind))
	}
	for len(out) > 0 && len(out[len(out)-1]) == 0 {
		out = out[:len(out)-1]
	}
	return out
}

// start and end are the upper and the lower end of a line.
func (l *line) start() *vertex {
	if l.from.seq > l.to.seq {
		return l.to
	}
	return l.from
}

func (l *line) end() *vertex {
	if l.from.seq > l.to.seq {
		return l.from
	}
	return l.to
}

// leaves is where lines of a kind leave the lower border of what the vertex
// stands for, from its middle.
func (v *vertex) leaves(kind string) float64 {
	if v.child != nil && v.child.out[kind] != nil {
		return v.child.out[kind].x - v.child.w/2
	}
	return 0
}

// enters is where lines from another vertex enter the upper border.
func (v *vertex) enters(from *vertex, kind string) float64 {
	if v.child != nil && v.child.in[port{from, kind}] != nil {
		return v.child.in[port{from, kind}].x - v.child.w/2
	}
	return 0
}

func connect(up, down *vertex, dx, far float64) {
	weight := 1.0
	for _, v := range []*vertex{up, down} {
		if v.role == roleBend {
			weight *= 3 // long lines are straight
		}
	}
	up.down = append(up.down, link{down, dx, far, weight})
	down.up = append(down.up, link{up, far, dx, weight})
}

// order sorts rows so that lines cross little: each vertex goes to the mean
// of its neighbours, row by row, down and up again.
func order(rows [][]*vertex) {
	number := func(r []*vertex) {
		for i, v := range r {
			v.x = float64(i)
		}
	}
	for _, r := range rows {
		slices.SortStableFunc(r, func(a, b *vertex) int { return cmp.Compare(a.seq, b.seq) })
		number(r)
	}
	sweep := func(r []*vertex, links func(*vertex) []link) {
		at := map[*vertex]float64{}
		for _, v := range r {
			at[v] = v.x
			if list := links(v); len(list) > 0 {
				sum := 0.0
				for _, l := range list {
					sum += l.to.x + l.far*1e-4
				}
				at[v] = sum / float64(len(list))
			}
		}
		slices.SortStableFunc(r, func(a, b *vertex) int { return cmp.Compare(at[a], at[b]) })
		number(r)
	}
	for range 4 {
		for i := 1; i < len(rows); i++ {
			sweep(rows[i], func(v *vertex) []link { return v.up })
		}
		for i := len(rows) - 2; i >= 0; i-- {
			sweep(rows[i], func(v *vertex) []link { return v.down })
		}
	}
	for i := 1; i < len(rows); i++ {
		sweep(rows[i], func(v *vertex) []link { return v.up })
	}
}

// align gives the vertices of each row their x, in their order and apart from
// one another, so that lines are straight where they can be.
func align(rows [][]*vertex) {
	for _, r := range rows {
		x := 0.0
		for _, v := range r {
			v.x = x + v.w/2
			x += v.w + gapX
		}
		for _, v := range r {
			v.x -= (x - gapX) / 2
		}
	}
	vertices := 0
	for _, r := range rows {
		vertices += len(r)
	}
	rounds := min(max(40_000/max(vertices, 1), 6), 60)
	for i := range rounds {
		down := func(v *vertex) []link { return v.up }
		up := func(v *vertex) []link { return v.down }
		both := func(v *vertex) []link { return append(slices.Clone(v.up), v.down...) }
		if i >= rounds/2 {
			down, up = both, both
		}
		for k := 1; k < len(rows); k++ {
			spread(rows[k], down)
		}
		for k := len(rows) - 2; k >= 0; k-- {
			spread(rows[k], up)
		}
	}
}

// straighten puts chains, of which every link is the only one of both its ends,
// on vertical lines, as far as the neighbours in their rows leave room.
func straighten(rows [][]*vertex) {
	at := map[*vertex]int{}
	for _, r := range rows {
		for i, v := range r {
			at[v] = i
		}
	}
	done := map[*vertex]bool{}
	for _, r := range rows {
		for _, v := range r {
			if done[v] {
				continue
			}
			s := straight{low: math.Inf(-1), high: math.Inf(1)}
			for offset := 0.0; ; {
				done[v] = true
				s.take(v, rows[v.row], at[v], offset)
				if len(v.down) != 1 || len(v.down[0].to.up) != 1 || done[v.down[0].to] {
					break
				}
				offset += v.down[0].dx - v.down[0].far
				v = v.down[0].to
			}
			s.set()
		}
	}
}

// straight is a part of a chain that has room on one vertical line, between low
// and high.
type straight struct {
	part      []*vertex
	offset    []float64 // of the vertices from the line
	low, high float64
	sum       float64
}

// take adds a vertex, the i-th of its row, and begins anew where it has no room.
func (s *straight) take(v *vertex, row []*vertex, i int, offset float64) {
	low, high := math.Inf(-1), math.Inf(1)
	if i > 0 {
		low = row[i-1].x + (row[i-1].w+v.w)/2 + gapX - offset
	}
	if i+1 < len(row) {
		high = row[i+1].x - (row[i+1].w+v.w)/2 - gapX - offset
	}
	if max(low, s.low) > min(high, s.high) {
		s.set()
		*s = straight{low: low, high: high}
	}
	s.low, s.high = max(low, s.low), min(high, s.high)
	s.part, s.offset, s.sum = append(s.part, v), append(s.offset, offset), s.sum+v.x-offset
}

func (s *straight) set() {
	if len(s.part) < 2 {
		return
	}
	x := min(max(s.sum/float64(len(s.part)), s.low), s.high)
	for i, v := range s.part {
		v.x = x + s.offset[i]
	}
}

// spread moves the vertices of a row to where their neighbours want them, as
// near as their widths allow in the sense of least squares (pool adjacent
// violators).
func spread(row []*vertex, links func(*vertex) []link) {
	type pool struct {
		sum, weight float64
		n           int
	}
	var pools []pool
	offset := make([]float64, len(row))
	for i, v := range row {
		if i > 0 {
			offset[i] = offset[i-1] + (row[i-1].w+v.w)/2 + gapX
		}
		want, weight := v.x, 0.01
		if list := links(v); len(list) > 0 {
			want, weight = 0, 0
			for _, l := range list {
				want += l.weight * (l.to.x + l.far - l.dx)
				weight += l.weight
			}
			want /= weight
		}
		p := pool{(want - offset[i]) * weight, weight, 1}
		for len(pools) > 0 && pools[len(pools)-1].sum/pools[len(pools)-1].weight > p.sum/p.weight {
			q := pools[len(pools)-1]
			pools = pools[:len(pools)-1]
			p = pool{p.sum + q.sum, p.weight + q.weight, p.n + q.n}
		}
		pools = append(pools, p)
	}
	i := 0
	for _, p := range pools {
		for range p.n {
			row[i].x = p.sum/p.weight + offset[i]
			i++
		}
	}
}

// heights gives the rows their y and returns the height of all.
func heights(rows [][]*vertex, framed bool) float64 {
	y := padding
	if framed {
		y += boxHeader
	}
	for i, r := range rows {
		if i == 0 && len(r) > 0 && slices.ContainsFunc(r, func(v *vertex) bool { return v.role == roleIn }) {
			for _, v := range r {
				v.y, v.h = 0, 0
			}
			y += 6
			continue
		}
		h := 0.0
		for _, v := range r {
			h = max(h, v.h)
		}
		if len(r) > 0 && r[0].role == roleOut {
			y += padding - gapY
			for _, v := range r {
				v.y = y
			}
			return y
		}
		for _, v := range r {
			v.y = y
			if v.role == roleBend {
				v.h = h
			} else {
				v.y += (h - v.h) / 2
			}
		}
		y += h + gapY
	}
	return y - gapY + padding
}

// settle turns places within boxes into places in the picture.
func (b *block) settle(x, y float64) {
	b.x, b.y = b.x+x, b.y+y
	for _, c := range b.children {
		c.settle(b.x, b.y)
	}
}
