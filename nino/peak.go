package nino

import (
	"context"
	"errors"
	"sync"
	"time"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// peakTime is how long Peak multiplies matrices.
const peakTime = 400 * time.Millisecond

// Peak measures what the engine reaches at best on products of the shape that a
// tile has, in floating point operations a second: as many runs side by side
// as the step has, of one MatMul each and nothing else.
func Peak(ctx context.Context, engine *ort.Engine, width int) (float64, error) {
	m, err := peakModel(width)
	if err != nil {
		return 0, err
	}
	s, err := engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	workers := max(1, engine.Threads())
	runs, errs := make([]int, workers), make([]error, workers)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range workers {
		wg.Go(func() { runs[i], errs[i] = multiply(ctx, s, width, start.Add(peakTime)) })
	}
	wg.Wait()
	total := 0
	for _, n := range runs {
		total += n
	}
	return float64(total) * 2 * tileEdges * float64(width*width) / time.Since(start).Seconds(), errors.Join(errs...)
}

// peakModel is one product [tileEdges, width] × [width, width].
func peakModel(width int) (*onnxgraph.Model, error) {
	b := onnxgraph.NewBuilder("peak", DefaultOpset)
	shape := onnxgraph.StaticShape(tileEdges, int64(width))
	x := b.Input("x", onnxgraph.Float, shape)
	w := b.Const(onnxgraph.Floats("w", []int64{int64(width), int64(width)}, make([]float32, width*width)))
	b.Output(b.Named("y", "MatMul", []string{x, w}), onnxgraph.Float, shape)
	return b.Model()
}

// multiply runs the product until a time and counts the runs.
func multiply(ctx context.Context, s *ort.Session, width int, until time.Time) (runs int, err error) {
	in := values{}
	defer in.close()
	in.floats(&err, "x", make([]float32, tileEdges*width), tileEdges, width)
	if err != nil {
		return 0, err
	}
	b, err := s.Bind()
	if err != nil {
		return 0, err
	}
	defer b.Close()
	y, err := ort.FloatValue([]int64{tileEdges, int64(width)}, make([]float32, tileEdges*width))
	if err != nil {
		return 0, err
	}
	defer y.Close()
	if err := errors.Join(b.Input("x", in["x"]), b.Output("y", y)); err != nil {
		return 0, err
	}
	for ; time.Now().Before(until); runs++ {
		if err := b.Run(ctx); err != nil {
			return 0, err
		}
	}
	return runs, nil
}

// FLOPs is the number of floating point operations in the products of a
// prediction, two for each multiply-add: what is to be compared with Peak. The
// nodes' share is left out.
func (n *Nowcaster) FLOPs() float64 {
	t, ok := n.form.(*tilesForm)
	if !ok {
		return 0
	}
	return t.flops()
}

// flops counts the products: every pass maps the features once, and pass r
// multiplies r times width by width.
func (f *tilesForm) flops() float64 {
	d, rounds, total := float64(f.config.Width), float64(len(f.pass)), 0.0
	for i := range f.plan.pieces {
		x := &f.plan.pieces[i]
		features := d * float64(max(1, len(x.taps))*f.config.Context)
		edge := rounds*features + rounds*(rounds-1)/2*d*d
		if x.parameter >= 0 {
			edge += features + rounds*d*d + d*float64(len(x.taps))
		}
		total += 2 * edge * float64(x.edges())
	}
	return total
}
