package nino

import (
	"context"
	"iter"
	"sync"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// Sizes of a tile. What a session makes of so many edges stays in a core's
// second-level cache; with fewer, starting a run weighs more. Pieces with many
// sources are cut into columns, tiles of one target, which take less work.
const (
	tileEdges  = 1024
	columnHigh = 256 // sources of a piece from which columns are worth a run each
)

// tileRange is a part of a piece: sources s0 to s1 by targets t0 to t1, or,
// diagonal, edges t0 to t1.
type tileRange struct {
	piece          *piece
	s0, s1, t0, t1 int
}

// tilesOf cuts a piece into tiles of at most tileEdges edges, in an order in
// which neighbours in the parameter are visited close to each other.
func tilesOf(x *piece) iter.Seq[tileRange] {
	return func(yield func(tileRange) bool) {
		if x.diagonal {
			for t := 0; t < x.target.Count; t += tileEdges {
				end := min(t+tileEdges, x.target.Count)
				if !yield(tileRange{x, t, end, t, end}) {
					return
				}
			}
			return
		}
		high, wide := tileSize(x)
		tile := func(s, t int) bool {
			return yield(tileRange{x, s, min(s+high, x.source.Count), t, min(t+wide, x.target.Count)})
		}
		if x.bySource > x.byTarget {
			for s := 0; s < x.source.Count; s += high {
				for t := 0; t < x.target.Count; t += wide {
					if !tile(s, t) {
						return
					}
				}
			}
			return
		}
		for t := 0; t < x.target.Count; t += wide {
			for s := 0; s < x.source.Count; s += high {
				if !tile(s, t) {
					return
				}
			}
		}
	}
}

// tiles are those of all pieces, or of those that carry parameters.
func (p *plan) tiles(parameters bool) iter.Seq[tileRange] {
	return func(yield func(tileRange) bool) {
		for i := range p.pieces {
			if parameters && p.pieces[i].parameter < 0 {
				continue
			}
			for t := range tilesOf(&p.pieces[i]) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// tileSize is the number of sources and of targets of a dense piece's tiles.
func tileSize(x *piece) (high, wide int) {
	if x.source.Count >= columnHigh {
		return min(x.source.Count, tileEdges), 1
	}
	return x.source.Count, min(x.target.Count, tileEdges/x.source.Count)
}

// column says whether the tile is for the models of columns.
func (r *tileRange) column() bool { return !r.piece.diagonal && r.piece.source.Count >= columnHigh }

// rows is the number of sources along the first axis of the tile's arrays.
func (r *tileRange) rows() int {
	if r.piece.diagonal {
		return 1
	}
	return r.s1 - r.s0
}

func (r *tileRange) columns() int { return r.t1 - r.t0 }

func (r *tileRange) edges() int { return r.rows() * r.columns() }

// sources are the sources' rows of an array [nodes, width]; of a diagonal tile
// they stand beside the targets.
func (r *tileRange) sources(all []float32, width int) []float32 {
	return rowsOf(all, width, r.piece.source, r.s0, r.s1)
}

func (r *tileRange) sourceDims(width int) []int {
	switch {
	case r.column():
		return []int{r.rows(), width}
	case r.piece.diagonal:
		return []int{1, r.columns(), width}
	}
	return []int{r.rows(), 1, width}
}

func (r *tileRange) targetDims(width int) []int {
	if r.column() {
		return []int{1, width}
	}
	return []int{1, r.columns(), width}
}

// rowsOf are the rows of nodes lo to hi of a span; aliased where they follow
// one another.
func rowsOf(all []float32, width int, span neuralgraph.Span, lo, hi int) []float32 {
	if span.Index == nil {
		return all[(span.First+lo)*width : (span.First+hi)*width]
	}
	out := make([]float32, 0, (hi-lo)*width)
	for i := lo; i < hi; i++ {
		n := span.Node(i)
		out = append(out, all[n*width:(n+1)*width]...)
	}
	return out
}

// features are the scaled states of the tile's edges, a row of so many numbers
// for each.
func (r *tileRange) features(tr *trajectory, columns int) []float32 {
	out := make([]float32, r.edges()*columns)
	tr.block(r.piece, r.s0, r.s0+r.rows(), r.t0, r.t1, out)
	return out
}

// input is the features as the models of tiles take them: those of columns end
// with a 1.
func (r *tileRange) input(tr *trajectory, columns int) (data []float32, dims []int) {
	if !r.column() {
		return r.features(tr, columns), []int{r.rows(), r.columns(), columns}
	}
	data = r.features(tr, columns+1)
	for i := columns; i < len(data); i += columns + 1 {
		data[i] = 1
	}
	return data, []int{r.rows(), columns + 1}
}

// sourceOf is the source of the edge in row i to target j.
func (r *tileRange) sourceOf(i, j int) int {
	if r.piece.diagonal {
		return j
	}
	return r.s0 + i
}

// accumulate adds the tile's sums [T, columns] to the targets' rows of an array
// [nodes, width]; the columns beyond are those of taps that the tile lacks.
func (r *tileRange) accumulate(all []float32, width int, sums []float32) {
	columns := len(sums) / r.columns()
	for j := r.t0; j < r.t1; j++ {
		n := r.piece.target.Node(j)
		row := all[n*width : n*width+columns]
		for i, x := range sums[(j-r.t0)*columns : (j-r.t0+1)*columns] {
			row[i] += x
		}
	}
}

// store takes the predictions [S, T, F] of the tile. Tiles may do so at the same
// time: no two edges carry the same number.
func (r *tileRange) store(tr *trajectory, pred []float32) {
	taps := len(r.piece.taps)
	for i := range r.rows() {
		for j := r.t0; j < r.t1; j++ {
			e := (i*r.columns() + j - r.t0) * taps
			tr.store(r.piece, r.sourceOf(i, j), j, pred[e:e+taps])
		}
	}
}

// eachTile runs work on every tile, several at a time, and take on the results
// in the order of the tiles, one at a time: sums come out the same whatever the
// number of workers. Work reads states, which may be mapped files.
func eachTile[R any](ctx context.Context, workers int, tiles iter.Seq[tileRange], work func(*tileRange) (R, error), take func(*tileRange, R)) error {
	type job struct {
		tile tileRange
		out  R
		err  error
		done chan struct{}
	}
	var wg sync.WaitGroup
	stop, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	todo, order := make(chan *job), make(chan *job, 4*workers) // bounds the results that wait
	wg.Go(func() {
		defer close(todo)
		defer close(order)
		for t := range tiles {
			j := &job{tile: t, done: make(chan struct{})}
			for _, queue := range []chan *job{order, todo} {
				select {
				case queue <- j:
				case <-stop.Done():
					return
				}
			}
		}
	})
	for range workers {
		wg.Go(func() {
			for j := range todo {
				j.err = onnxgraph.Guarded(func() (err error) {
					j.out, err = work(&j.tile)
					return err
				})
				close(j.done)
			}
		})
	}
	for j := range order {
		select {
		case <-j.done:
			if j.err != nil {
				return j.err
			}
			take(&j.tile, j.out)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
