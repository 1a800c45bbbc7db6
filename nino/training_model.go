package nino

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Names of the further inputs of the training model and of its output.
const (
	inWeight     = "weight"   // of each error
	inHorizons   = "horizons" // those to predict, 1 to Config.Horizons
	outForecast  = "forecast" // weighted
	inTarget     = "target"   // weighted, the labels of training
	initialScale = 0.02       // standard deviation of initial weights, as in the reference
)

// NewConfig is the paper's network of a variant and a width.
func NewConfig(variant string, width int) (Config, error) {
	c := Config{
		Variant: variant, Width: width, Layers: 3, Context: 5, Horizons: 40, Taps: 9,
		EdgeTypes: int(neuralgraph.EdgeSelfLoop) + 2, Positions: 8, Scaling: ScaleLayerwise,
	}
	switch {
	case width < 1:
		return c, fmt.Errorf("network: width %d, expected at least 1", width)
	case variant == VariantMLP:
		c.Layers, c.Taps, c.Positions = 4, 1, 0
	case variant != VariantGNN:
		return c, fmt.Errorf("network: variant %q, expected %q or %q", variant, VariantGNN, VariantMLP)
	}
	return c, nil
}

// Initial makes the weights with which meta-training starts: normal with
// deviation 0.02, biases 0 (as the reference does). args are the reference's
// settings, as of Settings.
func Initial(c Config, args map[string]string, seed uint64) (*Weights, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	set := &weights.Set{}
	for _, s := range c.expected() {
		dims, n := make([]int64, len(s.dims)), 1
		for i, d := range s.dims {
			dims[i] = int64(d)
			n *= d
		}
		v := make([]float32, n)
		if len(dims) > 1 {
			for i := range v {
				v[i] = float32(initialScale * rng.NormFloat64())
			}
		}
		set.AddFloats(s.name, dims, v)
	}
	return NewWeights(set, args)
}

// Trained names the tensors that reach the output, those that can be trained:
// all but the last layer of message passing, after which no edge is updated.
func (c *Config) Trained() []string {
	last := fmt.Sprintf("gnn.convs.%d.", c.Layers-1)
	var out []string
	for _, s := range c.expected() {
		if !strings.HasPrefix(s.name, last) {
			out = append(out, s.name)
		}
	}
	return out
}

// TrainingModel is the network as a model whose weights can be trained: the
// tensors are initializers under their own names, nothing is multiplied out,
// and several horizons are predicted at once. Inputs are those of EdgesModel,
// of a disjoint union of graphs whose edges have F taps, 1 to Taps, with
// horizons int64 [H] in place of k, and weight float [E, F·H]; the output
// forecast float [E, F·H] is weight·(newest scaled state + prediction), number
// f·H + i for horizons[i]. The mean absolute difference from equally weighted
// targets is the paper's loss.
func TrainingModel(w *Weights, opset int64) (*onnxgraph.Model, error) {
	if opset < MinOpset || opset > MaxOpset {
		return nil, fmt.Errorf("training model: opset %d, expected %d to %d", opset, MinOpset, MaxOpset)
	}
	if !w.plain() {
		return nil, fmt.Errorf("training model: only networks with the features and layers of the paper's main one can be trained, this one is %+v", w.Config)
	}
	t := &trainable{emitter: newEmitter("nino_training", opset), w: w}
	for _, name := range w.Trained() {
		tensor, err := weights.ToTensor(name, w.Tensors.Get(name))
		if err != nil {
			return nil, err
		}
		t.Init(tensor)
	}
	t.emit()
	m, err := t.Model()
	if err != nil {
		return nil, err
	}
	return m, describe(m, w.Config, "training")
}

// trainable writes the training model.
type trainable struct {
	emitter
	w *Weights
}

// layer is the linear layer of that name.
func (t *trainable) layer(x, name string) string {
	return t.affine(x, name+".weight", name+".bias")
}

func (t *trainable) affine(x, weight, bias string) string {
	return t.Op("Gemm", []string{x, weight, bias}, onnxgraph.IntAttr("transB", 1))
}

// columns cuts columns lo to hi out of x.
func (t *trainable) columns(x string, lo, hi int) string {
	return t.Op("Slice", []string{x, t.axes(int64(lo)), t.axes(int64(hi)), t.axes(1)})
}

