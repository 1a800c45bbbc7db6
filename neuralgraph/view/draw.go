package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
)

// canvas is what pictures are drawn on. Colours are "#rrggbb".
type canvas interface {
	rect(x, y, w, h, radius float64, fill, stroke string, dashed bool)
	curve(p []point, stroke string, width float64, dashed bool) // vertical pieces between points 2k and 2k+1, curves between the others
	tip(p point, up bool, fill string)
	text(x, y float64, style style, fill, s string)
	open(title string) // what follows, up to close, has this title
	close()
}

type point struct{ x, y float64 }

// style of a text.
type style struct {
	size float64
	bold bool
}

var (
	titleStyle = style{12.5, true}
	lineStyle  = style{11, false}
	labelStyle = style{10, false}
	headStyle  = style{17, true}
)

// Node boxes.
const (
	nodeMin    = 84.0
	nodeMax    = 270.0
	nodeInset  = 10.0
	nodeTitle  = 20.0 // height
	nodeLine   = 14.0
	nodeBottom = 6.0
	margin     = 18.0
)

// ruler measures texts. It holds font faces, so that it serves one picture at
// a time.
type ruler struct{ faces map[style]font.Face }

func newRuler() *ruler { return &ruler{map[style]font.Face{}} }

// face is a font face; nil where the built-in font cannot be read, which the
// tests exclude.
func (r *ruler) face(s style) font.Face {
	if f, ok := r.faces[s]; ok {
		return f
	}
	ttf := goregular.TTF
	if s.bold {
		ttf = gobold.TTF
	}
	var face font.Face
	if f, err := opentype.Parse(ttf); err == nil {
		face, _ = opentype.NewFace(f, &opentype.FaceOptions{Size: s.size, DPI: 72, Hinting: font.HintingNone})
	}
	r.faces[s] = face
	return face
}

func (r *ruler) width(s style, text string) float64 {
	if f := r.face(s); f != nil {
		return float64(font.MeasureString(f, text)) / 64
	}
	return float64(utf8.RuneCountInString(text)) * s.size * 0.6
}

// fit cuts a text in its middle, where it is wider than allowed; "" where
// nothing useful would be left.
func (r *ruler) fit(s style, text string, width float64) string {
	if r.width(s, text) <= width {
		return text
	}
	letters := []rune(text)
	for n := len(letters) - 1; n >= 3; n-- {
		head := n / 3
		cut := string(letters[:head]) + "…" + string(letters[len(letters)-(n-head):])
		if r.width(s, cut) <= width {
			return cut
		}
	}
	return ""
}

// drawing is a scene laid out.
type drawing struct {
	v     *View
	s     *scene
	root  *block
	ruler *ruler
	w, h  float64
	head  []string // lines above the picture
	kinds []string // in the legend
	top   float64  // height of the head
}

func (v *View) drawing(o Options) *drawing {
	d := &drawing{v: v, s: v.scene(o), ruler: newRuler()}
	a := &arranger{s: d.s, expand: o.Expand, size: d.nodeSize, title: func(b *block) float64 { return d.ruler.width(titleStyle, boxTitle(b)) },
		label: func(text string) float64 { return d.ruler.width(labelStyle, text) }}
	d.root = a.arrange()
	d.head = v.headline()
	seen := map[string]bool{}
	for _, e := range d.s.edges {
		if !seen[e.kind] && e.kind != "flow" {
			seen[e.kind] = true
			d.kinds = append(d.kinds, e.kind)
		}
	}
	slices.Sort(d.kinds)
	d.top = margin + 24 + float64(len(d.head)-1)*17
	width := 0.0
	for i, l := range d.head {
		style := lineStyle
		if i == 0 {
			style = headStyle
		}
		width = max(width, d.ruler.width(style, l))
	}
	if len(d.kinds) > 0 {
		d.top += 28
		width = max(width, d.legend(nil))
	}
	d.w = max(d.root.w, width) + 2*margin
	d.h = d.top + d.root.h + margin
	d.root.settle((d.w-d.root.w)/2, d.top)
	return d
}

