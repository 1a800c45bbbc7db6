package nino

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	ort "ninox/runtime"

	"golang.org/x/sync/errgroup"
)

// tilesForm runs the tiles form, a few tiles at a time. It takes memory for the
// nodes and those tiles; nothing is kept per edge.
type tilesForm struct {
	config    Config
	plan      *plan
	positions []float32
	tokens    []int64   // nil without word positions
	degree    []float32 // incoming edges of each node
	mix       []float32 // [nodes, EdgeTypes], share of each type in them
	workers   int
	limit     int64  // of memory, 0 for none
	folder    string // for what exceeds it
	progress  func(done, total int)

	nodes, pass, column     []*ort.Session
	diagonal                *ort.Session
	outcome, outcomeColumns *ort.Session
}

func newTilesForm(engine *ort.Engine, w *Weights, p *plan, g *neuralgraph.NiNo, o Options) (*tilesForm, error) {
	f := &tilesForm{config: w.Config, plan: p, workers: max(1, engine.Threads()), limit: o.Memory, folder: o.Scratch, progress: o.Progress}
	var err error
	if f.positions, err = positionsOf(w, g, o); err != nil {
		return nil, err
	}
	if w.Words > 0 {
		if f.tokens, err = p.tokens(w.Words); err != nil {
			return nil, err
		}
	}
	f.countIncoming()
	m, err := TileModels(w, DefaultOpset)
	if err != nil {
		return nil, err
	}
	if err := f.load(engine, m); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// load makes the sessions. Tiles, and parts of the nodes, run side by side with a
// thread each, which leaves nothing to wait for within them.
func (f *tilesForm) load(engine *ort.Engine, m *Tiles) error {
	var errs []error
	session := func(m *onnxgraph.Model) *ort.Session {
		s, err := engine.NewSession(m, ort.SessionOptions{Threads: 1})
		errs = append(errs, err)
		return s
	}
	for _, n := range m.Nodes {
		f.nodes = append(f.nodes, session(n))
	}
	for r, p := range m.Pass {
		f.pass, f.column = append(f.pass, session(p)), append(f.column, session(m.Column[r]))
	}
	if m.Diagonal != nil {
		f.diagonal = session(m.Diagonal)
	}
	f.outcome, f.outcomeColumns = session(m.Predict), session(m.PredictColumn)
	return errors.Join(errs...)
}

func (f *tilesForm) close() {
	for _, s := range slices.Concat([]*ort.Session{f.diagonal, f.outcome, f.outcomeColumns}, f.nodes, f.pass, f.column) {
		if s != nil {
			s.Close()
		}
	}
}

// countIncoming fills degree and mix.
func (f *tilesForm) countIncoming() {
	types := f.config.EdgeTypes
	f.degree, f.mix = make([]float32, f.plan.nodes), make([]float32, f.plan.nodes*types)
	for i := range f.plan.pieces {
		x := &f.plan.pieces[i]
		each := float32(x.source.Count)
		if x.diagonal {
			each = 1
		}
		for j := range x.target.Count {
			n := x.target.Node(j)
			f.degree[n] += each
			f.mix[n*types+int(x.kind)] += each
		}
	}
	for i := range f.mix {
		f.mix[i] /= f.degree[i/types] // at least 1, the self-loop
	}
}

// nodeValues are arrays [nodes, Width] as the passes need them.
type nodeValues struct {
	node, source   []float32
	sum, weighted  []float32   // over incoming edges; sum of as many columns as the round needs
	from, to       [][]float32 // by round
	last, lastBias []float32   // the output layer's rows for the horizon
}

// room makes the arrays. The last round's from and to take the place of node
// and source, which nobody needs any more then.
func (f *tilesForm) room(s *scratch) (*nodeValues, error) {
	v := &nodeValues{}
	var errs []error
	array := func() []float32 {
		a, err := s.floats(f.plan.nodes * f.config.Width)
		errs = append(errs, err)
		return a
	}
	v.node = array()
	for r := range f.pass {
		if r > 0 {
			v.from, v.to = append(v.from, array()), append(v.to, array())
		}
	}
	if len(f.pass) > 0 {
		v.source, v.weighted = array(), array()
		v.from, v.to = append(v.from, v.source), append(v.to, v.node)
		sum, err := s.floats(f.plan.nodes * max(f.config.Width, f.sumWidth(0)))
		errs = append(errs, err)
		v.sum = sum
	}
	return v, errors.Join(errs...)
}

// sumWidth is the number of values of an edge that a round takes the mean of.
func (f *tilesForm) sumWidth(round int) int {
	if round == 0 {
		return f.config.Taps * f.config.Context
	}
	return f.config.Width
}

func (f *tilesForm) predict(ctx context.Context, tr *trajectory, k int) error {
	var s scratch
	defer s.close()
	if f.spills() {
		s.folder = f.folder
	}
	v, err := f.room(&s)
	if err != nil {
		return fmt.Errorf("room for the nodes: %w", err)
	}
	if err := f.firstNodes(ctx, v, k); err != nil {
		return fmt.Errorf("network, first nodes: %w", err)
	}
	done, total := 0, 0
	for r := range len(f.pass) + 1 {
		total += work(r) * f.plan.edges
	}
	report := func(pass, edges int) {
		done += work(pass) * edges
		if f.progress != nil {
			f.progress(done, total)
		}
	}
	for r := range f.pass {
		if err := f.round(ctx, tr, v, r, k, report); err != nil {
			return fmt.Errorf("network, round %d: %w", r, err)
		}
	}
	if err := f.result(ctx, tr, v, report); err != nil {
		return fmt.Errorf("network, result: %w", err)
	}
	return nil
}

// work is what an edge costs in a pass, roughly: pass r multiplies r times width
// by width, each of which takes five times as long as the features.
func work(pass int) int { return 1 + 5*pass }

// nodeChunk is how many nodes one run of a session updates: what it makes of
// them stays in a core's second-level cache.
const nodeChunk = 1024

// eachChunk runs a session on all nodes, some at a time, on several threads; in
// and take must keep to the nodes lo to hi.
func (f *tilesForm) eachChunk(ctx context.Context, s *ort.Session, in func(lo, hi int, v values, err *error), take func(lo int, out map[string][]float32)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.workers)
	for lo := 0; lo < f.plan.nodes; lo += nodeChunk {
		group.Go(func() error {
			v := values{}
			defer v.close()
			var err error
			in(lo, min(lo+nodeChunk, f.plan.nodes), v, &err)
			if err != nil {
				return err
			}
			out, err := run(ctx, s, v)
			if err == nil {
				take(lo, out)
			}
			return err
		})
	}
	return group.Wait()
}

