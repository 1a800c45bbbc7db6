package certify

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"ninox/neuralgraph"
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
	return r.findInputs(m)
}

// split turns the float initializers that groups lie on, and all parameters,
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
		if !t.DType.IsFloat() || t.Len() < 2 || !params[t.Name] && (err != nil || moved == t) {
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

// lengths are tried for axes whose extent the model leaves open.
var lengths = []int64{16, 32, 64, 8, 128, 4, 224, 1, 1024, 16000, 2}

// findInputs tries sizes and values until the model runs, and keeps its
// outputs.
func (r *run) findInputs(m *onnxgraph.Model) error {
	var last error
	for _, batch := range []int64{2, 1} {
		for _, n := range lengths {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			in, open, err := r.makeInputs(m, batch, n)
			if err != nil {
				return err
			}
			r.inputs = in
			if r.want, err = r.execute(r.weights); err == nil {
				return nil
			}
			last = err
			if !open {
				break
			}
		}
	}
	return fmt.Errorf("%w: %v", errInputs, last)
}

// makeInputs draws a value for each input; open says whether any extent was
// free.
func (r *run) makeInputs(m *onnxgraph.Model, batch, n int64) (map[string]*onnxgraph.Tensor, bool, error) {
	skip := map[string]bool{}
	for _, t := range m.Graph.Initializers {
		skip[t.Name] = true
	}
	for _, t := range r.weights {
		skip[t.Name] = true
	}
	out, open := map[string]*onnxgraph.Tensor{}, false
	symbols := map[string]int64{}
	for _, v := range m.Graph.Inputs {
		if skip[v.Name] {
			continue
		}
		dims := make([]int64, len(v.Type.Shape))
		for a, d := range v.Type.Shape {
			if d.IsKnown() {
				dims[a] = d.Value
				continue
			}
			open = true
			dims[a] = n
			if a == 0 && len(dims) > 1 {
				dims[a] = batch
			}
			if size, ok := symbols[d.Symbol]; ok && d.Symbol != "" {
				dims[a] = size
			}
			symbols[d.Symbol] = dims[a]
		}
		t, err := r.draw(v.Name, v.Type.DType, dims)
		if err != nil {
			return nil, false, err
		}
		out[v.Name] = t
	}
	return out, open, nil
}

// draw makes random values that are valid for an input: indices within the
// smallest vocabulary, ones for masks, lengths that fit.
func (r *run) draw(name string, d onnxgraph.DType, dims []int64) (*onnxgraph.Tensor, error) {
	n := int64(1)
	for _, k := range dims {
		n *= k
	}
	low := strings.ToLower(name)
	floats := make([]float32, n)
	for i := range floats {
		switch {
		case len(dims) == 0 && strings.Contains(low, "min"): // of a range that should hold everything
		case len(dims) == 0 && strings.Contains(low, "max"):
			floats[i] = 1e6
		case d == onnxgraph.Float || d == onnxgraph.Double || d == onnxgraph.Float16:
			floats[i] = float32(r.rng.NormFloat64())
		case d == onnxgraph.Bool || strings.Contains(low, "mask"):
			floats[i] = 1
		case strings.Contains(low, "position"):
			floats[i] = float32(int64(i) % max(dims[len(dims)-1], 1))
		default:
			floats[i] = float32(r.rng.Int64N(r.vocabulary()))
		}
	}
	return cast(name, d, dims, floats)
}

func (r *run) vocabulary() int64 {
	n := int64(0)
	for _, gr := range r.g.Groups {
		if gr.Role == neuralgraph.RoleVocabulary && (n == 0 || gr.Size < n) {
			n = gr.Size
		}
	}
	if n == 0 {
		return 2
	}
	return n
}

func cast(name string, d onnxgraph.DType, dims []int64, v []float32) (*onnxgraph.Tensor, error) {
	t := onnxgraph.Floats(name, dims, v)
	if d == onnxgraph.Float {
		return t, nil
	}
	raw := make([]byte, 0, len(v)*8)
	for _, x := range v {
		switch d {
		case onnxgraph.Double:
			raw = le.AppendUint64(raw, math.Float64bits(float64(x)))
		case onnxgraph.Int64, onnxgraph.Uint64:
			raw = le.AppendUint64(raw, uint64(int64(x)))
		case onnxgraph.Int32, onnxgraph.Uint32:
			raw = le.AppendUint32(raw, uint32(int32(x)))
		case onnxgraph.Int16, onnxgraph.Uint16:
			raw = le.AppendUint16(raw, uint16(int16(x)))
		case onnxgraph.Int8, onnxgraph.Uint8, onnxgraph.Bool:
			raw = append(raw, byte(int8(x)))
		default:
			return nil, fmt.Errorf("input %q: no way to draw values of type %s", name, d)
		}
	}
	return &onnxgraph.Tensor{Name: name, DType: d, Dims: dims, Data: raw}, nil
}