func (t *trainable) emit() {
	w := t.w
	edges := onnxgraph.Sym("E")
	types := t.Input(inTypes, onnxgraph.Int64, onnxgraph.Shape{edges})
	features := t.Input(inFeatures, onnxgraph.Float, onnxgraph.Shape{edges, onnxgraph.Sym("columns")})
	horizons := t.Input(inHorizons, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("H")})
	count, row := t.Op("Shape", []string{horizons}), t.Op("Sub", []string{horizons, t.axes(1)})
	columns := t.Op("Slice", []string{t.Op("Shape", []string{features}), t.axes(1), t.axes(2)})
	// The taps that the edges have need the first columns of the projection and
	// the first rows of the output alone.
	project := t.Op("Slice", []string{"edge_proj.fc.0.weight", t.axes(0), columns, t.axes(1)})
	embedded := t.Op("Gather", []string{"layer_embed.weight", types})
	edge := t.add(t.affine(features, project, "edge_proj.fc.0.bias"), embedded)
	var out string
	if w.Variant == VariantMLP {
		out = t.mlp(edge, row)
	} else {
		out = t.messages(edge, t.Op("Div", []string{columns, t.axes(int64(w.Context))}), row)
	}
	// Newest state of each tap, repeated for each horizon, + prediction.
	newest := t.Op("Unsqueeze", []string{t.newest(features, 1, int64(w.Context)), t.axes(2)})
	byTap := t.Op("Reshape", []string{out, t.Op("Concat", []string{t.axes(0, -1), count}, onnxgraph.IntAttr("axis", 0))})
	forecast := t.Op("Flatten", []string{t.add(newest, byTap)}, onnxgraph.IntAttr("axis", 1))
	weight := t.Input(inWeight, onnxgraph.Float, onnxgraph.Shape{edges, onnxgraph.Sym("outputs")})
	t.Named(outForecast, "Mul", []string{forecast, weight})
	t.Output(outForecast, onnxgraph.Float, onnxgraph.Shape{edges, onnxgraph.Sym("outputs")})
}

// mlp is WNN+, its last layer reduced to the wanted rows.
func (t *trainable) mlp(x, row string) string {
	for i := range t.w.Layers - 1 {
		x = t.silu(t.layer(x, fmt.Sprintf("edge_mlp.fc.%d", 2*i)))
	}
	last := fmt.Sprintf("edge_mlp.fc.%d", 2*(t.w.Layers-1))
	return t.affine(x, t.Op("Gather", []string{last + ".weight", row}), t.Op("Gather", []string{last + ".bias", row}))
}

// messages are the rounds of message passing without the last, which reaches
// no edge, and the output layers, reduced to so many taps and the wanted rows
// of each.
func (t *trainable) messages(edge, taps, row string) string {
	w := t.w
	index := t.Input(inEdges, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Known(2), onnxgraph.Sym("E")})
	pos := t.Input(inPositions, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("N"), onnxgraph.Known(int64(w.Positions))})
	g := newEdgeList(t.emitter, index, pos)
	x := t.layer(pos, "node_proj.fc.0")
	if w.Words > 0 {
		token := t.Input(inTokens, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("N")})
		x = t.add(x, t.Op("Gather", []string{wordTable, token}))
	}
	for i := range w.Layers - 1 {
		conv, update := fmt.Sprintf("gnn.convs.%d.", i), fmt.Sprintf("gnn.edge_update.%d.", i)
		encoded := t.layer(edge, conv+"edge_encoder")
		scale, shift := t.columns(encoded, 0, w.Width), t.columns(encoded, w.Width, 2*w.Width)
		// pre_nns reads [target, source]: each half once per node, not per edge.
		pre := conv + "pre_nns.0.0"
		half := func(lo int) string {
			weight := t.columns(pre+".weight", lo, lo+w.Width)
			return t.Op("MatMul", []string{x, t.Op("Transpose", []string{weight}, onnxgraph.IntsAttr("perm", 1, 0))})
		}
		target := t.Op("Gather", []string{t.add(half(0), pre+".bias"), g.target})
		source := t.Op("Gather", []string{half(w.Width), g.source})
		message := t.add(t.mul(scale, t.add(target, source)), shift)
		both := t.Op("Concat", []string{x, g.mean(message, w.Width)}, onnxgraph.IntAttr("axis", 1))
		x = t.silu(t.layer(t.layer(both, conv+"post_nns.0.0"), conv+"lin"))
		ends := t.add(
			t.Op("Gather", []string{t.layer(x, update+"lin_s"), g.source}),
			t.Op("Gather", []string{t.layer(x, update+"lin_t"), g.target}))
		edge = t.layer(t.silu(t.add(t.layer(edge, update+"lin_e"), ends)), update+"lin1")
	}
	hidden := t.silu(t.layer(edge, "edge_out.fc.0"))
	rows := t.Op("Mul", []string{taps, t.axes(int64(w.Horizons))})
	// wanted takes the same rows of each tap's Horizons.
	wanted := func(name string, tail ...int64) string {
		byTap := t.Op("Reshape", []string{t.head(name, rows), t.axes(append([]int64{-1, int64(w.Horizons)}, tail...)...)})
		picked := t.Op("Gather", []string{byTap, row}, onnxgraph.IntAttr("axis", 1))
		return t.Op("Reshape", []string{picked, t.axes(append([]int64{-1}, tail...)...)})
	}
	return t.affine(hidden, wanted("edge_out.fc.2.weight", int64(w.Width)), wanted("edge_out.fc.2.bias"))
}

