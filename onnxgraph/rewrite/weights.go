package rewrite

import (
	"encoding/json"
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Optional are the passes that Standard leaves out, because they change which
// parameters a model has: checkpoints would no longer fit.
func Optional() []Pass {
	return []Pass{
		{"weights", "an initializer that is read through Transpose only, always with the same permutation → one that is stored as it is read, and no Transpose", "the copy of a weight costs time and memory at each run, where a runtime does not fold it; not in analysis and training, which follow Transpose and keep the names and layouts of parameters", weights},
	}
}

// transposedKey is the metadata property of a model that lists, as JSON, which
// weights were stored in another layout.
const transposedKey = "ninox.transposed_weights"

// TransposedWeight says that an initializer holds a weight of the original
// model as Transpose by Perm gives it.
type TransposedWeight struct {
	Name     string  `json:"name"`
	Original string  `json:"original"`
	Perm     []int64 `json:"perm"`
}

// TransposedWeights lists which weights of a model were transposed, as its
// metadata say.
func TransposedWeights(m *onnxgraph.Model) ([]TransposedWeight, error) {
	s, ok := m.Meta(transposedKey)
	if !ok {
		return nil, nil
	}
	var list []TransposedWeight
	if err := json.Unmarshal([]byte(s), &list); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", transposedKey, err)
	}
	for _, w := range list {
		if !onnxgraph.IsPermutation(w.Perm, len(w.Perm)) {
			return nil, fmt.Errorf("metadata %q: weight %q: perm %v is no permutation", transposedKey, w.Name, w.Perm)
		}
	}
	return list, nil
}

// weights stores initializers in the layout in which all nodes read them, and
// drops the Transpose and Identity nodes between. A weight in a new layout has
// a new name, so that nobody takes it for the old one. It counts weights.
func weights(m *onnxgraph.Model, _ *op.Registry) (int, error) {
	list, err := TransposedWeights(m)
	if err != nil {
		return 0, err
	}
	l := &layouts{seen: map[string]*view{}, between: map[*onnxgraph.Node]bool{}}
	l.find(m.Graph)
	l.read(m.Graph)
	names, renamed := newFreshNames(m.Graph), map[string]string{}
	count := 0
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for i, t := range g.Initializers {
			v := l.seen[t.Name]
			if err != nil || v == nil || !v.of.moves() {
				continue
			}
			count++
			stored, perm := t, v.of.layout
			if !isIdentity(perm) {
				if stored, err = t.Transposed(names.take(t.Name+".transposed"), perm); err != nil {
					return
				}
				list = noted(list, stored.Name, t.Name, perm)
			}
			g.Initializers[i] = stored
			for _, name := range v.of.names {
				renamed[name] = stored.Name
			}
		}
	})
	if err != nil || count == 0 {
		return 0, err
	}
	l.drop(m.Graph, renamed)
	renameReads(m.Graph, renamed)
	if len(list) == 0 { // all were transposed and back
		return count, nil
	}
	b, err := json.Marshal(list)
	if err != nil {
		return 0, err
	}
	m.SetMeta(transposedKey, string(b))
	return count, nil
}

// noted adds a weight to the list; one that was transposed before goes back to
// its original at once.
func noted(list []TransposedWeight, name, from string, perm []int64) []TransposedWeight {
	for i, w := range list {
		if w.Name == from && len(w.Perm) == len(perm) {
			list[i] = TransposedWeight{name, w.Original, compose(w.Perm, perm)}
			return list
		}
	}
	return append(list, TransposedWeight{name, from, perm})
}

// layouts finds in which layouts initializers are read.
type layouts struct {
	seen    map[string]*view
	between map[*onnxgraph.Node]bool // Transpose and Identity nodes of weights
}

// view is a value that is a weight, transposed by perm.
type view struct {
	of   *weight
	perm []int64
}

