package finetune

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

// MetaKey is the metadata property that lists a model's adapters.
const MetaKey = "ninox.lora"

// LoRA says which layers get adapters, and of what rank.
type LoRA struct {
	Rank  int     // at least 1
	Alpha float64 // adapters are scaled by Alpha/Rank; default Rank
	// Targets are globs (path.Match) over weights and modules; a module is also
	// known by its last parts, so that "c_attn" names one in each block. Without
	// Targets, every layer on which the output depends gets an adapter, besides
	// weights that are read as something else, too (tied embeddings).
	Targets []string
	Except  []string // weights that get none
	Output  string   // of the model; default the first of type float
	Seed    uint64   // of the initial A
}

// Adapters are those of a model.
type Adapters struct {
	Adapters []Adapter `json:"adapters"`
	Saved    []string  `json:"saved,omitempty"` // weights that are trained whole beside them
}

// Adapter is the adapter of one weight.
type Adapter struct {
	Module string  `json:"module"` // of the layer, as PyTorch calls it
	Weight string  `json:"weight"` // initializer of the layer
	A      string  `json:"a"`      // initializers of the adapter
	B      string  `json:"b"`
	Scale  float64 `json:"scale"`
}

// Trained names the initializers that fine-tuning trains.
func (a *Adapters) Trained() []string {
	var names []string
	for _, d := range a.Adapters {
		names = append(names, d.A, d.B)
	}
	return append(names, a.Saved...)
}

// AdaptersOf reads which adapters a model has, nil where it has none.
func AdaptersOf(m *onnxgraph.Model) (*Adapters, error) {
	text, ok := m.Meta(MetaKey)
	if !ok {
		return nil, nil
	}
	a := &Adapters{}
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", MetaKey, err)
	}
	return a, nil
}

// Record writes the list into the model's metadata.
func (a *Adapters) Record(m *onnxgraph.Model) {
	text, _ := json.Marshal(a) // strings and finite numbers
	m.SetMeta(MetaKey, string(text))
}

// AddLoRA returns a copy of m, its local functions inlined, with an adapter
// beside every layer that o names. A starts as PyTorch initialises a Linear
// (uniform in ±1/sqrt(fan-in)) and B at zero, so that the outputs stay.
func AddLoRA(m *onnxgraph.Model, reg *op.Registry, o LoRA) (*onnxgraph.Model, *Adapters, error) {
	if o.Rank < 1 || !(o.Alpha >= 0) || math.IsInf(o.Alpha, 0) {
		return nil, nil, fmt.Errorf("lora: rank %d and alpha %v, expected at least 1 and a number of at least 0", o.Rank, o.Alpha)
	}
	if o.Alpha == 0 {
		o.Alpha = float64(o.Rank)
	}
	if _, has := m.Meta(MetaKey); has {
		return nil, nil, errors.New("lora: the model has adapters already; merge them first")
	}
	m, err := prepare(m, reg)
	if err != nil {
		return nil, nil, err
	}
	w, err := newWriter(m, reg)
	if err != nil {
		return nil, nil, err
	}
	chosen, err := o.choose(m.Graph, w.inferred)
	if err != nil {
		return nil, nil, err
	}
	adapters := &Adapters{}
	for _, l := range chosen {
		adapters.Adapters = append(adapters.Adapters, w.start(l, int64(o.Rank), o.Alpha/float64(o.Rank), o.Seed))
	}
	if err := w.finish(); err != nil {
		return nil, nil, err
	}
	adapters.Record(m)
	return m, adapters, nil
}

// prepare inlines functions and takes fused operators of other domains apart
// that hold weights, such as the packed ones of com.microsoft's Attention.
func prepare(m *onnxgraph.Model, reg *op.Registry) (*onnxgraph.Model, error) {
	m, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, err
	}
	weights := map[string]bool{}
	for _, t := range m.Graph.Initializers {
		weights[t.Name] = t.DType == onnxgraph.Float && len(t.Dims) >= 2
	}
	fused := func(n *onnxgraph.Node) bool {
		return n.Domain != "" && slices.ContainsFunc(n.Inputs, func(in string) bool { return weights[in] })
	}
	if !slices.ContainsFunc(m.Graph.Nodes, fused) {
		return m, nil
	}
	return rewrite.Lower(m, reg, fused)
}