func (f *tilesForm) firstNodes(ctx context.Context, v *nodeValues, k int) error {
	width := f.config.Positions
	return f.eachChunk(ctx, f.nodes[0], func(lo, hi int, in values, err *error) {
		in.floats(err, inPositions, f.positions[lo*width:hi*width], hi-lo, width)
		if f.tokens != nil {
			in.ints(err, inTokens, f.tokens[lo:hi], hi-lo)
		}
		if len(f.pass) == 0 {
			in.ints(err, inHorizon, []int64{int64(k)})
		}
	}, func(lo int, out map[string][]float32) { f.take(v, lo, -1, out) })
}

// take copies what a run made of the nodes from number lo on.
func (f *tilesForm) take(v *nodeValues, lo, round int, out map[string][]float32) {
	d := f.config.Width
	switch w := out[tileLast]; {
	case w != nil && lo == 0: // every run makes the same
		v.last, v.lastBias = w, out[tileLastBias]
	case w == nil:
		copy(v.node[lo*d:], out[tileNode])
		copy(v.source[lo*d:], out[tileSource])
	}
	if round >= 0 {
		copy(v.from[round][lo*d:], out[tileFrom])
		copy(v.to[round][lo*d:], out[tileTo])
	}
}

// round sums over all tiles and updates the nodes.
func (f *tilesForm) round(ctx context.Context, tr *trajectory, v *nodeValues, r, k int, report func(pass, edges int)) error {
	d, width := f.config.Width, f.sumWidth(r)
	sum, weighted := v.sum[:f.plan.nodes*width], v.weighted
	clear(sum)
	clear(weighted)
	err := eachTile(ctx, f.workers, f.plan.tiles(false), func(t *tileRange) (map[string][]float32, error) {
		s := f.pass[r]
		switch {
		case t.column():
			s = f.column[r]
		case r == 0 && t.piece.diagonal:
			s = f.diagonal
		}
		return f.runTile(ctx, s, tr, v, t, r, func(in values, err *error) {
			in.floats(err, tileSource, t.sources(v.source, d), t.sourceDims(d)...)
		})
	}, func(t *tileRange, out map[string][]float32) {
		t.accumulate(sum, width, out[tileSum])
		t.accumulate(weighted, d, out[tileWeighted])
		report(r, t.edges())
	})
	if err != nil {
		return err
	}
	return f.eachChunk(ctx, f.nodes[r+1], func(lo, hi int, in values, err *error) {
		n := hi - lo
		f.divide(sum, width, lo, hi)
		f.divide(weighted, d, lo, hi)
		in.floats(err, "old", v.node[lo*d:hi*d], n, d)
		in.floats(err, tileSum, sum[lo*width:hi*width], n, width)
		in.floats(err, tileWeighted, weighted[lo*d:hi*d], n, d)
		if types := f.config.EdgeTypes; r == 0 {
			in.floats(err, tileMix, f.mix[lo*types:hi*types], n, types)
		}
		if r == len(f.pass)-1 {
			in.ints(err, inHorizon, []int64{int64(k)})
		}
	}, func(lo int, out map[string][]float32) { f.take(v, lo, r, out) })
}

