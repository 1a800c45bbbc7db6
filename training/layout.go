package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// maxPacked is the number of elements up to which a parameter shares a vector
// with others. Small parameters are updated together, since dozens of tiny
// optimizer nodes would cost more than the arithmetic; packing large ones
// would only copy them.
const maxPacked = 1 << 16

// slot is one float32 vector of training state: a large parameter by itself,
// or several small ones one behind the other.
type slot struct {
	name   string
	dims   []int64 // the parameter's own shape, or [elements] where packed
	group  Group   // of all its parameters
	params []Param
	packed bool
}

func (s slot) len() int64 { return Param{Dims: s.dims}.Len() }

func (s slot) grad() string        { return s.name + gradSuffix }
func (s slot) updated() string     { return s.name + updatedSuffix }
func (s slot) moment(i int) string { return momentum(s.name, i) }

// packedName is the vector of the small parameters in step models.
const packedName = "ninox.packed"

// layoutOf distributes the parameters over slots. Those that share a vector
// are of one group, since the vector is updated as one.
func layoutOf(params []Param) []slot {
	var out, packs []slot
	for _, p := range params {
		if p.Len() > maxPacked || p.Matrix != "" {
			out = append(out, slot{name: p.Name, dims: p.Dims, group: p.Group, params: []Param{p}})
			continue
		}
		i := slices.IndexFunc(packs, func(s slot) bool { return s.group == p.Group })
		if i < 0 {
			i = len(packs)
			packs = append(packs, slot{name: packedName + strings.Repeat("_", i), group: p.Group, packed: true})
		}
		packs[i].params = append(packs[i].params, p)
	}
	for _, s := range packs {
		if len(s.params) == 1 {
			p := s.params[0]
			s = slot{name: p.Name, dims: p.Dims, group: p.Group, params: s.params}
		} else {
			n := int64(0)
			for _, p := range s.params {
				n += p.Len()
			}
			s.dims = []int64{n}
		}
		out = append(out, s)
	}
	return out
}

// unpack declares the slots as inputs of the graph, in front of whose nodes
// it cuts packed ones into parameters.
func unpack(g *onnxgraph.Graph, slots []slot) {
	head := &onnxgraph.Graph{}
	w := newGrower(g, "ninox.unpack/")
	body := g.Nodes
	for _, s := range slots {
		w.input(s.name, onnxgraph.Float, onnxgraph.StaticShape(s.dims...))
		if !s.packed {
			continue
		}
		sizes := make([]int64, len(s.params))
		pieces := make([]string, len(s.params))
		for i, p := range s.params {
			sizes[i], pieces[i] = p.Len(), w.fresh("piece")
		}
		head.Nodes = append(head.Nodes, &onnxgraph.Node{
			Name: w.fresh("Split"), OpType: "Split", Outputs: pieces,
			Inputs: []string{s.name, w.constant(onnxgraph.Vector("sizes", sizes...))}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 0)},
		})
		for i, p := range s.params {
			shape := w.constant(onnxgraph.Vector("shape", p.Dims...))
			head.Nodes = append(head.Nodes, &onnxgraph.Node{
				Name: w.fresh("Reshape"), OpType: "Reshape", Inputs: []string{pieces[i], shape}, Outputs: []string{p.Name},
			})
		}
	}
	g.Nodes = append(head.Nodes, body...)
}

// pack returns the gradients of the slots, joining those of packed parameters.
func pack(w *grower, slots []slot) []string {
	out := make([]string, len(slots))
	for i, s := range slots {
		if !s.packed {
			out[i] = s.params[0].Grad()
			continue
		}
		flat := w.constant(onnxgraph.Vector("flat", -1))
		pieces := make([]string, len(s.params))
		for k, p := range s.params {
			pieces[k] = w.op("Reshape", []string{p.Grad(), flat})
		}
		out[i] = w.named(s.grad(), "Concat", pieces, onnxgraph.IntAttr("axis", 0))
	}
	return out
}

// stepModels builds the models that an executor runs from the artifacts.
type stepModels struct {
	art   *Artifacts
	slots []slot
}

// Names of inputs and outputs that step models add.
const (
	rateName  = "ninox.learning_rate"
	stepName  = "ninox.step"
	shareName = "ninox.share%d" // weight of worker k's gradient
	accName   = "ninox.accumulated/"

	updatePrefix = "ninox.update/" // of the nodes that update parameters and moments
)

// body is the training or eval model with slots for parameters and the frozen
// tensors as constants; buffers, where updated, stay inputs.
func (b stepModels) body(m *onnxgraph.Model, buffersAsInputs bool) *onnxgraph.Model {
	m = copyModel(m)
	g := m.Graph
	drop := map[string]bool{}
	for _, p := range b.art.Params {
		drop[p.Name] = true
	}
	buffer := map[string]bool{}
	for _, name := range b.art.Buffers {
		buffer[name] = buffersAsInputs
	}
	for _, t := range b.art.Checkpoint.Frozen {
		if !buffer[t.Name] {
			drop[t.Name] = true
			g.Initializers = append(g.Initializers, t)
		}
	}
	g.Inputs = keepValues(g.Inputs, func(name string) bool { return !drop[name] })
	unpack(g, b.slots)
	return m
}