// boxTitle is the title of a box: for one of several copies, which one it is.
func boxTitle(b *block) string {
	if b.copy >= 0 && b.box.copies > 1 {
		return fmt.Sprintf("%d of %d", b.copy+1, b.box.copies)
	}
	return b.box.title
}

// nodeTitle is the title of a node: layers of neurons that stand for all
// copies are called by what those have in common.
func (s *scene) nodeTitle(b *block) string {
	n := &s.nodes[b.node]
	for p := b.parent; p != nil && n.name == ""; p = p.parent {
		if p.box != nil && p.copy < 0 {
			return n.inside
		}
	}
	return n.title
}

func (d *drawing) nodeSize(b *block) (w, h float64) {
	n := &d.s.nodes[b.node]
	w = d.ruler.width(titleStyle, d.s.nodeTitle(b))
	for _, l := range n.lines {
		w = max(w, d.ruler.width(lineStyle, l))
	}
	return min(max(w+2*nodeInset, nodeMin), nodeMax), nodeTitle + nodeLine*float64(len(n.lines)) + nodeBottom
}

// paint draws all on a canvas: boxes, lines, nodes.
func (d *drawing) paint(c canvas) {
	c.rect(0, 0, d.w, d.h, 0, "#ffffff", "", false)
	for i, l := range d.head {
		style, fill, y := lineStyle, "#4b5563", margin+12+17*float64(i)
		if i == 0 {
			style, fill = headStyle, "#111827"
		}
		if i > 0 {
			y += 6
		}
		c.text(margin, y, style, fill, l)
	}
	if len(d.kinds) > 0 {
		d.legend(c)
	}
	d.boxes(c, d.root, 0)
	d.lines(c, d.root)
	d.nodes(c, d.root)
}

// legend draws the kinds of edges, and returns its width.
func (d *drawing) legend(c canvas) float64 {
	x, y := margin, d.top-12
	for _, k := range d.kinds {
		l := lookOf(k)
		if c != nil {
			c.curve([]point{{x, y - 4}, {x + 18, y - 4}}, l.line, 2.2, k == "residual" || k == "head")
			c.text(x+23, y, lineStyle, "#374151", l.name)
		}
		x += 23 + d.ruler.width(lineStyle, l.name) + 16
	}
	return x - margin
}

func (d *drawing) boxes(c canvas, b *block, depth int) {
	if b.box != nil {
		fill := "#f8fafc"
		if depth%2 == 0 {
			fill = "#f1f5f9"
		}
		c.rect(b.x, b.y, b.w, b.h, 9, fill, "#aab4c3", false)
		c.text(b.x+padding, b.y+16, titleStyle, "#3b4658", boxTitle(b))
	}
	for _, k := range b.children {
		if k.box != nil {
			d.boxes(c, k, depth+1)
		}
	}
}

// end is where a line meets a node or a border, and whether its label goes to
// the left.
type end struct {
	p     point
	left  bool
	space float64 // for the label
}

func (d *drawing) lines(c canvas, b *block) {
	ends := d.ends(b)
	for _, l := range b.lines {
		d.line(c, b, l, ends[l])
	}
	for _, k := range b.children {
		if k.box != nil {
			d.lines(c, k)
		}
	}
}

// ends spreads the lines that go into one node over its width.
func (d *drawing) ends(b *block) map[*line]end {
	into := map[*vertex][]*line{}
	for _, l := range b.lines {
		if !l.cut {
			into[l.end()] = append(into[l.end()], l)
		}
	}
	out := map[*line]end{}
	for v, list := range into {
		from := func(l *line) float64 {
			if k := len(l.bends); k > 0 {
				return l.bends[k-1].x
			}
			return l.start().x
		}
		slices.SortStableFunc(list, func(x, y *line) int { return cmp.Compare(from(x), from(y)) })
		for i, l := range list {
			k := float64(len(list))
			e := end{p: point{b.x + v.x + v.enters(l.start(), l.e.kind), b.y + v.y}}
			if v.child != nil && v.child.box == nil {
				step := v.child.w / (k + 1)
				e.p.x = b.x + v.x - v.child.w/2 + step*float64(i+1)
				e.left = i == 0 && k > 1
				if e.space = step - 8; i == 0 || i == len(list)-1 {
					e.space = step + (v.w-v.child.w)/2 + gapX/2
				}
			}
			out[l] = e
		}
	}
	return out
}