func (f *tilesForm) divide(sum []float32, width, lo, hi int) {
	for n := lo; n < hi; n++ {
		row := sum[n*width : (n+1)*width]
		for i := range row {
			row[i] /= f.degree[n]
		}
	}
}

// result runs the last pass over the tiles that carry parameters.
func (f *tilesForm) result(ctx context.Context, tr *trajectory, v *nodeValues, report func(pass, edges int)) error {
	d := f.config.Width
	err := eachTile(ctx, f.workers, f.plan.tiles(true), func(t *tileRange) (struct{}, error) {
		s := f.outcome
		if t.column() {
			s = f.outcomeColumns
		}
		out, err := f.runTile(ctx, s, tr, v, t, len(f.pass), func(in values, err *error) {
			taps := len(t.piece.taps)
			in.floats(err, tileLast, v.last[:taps*d], taps, d)
			in.floats(err, tileLastBias, v.lastBias[:taps], taps)
		})
		if err == nil {
			t.store(tr, out[outPred])
		}
		return struct{}{}, err
	}, func(t *tileRange, _ struct{}) { report(len(f.pass), t.edges()) })
	if err == nil {
		report(len(f.pass), f.plan.auxiliary())
	}
	return err
}

// runTile runs a session on a tile: its features, its type, what its ends
// contribute to the first rounds, and what add adds.
func (f *tilesForm) runTile(ctx context.Context, s *ort.Session, tr *trajectory, v *nodeValues, t *tileRange, rounds int, add func(values, *error)) (out map[string][]float32, err error) {
	in := values{}
	defer in.close()
	features, dims := t.input(tr, max(1, len(t.piece.taps))*f.config.Context)
	in.floats(&err, tileFeatures, features, dims...)
	in.ints(&err, tileType, []int64{int64(t.piece.kind)})
	for r := range rounds {
		d := f.config.Width
		in.floats(&err, fmt.Sprintf("%s%d", tileFrom, r), t.sources(v.from[r], d), t.sourceDims(d)...)
		in.floats(&err, fmt.Sprintf("%s%d", tileTo, r), rowsOf(v.to[r], d, t.piece.target, t.t0, t.t1), t.targetDims(d)...)
	}
	add(in, &err)
	if err != nil {
		return nil, err
	}
	return run(ctx, s, in)
}
