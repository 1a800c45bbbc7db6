package finetune

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/weights"
)

// ReadPEFT returns a copy of m with the adapters of a folder as PEFT keeps them,
// adapter_config.json and adapter_model.safetensors. Modules are those of the
// network that m was exported from; prefix is put before their names (the name of
// a wrapper around the network), and a module of which the model's names hold
// only the last parts is found as well. Modules that were trained whole replace
// those of the model.
func ReadPEFT(dir string, m *onnxgraph.Model, reg *op.Registry, prefix string) (*onnxgraph.Model, *Adapters, error) {
	fail := func(err error) (*onnxgraph.Model, *Adapters, error) {
		return nil, nil, fmt.Errorf("lora: adapter %s: %w", dir, err)
	}
	if _, has := m.Meta(MetaKey); has {
		return fail(errors.New("the model has adapters already; merge them first"))
	}
	c, err := readPEFTConfig(filepath.Join(dir, PEFTConfig))
	if err != nil {
		return fail(err)
	}
	tensors, _, err := weights.ReadSafetensorsExact(filepath.Join(dir, PEFTWeights))
	if err != nil {
		return fail(err)
	}
	m, err = prepare(m, reg)
	if err != nil {
		return fail(err)
	}
	w, err := newWriter(m, reg)
	if err != nil {
		return fail(err)
	}
	r := &peftReader{peftConfig: c, writer: w, layers: layersOf(m.Graph), prefix: prefix, pairs: map[string][2]*onnxgraph.Tensor{}}
	for _, t := range tensors {
		if err := r.take(t); err != nil {
			return fail(fmt.Errorf("%s: tensor %q: %w", PEFTWeights, t.Name, err))
		}
	}
	adapters, err := r.adapters()
	if err != nil {
		return fail(err)
	}
	if err := w.finish(); err != nil {
		return fail(err)
	}
	adapters.Record(m)
	return m, adapters, nil
}

func readPEFTConfig(path string) (*peftConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &peftConfig{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", PEFTConfig, err)
	}
	switch {
	case c.Type != "LORA":
		return nil, fmt.Errorf("%s: peft_type %q, expected LORA", PEFTConfig, c.Type)
	case c.DoRA:
		return nil, fmt.Errorf("%s: use_dora is set; the magnitudes of DoRA have no place in a LoRA adapter", PEFTConfig)
	}
	return c, nil
}

// peftReader sorts the tensors of an adapter.
type peftReader struct {
	*peftConfig
	*writer
	layers []*layer
	prefix string
	order  []string // modules with adapters
	pairs  map[string][2]*onnxgraph.Tensor
	saved  []string // initializers replaced
}

// adapterTensor splits the name of a tensor of an adapter: PEFT before and after
// an adapter is written out ("lora_A.default.weight").
var adapterTensor = regexp.MustCompile(`^(.*)\.lora_([AB])(?:\.[^.]+)?\.weight$`)

func (r *peftReader) take(t *onnxgraph.Tensor) error {
	name := strings.TrimPrefix(t.Name, peftPrefix)
	if at := adapterTensor.FindStringSubmatch(name); at != nil {
		pair, begun := r.pairs[at[1]]
		if !begun {
			r.order = append(r.order, at[1])
		}
		pair[at[2][0]-'A'] = t
		r.pairs[at[1]] = pair
		return nil
	}
	if strings.Contains(name, "lora_") {
		return errors.New("expected lora_A and lora_B weights of layers; adapters of embeddings, biases and magnitudes have no counterpart here")
	}
	return r.replace(name, t)
}

// replace puts the parameter of a module that was trained whole into the model.
func (r *peftReader) replace(name string, t *onnxgraph.Tensor) error {
	g := r.Model.Graph
	at := slices.IndexFunc(g.Initializers, func(i *onnxgraph.Tensor) bool { return i.Name == r.prefix+name })
	module, isWeight := strings.CutSuffix(name, ".weight")
	if l, _ := r.layer(module); isWeight && l != nil {
		at = slices.Index(g.Initializers, l.weight)
		if len(l.uses) > 0 && !l.uses[0].outIn() && len(t.Dims) == 2 {
			var err error
			if t, err = t.Transposed(t.Name, []int64{1, 0}); err != nil {
				return err
			}
		}
	}
	if at < 0 {
		return fmt.Errorf("no initializer %q in the model; the export may have folded it into another", r.prefix+name)
	}
	old := g.Initializers[at]
	v, err := t.AsFloats()
	if err != nil {
		return err
	}
	if !slices.Equal(t.Dims, old.Dims) {
		return fmt.Errorf("shape %v, expected %v as initializer %q has", t.Dims, old.Dims, old.Name)
	}
	copied := onnxgraph.Floats(old.Name, old.Dims, v)
	g.Initializers[at] = copied
	for _, l := range r.layers {
		if l.weight == old {
			l.weight = copied
		}
	}
	r.saved = append(r.saved, old.Name)
	return nil
}

