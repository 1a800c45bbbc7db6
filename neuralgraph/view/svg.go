package view

import (
	"bufio"
	"fmt"
	"html"
	"io"
)

// SVG draws the scene as a scalable picture.
func (v *View) SVG(w io.Writer, o Options) error {
	d := v.drawing(o)
	c := &svgCanvas{w: bufio.NewWriterSize(w, 1<<16), ruler: d.ruler}
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="Go, Helvetica, Arial, sans-serif">`+"\n", d.w, d.h, d.w, d.h)
	c.printf("<title>%s</title>\n", html.EscapeString(v.name))
	d.paint(c)
	c.printf("</svg>\n")
	return c.w.Flush()
}

// svgCanvas writes elements; the writer remembers the first error.
type svgCanvas struct {
	w     *bufio.Writer
	ruler *ruler
}

func (c *svgCanvas) printf(format string, args ...any) { fmt.Fprintf(c.w, format, args...) }

const svgDash = ` stroke-dasharray="5 3"`

func (c *svgCanvas) rect(x, y, w, h, radius float64, fill, stroke string, dashed bool) {
	c.printf(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"`, x, y, w, h)
	if radius > 0 {
		c.printf(` rx="%g"`, radius)
	}
	c.printf(` fill="%s"`, fill)
	if stroke != "" {
		c.printf(` stroke="%s"`, stroke)
	}
	if dashed {
		c.printf(svgDash)
	}
	c.printf("/>\n")
}

func (c *svgCanvas) curve(p []point, stroke string, width float64, dashed bool) {
	c.printf(`<path d="M%.1f %.1f`, p[0].x, p[0].y)
	for i := 1; i < len(p); i++ {
		a, b := p[i-1], p[i]
		switch mid := (a.y + b.y) / 2; {
		case a == b:
		case i%2 == 1 || a.x == b.x:
			c.printf("L%.1f %.1f", b.x, b.y)
		default:
			c.printf("C%.1f %.1f %.1f %.1f %.1f %.1f", a.x, mid, b.x, mid, b.x, b.y)
		}
	}
	c.printf(`" fill="none" stroke="%s" stroke-width="%g"`, stroke, width)
	if dashed {
		c.printf(svgDash)
	}
	c.printf("/>\n")
}

func (c *svgCanvas) tip(p point, up bool, fill string) {
	back := p.y - 7
	if up {
		back = p.y + 7
	}
	c.printf(`<path d="M%.1f %.1fL%.1f %.1fL%.1f %.1fz" fill="%s"/>`+"\n", p.x, p.y, p.x-3.5, back, p.x+3.5, back, fill)
}

func (c *svgCanvas) text(x, y float64, s style, fill, text string) {
	weight := ""
	if s.bold {
		weight = ` font-weight="bold"`
	}
	// The length holds in every font, so that texts stay within their boxes.
	c.printf(`<text x="%.1f" y="%.1f" font-size="%g"%s fill="%s" textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`+"\n",
		x, y, s.size, weight, fill, c.ruler.width(s, text), html.EscapeString(text))
}

func (c *svgCanvas) open(title string) { c.printf("<g><title>%s</title>\n", html.EscapeString(title)) }
func (c *svgCanvas) close()            { c.printf("</g>\n") }
