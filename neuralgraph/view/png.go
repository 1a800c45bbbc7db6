package view

import (
	"bufio"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"

	"git.sr.ht/~sbinet/gg"
)

// Limits of a PNG picture: a side, which most programs can show, and the area,
// which has to be held in memory.
const (
	pngScale  = 2.0
	pngSide   = 32_000
	pngPixels = 120_000_000
	pngLeast  = 0.75 // below this scale letters cannot be read
)

// SizeError says that a picture is too large for its format.
type SizeError struct{ Width, Height int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the picture of %d × %d pixels is too large for PNG; svg and html have no such limit", e.Width, e.Height)
}

// PNG draws the scene as pixels, two a unit of length where memory allows. The
// error is a *SizeError where letters would be too small to be read.
func (v *View) PNG(w io.Writer, o Options) error {
	d := v.drawing(o)
	scale := min(pngScale, pngSide/max(d.w, d.h), math.Sqrt(pngPixels/(d.w*d.h)))
	if scale < pngLeast {
		return &SizeError{int(d.w), int(d.h)}
	}
	img := image.NewRGBA(image.Rect(0, 0, int(math.Ceil(d.w*scale)), int(math.Ceil(d.h*scale))))
	c := &pngCanvas{dc: gg.NewContextForRGBA(img), scale: scale, ruler: newRuler()}
	c.dc.SetLineCapButt()
	d.paint(c)
	out := bufio.NewWriter(w)
	if err := png.Encode(out, img); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return out.Flush()
}

type pngCanvas struct {
	dc    *gg.Context
	scale float64
	ruler *ruler
}

func (c *pngCanvas) dash(dashed bool) {
	if dashed {
		c.dc.SetDash(5*c.scale, 3*c.scale)
	} else {
		c.dc.SetDash()
	}
}

func (c *pngCanvas) rect(x, y, w, h, radius float64, fill, stroke string, dashed bool) {
	k := c.scale
	c.dc.DrawRoundedRectangle(x*k, y*k, w*k, h*k, radius*k)
	c.dc.SetHexColor(fill)
	c.dc.FillPreserve()
	if stroke != "" {
		c.dash(dashed)
		c.dc.SetHexColor(stroke)
		c.dc.SetLineWidth(k)
		c.dc.StrokePreserve()
	}
	c.dc.ClearPath()
}

func (c *pngCanvas) curve(p []point, stroke string, width float64, dashed bool) {
	k := c.scale
	c.dc.MoveTo(p[0].x*k, p[0].y*k)
	for i := 1; i < len(p); i++ {
		a, b := p[i-1], p[i]
		switch mid := (a.y + b.y) / 2; {
		case a == b:
		case i%2 == 1 || a.x == b.x:
			c.dc.LineTo(b.x*k, b.y*k)
		default:
			c.dc.CubicTo(a.x*k, mid*k, b.x*k, mid*k, b.x*k, b.y*k)
		}
	}
	c.dash(dashed)
	c.dc.SetHexColor(stroke)
	c.dc.SetLineWidth(width * k)
	c.dc.Stroke()
}

func (c *pngCanvas) tip(p point, up bool, fill string) {
	k, back := c.scale, p.y-7
	if up {
		back = p.y + 7
	}
	c.dc.MoveTo(p.x*k, p.y*k)
	c.dc.LineTo((p.x-3.5)*k, back*k)
	c.dc.LineTo((p.x+3.5)*k, back*k)
	c.dc.ClosePath()
	c.dc.SetHexColor(fill)
	c.dc.Fill()
}

func (c *pngCanvas) text(x, y float64, s style, fill, text string) {
	f := c.ruler.face(style{s.size * c.scale, s.bold})
	if f == nil {
		return
	}
	c.dc.SetFontFace(f)
	c.dc.SetHexColor(fill)
	c.dc.DrawString(text, x*c.scale, y*c.scale)
}

func (c *pngCanvas) open(string) {}
func (c *pngCanvas) close()      {}
