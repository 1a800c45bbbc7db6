package certify

import (
	"math"
	"math/rand/v2"
	"slices"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// open makes the session, with the weights as inputs, finds inputs on which it
// runs, and draws weights: those of the model with some noise, so that neurons
// differ.
func (r *run) open(noise float64) error {
	m := r.g.Model().Clone()
	own := r.split(m)
	for _, name := range r.g.Probes() {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(onnxgraph.Float, nil)})
	}
	s, err := r.engine.NewSession(m, ort.SessionOptions{})
	if err != nil {
		return err
	}
	r.session = s
	r.weights = jittered(own, noise, r.rng)
	if r.base, err = values(r.weights); err != nil {
		return err
	}
	return r.findInputs(m)
}

// split turns the initializers that groups lie on, and all parameters,
// into inputs of the model, and returns them.
func (r *run) split(m *onnxgraph.Model) []*onnxgraph.Tensor {
	params := map[string]bool{}
	for _, p := range r.g.Parameters {
		params[p.Name] = true
	}
	for _, p := range r.g.Opaque {
		delete(params, p.Parameter)
	}
	all := r.g.RandomPermutations(r.rng)
	declared := map[string]bool{}
	for _, v := range m.Graph.Inputs {
		declared[v.Name] = true
	}
	var own, kept []*onnxgraph.Tensor
	for _, t := range m.Graph.Initializers {
		moved, err := r.g.Permute(t, all)
		if t.Len() < 2 || !params[t.Name] && (err != nil || moved == t) {
			kept = append(kept, t)
			continue
		}
		own = append(own, t)
		if !declared[t.Name] {
			m.Graph.Inputs = append(m.Graph.Inputs, &onnxgraph.Value{Name: t.Name, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
		}
	}
	m.Graph.Initializers = kept
	return append(own, r.written(m)...)
}

// written replaces constants that ConstantOfShape writes out by inputs: vectors
// near 1, for they may be variances, others at the usual scale of a layer.
func (r *run) written(m *onnxgraph.Model) []*onnxgraph.Tensor {
	var own []*onnxgraph.Tensor
	drop := map[string]bool{}
	for _, v := range r.g.Uniform() {
		dims, _ := v.Type.Shape.Static()
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(math.Exp(0.3 * r.rng.NormFloat64()))
			if len(dims) > 1 {
				values[i] = float32(r.rng.NormFloat64() / math.Sqrt(float64(max(n/dims[0], 1))))
			}
		}
		own = append(own, onnxgraph.Floats(v.Name, dims, values))
		m.Graph.Inputs = append(m.Graph.Inputs, v)
		drop[v.Name] = true
	}
	m.Graph.Nodes = slices.DeleteFunc(m.Graph.Nodes, func(n *onnxgraph.Node) bool { return drop[n.Output(0)] })
	return own
}

// jittered multiplies float32 weights by random factors, and moves the zeros
// among them.
func jittered(list []*onnxgraph.Tensor, noise float64, rng *rand.Rand) []*onnxgraph.Tensor {
	out := make([]*onnxgraph.Tensor, len(list))
	for i, t := range list {
		out[i] = t
		v, err := t.AsFloats()
		if noise == 0 || t.DType != onnxgraph.Float || err != nil {
			continue
		}
		for k, x := range v {
			if x == 0 {
				v[k] = float32(0.05 * noise * rng.NormFloat64())
			} else {
				v[k] = float32(float64(x) * math.Exp(noise*rng.NormFloat64()))
			}
		}
		out[i] = onnxgraph.Floats(t.Name, t.Dims, v)
	}
	return out
}
