package accelerate

import (
	"cmp"
	"fmt"
	"path/filepath"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/training"
)

const (
	states         = 5 // past states that a nowcast looks back on
	linefitHorizon = 4 // a line leads astray sooner than the network does
)

// plan is the accelerated run: its method, made ready for the model. release
// frees what it holds.
func (o *options) plan(engine *ort.Engine, j *job.Job) (r job.RunOptions, release func(), err error) {
	r = job.RunOptions{Period: o.Period, Safeguard: o.Safeguard == "on", Record: map[string]any{}}
	horizon := o.Horizon
	release = func() {}
	switch o.Method {
	case methodNone:
		return r, release, nil
	case methodLinefit:
		r.Nowcaster = nino.Linefit()
		horizon = cmp.Or(horizon, linefitHorizon)
	default:
		n, err := o.network(engine, j, r.Record)
		if err != nil {
			return r, release, err
		}
		r.Nowcaster, release = n, n.Close
		horizon = cmp.Or(horizon, n.Horizons())
		if horizon > n.Horizons() {
			release()
			return r, release, app.Usagef("--horizon %d: the weights know %d horizons", horizon, n.Horizons())
		}
	}
	r.Horizons = nino.Horizons(horizon, j.Steps, o.Period, o.Power)
	return r, release, nil
}

// network makes the network of --weights ready for the job's model, and records
// the weights.
func (o *options) network(engine *ort.Engine, j *job.Job, record map[string]any) (*nino.Nowcaster, error) {
	read := nino.ReadWeights
	if filepath.Ext(o.Weights) == ".pt" {
		read = nino.Import
	}
	w, err := read(o.Weights)
	if err != nil {
		return nil, err
	}
	if want := map[string]string{nino.VariantGNN: methodNino, nino.VariantMLP: methodWNN}[w.Variant]; o.Method != want {
		return nil, app.Usagef("--method %s: the weights in %s are for %s", o.Method, o.Weights, want)
	}
	hash, err := training.FileHash(o.Weights)
	if err != nil {
		return nil, err
	}
	record["weights"] = map[string]string{"path": o.Weights, "sha256": hash}
	g, err := graphOf(j.Artifacts)
	if err != nil {
		return nil, fmt.Errorf("neuron graph of %s: %w", o.Source.Name(), err)
	}
	n, err := nino.New(engine, w, g, nino.Options{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Weights, err)
	}
	return n, nil
}

// graphOf is the NiNo graph of what the artifacts train. It is derived from
// their own eval model, so that both mean the same parameters.
func graphOf(art *training.Artifacts) (*neuralgraph.NiNo, error) {
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
