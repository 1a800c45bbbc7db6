package finetune

import (
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
)

// ErrNoAdapters reports a model without adapters.
var ErrNoAdapters = errors.New("lora: the model has no adapters (property " + MetaKey + ")")

// Merge returns a copy of m with every adapter added to its weight, and without
// adapters: a plain model. A weight that is also read as something else keeps
// its value there; the layer gets one of its own.
func Merge(m *onnxgraph.Model) (*onnxgraph.Model, error) {
	adapters, err := AdaptersOf(m)
	if err != nil {
		return nil, err
	}
	if adapters == nil {
		return nil, ErrNoAdapters
	}
	m = m.Clone()
	pairs := map[string][2]*onnxgraph.Tensor{}
	for _, ad := range adapters.Adapters {
		a, b := m.Graph.Initializer(ad.A), m.Graph.Initializer(ad.B)
		if a == nil || b == nil {
			return nil, fmt.Errorf("lora: module %q: the model has no initializers %q and %q", ad.Module, ad.A, ad.B)
		}
		pairs[ad.A] = [2]*onnxgraph.Tensor{a, b}
	}
	if err := strip(m.Graph, adapters); err != nil {
		return nil, err
	}
	layers := layersOf(m.Graph)
	for _, ad := range adapters.Adapters {
		l := find(layers, ad.Weight)
		if l == nil || len(l.uses) == 0 {
			return nil, fmt.Errorf("lora: module %q: no layer of the model has the weight %q", ad.Module, ad.Weight)
		}
		merged, err := l.merged(pairs[ad.A][0], pairs[ad.A][1], float64(float32(ad.Scale)))
		if err != nil {
			return nil, fmt.Errorf("lora: module %q: %w", ad.Module, err)
		}
		l.replace(m.Graph, merged)
	}
	m.Metadata = slices.DeleteFunc(m.Metadata, func(kv onnxgraph.KeyValue) bool { return kv.Key == MetaKey })
	dead := slices.DeleteFunc(rewrite.Passes(), func(p rewrite.Pass) bool { return p.Name != "dead" })
	m, _, err = rewrite.Apply(m, nil, dead)
	return m, err
}

// part is a value inside an adapter.
type part struct {
	adapter int
	a, b    bool // whether A and B flow into it
}

// strip removes the nodes of adapters.
func strip(g *onnxgraph.Graph, adapters *Adapters) error {
	parts := map[string]part{}
	for i, ad := range adapters.Adapters {
		parts[ad.A], parts[ad.B] = part{adapter: i, a: true}, part{adapter: i, b: true}
	}
	rename, joins := map[string]string{}, map[int]int{}
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		p, rest, mixed := partOf(n, parts)
		switch {
		case p == nil:
			nodes = append(nodes, n)
			continue
		case mixed || len(n.Outputs) != 1:
			return fmt.Errorf("lora: node %q (%s) reads adapters in a way that ninox does not write", n.Label(), n.Op())
		case n.Op() == "Add" && p.a && p.b && len(rest) == 1:
			rename[rest[0]] = n.Outputs[0]
			joins[p.adapter]++
			continue
		}
		parts[n.Outputs[0]] = *p
	}
	for i, ad := range adapters.Adapters {
		if joins[i] == 0 {
			return fmt.Errorf("lora: module %q: no node adds the adapter to a layer", ad.Module)
		}
	}
	g.Nodes = nodes
	for _, n := range g.Nodes {
		for _, names := range [][]string{n.Inputs, n.Outputs} {
			for i, name := range names {
				if to, ok := rename[name]; ok {
					names[i] = to
				}
			}
		}
	}
	g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxgraph.Value) bool {
		_, inside := parts[v.Name]
		return inside || rename[v.Name] != ""
	})
	return nil
}

// partOf is what the inputs of a node that belong to an adapter make together,
// and the other inputs; nil where no input does, mixed where several adapters
// meet.
func partOf(n *onnxgraph.Node, parts map[string]part) (p *part, rest []string, mixed bool) {
	for _, in := range n.Inputs {
		q, ok := parts[in]
		switch {
		case !ok:
			rest = append(rest, in)
		case p == nil:
			p = &part{q.adapter, q.a, q.b}
		default:
			mixed = mixed || p.adapter != q.adapter
			p.a, p.b = p.a || q.a, p.b || q.b
		}
	}
	return p, rest, mixed
}

// merged is the weight with an adapter added, computed in double precision.
func (l *layer) merged(ta, tb *onnxgraph.Tensor, scale float64) (*onnxgraph.Tensor, error) {
	u := l.uses[0]
	out, in := l.sizes()
	width := size(in)
	a, b, w, err := doubles(ta, tb, l.weight)
	if err != nil {
		return nil, err
	}
	groups := u.groups()
	if groups > 1 && len(ta.Dims) == len(l.weight.Dims) && ta.Dims[1] == groups*l.weight.Dims[1] {
		return nil, fmt.Errorf("its A mixes the %d groups of the convolution, which the weight keeps apart: it cannot be merged", groups)
	}
	if len(ta.Dims) == 0 || int64(len(a)) != ta.Dims[0]*width || groups < 1 || ta.Dims[0]%groups != 0 || int64(len(b)) != out*ta.Dims[0]/groups {
		return nil, fmt.Errorf("adapter %v and %v does not fit the weight %v", ta.Dims, tb.Dims, l.weight.Dims)
	}
	rank := ta.Dims[0] / groups // of one group
	scale /= u.factor()
	v := make([]float32, len(w))
	for o := range out {
		first := o / (out / groups) * rank
		for i := range width {
			sum := 0.0
			for r := range rank {
				sum += b[o*rank+r] * a[(first+r)*width+i]
			}
			at := o*width + i
			if !u.outIn() {
				at = i*out + o
			}
			v[at] = float32(w[at] + scale*sum)
		}
	}
	return onnxgraph.Floats(l.weight.Name, l.weight.Dims, v), nil
}

func doubles(ta, tb, tw *onnxgraph.Tensor) (a, b, w []float64, err error) {
	if a, err = ta.AsDoubles(); err != nil {
		return
	}
	if b, err = tb.AsDoubles(); err != nil {
		return
	}
	w, err = tw.AsDoubles()
	return
}

// replace puts a new weight in the place of the layer's. Others that read the
// old one keep it.
func (l *layer) replace(g *onnxgraph.Graph, t *onnxgraph.Tensor) {
	if len(l.others) == 0 {
		at := slices.Index(g.Initializers, l.weight)
		g.Initializers[at], l.weight = t, t
		return
	}
	name := freshName(g, t.Name+".merged")
	t.Name = name
	g.Initializers = append(g.Initializers, t)
	for _, u := range l.uses {
		if u.turned {
			turned := &onnxgraph.Node{
				Name: name + "/Transpose/" + u.node.Outputs[0], OpType: "Transpose", Inputs: []string{name}, Outputs: []string{name + "/" + u.node.Outputs[0]},
				Attrs: []*onnxgraph.Attribute{onnxgraph.IntsAttr("perm", 1, 0)},
			}
			g.Nodes = slices.Insert(g.Nodes, slices.Index(g.Nodes, u.node), turned)
			u.node.Inputs[u.input] = turned.Outputs[0]
			continue
		}
		u.node.Inputs[u.input] = name
	}
}