// weight is an initializer and how it is read.
type weight struct {
	names      []string // of the initializer and its views
	transposes int      // among the nodes between
	layout     []int64  // in which it is read, nil where it is not
	mixed      bool     // or in different ones
}

func (w *weight) moves() bool { return w.transposes > 0 && w.layout != nil && !w.mixed }

// find collects weights and their views. What a graph declares as an input or
// output has to keep its name and layout; so does what several graphs define.
func (l *layouts) find(outer *onnxgraph.Graph) {
	defined := map[string]int{}
	outer.EachGraph(func(g *onnxgraph.Graph) {
		for _, v := range slices.Concat(g.Inputs, g.Outputs) {
			defined[v.Name]++
		}
		for _, t := range g.Initializers {
			defined[t.Name]++
		}
		for _, n := range g.Nodes {
			for _, out := range n.Outputs {
				defined[out]++
			}
		}
	})
	delete(defined, "")
	outer.EachGraph(func(g *onnxgraph.Graph) {
		for _, t := range g.Initializers {
			if bits := t.DType.Bits(); defined[t.Name] == 1 && bits > 0 && bits%8 == 0 {
				l.seen[t.Name] = &view{&weight{names: []string{t.Name}}, upTo(len(t.Dims))}
			}
		}
		for _, n := range g.Nodes {
			v := l.seen[n.Input(0)]
			if v == nil || len(n.Inputs) != 1 || len(n.Outputs) != 1 || defined[n.Outputs[0]] != 1 {
				continue
			}
			perm := axesMoved(n, len(v.perm))
			if perm == nil {
				continue
			}
			l.between[n] = true
			l.seen[n.Outputs[0]] = &view{v.of, compose(v.perm, perm)}
			v.of.names = append(v.of.names, n.Outputs[0])
			if n.OpType == "Transpose" {
				v.of.transposes++
			}
		}
	})
}

// read notes the layouts that all other nodes read weights in.
func (l *layouts) read(outer *onnxgraph.Graph) {
	outer.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if l.between[n] {
				continue
			}
			for _, in := range n.Inputs {
				v := l.seen[in]
				switch {
				case v == nil:
				case v.of.layout == nil:
					v.of.layout = v.perm
				case !slices.Equal(v.of.layout, v.perm):
					v.of.mixed = true
				}
			}
		}
	})
}

// drop removes the nodes between weights that moved and their readers, and the
// types of what no longer exists.
func (l *layouts) drop(outer *onnxgraph.Graph, renamed map[string]string) {
	outer.EachGraph(func(g *onnxgraph.Graph) {
		g.Nodes = slices.DeleteFunc(g.Nodes, func(n *onnxgraph.Node) bool {
			return l.between[n] && l.seen[n.Outputs[0]].of.moves()
		})
		g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxgraph.Value) bool {
			by, ok := renamed[v.Name]
			return ok && by != v.Name
		})
	})
}

// axesMoved is the permutation that a Transpose or Identity node applies to a
// weight of a rank, nil for other nodes and what is no permutation.
func axesMoved(n *onnxgraph.Node, rank int) []int64 {
	perm := upTo(rank)
	switch {
	case n.Domain != "":
		return nil
	case n.OpType == "Identity":
		return perm
	case n.OpType != "Transpose":
		return nil
	}
	if a := n.Attr("perm"); a != nil {
		perm = a.Ints
	} else {
		slices.Reverse(perm)
	}
	if !onnxgraph.IsPermutation(perm, rank) {
		return nil
	}
	return perm
}

// compose is the permutation of transposing by first and then by second.
func compose(first, second []int64) []int64 {
	out := make([]int64, len(second))
	for i, p := range second {
		out[i] = first[p]
	}
	return out
}

func isIdentity(perm []int64) bool { return slices.Equal(perm, upTo(len(perm))) }

// upTo lists the axes 0 to rank-1; it is not nil for rank 0.
func upTo(rank int) []int64 {
	out := make([]int64, rank)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}
