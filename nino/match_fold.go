package nino

import (
	"math"
	"slices"
	"strings"
)

// normalNames are what frameworks call the arrays of a batch normalization:
// scale, shift, mean and variance.
var normalNames = [][4]string{
	{"weight", "bias", "running_mean", "running_var"}, // PyTorch
	{"gamma", "beta", "moving_mean", "moving_variance"},
	{"scale", "bias", "mean", "var"}, // Flax
	{"scale", "B", "input_mean", "input_var"},
}

// normalization is a batch normalization of a state.
type normalization struct {
	scale, shift            string
	gamma, beta, mean, mass []float32 // mass: the variance
}

// epsilons are what frameworks add to variances.
var epsilons = []float64{1e-5, 1e-3, 1e-6, 1e-4, 1e-12}

// byFold finds convolutions and linear layers into which an exporter has
// multiplied the batch normalization that follows them:
//
//	weight' = weight · r,  bias' = shift + (bias - mean) · r,  r = scale / √(variance + ε) per output
//
// Their weight' takes the place of weight, bias' that of shift, and scale gets
// edges of its own, as in a model that still has the normalization.
func (m *matcher) byFold() {
	for t := range m.states {
		state := len(m.states) - 1 - t
		normals := m.normalizations(state)
		if len(normals) == 0 {
			return
		}
		free := m.free()
		for i := range m.parameters {
			p := &m.parameters[i]
			arrays := free
			if f := m.found[i]; f != nil { // an exporter may keep the name of a folded weight
				if arrays = []string{f.Array}; f.How == ByValue || f.How == ByFold || f.Transposed || f.Array == "" {
					continue
				}
			}
			var fits []folded
			for _, a := range arrays {
				for n := range normals {
					if f, ok := m.folded(p, a, &normals[n], state); ok {
						fits = append(fits, f)
					}
				}
			}
			if len(fits) == 1 {
				m.take(i, fits[0], state)
			}
		}
	}
}

// folded is a weight that a normalization was multiplied into.
type folded struct {
	array  string
	normal *normalization
	ratio  []float64 // r, by output
}

// normalizations are those of a state whose arrays no parameter has.
func (m *matcher) normalizations(state int) []normalization {
	s := m.states[state]
	free := m.free()
	var out []normalization
	for _, name := range free {
		for _, names := range normalNames {
			prefix, ok := strings.CutSuffix(name, names[3])
			if !ok || prefix != "" && !strings.HasSuffix(prefix, ".") && !strings.HasSuffix(prefix, "/") && !strings.HasSuffix(prefix, "_") {
				continue
			}
			n := normalization{scale: prefix + names[0], shift: prefix + names[1]}
			all := true
			for i, v := range []*[]float32{&n.gamma, &n.beta, &n.mean, &n.mass} {
				x, err := floatsOf(s.Tensor(prefix + names[i]))
				all = all && err == nil && slices.Contains(free, prefix+names[i])
				*v = x
			}
			if all && len(n.gamma) == len(n.mass) && len(n.beta) == len(n.mass) && len(n.mean) == len(n.mass) {
				out = append(out, n)
			}
		}
	}
	return out
}

// folded says whether the parameter is the array times the normalization.
func (m *matcher) folded(p *ModelParameter, array string, n *normalization, state int) (folded, bool) {
	same, _ := m.fits(p, array)
	outputs := len(n.mass)
	if !same || p.Value == nil || len(p.Shape) < 2 || int(p.Shape[0]) != outputs {
		return folded{}, false
	}
	value, err := columnOf(p.Value, p.Name)
	v, stateErr := columnOf(m.states[state].Tensor(array), array)
	if err != nil || stateErr != nil || v.len() != value.len() {
		return folded{}, false
	}
	perOutput := int64(v.len() / outputs)
	for _, epsilon := range epsilons {
		f := folded{array, n, make([]float64, outputs)}
		for o := range f.ratio {
			f.ratio[o] = float64(n.gamma[o]) / math.Sqrt(float64(n.mass[o])+epsilon)
		}
		scaled := func(i int64) float32 { return float32(float64(v.at(i)) * f.ratio[i/perOutput]) }
		if relative(value.at, scaled, int64(v.len())) <= 4*m.tolerance(array) {
			return f, true
		}
	}
	return folded{}, false
}

// take matches a folded weight and its bias. The bias of the weight's own layer
// may be missing in the checkpoint, as it is in front of a normalization.
func (m *matcher) take(i int, f folded, state int) {
	m.match(i, f.array, ByFold, false)
	own := make([]float32, len(f.ratio))
	if prefix, ok := strings.CutSuffix(f.array, "weight"); ok {
		if v, err := floatsOf(m.states[state].Tensor(prefix + "bias")); err == nil && len(v) == len(own) {
			own = v
		}
	}
	want := make([]float32, len(own))
	for o := range want {
		want[o] = float32(float64(f.normal.beta[o]) + (float64(own[o])-float64(f.normal.mean[o]))*f.ratio[o])
	}
	m.open(func(j int, p *ModelParameter) {
		if p.Value == nil || f.normal.scale == "" || !slices.Equal(without1(p.Shape), without1([]int64{int64(len(want))})) {
			return
		}
		value, err := columnOf(p.Value, p.Name)
		at := func(i int64) float32 { return want[i] }
		if err == nil && value.len() == len(want) && relative(at, value.at, int64(len(want))) <= 16*m.tolerance(f.array) {
			m.match(j, f.normal.shift, ByFold, false)
			m.folds = append(m.folds, fold{f.normal.scale, f.normal.shift})
			f.normal.scale = "" // used
		}
	})
}
