package method

import (
	"cmp"
	"fmt"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph/ops"
	"ninox/training"
)

// linefitShare of a network's horizon is that of the line beside it, which leads
// astray sooner.
const linefitShare = 0.1

// network prepares nowcasts with the network of --weights, or of the program.
func network(p *Plan, s *setup) error {
	w, origin, err := p.weights(s)
	if err != nil {
		return err
	}
	if w, err = s.ablation().Apply(w); err != nil {
		return app.Usagef("--method %s with %s: %w", p.Method.Name, origin, err)
	}
	if err := p.suits(w, origin); err != nil {
		return err
	}
	g, err := GraphOf(p.Job.Artifacts)
	if err != nil {
		return fmt.Errorf("neuron graph of %s: %w", p.Job.Source.Name(), err)
	}
	if p.Method.Name == NinoNaive {
		g = g.Naive()
	}
	n, err := nino.New(s.engine, w, g, nino.Options{})
	if err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	p.close = append(p.close, n.Close)
	horizon := cmp.Or(s.Horizon, p.Method.horizon, n.Horizons())
	if horizon > n.Horizons() {
		return app.Usagef("--horizon %d: the weights know %d horizons", horizon, n.Horizons())
	}
	if s.Period%n.Context() != 0 {
		return app.Usagef("--period %d: expected a multiple of %d, the states that the weights look back on", s.Period, n.Context())
	}
	p.nowcasts(s, n, horizon, []training.Alternative{
		{Nowcaster: n, Share: 0.5}, {Nowcaster: n, Share: 0.25},
		{Nowcaster: nino.Linefit().Over(n.Context()), Share: linefitShare},
		{Nowcaster: training.MeanOfStates(n.Context()), Share: 1},
	})
	return nil
}

// weights reads the weights, and records which they are.
func (p *Plan) weights(s *setup) (w *nino.Weights, origin string, err error) {
	w, origin, err = nino.ImportOrEmbedded(s.Weights, p.Method.Name)
	if err != nil {
		return nil, origin, err
	}
	if origin != s.Weights {
		p.Run.Record["weights"] = origin
		return w, origin, nil
	}
	hash, err := training.FileHash(s.Weights)
	if err != nil {
		return nil, s.Weights, err
	}
	p.Run.Record["weights"] = map[string]string{"path": s.Weights, "sha256": hash}
	return w, origin, nil
}

// suits says whether the weights are for the method. Those of WNN scale every
// parameter by itself, those of WNN+ by layer; a graph network that was trained
// on naive graphs is for no other.
func (p *Plan) suits(w *nino.Weights, origin string) error {
	layered := w.Scaling == nino.ScaleLayerwise
	switch name := p.Method.Name; {
	case w.Variant != p.Method.Weights:
		return app.Usagef("--method %s: %s are for %s", name, origin, map[string]string{nino.VariantGNN: "nino or nino-naive", nino.VariantMLP: "wnn or wnn+"}[w.Variant])
	case name == WNN && layered:
		return app.Usagef("--method wnn: %s scale by layer, which is wnn+; --scaling %s scales as wnn does", origin, nino.ScaleMinMaxParameter)
	case name == WNNPlus && !layered:
		return app.Usagef("--method wnn+: %s scale by %s, which is wnn", origin, w.Scaling)
	case name == Nino && w.Naive():
		return app.Usagef("--method nino: %s were trained on naive graphs; that is --method nino-naive", origin)
	}
	return nil
}

// GraphOf is the NiNo graph of what the artifacts train. It is derived from
// their own eval model, so that both mean the same parameters.
func GraphOf(art *training.Artifacts) (*neuralgraph.NiNo, error) {
	m, err := art.Inference(nil)
	if err != nil {
		return nil, err
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, err
	}
	names := make([]string, len(art.Params))
	for i, p := range art.Params {
		names[i] = p.Name
	}
	return g.NiNo(names)
}
