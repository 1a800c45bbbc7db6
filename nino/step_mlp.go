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
	plan     *plan
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
	f := &mlpForm{config: w.Config, plan: p, workers: max(1, engine.Threads()), progress: o.Progress}
	for i := range p.pieces {
		if x := &p.pieces[i]; x.parameter >= 0 {
			f.edges += x.edges()
		}
	}
	f.session, err = engine.NewSession(m, ort.SessionOptions{Threads: 1})
	return f, err
}

func (f *mlpForm) close() { f.session.Close() }

func (f *mlpForm) predict(ctx context.Context, tr *trajectory, k int) error {
	done := 0
	err := eachTile(ctx, f.workers, f.plan.tiles(true), func(t *tileRange) (struct{}, error) {
		edges, columns := t.edges(), len(t.piece.taps)*f.config.Context
		in := values{}
		defer in.close()
		var err error
		in.floats(&err, inFeatures, t.features(tr, columns), edges, columns)
		in.ints(&err, inTypes, slices.Repeat([]int64{int64(t.piece.kind)}, edges), edges)
		in.ints(&err, inHorizon, []int64{int64(k)})
		if err != nil {
			return struct{}{}, err
		}
		out, err := run(ctx, f.session, in)
		if err == nil {
			t.store(tr, out[outPred])
		}
		return struct{}{}, err
	}, func(t *tileRange, _ struct{}) {
		done += t.edges()
		if f.progress != nil {
			f.progress(done, f.edges)
		}
	})
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
