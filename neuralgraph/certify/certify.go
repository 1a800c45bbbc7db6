// Package certify checks a neural graph by running the model: it permutes the
// neurons of every group that is said to be permutable, in all parameters at
// once, and requires equal outputs on ONNX Runtime. A negative control permutes
// a group in one parameter only, which must change them.
//
//	cert, err := certify.Run(ctx, engine, model, graph, certify.Options{})
//	if err == nil && len(cert.Failed) == 0 && cert.NegativeControl.Changed { … }
package certify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// Options adjust a certificate. The zero value is right for most models.
type Options struct {
	Seed      uint64
	Tolerance float64 // largest difference relative to the largest output, for well-conditioned models; 0: 1e-4
}

// Certificate is what the runs showed.
type Certificate struct {
	Groups          int      `json:"groups"` // permutable ones, all of them tried
	Passed          int      `json:"passed"`
	Failed          []string `json:"failed"` // ids
	MaxRelError     float64  `json:"max_rel_error"`
	NegativeControl Control  `json:"negative_control"`
}

// Control is the outcome of the negative control.
type Control struct {
	Changed   bool    `json:"changed"`
	Group     string  `json:"group,omitempty"`     // the group that was broken
	Parameter string  `json:"parameter,omitempty"` // where
	RelError  float64 `json:"rel_error"`
}

// String is the certificate in a sentence.
func (c *Certificate) String() string {
	if c.Groups == 0 {
		return "no group to permute"
	}
	s := fmt.Sprintf("%d of %d groups permuted, outputs equal within %.1e", c.Passed, c.Groups, c.MaxRelError)
	if len(c.Failed) > 0 {
		s = fmt.Sprintf("%d of %d groups passed, outputs differ by up to %.1e", c.Passed, c.Groups, c.MaxRelError)
	}
	if n := c.NegativeControl; n.Changed {
		return fmt.Sprintf("%s; permuted in %s only, %s changes them by %.1e", s, n.Parameter, n.Group, n.RelError)
	}
	return s + "; the outputs do not tell neurons apart"
}

// Run permutes and compares. The graph must be that of the model. The error
// says why the model could not be run at all.
func Run(ctx context.Context, engine *ort.Engine, m *onnxgraph.Model, g *neuralgraph.Graph, o Options) (*Certificate, error) {
	if o.Tolerance == 0 {
		o.Tolerance = 1e-4
	}
	cert := &Certificate{Failed: []string{}}
	var ids []string
	for _, gr := range g.Groups {
		if gr.Permutable {
			ids = append(ids, gr.ID)
		}
	}
	cert.Groups = len(ids)
	// More noise, and then none, in case the outputs do not tell neurons apart.
	for _, noise := range []float64{0.3, 1, 0} {
		r := &run{ctx: ctx, engine: engine, g: g, o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6e696e6f))}
		err := r.try(noise, ids, cert)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		if cert.NegativeControl.Changed || len(ids) == 0 {
			break
		}
	}
	return cert, nil
}

// try makes the runs with one set of weights.
func (r *run) try(noise float64, ids []string, cert *Certificate) error {
	defer r.close()
	if err := r.open(noise); err != nil {
		return err
	}
	if err := r.measure(); err != nil {
		return err
	}
	if err := r.positive(ids, cert); err != nil {
		return err
	}
	return r.negative(ids, cert)
}

// run is one model ready to be run with varying weights.
type run struct {
	ctx       context.Context
	engine    *ort.Engine
	g         *neuralgraph.Graph
	o         Options
	rng       *rand.Rand
	session   *ort.Session
	weights   []*onnxgraph.Tensor // fed as inputs
	inputs    map[string]*onnxgraph.Tensor
	want      map[string]*ort.Value
	tolerance float64
}

func (r *run) close() {
	if r.session != nil {
		r.session.Close()
	}
}

// measure sets the tolerance: the option, or more where changing every weight
// by a rounding error already moves the outputs by a similar amount.
func (r *run) measure() error {
	got, err := r.execute(jittered(r.weights, 1e-7, r.rng))
	if err != nil {
		return err
	}
	r.tolerance = min(max(r.o.Tolerance, 30*difference(r.want, got)), 0.01)
	return nil
}

// positive permutes all groups at once, and each alone where that fails.
func (r *run) positive(ids []string, cert *Certificate) error {
	if len(ids) == 0 {
		return nil
	}
	for range 2 {
		e, err := r.permuted(r.g.RandomPermutations(r.rng, ids...))
		if err != nil {
			return err
		}
		if cert.MaxRelError = max(cert.MaxRelError, e); e > r.tolerance {
			return r.each(ids, cert)
		}
	}
	cert.Passed = len(ids) - len(cert.Failed)
	return nil
}

func (r *run) each(ids []string, cert *Certificate) error {
	failed := []string{}
	for _, id := range ids {
		e, err := r.permuted(r.g.RandomPermutations(r.rng, id))
		if err != nil {
			return err
		}
		if e > r.tolerance {
			failed = append(failed, id)
		}
	}
	if len(failed) == 0 { // only their combination fails
		failed = ids
	}
	cert.Failed, cert.Passed = failed, len(ids)-len(failed)
	return nil
}

// permuted runs with permuted weights and returns the relative difference.
func (r *run) permuted(p neuralgraph.Permutations) (float64, error) {
	w := make([]*onnxgraph.Tensor, len(r.weights))
	for i, t := range r.weights {
		q, err := r.g.Permute(t, p)
		if err != nil {
			return 0, err
		}
		w[i] = q
	}
	got, err := r.execute(w)
	if err != nil {
		return 0, err
	}
	return difference(r.want, got), nil
}

// negative breaks one group after the other until the outputs change.
func (r *run) negative(ids []string, cert *Certificate) error {
	const attempts = 40
	tried := 0
	for _, id := range ids {
		p := r.g.RandomPermutations(r.rng, id)
		for i, t := range r.weights {
			for axis := range t.Dims {
				broken, err := r.g.PermuteAxis(t, axis, p)
				if err != nil {
					return err
				}
				if broken == nil {
					continue
				}
				w := append([]*onnxgraph.Tensor{}, r.weights...)
				w[i] = broken
				got, err := r.execute(w)
				if err != nil {
					return err
				}
				c := Control{Group: id, Parameter: t.Name, RelError: difference(r.want, got)}
				if c.Changed = c.RelError > 10*r.tolerance; c.Changed || c.RelError >= cert.NegativeControl.RelError {
					cert.NegativeControl = c
				}
				if tried++; c.Changed || tried == attempts {
					return nil
				}
			}
		}
	}
	return nil
}

// execute runs the model with the given weights.
func (r *run) execute(w []*onnxgraph.Tensor) (map[string]*ort.Value, error) {
	in := map[string]*ort.Value{}
	defer func() {
		for _, v := range in {
			v.Close()
		}
	}()
	for name, t := range r.inputs {
		v, err := ort.NewValue(t)
		if err != nil {
			return nil, err
		}
		in[name] = v
	}
	for _, t := range w {
		v, err := ort.NewValue(t)
		if err != nil {
			return nil, err
		}
		in[t.Name] = v
	}
	return r.session.Run(r.ctx, in)
}

var errInputs = errors.New("no input that was tried makes the model run")