// choose lists the layers that get an adapter.
func (o *LoRA) choose(g *onnxgraph.Graph, facts *infer.Result) ([]*layer, error) {
	out, err := facts.FloatOutput(o.Output)
	if err != nil {
		return nil, fmt.Errorf("lora: %w", err)
	}
	live := reaching(g, out)
	fit := func(l *layer) string {
		switch {
		case slices.Contains(o.Except, l.weight.Name):
			return "it is trained whole"
		case len(l.uses) > 0 && !slices.ContainsFunc(l.uses, func(u use) bool { return live[u.node] }):
			return fmt.Sprintf("output %q does not depend on it", out)
		}
		return l.unfit(int64(o.Rank))
	}
	layers := layersOf(g)
	var chosen []*layer
	if len(o.Targets) == 0 {
		for _, l := range layers {
			if len(l.others) == 0 && fit(l) == "" {
				chosen = append(chosen, l)
			}
		}
		if len(chosen) == 0 {
			return nil, errors.New("lora: no MatMul, Gemm or Conv of the model has a weight of its own that an adapter fits")
		}
		return chosen, nil
	}
	for _, glob := range o.Targets {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("lora: target %q: %w", glob, err)
		}
		found, reasons := false, []string{}
		for _, l := range layers {
			if !l.named(glob) {
				continue
			}
			if why := fit(l); why != "" {
				reasons = append(reasons, fmt.Sprintf("weight %q: %s", l.weight.Name, why))
				continue
			}
			found = true
			if !slices.Contains(chosen, l) {
				chosen = append(chosen, l)
			}
		}
		switch {
		case found:
		case len(reasons) > 0:
			return nil, fmt.Errorf("lora: target %q: %s", glob, strings.Join(reasons, "; "))
		default:
			return nil, fmt.Errorf("lora: target %q matches no weight and no module; 'ninox trainable MODEL' lists the weights", glob)
		}
	}
	return chosen, nil
}

// writer adds adapters to a model.
type writer struct {
	*rewrite.Emitter
	inferred *infer.Result
	readers  map[string][]*onnxgraph.Node
	kept     map[string]bool // values that may not be renamed for lack of a single reader
	behind   map[*onnxgraph.Node][]*onnxgraph.Node
}

func newWriter(m *onnxgraph.Model, reg *op.Registry) (*writer, error) {
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return nil, err
	}
	w := &writer{rewrite.NewEmitter(m, facts, "lora"), facts, map[string][]*onnxgraph.Node{}, map[string]bool{}, map[*onnxgraph.Node][]*onnxgraph.Node{}}
	for _, n := range m.Graph.Nodes {
		for _, in := range n.Reads() {
			w.readers[in] = append(w.readers[in], n)
		}
	}
	for _, v := range m.Graph.Outputs {
		w.kept[v.Name] = true
	}
	return w, nil
}

// start adds an adapter that changes nothing yet.
func (w *writer) start(l *layer, rank int64, scale float64, seed uint64) Adapter {
	dimsA, dimsB := l.adapterDims(rank)
	a := kaiming(w.Fresh(l.module+".lora_A.weight"), dimsA, seed)
	return w.add(l, a, onnxgraph.Floats(w.Fresh(l.module+".lora_B.weight"), dimsB, make([]float32, size(dimsB))), scale)
}

// add puts the adapter of weights a and b beside every use of a layer.
func (w *writer) add(l *layer, a, b *onnxgraph.Tensor, scale float64) Adapter {
	ad := Adapter{Module: l.module, Weight: l.weight.Name, A: w.parameter(a), B: w.parameter(b), Scale: scale}
	for _, u := range l.uses {
		w.Prefix = l.module + ".lora/"
		w.join(u, w.delta(u, ad))
	}
	return ad
}

func (w *writer) parameter(t *onnxgraph.Tensor) string {
	g := w.Model.Graph
	g.Initializers = append(g.Initializers, t)
	w.Facts.Set(t.Name, &op.Fact{Type: onnxgraph.TensorOf(t.DType, t.Shape()), Param: true})
	return t.Name
}

