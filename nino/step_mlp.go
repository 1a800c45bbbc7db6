package nino

import (
	"context"
	"fmt"
	"slices"

	ort "ninox/runtime"
)

// mlpTaps is how many taps of an edge WNN+ sees at once; it treats each alone.
const mlpTaps = 9

// mlpForm runs WNN+, which knows no nodes, a few tiles at a time.
type mlpForm struct {
	config   Config
	tiles    []tileRange // that carry parameters
	edges    int
	workers  int
	progress func(done, total int)
	session  *ort.Session
}

func newMLPForm(engine *ort.Engine, w *Weights, p *plan, o Options) (*mlpForm, error) {
	m, err := EdgesModel(w, DefaultOpset)
	if err != nil {
		return nil, err
	}
	f := &mlpForm{config: w.Config, workers: max(1, engine.Threads()), progress: o.Progress}
	for i := range p.pieces {
		if x := &p.pieces[i]; x.parameter >= 0 {
			f.tiles = append(f.tiles, split(x)...)
			f.edges += x.edges()
		}
	}
	f.session, err = engine.NewSession(m, ort.SessionOptions{Threads: 1})
	return f, err
}

func (f *mlpForm) close() { f.session.Close() }

func (f *mlpForm) predict(ctx context.Context, tr *trajectory, k int) error {
	done := 0
	err := eachTile(ctx, f.workers, f.tiles, func(t *tileRange) (out map[string][]float32, err error) {
		edges, columns := t.rows()*t.columns(), len(t.piece.taps)*f.config.Context
		in := values{}
		defer in.close()
		in.floats(&err, inFeatures, t.features(tr, columns), edges, columns)
		in.ints(&err, inTypes, slices.Repeat([]int64{int64(t.piece.kind)}, edges), edges)
		in.ints(&err, inHorizon, []int64{int64(k)})
		if err != nil {
			return nil, err
		}
		return run(ctx, f.session, in)
	}, func(t *tileRange, out map[string][]float32) {
		t.store(tr, out[outPred])
		done += t.rows() * t.columns()
		if f.progress != nil {
			f.progress(done, f.edges)
		}
	})
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
