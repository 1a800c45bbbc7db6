package neuralgraph

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// Measures of the drawing, in pixels.
const (
	svgBoxWidth  = 190
	svgBoxHeight = 38
	svgColumn    = 230
	svgRow       = 96
	svgMargin    = 24
	svgNameLimit = 28 // characters of a name
)

// kindColours are the colours of edges by type; others are grey.
var kindColours = map[EdgeType]string{
	EdgeLinear: "#2563a8", EdgeConv: "#1f7a4d", EdgeEmbedding: "#8a4fb0", EdgePosition: "#b0724f",
	EdgeQuery: "#c0392b", EdgeKey: "#d98c1f", EdgeValue: "#0f8a8a", EdgeResidual: "#999999", EdgeHead: "#bbbbbb",
}

// SVG draws the layers of the NiNo graph of all parameters, inputs at the top.
// Biases and norm weights are listed in the box of the layer they lead to.
func (g *Graph) SVG(w io.Writer) error {
	n, err := g.NiNo(nil)
	if err != nil {
		return err
	}
	d := newDrawing(n)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", d.width, d.height)
	b.WriteString("<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#555\"/></marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n")
	for _, a := range d.arrows {
		d.arrow(&b, &a)
	}
	for i, l := range n.Layers {
		if !d.extra[i] {
			d.box(&b, i, &l)
		}
	}
	b.WriteString("</svg>\n")
	_, err = io.WriteString(w, b.String())
	return err
}

// drawing places layers in rows by their depth.
type drawing struct {
	arrows        []arrow
	extra         map[int]bool
	notes         map[int]int // extra nodes of each layer
	x, y          []int
	width, height int
}

func newDrawing(n *NiNo) *drawing {
	all := n.arrows()
	d := &drawing{extra: n.extras(all), notes: map[int]int{}, x: make([]int, len(n.Layers)), y: make([]int, len(n.Layers))}
	for _, a := range all {
		if d.extra[a.from] {
			d.notes[a.to]++
		} else {
			d.arrows = append(d.arrows, a)
		}
	}
	depth := d.depths(len(n.Layers))
	columns := map[int]int{}
	for i := range n.Layers {
		if d.extra[i] {
			continue
		}
		d.x[i] = svgMargin + columns[depth[i]]*svgColumn
		d.y[i] = svgMargin + depth[i]*svgRow
		columns[depth[i]]++
		d.width = max(d.width, d.x[i]+svgBoxWidth+svgMargin)
		d.height = max(d.height, d.y[i]+svgBoxHeight+svgMargin)
	}
	return d
}

// depths is the longest path to each layer; keys lead backwards, and paths are
// cut after as many steps as there are layers, which ends cycles.
func (d *drawing) depths(layers int) []int {
	depth := make([]int, layers)
	for range layers {
		changed := false
		for _, a := range d.arrows {
			from, to := a.from, a.to
			if a.kind == EdgeKey {
				from, to = to, from
			}
			if from != to && depth[to] < depth[from]+1 && depth[from]+1 < layers {
				depth[to], changed = depth[from]+1, true
			}
		}
		if !changed {
			break
		}
	}
	d.sink(depth)
	return depth
}

// sink moves layers that nothing leads to down to the row above the first one
// that they lead to.
func (d *drawing) sink(depth []int) {
	next, led := map[int]int{}, map[int]bool{}
	for _, a := range d.arrows {
		from, to := a.from, a.to
		if a.kind == EdgeKey {
			from, to = to, from
		}
		led[to] = true
		if at, ok := next[from]; !ok || depth[to] < at {
			next[from] = depth[to]
		}
	}
	for i, at := range next {
		if !led[i] && at > 0 {
			depth[i] = at - 1
		}
	}
}

func (d *drawing) box(b *strings.Builder, i int, l *Layer) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="#f4f6f8" stroke="#445"/>`, d.x[i], d.y[i], svgBoxWidth, svgBoxHeight)
	name := []rune(l.Name)
	if len(name) > svgNameLimit {
		name = append([]rune("…"), name[len(name)-svgNameLimit+1:]...)
	}
	size := fmt.Sprintf("%d neurons", l.Size)
	if k := d.notes[i]; k > 0 {
		size += fmt.Sprintf(", %d biases and norms", k)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" fill="#667">%s</text><title>%s</title>`+"\n",
		d.x[i]+8, d.y[i]+15, html.EscapeString(string(name)), d.x[i]+8, d.y[i]+30, size, html.EscapeString(l.Name))
}

func (d *drawing) arrow(b *strings.Builder, a *arrow) {
	colour := kindColours[a.kind]
	if colour == "" {
		colour = "#777777"
	}
	dash := ""
	if a.parameter == "" {
		dash = ` stroke-dasharray="4 3"`
	}
	x1, y1 := d.x[a.from]+svgBoxWidth/2, d.y[a.from]+svgBoxHeight
	x2, y2 := d.x[a.to]+svgBoxWidth/2, d.y[a.to]
	if y2 < y1 {
		y1, y2 = d.y[a.from], d.y[a.to]+svgBoxHeight
	}
	mid := (y1 + y2) / 2
	fmt.Fprintf(b, `<path d="M%d,%d C%d,%d %d,%d %d,%d" fill="none" stroke="%s"%s marker-end="url(#tip)"><title>%s: %d edges</title></path>`+"\n",
		x1, y1, x1, mid, x2, mid, x2, y2, colour, dash, html.EscapeString(a.label()), a.edges)
}