// Example is one window of a trajectory as an example for training: a graph,
// what the network sees of it, and what came of it.
type Example struct {
	Nodes, Edges int
	Taps         int       // F, as asked for
	Index        []int64   // [2, Edges]
	Types        []int64   // [Edges]
	Features     []float32 // [Edges, F·Context]
	Positions    []float32 // [Nodes, Positions]; nil for the MLP
	Target       []float32 // [Edges, F·H] for H horizons, 0 where Valid is not
	Valid        []bool    // [Edges, F·H]
	ValidCount   int
	Unit         []float32 // [Edges, F], standard deviations of its tensor in one unit of a number's scale: 1 where scaling is layerwise
}

// Examples makes examples of one model's trajectories.
type Examples struct {
	config       Config
	plan         *plan
	number       []int32 // of each node of the plan, -1 for those left out
	nodes, edges int
	index, types []int64
	positions    []float32
}

// NewExamples prepares a model's graph for a network of this Config, which must
// not have word positions.
func NewExamples(c Config, g *neuralgraph.NiNo) (*Examples, error) {
	p, err := newPlan(g, c.Taps, c.EdgeTypes)
	if err != nil {
		return nil, fmt.Errorf("examples: %w", err)
	}
	x := allEdges(p)
	x.config = c
	if c.Variant == VariantGNN {
		x.positions = g.Positions()
		if len(x.positions) != g.Nodes*c.Positions {
			return nil, fmt.Errorf("examples: %d position features for %d nodes, the network wants %d each", len(x.positions), g.Nodes, c.Positions)
		}
	}
	return x, nil
}

// allEdges lists every edge of a plan.
func allEdges(p *plan) *Examples {
	x := &Examples{plan: p, nodes: p.nodes, number: make([]int32, p.nodes)}
	for i := range x.number {
		x.number[i] = int32(i)
	}
	x.list()
	return x
}

// Slice leaves out nodes at random so that no layer has more than most of them
// (the paper takes 1,000 words of a vocabulary): it bounds the cost of models
// with wide inputs or outputs. Positions stay those of the whole graph. Where
// nothing is to leave out, it is x itself.
func (x *Examples) Slice(rng *rand.Rand, most int) *Examples {
	number, seen, left := make([]int32, len(x.number)), map[int]bool{}, 0
	for i := range x.plan.pieces {
		p := &x.plan.pieces[i]
		if p.kind == neuralgraph.EdgeSelfLoop {
			continue
		}
		for _, s := range []neuralgraph.Span{p.source, p.target} {
			if s.Count <= most || seen[s.Node(0)] {
				continue
			}
			seen[s.Node(0)] = true
			for _, i := range rng.Perm(s.Count)[most:] {
				if n := s.Node(i); number[n] == 0 {
					number[n] = -1
					left++
				}
			}
		}
	}
	if left == 0 {
		return x
	}
	y := &Examples{config: x.config, plan: x.plan, number: number, nodes: len(number) - left}
	next := int32(0)
	for n := range number {
		if number[n] < 0 {
			continue
		}
		number[n] = next
		next++
		if x.positions != nil {
			y.positions = append(y.positions, x.positions[n*x.config.Positions:(n+1)*x.config.Positions]...)
		}
	}
	y.list()
	return y
}

// list fills the ends [2, edges] and the types of all edges.
func (x *Examples) list() {
	x.each(func(int, *piece, int, int) { x.edges++ })
	x.index, x.types = make([]int64, 2*x.edges), make([]int64, x.edges)
	x.each(func(e int, p *piece, i, j int) {
		x.index[e], x.index[x.edges+e] = int64(x.number[p.source.Node(i)]), int64(x.number[p.target.Node(j)])
		x.types[e] = int64(p.kind)
	})
}

