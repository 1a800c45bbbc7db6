package nino

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
)

// linear is y = W x + b in float64, W row-major [out, in]. Products of
// matrices are made at this precision and rounded once.
type linear struct {
	out, in int
	w, b    []float64
}

// linear reads a layer of the weights.
func (w *Weights) linear(name string) linear {
	l := linear{w: w.floats(name + ".weight"), b: w.floats(name + ".bias")}
	l.out = len(l.b)
	l.in = len(l.w) / l.out
	return l
}

// floats reads a tensor; NewWeights has checked that it is there.
func (w *Weights) floats(name string) []float64 {
	v, err := w.Tensors.Floats(name)
	if err != nil {
		panic("nino: checked tensor: " + err.Error())
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// apply is l at x.
func (l linear) apply(x []float64) []float64 {
	y := make([]float64, l.out)
	for o := range y {
		sum := l.b[o]
		for i, w := range l.w[o*l.in : (o+1)*l.in] {
			sum += w * x[i]
		}
		y[o] = sum
	}
	return y
}

// after is the map x -> l(m(x)).
func (l linear) after(m linear) linear {
	out := linear{out: l.out, in: m.in, w: make([]float64, l.out*m.in), b: l.apply(m.b)}
	for o := range l.out {
		row := out.w[o*m.in : (o+1)*m.in]
		for i, w := range l.w[o*l.in : (o+1)*l.in] {
			for j, v := range m.w[i*m.in : (i+1)*m.in] {
				row[j] += w * v
			}
		}
	}
	return out
}

// rows keeps outputs lo to hi.
func (l linear) rows(lo, hi int) linear {
	return linear{out: hi - lo, in: l.in, w: l.w[lo*l.in : hi*l.in], b: l.b[lo:hi]}
}

// repeat gives the outputs several times, one after the other.
func (l linear) repeat(times int) linear {
	return linear{out: times * l.out, in: l.in, w: slices.Repeat(l.w, times), b: slices.Repeat(l.b, times)}
}

// split parts the map of a concatenation [x, y] into one of x, which keeps the
// bias, and one of y, which has none; x has n numbers.
func (l linear) split(n int) (x, y linear) {
	x = linear{out: l.out, in: n, b: l.b}
	y = linear{out: l.out, in: l.in - n, b: make([]float64, l.out)}
	for o := range l.out {
		row := l.w[o*l.in : (o+1)*l.in]
		x.w = append(x.w, row[:n]...)
		y.w = append(y.w, row[n:]...)
	}
	return x, y
}

// matrix is the weight as a tensor [in, out], for MatMul from the right.
func (l linear) matrix(name string) *onnxgraph.Tensor {
	v := make([]float32, len(l.w))
	for o := range l.out {
		for i := range l.in {
			v[i*l.out+o] = float32(l.w[o*l.in+i])
		}
	}
	return onnxgraph.Floats(name, []int64{int64(l.in), int64(l.out)}, v)
}

// bias is the bias as a tensor [out].
func (l linear) bias(name string) *onnxgraph.Tensor {
	return onnxgraph.Floats(name, []int64{int64(l.out)}, narrow(l.b))
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// network is the message passing network. A message passing layer after which
// no edge is updated is left out.
type network struct {
	Config
	node    linear    // positions to node values
	words   []float32 // [Words, Width], nil without word positions
	project edgeMap   // features to edge values
	layers  []layer
	hidden  linear // first layer of the output
	out     linear // its second layer, Taps·Horizons rows
}

// layer is one round: a message along each edge, an update of each node from
// the mean of what comes in, an update of each edge.
type layer struct {
	scale, shift   linear // of the messages, from the edge
	target, source linear // what a message takes of its two ends
	post, lin      linear // node update, of [node, mean]
	update         linear // edge update: of the edge,
	from, to       linear // of its source and its target after their update,
	merge          linear // and of the sum, after the nonlinearity
}

// network reads the layers. The variant must be VariantGNN.
func (w *Weights) network() *network {
	n := &network{
		Config: w.Config, node: w.placement(), project: w.projection(),
		hidden: w.linear("edge_out.fc.0"), out: w.output("edge_out.fc.2"),
	}
	if w.Words > 0 {
		n.words = narrow(w.floats(wordTable))
	}
	for i := range w.Rounds() {
		conv, update := fmt.Sprintf("gnn.convs.%d.", i), fmt.Sprintf("gnn.edge_update.%d.", i)
		l := layer{
			post: w.towers(conv + "post_nns"), lin: w.linear(conv + "lin"),
			update: w.linear(update + "lin_e"), from: w.linear(update + "lin_s"), to: w.linear(update + "lin_t"), merge: w.linear(update + "lin1"),
		}
		towers := max(1, w.Towers)
		encoder := w.linear(conv + "edge_encoder") // of one tower; all have the same
		part := w.Width / towers
		l.scale, l.shift = encoder.rows(0, part).repeat(towers), encoder.rows(part, 2*part).repeat(towers)
		l.target, l.source = w.towers(conv + "pre_nns").split(w.Width)
		n.layers = append(n.layers, l)
	}
	return n
}

// edgeMap is a linear map of an edge: of its features, plus a row that its
// type selects, which replaces the bias; or, where types is nil, of values of a
// hidden layer.
type edgeMap struct {
	linear
	types []float64 // [EdgeTypes, out]
}

// projection is the first map of an edge's features. Where types are no feature
// all rows are the bias.
func (w *Weights) projection() edgeMap {
	m := edgeMap{linear: w.linear("edge_proj.fc.0"), types: make([]float64, w.EdgeTypes*w.Width)}
	if !w.Untyped {
		m.types = w.floats(typeTable)
	}
	for i := range m.types {
		m.types[i] += m.b[i%w.Width]
	}
	return m
}

// placement is the first map of a node's Laplacian features, zero where they
// are no feature.
func (w *Weights) placement() linear {
	if w.Unplaced {
		return linear{out: w.Width, in: w.Positions, w: make([]float64, w.Width*w.Positions), b: make([]float64, w.Width)}
	}
	return w.linear("node_proj.fc.0")
}

// output is the last layer, whose result is the predicted difference.
func (w *Weights) output(name string) linear {
	l := w.linear(name)
	if w.UpdateScale != 0 {
		for _, v := range [][]float64{l.w, l.b} {
			for i := range v {
				v[i] *= w.UpdateScale
			}
		}
	}
	return l
}

// towers is the layer of a message as one map. Each tower reads its part of
// both of the layer's inputs and makes its part of the output.
func (w *Weights) towers(name string) linear {
	first := w.linear(name + ".0.0")
	towers, part := max(1, w.Towers), first.out
	if towers == 1 {
		return first
	}
	out := linear{out: w.Width, in: 2 * w.Width, w: make([]float64, 2*w.Width*w.Width)}
	for t := range towers {
		l := w.linear(fmt.Sprintf("%s.%d.0", name, t))
		for o := range part {
			row := out.w[(t*part+o)*out.in:]
			copy(row[t*part:], l.w[o*l.in:o*l.in+part])
			copy(row[w.Width+t*part:], l.w[o*l.in+part:(o+1)*l.in])
		}
		out.b = append(out.b, l.b...)
	}
	return out
}

// then is l after m. Two linear maps without a nonlinearity between them are
// one.
func (m edgeMap) then(l linear) edgeMap {
	out := edgeMap{linear: l.after(m.linear)}
	for i := 0; i < len(m.types); i += m.out {
		out.types = append(out.types, l.apply(m.types[i:i+m.out])...)
	}
	return out
}

// table is the rows by type as a tensor [EdgeTypes, out].
func (m edgeMap) table(name string) *onnxgraph.Tensor {
	return onnxgraph.Floats(name, []int64{int64(len(m.types) / m.out), int64(m.out)}, narrow(m.types))
}