// eval is the eval model.
func (b stepModels) eval() *onnxgraph.Model { return b.body(b.art.Eval, true) }

// gradients is forward and backward: slots and batch → loss, slot gradients.
func (b stepModels) gradients() *onnxgraph.Model {
	m := b.body(b.art.Training, true)
	g := m.Graph
	keep := b.keptOutputs()
	g.Outputs = keepValues(g.Outputs, func(name string) bool { return keep[name] })
	w := newGrower(g, "ninox.pack/")
	for i, grad := range pack(w, b.slots) {
		w.output(grad, onnxgraph.Float, onnxgraph.StaticShape(b.slots[i].dims...))
	}
	return m
}

// keptOutputs are the training model's outputs besides the gradients.
func (b stepModels) keptOutputs() map[string]bool {
	keep := map[string]bool{b.art.LossName: true}
	for _, name := range b.art.Buffers {
		keep[name+updatedSuffix] = true
	}
	return keep
}

// merged is one whole step: forward, backward and update, so that gradients
// never leave the graph.
func (b stepModels) merged() *onnxgraph.Model {
	m := b.body(b.art.Training, true)
	g := m.Graph
	keep := b.keptOutputs()
	g.Outputs = keepValues(g.Outputs, func(name string) bool { return keep[name] })
	w := newGrower(g, "ninox.pack/")
	grads := pack(w, b.slots)
	b.appendUpdate(w, grads)
	return m
}

// update is the optimizer alone, fed by the gradients of several workers
// (weighted by their shares) and, where accumulated is set, by a running sum.
func (b stepModels) update(workers int, accumulated bool) (*onnxgraph.Model, error) {
	bd := onnxgraph.NewBuilder("ninox_update", b.art.Training.OpsetVersion(""))
	w := newGrower(bd.Graph(), updatePrefix)
	for _, s := range b.slots {
		w.input(s.name, onnxgraph.Float, onnxgraph.StaticShape(s.dims...))
	}
	b.appendUpdate(w, b.sum(w, workers, accumulated))
	return bd.Model()
}

// accumulate adds the workers' gradients to a running sum.
func (b stepModels) accumulate(workers int) (*onnxgraph.Model, error) {
	bd := onnxgraph.NewBuilder("ninox_accumulate", b.art.Training.OpsetVersion(""))
	w := newGrower(bd.Graph(), "ninox.accumulate/")
	for i, sum := range b.sum(w, workers, true) {
		s := b.slots[i]
		w.named(accName+s.grad()+updatedSuffix, "Identity", []string{sum})
		w.output(accName+s.grad()+updatedSuffix, onnxgraph.Float, onnxgraph.StaticShape(s.dims...))
	}
	return bd.Model()
}

// sum declares the workers' gradients as inputs and adds them up per slot.
func (b stepModels) sum(w *grower, workers int, accumulated bool) []string {
	shares := make([]string, workers)
	for k := range shares {
		shares[k] = w.op("Squeeze", []string{w.input(fmt.Sprintf(shareName, k), onnxgraph.Float, onnxgraph.StaticShape(1))})
	}
	out := make([]string, len(b.slots))
	for i, s := range b.slots {
		shape := onnxgraph.StaticShape(s.dims...)
		var parts []string
		for k, share := range shares {
			parts = append(parts, w.op("Mul", []string{w.input(workerGrad(s, k), onnxgraph.Float, shape), share}))
		}
		if accumulated {
			parts = append(parts, w.input(accName+s.grad(), onnxgraph.Float, shape))
		}
		out[i] = parts[0]
		if len(parts) > 1 {
			out[i] = w.op("Sum", parts)
		}
	}
	return out
}

func workerGrad(s slot, worker int) string { return fmt.Sprintf("%s.worker%d", s.grad(), worker) }

// appendUpdate emits the optimizer over the slots.
func (b stepModels) appendUpdate(w *grower, grads []string) {
	w.prefix = updatePrefix
	one := onnxgraph.StaticShape(1)
	rate := w.op("Squeeze", []string{w.input(rateName, onnxgraph.Float, one)})
	step := w.op("Squeeze", []string{w.input(stepName, onnxgraph.Int64, one)})
	ups := make([]update, len(b.slots))
	for i, s := range b.slots {
		shape := onnxgraph.StaticShape(s.dims...)
		u := update{dims: s.dims, group: s.group, param: s.name, grad: grads[i], newParam: s.updated()}
		w.output(u.newParam, onnxgraph.Float, shape)
		for k := range b.art.Config.moments(s.group) {
			u.moments = append(u.moments, w.input(s.moment(k), onnxgraph.Float, shape))
			u.newMoments = append(u.newMoments, s.moment(k)+updatedSuffix)
			w.output(s.moment(k)+updatedSuffix, onnxgraph.Float, shape)
		}
		ups[i] = u
	}
	b.art.Config.appendUpdates(w, rate, step, ups)
}