// each visits the edges whose nodes are there, in the order of the plan.
func (x *Examples) each(visit func(e int, p *piece, i, j int)) {
	e := 0
	x.plan.each(func(_ int, p *piece, i, j int) {
		if x.number[p.source.Node(i)] >= 0 && x.number[p.target.Node(j)] >= 0 {
			visit(e, p, i, j)
			e++
		}
	})
}

// Parameters are the names of the parameters that the graph places, the ones a
// state has to hold.
func (x *Examples) Parameters() []string { return x.plan.parameters }

// Taps is the largest number of taps of an edge.
func (x *Examples) Taps() int { return x.plan.widest }

// Edges is the number of edges, self-loops included.
func (x *Examples) Edges() int { return x.edges }

// Example makes an example of Context states, oldest first, and of what came
// after the newest: future[i] at the horizon number i of those that are
// predicted, nil where the trajectory had ended. Edges get so many taps, at least Taps(). A target that is not
// finite, or further than limit deviations from 0, is left out, so that a
// trajectory that diverges cannot spoil the training.
func (x *Examples) Example(states, future []*weights.Set, taps int, limit float64) (*Example, error) {
	c := x.config
	if taps < x.plan.widest || taps > c.Taps {
		return nil, fmt.Errorf("example: %d taps, expected %d to %d", taps, x.plan.widest, c.Taps)
	}
	if len(states) != c.Context || len(future) > c.Horizons {
		return nil, fmt.Errorf("example: %d states and %d to come, expected %d and at most %d", len(states), len(future), c.Context, c.Horizons)
	}
	tr, err := newTrajectory(context.Background(), x.plan, c.Scaling, arraysOf(states), states[0], 1)
	if err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	deviations := tr.scales
	if c.Scaling != ScaleLayerwise {
		if deviations, err = x.layerwise(states); err != nil {
			return nil, err
		}
	}
	ahead, err := x.ahead(future)
	if err != nil {
		return nil, err
	}
	columns, outputs := taps*c.Context, taps*len(future)
	ex := &Example{
		Nodes: x.nodes, Edges: x.edges, Taps: taps, Index: x.index, Types: x.types, Positions: x.positions,
		Features: make([]float32, x.edges*columns), Target: make([]float32, x.edges*outputs), Valid: make([]bool, x.edges*outputs),
		Unit: make([]float32, x.edges*taps),
	}
	x.each(func(e int, p *piece, i, j int) {
		tr.features(p, i, j, ex.Features[e*columns:(e+1)*columns])
		if p.parameter < 0 {
			return
		}
		first, sc := p.element(i, j), tr.scales[p.parameter]
		for f, tap := range p.taps {
			at := first + tap
			scale, deviation := sc.at(at), deviations[p.parameter].at(at)
			ex.Unit[e*taps+f] = float32(scale.std / (deviation.std + scaleEpsilon))
			for k, values := range ahead[p.parameter] {
				if values == nil {
					continue
				}
				v, far := float64(scale.apply(values[at])), float64(deviation.apply(values[at]))
				if math.IsNaN(v) || !(math.Abs(far) <= limit) {
					continue
				}
				n := e*outputs + f*len(future) + k
				ex.Target[n], ex.Valid[n] = float32(v), true
				ex.ValidCount++
			}
		}
	})
	return ex, nil
}

// layerwise are the scales of parameters by layer.
func (x *Examples) layerwise(states []*weights.Set) ([]*scaler, error) {
	tr, err := newTrajectory(context.Background(), x.plan, ScaleLayerwise, arraysOf(states), states[0], 1)
	if err != nil {
		return nil, fmt.Errorf("example: %w", err)
	}
	return tr.scales, nil
}

// ahead is the future by parameter and number.
func (x *Examples) ahead(future []*weights.Set) ([][][]float32, error) {
	out := make([][][]float32, len(x.plan.parameters))
	for n, name := range x.plan.parameters {
		out[n] = make([][]float32, len(future))
		for k, s := range future {
			if s == nil {
				continue
			}
			v, err := s.Floats(name)
			if err != nil {
				return nil, fmt.Errorf("example: state %d to come: %w", k+1, err)
			}
			if err := x.plan.check(n, len(v)); err != nil {
				return nil, fmt.Errorf("example: state %d to come: parameter %q: %w", k+1, name, err)
			}
			out[n][k] = v
		}
	}
	return out, nil
}
