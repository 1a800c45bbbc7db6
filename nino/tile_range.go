package nino

import (
	"context"
	"sync"

	"ninox/neuralgraph"
)

// Sizes of a tile: about 64 sources by 64 targets run fastest on processors,
// larger tiles leave their caches.
const (
	tileSide  = 64
	tileEdges = tileSide * tileSide
)

// tileRange is a part of a piece: sources s0 to s1 by targets t0 to t1, or,
// diagonal, edges t0 to t1.
type tileRange struct {
	piece          *piece
	s0, s1, t0, t1 int
}

// split cuts a piece into tiles of at most tileEdges edges.
func split(x *piece) []tileRange {
	var out []tileRange
	if x.diagonal {
		for t := 0; t < x.target.Count; t += tileEdges {
			out = append(out, tileRange{x, t, min(t+tileEdges, x.target.Count), t, min(t+tileEdges, x.target.Count)})
		}
		return out
	}
	high := min(x.source.Count, tileSide)
	wide := min(x.target.Count, tileEdges/high)
	high = min(x.source.Count, tileEdges/wide)
	for t := 0; t < x.target.Count; t += wide {
		for s := 0; s < x.source.Count; s += high {
			out = append(out, tileRange{x, s, min(s+high, x.source.Count), t, min(t+wide, x.target.Count)})
		}
	}
	return out
}

// rows is the number of sources along the first axis of the tile's arrays.
func (r *tileRange) rows() int {
	if r.piece.diagonal {
		return 1
	}
	return r.s1 - r.s0
}

func (r *tileRange) columns() int { return r.t1 - r.t0 }

// sources are the sources' rows of an array [nodes, width]; of a diagonal tile
// they stand beside the targets.
func (t *tileRange) sources(all []float32, width int) []float32 {
	return rowsOf(all, width, t.piece.source, t.s0, t.s1)
}

func (t *tileRange) sourceDims(width int) []int {
	if t.piece.diagonal {
		return []int{1, t.columns(), width}
	}
	return []int{t.rows(), 1, width}
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

// features are the scaled states of the tile's edges.
func (t *tileRange) features(tr *trajectory, columns int) []float32 {
	out := make([]float32, t.rows()*t.columns()*columns)
	for r := range t.rows() {
		for j := t.t0; j < t.t1; j++ {
			e := (r*t.columns() + j - t.t0) * columns
			tr.features(t.piece, t.sourceOf(r, j), j, out[e:e+columns])
		}
	}
	return out
}

// sourceOf is the source of the edge in row r to target j.
func (t *tileRange) sourceOf(r, j int) int {
	if t.piece.diagonal {
		return j
	}
	return t.s0 + r
}

// accumulate adds the tile's sums [T, columns] to the targets' rows of an array
// [nodes, width]; the columns beyond are those of taps that the tile lacks.
func (t *tileRange) accumulate(all []float32, width int, sums []float32) {
	columns := len(sums) / t.columns()
	for j := t.t0; j < t.t1; j++ {
		n := t.piece.target.Node(j)
		row := all[n*width : n*width+columns]
		for i, x := range sums[(j-t.t0)*columns : (j-t.t0+1)*columns] {
			row[i] += x
		}
	}
}

// store takes the predictions [S, T, F] of the tile.
func (t *tileRange) store(tr *trajectory, pred []float32) {
	taps := len(t.piece.taps)
	for r := range t.rows() {
		for j := t.t0; j < t.t1; j++ {
			e := (r*t.columns() + j - t.t0) * taps
			tr.store(t.piece, t.sourceOf(r, j), j, pred[e:e+taps])
		}
	}
}

// eachTile runs work on every tile, several at a time, and take on the results
// in the order of the tiles, one at a time: sums come out the same whatever the
// number of workers.
func eachTile(ctx context.Context, workers int, tiles []tileRange, work func(*tileRange) (map[string][]float32, error), take func(*tileRange, map[string][]float32)) error {
	type outcome struct {
		out map[string][]float32
		err error
	}
	ahead := 4 * workers
	results := make([]chan outcome, len(tiles))
	tickets := make(chan struct{}, ahead) // bounds the results that wait
	next := make(chan int)
	var wg sync.WaitGroup
	stop, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	for i := range results {
		results[i] = make(chan outcome, 1)
	}
	wg.Go(func() {
		defer close(next)
		for i := range tiles {
			select {
			case tickets <- struct{}{}:
			case <-stop.Done():
				return
			}
			select {
			case next <- i:
			case <-stop.Done():
				return
			}
		}
	})
	for range workers {
		wg.Go(func() {
			for i := range next {
				out, err := work(&tiles[i])
				results[i] <- outcome{out, err}
			}
		})
	}
	for i := range tiles {
		select {
		case r := <-results[i]:
			if r.err != nil {
				return r.err
			}
			<-tickets
			take(&tiles[i], r.out)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
