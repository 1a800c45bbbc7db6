package accelerate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"ninox/cmd/internal/job"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/training"
)

const (
	states         = 5 // past states that a nowcast looks back on
	linefitHorizon = 5 // a line leads astray sooner than the network does
)

// plan is the accelerated run: its method, made ready for the model.
func (o *options) plan(ctx context.Context, engine *ort.Engine, j *job.Job) (job.RunOptions, error) {
	r := job.RunOptions{Period: o.Period, Safeguard: o.Safeguard == "on", Record: map[string]any{}}
	horizon := o.Horizon
	switch o.Method {
	case methodNone:
		return r, nil
	case methodLinefit:
		r.Nowcaster = nino.Linefit()
		if horizon == 0 {
			horizon = linefitHorizon
		}
	case methodNino:
		w, err := nino.ReadWeights(o.Weights)
		if err != nil {
			return r, err
		}
		g, err := graphOf(j.Artifacts)
		if err != nil {
			return r, err
		}
		n, err := nino.New(engine, w, g, nino.Options{})
		if err != nil {
			return r, fmt.Errorf("%s: %w", o.Weights, err)
		}
		r.Nowcaster = n
		hash, err := fileHash(o.Weights)
		if err != nil {
			return r, err
		}
		r.Record["weights"] = map[string]string{"path": o.Weights, "sha256": hash}
		if horizon == 0 {
			horizon = w.Horizons
		}
	}
	r.Horizons = nino.Horizons(horizon, j.Steps, o.Period, o.Power)
	return r, ctx.Err()
}

// graphOf is the NiNo graph of what the artifacts train. It is derived from
// their own eval model, so that both mean the same parameters.
func graphOf(art *training.Artifacts) (*neuralgraph.NiNo, error) {
	m, err := art.Inference(nil)
	if err != nil {
		return nil, err
	}
	if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
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

// fileHash is the SHA-256 of a file in hexadecimal.
func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
