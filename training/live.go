package training

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/guptarohit/asciigraph"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"ninox/internal/memory"
)

// Sizes of the live view, in characters.
const (
	curveRows   = 8  // of the curve
	curveRoom   = 16 // rows of a terminal below which there is no curve
	curveMargin = 12 // for the scale
	curveWidth  = 72 // at most
)

// live is progress for terminals: the curve of the training loss above a bar.
type live struct {
	*status
	curve curve
	pool  *mpb.Progress
	bar   *mpb.Bar
}

func newLive(f *os.File, s *status) *live {
	l := &live{status: s}
	l.pool = mpb.New(mpb.WithOutput(f), mpb.WithRefreshRate(200*time.Millisecond))
	options := []mpb.BarOption{
		mpb.BarWidth(30),
		mpb.PrependDecorators(
			decor.Name(s.label, decor.WC{C: decor.DindentRight | decor.DextraSpace}),
			decor.CountersNoUnit("%d/%d", decor.WC{C: decor.DextraSpace}),
		),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			return " " + l.text() + "  " + humanize.Bytes(uint64(memory.Anonymous()))
		})),
	}
	if _, rows, err := term.GetSize(int(f.Fd())); err == nil && rows >= curveRoom {
		options = append(options, mpb.BarTopExtender(l.curveRows()...))
	}
	l.bar = l.pool.New(int64(s.total), mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"), options...)
	l.bar.SetCurrent(int64(s.done))
	return l
}

// curveRows are the rows of the curve, which the first of them draws anew.
func (l *live) curveRows() []mpb.BarFiller {
	var rows []string
	out := make([]mpb.BarFiller, curveRows+1)
	for i := range out {
		out[i] = mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
			if i == 0 {
				rows = l.plot(min(s.AvailableWidth-curveMargin, curveWidth))
			}
			row := ""
			if i < len(rows) {
				row = rows[i]
			}
			_, err := fmt.Fprintln(w, row)
			return err
		})
	}
	slices.Reverse(out) // mpb stacks them on the bar
	return out
}

// plot is the curve in rows of text, none before there are two points.
func (l *live) plot(width int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.curve.points) < 2 || width < 10 {
		return nil
	}
	return strings.Split(asciigraph.Plot(l.curve.points, asciigraph.Height(curveRows), asciigraph.Width(width), asciigraph.Precision(3)), "\n")
}

func (l *live) step(step int, loss float64) {
	l.update(step, loss, time.Now())
	l.mu.Lock()
	l.curve.add(loss)
	l.mu.Unlock()
	// The last step is shown by stop: a complete bar is no longer drawn, and
	// the last evaluation is still to come.
	if step < l.total {
		l.bar.SetCurrent(int64(step))
	}
}

func (l *live) evaluated(e Evaluation) { l.setEvaluation(e) }

func (l *live) nowcast(n Nowcast) {
	fmt.Fprintf(l.pool, "%s: %s\n", l.label, nowcastText(n))
}

func (l *live) stop(last string) {
	if last != "" {
		fmt.Fprintf(l.pool, "%s: %s\n", l.label, last)
	}
	if l.done >= l.total {
		l.bar.SetCurrent(int64(l.total))
	} else {
		l.bar.Abort(false)
	}
	l.pool.Wait()
}

// curve keeps a long series as means over stretches of equal length.
type curve struct {
	points []float64
	per    int // numbers of a point
	sum    float64
	n      int // numbers in sum
}

// curvePoints is the number of points from which pairs become one.
const curvePoints = 2 * curveWidth

// add appends a number; those that are not finite are left out.
func (c *curve) add(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	c.sum += v
	if c.n++; c.n < max(1, c.per) {
		return
	}
	c.points = append(c.points, c.sum/float64(c.n))
	c.sum, c.n = 0, 0
	if len(c.points) < curvePoints {
		return
	}
	for i := range curvePoints / 2 {
		c.points[i] = (c.points[2*i] + c.points[2*i+1]) / 2
	}
	c.points, c.per = c.points[:curvePoints/2], 2*max(1, c.per)
}