// layer finds the layer of a module: that of the name, or the only one whose name
// is its end, or ends in it.
func (r *peftReader) layer(module string) (*layer, error) {
	name := r.prefix + module
	var near []*layer
	for _, l := range r.layers {
		switch {
		case l.module == name:
			return l, nil
		case strings.HasSuffix(l.module, "."+name), strings.HasSuffix(name, "."+l.module):
			near = append(near, l)
		}
	}
	switch len(near) {
	case 1:
		return near[0], nil
	case 0:
		known := make([]string, len(r.layers))
		for i, l := range r.layers {
			known[i] = l.module
		}
		return nil, fmt.Errorf("module %q: the model has no such layer, only %s", name, some(known))
	}
	return nil, fmt.Errorf("module %q: several layers of the model could be meant, %s and %s", name, near[0].module, near[1].module)
}

// some lists names, a few of them where they are many.
func some(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func (r *peftReader) adapters() (*Adapters, error) {
	if len(r.order) == 0 {
		return nil, fmt.Errorf("%s: no tensors lora_A and lora_B", PEFTWeights)
	}
	out := &Adapters{Saved: r.saved}
	for _, module := range r.order {
		l, err := r.layer(module)
		if err != nil {
			return nil, err
		}
		a, b := r.pairs[module][0], r.pairs[module][1]
		if a == nil || b == nil || len(a.Dims) < 2 {
			return nil, fmt.Errorf("module %q: expected matrices lora_A and lora_B", module)
		}
		rank := a.Dims[0]
		if why := l.unfit(rank); why != "" {
			return nil, fmt.Errorf("module %q: weight %q: %s", module, l.weight.Name, why)
		}
		scale, err := r.scaleOf(module, rank)
		if err != nil {
			return nil, err
		}
		if why := l.folded(); why != "" {
			return nil, fmt.Errorf("module %q: the adapter does not fit the layer in the model: %s", module, why)
		}
		if l.dilated() {
			return nil, fmt.Errorf("module %q is a dilated convolution, whose adapters PEFT does not dilate", module)
		}
		dimsA, dimsB := l.adapterDims(rank)
		if a, err = l.narrowA(a, dimsA); err != nil {
			return nil, fmt.Errorf("module %q: %w", module, err)
		}
		if groups := l.uses[0].groups(); groups > 1 && len(a.Dims) == len(dimsA) && a.Dims[1] == groups*dimsA[1] {
			dimsA[1] *= groups
		}
		va, errA := a.AsFloats()
		vb, errB := b.AsFloats()
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("module %q: %w", module, err)
		}
		if !slices.Equal(a.Dims, dimsA) || !slices.Equal(b.Dims, dimsB) {
			return nil, fmt.Errorf("module %q: A %v and B %v, expected %v and %v beside the weight %v", module, a.Dims, b.Dims, dimsA, dimsB, l.weight.Dims)
		}
		name := func(end string) string { return r.Fresh(l.module + end) }
		out.Adapters = append(out.Adapters, r.add(l, onnxgraph.Floats(name(suffixA), dimsA, va), onnxgraph.Floats(name(suffixB), dimsB, vb), scale))
	}
	return out, nil
}

// narrowA takes the zeros out that peftA puts into the A of a grouped convolution.
// Where there are other numbers, the adapter mixes the groups, and A stays.
func (l *layer) narrowA(a *onnxgraph.Tensor, dims []int64) (*onnxgraph.Tensor, error) {
	groups := l.uses[0].groups()
	if groups == 1 || slices.Equal(a.Dims, dims) || len(a.Dims) < 2 || a.Dims[1] != dims[1]*groups || !slices.Equal(a.Dims[2:], dims[2:]) {
		return a, nil
	}
	wide, err := a.AsFloats()
	if err != nil {
		return nil, err
	}
	width := int(size(dims[1:]))
	v := make([]float32, 0, len(wide)/int(groups))
	perGroup := int(dims[0] / groups)
	for r := range int(dims[0]) {
		for g := range int(groups) {
			at := wide[(r*int(groups)+g)*width:][:width]
			switch {
			case g == r/perGroup:
				v = append(v, at...)
			case slices.ContainsFunc(at, func(x float32) bool { return x != 0 }):
				return a, nil
			}
		}
	}
	return onnxgraph.Floats(a.Name, dims, v), nil
}

// scaleOf is the scale of a module's adapter. The keys of alpha_pattern are regular
// expressions for the end of a module's name; the rank is that of the tensors.
func (c *peftConfig) scaleOf(module string, rank int64) (float64, error) {
	alpha := c.Alpha
	for pattern, a := range c.Alphas {
		ends, err := regexp.Compile(`^(?:.*\.)?(?:` + pattern + `)$`)
		if err != nil {
			return 0, fmt.Errorf("%s: alpha_pattern: %w", PEFTConfig, err)
		}
		if ends.MatchString(module) {
			alpha = a
		}
	}
	if c.RSLoRA {
		return alpha / math.Sqrt(float64(rank)), nil
	}
	return alpha / float64(rank), nil
}