func (d *drawing) line(c canvas, b *block, l *line, e end) {
	look := lookOf(l.e.kind)
	c.open(d.lineTitle(l))
	defer c.close()
	s, t := l.start(), l.end()
	from := point{b.x + s.x + s.leaves(l.e.kind), b.y + s.y + s.h}
	into := t.role == roleChild && t.child.box == nil
	outof := s.role == roleChild && s.child.box == nil
	if l.cut {
		to := point{b.x + t.x, b.y + t.y}
		c.curve([]point{from, {from.x, from.y + 10}}, look.line, 1.2, true)
		c.curve([]point{{to.x, to.y - 10}, to}, look.line, 1.2, true)
		return
	}
	p := []point{from, from}
	for _, v := range l.bends {
		p = append(p, point{b.x + v.x, b.y + v.y}, point{b.x + v.x, b.y + v.y + v.h})
	}
	to := e.p
	head := to
	if into && !l.e.reversed {
		head.y -= 5
	}
	if outof && l.e.reversed {
		p[0].y += 5
		p[1].y += 5
	}
	p = append(p, head, head)
	width := 1.4
	if l.e.kind == "flow" {
		width = 1.2
	}
	c.curve(p, look.line, width, l.e.kind == "residual" || l.e.kind == "head")
	switch {
	case !l.e.reversed && into:
		c.tip(to, false, look.line)
	case l.e.reversed && outof:
		c.tip(from, true, look.line)
	}
	d.label(c, l, e)
}

func (d *drawing) label(c canvas, l *line, e end) {
	text := d.ruler.fit(labelStyle, l.label, e.space)
	if text == "" || l.end().child == nil {
		return
	}
	x, w := e.p.x+5, d.ruler.width(labelStyle, text)
	if e.left {
		x = e.p.x - 5 - w
	}
	c.rect(x-2, e.p.y-19, w+4, 12, 2, "#ffffff", "", false)
	c.text(x, e.p.y-10, labelStyle, lookOf(l.e.kind).line, text)
}

func (d *drawing) lineTitle(l *line) string {
	text := d.s.nodes[l.e.from].title + " → " + d.s.nodes[l.e.to].title
	if l.e.reversed {
		text = d.s.nodes[l.e.to].title + " → " + d.s.nodes[l.e.from].title
	}
	if l.e.label != "" {
		text += "\n" + l.e.label
	}
	for _, p := range l.e.params {
		text += "\n" + d.v.graph.Parameters[p].Name
	}
	return text
}

func (d *drawing) nodes(c canvas, b *block) {
	for _, k := range b.children {
		if k.box != nil {
			d.nodes(c, k)
			continue
		}
		n := &d.s.nodes[k.node]
		l := lookOf(n.kind)
		c.open(nodeTip(n))
		c.rect(k.x, k.y, k.w, k.h, 6, l.fill, l.line, n.dashed)
		room := k.w - 2*nodeInset + 4
		c.text(k.x+nodeInset, k.y+16, titleStyle, "#111827", d.ruler.fit(titleStyle, d.s.nodeTitle(k), room))
		for i, t := range n.lines {
			c.text(k.x+nodeInset, k.y+nodeTitle+nodeLine*float64(i)+10, lineStyle, "#4b5563", d.ruler.fit(lineStyle, t, room))
		}
		c.close()
	}
}

// nodeTip is all about a node.
func nodeTip(n *node) string {
	out := append([]string{n.title}, n.lines...)
	for _, f := range n.facts {
		if f.value != "" {
			out = append(out, f.name+": "+f.value)
		}
	}
	return strings.Join(out, "\n")
}
