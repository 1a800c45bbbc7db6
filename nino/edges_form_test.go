package nino

import (
	"context"
	"fmt"

	"ninox/neuralgraph"
	ort "ninox/runtime"
)

// edgesForm runs the edges form on the whole graph expanded to lists of edges.
// It is simple and takes memory in proportion to the edges times the width:
// what the tiles form is compared with.
type edgesForm struct {
	session *ort.Session
	plan    *plan
	columns int
	inputs  map[string]*ort.Value // that stay the same
}

func newEdgesForm(engine *ort.Engine, w *Weights, p *plan, g *neuralgraph.NiNo, o Options) (*edgesForm, error) {
	m, err := EdgesModel(w, DefaultOpset)
	if err != nil {
		return nil, err
	}
	f := &edgesForm{plan: p, columns: p.widest * w.Context, inputs: map[string]*ort.Value{}}
	if f.session, err = engine.NewSession(m, ort.SessionOptions{}); err != nil {
		return nil, err
	}
	if err := f.prepare(w, g, o); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// prepare makes the inputs that follow from the graph.
func (f *edgesForm) prepare(w *Weights, g *neuralgraph.NiNo, o Options) error {
	n := f.plan.edges
	index, types := f.plan.lists()
	var err error
	if f.inputs[inTypes], err = ort.Int64Value([]int64{int64(n)}, types); err != nil {
		return err
	}
	if f.inputs[inEdges], err = ort.Int64Value([]int64{2, int64(n)}, index); err != nil {
		return err
	}
	pos, err := positionsOf(w, g, o)
	if err != nil {
		return err
	}
	if f.inputs[inPositions], err = ort.FloatValue([]int64{int64(g.Nodes), int64(w.Positions)}, pos); err != nil {
		return err
	}
	if w.Words == 0 {
		return nil
	}
	tokens, err := f.plan.tokens(w.Words)
	if err != nil {
		return err
	}
	f.inputs[inTokens], err = ort.Int64Value([]int64{int64(g.Nodes)}, tokens)
	return err
}

func (f *edgesForm) predict(ctx context.Context, tr *trajectory, k int) error {
	features := make([]float32, f.plan.edges*f.columns)
	f.plan.each(func(e int, x *piece, i, j int) {
		tr.features(x, i, j, features[e*f.columns:(e+1)*f.columns])
	})
	in, err := ort.FloatValue([]int64{int64(f.plan.edges), int64(f.columns)}, features)
	if err != nil {
		return err
	}
	defer in.Close()
	horizon, err := ort.Int64Value([]int64{}, []int64{int64(k)})
	if err != nil {
		return err
	}
	defer horizon.Close()
	inputs := map[string]*ort.Value{inFeatures: in, inHorizon: horizon}
	for name, v := range f.inputs {
		inputs[name] = v
	}
	out, err := f.session.Run(ctx, inputs, outPred)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer out[outPred].Close()
	pred := out[outPred].Floats()
	f.plan.each(func(e int, x *piece, i, j int) {
		if x.parameter >= 0 {
			tr.store(x, i, j, pred[e*f.plan.widest:])
		}
	})
	return nil
}

func (f *edgesForm) close() {
	f.session.Close()
	for _, v := range f.inputs {
		v.Close()
	}
}
