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
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

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
	Tolerance       float64  `json:"tolerance"` // outputs count as equal up to it
	Inputs          int      `json:"inputs"`    // sets of inputs that were run, one for each way through the model
	NegativeControl Control  `json:"negative_control"`
	Refused         Refused  `json:"refused"`
}

// Control is the outcome of the negative control.
type Control struct {
	Changed   bool    `json:"changed"`
	Group     string  `json:"group,omitempty"`     // the group that was broken
	Parameter string  `json:"parameter,omitempty"` // where
	RelError  float64 `json:"rel_error"`
}

// Refused is what permuting the groups that are said not to be permutable did
// to the outputs. Groups of one neuron have no other order and do not count.
type Refused struct {
	Groups  int      `json:"groups"`
	Changed int      `json:"changed"` // rightly refused: the outputs change
	Unknown []string `json:"unknown"` // ids of those whose permutation made no difference that could be told
}

// String is the certificate in a sentence.
func (c *Certificate) String() string {
	if c.Groups == 0 {
		return c.Refused.text("no group to permute")
	}
	s := fmt.Sprintf("%d of %d groups permuted, outputs equal within %.1e", c.Passed, c.Groups, c.MaxRelError)
	if len(c.Failed) > 0 {
		s = fmt.Sprintf("%d of %d groups passed, outputs differ by up to %.1e", c.Passed, c.Groups, c.MaxRelError)
	}
	if n := c.NegativeControl; n.Changed {
		s = fmt.Sprintf("%s; permuted in %s only, %s changes them by %.1e", s, n.Parameter, n.Group, n.RelError)
	} else {
		s += "; the outputs do not tell neurons apart"
	}
	return c.Refused.text(s)
}

// text appends the refused groups to a sentence.
func (r *Refused) text(s string) string {
	switch {
	case r.Groups == 0:
		return s
	case len(r.Unknown) == 0:
		return fmt.Sprintf("%s; all %d refused groups change the outputs", s, r.Groups)
	}
	return fmt.Sprintf("%s; %d of %d refused groups change the outputs, unknown: %s", s, r.Changed, r.Groups, strings.Join(r.Unknown, ", "))
}

// Run permutes and compares. The graph must be that of the model. The error
// says why the model could not be run at all.
func Run(ctx context.Context, engine *ort.Engine, m *onnxgraph.Model, g *neuralgraph.Graph, o Options) (*Certificate, error) {
	if o.Tolerance == 0 {
		o.Tolerance = 1e-4
	}
	cert := &Certificate{Failed: []string{}, Refused: Refused{Unknown: []string{}}}
	var ids []string
	for _, gr := range g.Groups {
		if gr.Permutable {
			ids = append(ids, gr.ID)
		}
	}
	cert.Groups = len(ids)
	for _, gr := range g.Groups {
		if !gr.Permutable && gr.Size > 1 {
			cert.Refused.Unknown = append(cert.Refused.Unknown, gr.ID)
		}
	}
	cert.Refused.Groups = len(cert.Refused.Unknown)
	// The weights without noise, and then with more of it, in case the outputs
	// do not tell neurons apart.
	for _, noise := range []float64{0.3, 0, 1} {
		r := &run{ctx: ctx, engine: engine, g: g, o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6e696e6f))}
		if err := r.try(noise, ids, cert); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		if (cert.NegativeControl.Changed || len(ids) == 0) && len(cert.Refused.Unknown) == 0 {
			break
		}
	}
	return cert, nil
}

// try makes the runs with one set of weights: those that have not shown
// anything yet.
func (r *run) try(noise float64, ids []string, cert *Certificate) error {
	defer r.close()
	if err := r.open(noise); err != nil {
		return err
	}
	if err := r.measure(); err != nil {
		return err
	}
	if !cert.NegativeControl.Changed {
		cert.Tolerance, cert.Inputs = max(cert.Tolerance, r.tolerance), len(r.trials)
		if err := r.positive(ids, cert); err != nil {
			return err
		}
		if err := r.negative(ids, cert); err != nil {
			return err
		}
	}
	return r.refused(cert)
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
	base      map[string]*ort.Value
	trials    []trial
	tolerance float64
	noise     float64 // what rounding does to the outputs
}