// delta writes what the adapter adds to a use of its layer.
func (w *writer) delta(u use, ad Adapter) string {
	x := u.node.Input(1 - u.input)
	flip := []*onnxgraph.Attribute{onnxgraph.IntsAttr("perm", 1, 0)}
	if u.node.OpType == "Gemm" && u.node.Int([]string{"transA", "transB"}[1-u.input], 0) != 0 {
		x = w.Emit("Transpose", []string{x}, flip...)
	}
	switch {
	case u.node.OpType == "Conv":
		attrs := u.node.Attrs
		if w.Fact(ad.A).Type.Shape[1] != w.Fact(ad.Weight).Type.Shape[1] { // A of PEFT, over all groups
			attrs = slices.DeleteFunc(slices.Clone(attrs), func(a *onnxgraph.Attribute) bool { return a.Name == "group" })
		}
		h := w.scaled(w.Emit("Conv", []string{x, ad.A}, attrs...), ad.Scale)
		return w.Emit("Conv", []string{h, ad.B}, onnxgraph.IntAttr("group", u.groups()))
	case u.input == 0:
		return w.Emit("MatMul", []string{ad.B, w.scaled(w.Emit("MatMul", []string{ad.A, x}), ad.Scale)})
	}
	h := w.scaled(w.Emit("MatMul", []string{x, w.Emit("Transpose", []string{ad.A}, flip...)}), ad.Scale)
	return w.Emit("MatMul", []string{h, w.Emit("Transpose", []string{ad.B}, flip...)})
}

// scaled multiplies the narrow value, where that is cheapest.
func (w *writer) scaled(h string, scale float64) string {
	if scale == 1 {
		return h
	}
	return w.Emit("Mul", []string{h, w.Const(onnxgraph.Scalar("", float32(scale)))})
}

// join adds delta to the result of a use, behind a bias that is added on its
// own: runtimes fuse product and bias, and the sum stays what it was.
func (w *writer) join(u use, delta string) {
	end := u.node
	if bias := w.biasOf(end); bias != nil {
		end = bias
	}
	result := end.Outputs[0]
	base := w.Fresh(result + "/base")
	w.Facts.Set(base, w.Fact(result))
	end.Outputs[0] = base
	w.Emitted = append(w.Emitted, &onnxgraph.Node{Name: w.Fresh(w.Prefix + "Add"), OpType: "Add", Inputs: []string{base, delta}, Outputs: []string{result}})
	w.behind[end] = append(w.behind[end], w.Emitted...)
	w.Emitted = nil
}

// biasOf is the Add of an initializer that alone reads the node's result.
func (w *writer) biasOf(n *onnxgraph.Node) *onnxgraph.Node {
	readers := w.readers[n.Outputs[0]]
	if w.kept[n.Outputs[0]] || len(readers) != 1 || readers[0].Op() != "Add" {
		return nil
	}
	add := readers[0]
	for _, in := range add.Inputs {
		if w.Model.Graph.Initializer(in) != nil {
			return add
		}
	}
	return nil
}

// finish puts the new nodes into the graph.
func (w *writer) finish() error {
	g := w.Model.Graph
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		nodes = append(append(nodes, n), w.behind[n]...)
	}
	g.Nodes = nodes
	return errors.Join(append(w.Errs, rewrite.Check(w.Model, nil))...)
}

// kaiming is a weight [out, in…] as PyTorch initialises it.
func kaiming(name string, dims []int64, seed uint64) *onnxgraph.Tensor {
	return uniform(name, dims, 1/math.Sqrt(float64(size(dims[1:]))), seed)
}

// uniform is a tensor of numbers in ±bound. They follow from the seed and the
// name alone, not from what else a model gets.
func uniform(name string, dims []int64, bound float64, seed uint64) *onnxgraph.Tensor {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	v := make([]float32, size(dims))
	for i := range v {
		v[i] = float32(bound * (2*rng.Float64() - 1))
	}
	return onnxgraph.Floats(name, dims, v)
}

func size(dims []int64) int64 {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n
}