func (r *run) close() {
	if r.session != nil {
		r.session.Close()
	}
}

// values are tensors as the session takes them, by name.
func values(list []*onnxgraph.Tensor) (map[string]*ort.Value, error) {
	out := make(map[string]*ort.Value, len(list))
	for _, t := range list {
		v, err := ort.NewValue(t)
		if err != nil {
			return nil, err
		}
		out[t.Name] = v
	}
	return out, nil
}

// changed says whether outputs differ by far more than rounding makes them.
func (r *run) changed(e float64) bool { return e > max(min(100*r.noise, 5*loosest), 1e-5) }

// loosest is the largest tolerance. Quantized models have it from the start: some
// processors saturate the sum of two products of 8 bits, so that the order of
// neurons plays a part, and what is rounded after that jumps.
const loosest = 0.01

// measure sets the tolerance: the option, or more where changing every weight
// by a rounding error already moves the outputs by a similar amount.
func (r *run) measure() error {
	e, err := r.differs(jittered(r.weights, 1e-7, r.rng))
	if err != nil {
		return err
	}
	r.tolerance, r.noise = min(max(r.o.Tolerance, 30*e), loosest), e
	if slices.ContainsFunc(r.weights, func(t *onnxgraph.Tensor) bool { return !t.DType.IsFloat() }) {
		r.tolerance = loosest
	}
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
		r.noise = max(r.noise, e)
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
	var moved []*onnxgraph.Tensor
	for _, t := range r.weights {
		q, err := r.g.Permute(t, p)
		if err != nil {
			return 0, err
		}
		if q != t {
			moved = append(moved, q)
		}
	}
	return r.differs(moved)
}

// differs runs all trials with some weights replaced, and returns the largest
// relative difference.
func (r *run) differs(replaced []*onnxgraph.Tensor) (float64, error) {
	w, err := values(replaced)
	if err != nil {
		return 0, err
	}
	worst := 0.0
	for _, t := range r.trials {
		got, err := r.execute(t, w)
		if err != nil {
			return 0, err
		}
		worst = max(worst, difference(t.want, got))
	}
	return worst, nil
}

// negative breaks one group after the other until the outputs change.
func (r *run) negative(ids []string, cert *Certificate) error {
	const attempts = 40
	tried := 0
	for _, id := range ids {
		p := r.g.RandomPermutations(r.rng, id)
		for _, t := range r.weights {
			for axis := range t.Dims {
				broken, err := r.g.PermuteAxis(t, axis, p)
				if err != nil {
					return err
				}
				if broken == nil {
					continue
				}
				e, err := r.differs([]*onnxgraph.Tensor{broken})
				if err != nil {
					return err
				}
				c := Control{Group: id, Parameter: t.Name, RelError: e}
				if c.Changed = r.changed(e); c.Changed || c.RelError >= cert.NegativeControl.RelError {
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

// refused permutes, one after the other, the groups that are said not to be
// permutable, as far as that has shown nothing yet.
func (r *run) refused(cert *Certificate) error {
	unknown := []string{}
	for _, id := range cert.Refused.Unknown {
		e, err := r.permuted(r.g.RandomOrder(r.rng, id))
		if err != nil {
			return err
		}
		if !r.changed(e) {
			unknown = append(unknown, id)
		}
	}
	cert.Refused.Unknown = unknown
	cert.Refused.Changed = cert.Refused.Groups - len(unknown)
	return nil
}

// execute runs the model on a trial, with some weights replaced.
func (r *run) execute(t trial, replaced map[string]*ort.Value) (map[string]*ort.Value, error) {
	in := maps.Clone(r.base)
	maps.Copy(in, t.inputs)
	maps.Copy(in, replaced)
	defer func() {
		for _, v := range replaced {
			v.Close()
		}
	}()
	return r.session.Run(r.ctx, in)
}
