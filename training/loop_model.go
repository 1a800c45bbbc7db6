package training

import (
	"fmt"
	"maps"
	"slices"

	"ninox/onnxgraph"
)

// LoopFile is the name of a model that trains itself.
const LoopFile = "training_loop.onnx"

// Inputs and outputs of a model that trains itself, besides those that are
// called as in the training and optimizer models.
const (
	loopSteps  = "steps"         // input, int64 scalar: steps to make
	loopFirst  = "step"          // input, int64 [1], default 0: steps made before; output "step.final"
	loopRate   = "learning_rate" // input, float [n]: of each step, the last one for all further steps
	loopBatch  = "batch_size"    // input, int64 scalar: samples of a step
	loopLosses = "losses"        // output, float [steps]
)

// DefaultLoopBatch is the batch size of loop models unless told otherwise.
const DefaultLoopBatch = 128

// LoopModel is a single model that makes any number of training steps in an
// ONNX Loop, so that any runtime can train with it and nothing leaves the
// device between steps. Parameters, moments and running statistics are
// loop-carried: inputs that default to the checkpoint's values, and outputs
// "<name>.final" that can be fed in again as "<name>.initial". The batch inputs take all samples at
// once; step i takes batch i, counted from "step" on and starting over where the
// data ends. Samples behind the last whole batch are left out.
//
// batch is the default of the input "batch_size"; 0 means DefaultLoopBatch, or
// the batch size that the model fixes.
func (a *Artifacts) LoopModel(batch int64) (*onnxgraph.Model, error) {
	l := &loopBuilder{art: a, outer: &onnxgraph.Graph{Name: a.Training.Graph.Name + "_loop"}, body: &onnxgraph.Graph{Name: "step"}}
	if err := l.readBatch(batch); err != nil {
		return nil, fmt.Errorf("loop form: %w", err)
	}
	if err := l.build(); err != nil {
		return nil, fmt.Errorf("loop form: %w", err)
	}
	m := *a.Training
	m.Graph, m.Metadata = l.outer, slices.Clone(a.Training.Metadata)
	m.IRVersion = max(m.IRVersion, 4) // from which on inputs may have defaults
	return &m, nil
}

type loopBuilder struct {
	art         *Artifacts
	outer, body *onnxgraph.Graph
	batch       int64
	fixed       bool // the model has no other batch size
}

// readBatch settles the batch size and checks that the inputs share their
// first axis.
func (l *loopBuilder) readBatch(batch int64) error {
	l.batch = batch
	if l.batch == 0 {
		l.batch = DefaultLoopBatch
	}
	var first *onnxgraph.Value
	for _, v := range l.batchInputs() {
		if len(v.Type.Shape) == 0 {
			return fmt.Errorf("input %q is a scalar, expected samples along the first axis", v.Name)
		}
		d := v.Type.Shape[0]
		if first == nil {
			first = v
		} else if !d.Same(first.Type.Shape[0]) {
			return fmt.Errorf("inputs %q of shape %s and %q of shape %s have different first axes, expected the samples", first.Name, first.Type.Shape, v.Name, v.Type.Shape)
		}
		if d.IsKnown() {
			if batch != 0 && batch != d.Value {
				return fmt.Errorf("batch size %d, but input %q has shape %s", batch, v.Name, v.Type.Shape)
			}
			l.batch, l.fixed = d.Value, true
		}
	}
	return nil
}

func (l *loopBuilder) batchInputs() []*onnxgraph.Value {
	return keepValues(l.art.Training.Graph.Inputs, func(name string) bool { return slices.Contains(l.art.Inputs, name) })
}

func (l *loopBuilder) build() error {
	carried, initial := l.state()
	if err := l.claim(carried); err != nil {
		return err
	}
	scalar := onnxgraph.Shape{}
	out := newGrower(l.outer, "")
	l.declare(out, initial)
	one := onnxgraph.TensorOf(onnxgraph.Int64, scalar)
	l.body.Inputs = []*onnxgraph.Value{{Name: "loop/i", Type: one}, {Name: "loop/go", Type: onnxgraph.TensorOf(onnxgraph.Bool, scalar)}}
	l.body.Outputs = []*onnxgraph.Value{{Name: "loop/goes_on", Type: onnxgraph.TensorOf(onnxgraph.Bool, scalar)}}
	w := newGrower(l.body, "loop/")
	w.named("loop/goes_on", "Identity", []string{"loop/go"})
	l.fetch(w)
	l.step()

	loop := &onnxgraph.Node{Name: "training", OpType: "Loop", Inputs: []string{loopSteps, ""}}
	for _, v := range carried {
		// Inside, values have the names that the models give them.
		l.body.Inputs = append(l.body.Inputs, v)
		l.body.Outputs = append(l.body.Outputs, &onnxgraph.Value{Name: v.Name + updatedSuffix, Type: v.Type})
		loop.Inputs = append(loop.Inputs, initialName(v.Name))
		loop.Outputs = append(loop.Outputs, finalName(v.Name))
		l.outer.Outputs = append(l.outer.Outputs, &onnxgraph.Value{Name: finalName(v.Name), Type: v.Type})
	}
	l.body.Outputs = append(l.body.Outputs, &onnxgraph.Value{Name: l.art.LossName, Type: onnxgraph.TensorOf(onnxgraph.Float, scalar)})
	loop.Outputs = append(loop.Outputs, loopLosses)
	loop.Attrs = []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", l.body)}
	l.outer.Nodes = append(l.outer.Nodes, loop)
	out.named(finalName(loopFirst), "Add", []string{loopFirst, loopSteps})
	l.outer.Outputs = append([]*onnxgraph.Value{
		{Name: loopLosses, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim()})},
		{Name: finalName(loopFirst), Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.StaticShape(1))},
	}, l.outer.Outputs...)
	return nil
}

// Outer names of a carried value: ONNX wants names inside a loop to differ from
// those around it.
func initialName(name string) string { return name + ".initial" }
func finalName(name string) string   { return name + ".final" }

// dataName is the outer name of a batch input.
func dataName(name string) string { return name + ".data" }

// state lists what is carried, with the values of the checkpoint.
func (l *loopBuilder) state() (carried []*onnxgraph.Value, initial []*onnxgraph.Tensor) {
	add := func(name string, t *onnxgraph.Tensor) {
		c := *t
		c.Name = initialName(name)
		carried = append(carried, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
		initial = append(initial, &c)
	}
	c := l.art.Checkpoint
	moments := map[string]*onnxgraph.Tensor{}
	for _, g := range c.Groups {
		for _, s := range g.States {
			for k, t := range s.Moments {
				moments[momentum(s.Param, k)] = t
			}
		}
	}
	for _, t := range c.Trainable {
		add(t.Name, t)
	}
	for _, p := range l.art.Params {
		for k := range l.art.Config.moments(p.Group) {
			name := momentum(p.Name, k)
			if t := moments[name]; t != nil {
				add(name, t)
			} else {
				add(name, onnxgraph.Floats(name, p.Dims, make([]float32, p.Len())))
			}
		}
	}
	for _, name := range l.art.Buffers {
		add(name, c.Tensor(name))
	}
	return carried, initial
}

// claim refuses models whose own names are those of the loop.
func (l *loopBuilder) claim(carried []*onnxgraph.Value) error {
	used := l.art.Training.Graph.Names()
	for _, name := range []string{loopSteps, loopFirst, loopRate, loopBatch, loopLosses, finalName(loopFirst)} {
		if used[name] {
			return fmt.Errorf("the model has a value named %q already, which is one of the loop; rename it", name)
		}
	}
	for _, v := range carried {
		for _, outer := range []string{initialName(v.Name), finalName(v.Name)} {
			if used[outer] {
				return fmt.Errorf("the model has a value named %q already; rename it", outer)
			}
		}
	}
	return nil
}

// declare gives the outer graph its inputs: data, numbers and state.
func (l *loopBuilder) declare(w *grower, initial []*onnxgraph.Tensor) {
	samples := onnxgraph.Sym("samples")
	for _, v := range l.batchInputs() {
		w.input(dataName(v.Name), v.Type.DType, append(onnxgraph.Shape{samples}, v.Type.Shape[1:]...))
	}
	w.input(loopSteps, onnxgraph.Int64, onnxgraph.Shape{})
	withDefault := func(t *onnxgraph.Tensor, s onnxgraph.Shape) {
		l.outer.Inputs = append(l.outer.Inputs, &onnxgraph.Value{Name: t.Name, Type: onnxgraph.TensorOf(t.DType, s)})
		l.outer.Initializers = append(l.outer.Initializers, t)
	}
	withDefault(onnxgraph.Floats(loopRate, []int64{1}, []float32{float32(l.art.LearningRate())}), onnxgraph.Shape{onnxgraph.Sym("rates")})
	size := onnxgraph.Int64s(loopBatch, []int64{}, []int64{l.batch})
	if l.fixed {
		l.outer.Initializers = append(l.outer.Initializers, size)
	} else {
		withDefault(size, size.Shape())
	}
	done := int64(0)
	for _, g := range l.art.Checkpoint.Groups {
		done = g.Step
	}
	withDefault(onnxgraph.Vector(loopFirst, done), onnxgraph.StaticShape(1))
	for _, t := range initial {
		withDefault(t, t.Shape())
	}
}

// fetch emits, inside, what a step reads: its batch, its learning rate, and its
// number. Numbers that are the same in every step are computed outside.
func (l *loopBuilder) fetch(w *grower) {
	out := newGrower(l.outer, "around/")
	scalar := func(w *grower, v int64) string { return w.constant(onnxgraph.Int64s("number", []int64{}, []int64{v})) }
	data := dataName(l.batchInputs()[0].Name)
	samples := out.op("Gather", []string{out.op("Shape", []string{data}), scalar(out, 0)})
	batches := out.op("Div", []string{samples, loopBatch})
	within := out.op("Range", []string{scalar(out, 0), loopBatch, scalar(out, 1)})
	first := out.op("Squeeze", []string{loopFirst})
	lastRate := out.op("Sub", []string{out.op("Size", []string{loopRate}), scalar(out, 1)})

	at := w.op("Mod", []string{w.op("Add", []string{first, "loop/i"}), batches})
	rows := w.op("Add", []string{w.op("Mul", []string{at, loopBatch}), within})
	if l.fixed {
		rows = w.op("Reshape", []string{rows, w.constant(onnxgraph.Vector("rows", l.batch))})
	}
	for _, v := range l.batchInputs() {
		w.named(v.Name, "Gather", []string{dataName(v.Name), rows})
	}
	one := w.constant(onnxgraph.Vector("one", 1))
	rate := w.op("Gather", []string{loopRate, w.op("Min", []string{"loop/i", lastRate})})
	w.named("loop/rate", "Reshape", []string{rate, one})
	w.named("loop/step", "Add", []string{w.op("Add", []string{loopFirst, "loop/i"}), one})
}

// step puts training and optimizer model into the body.
func (l *loopBuilder) step() {
	training, update := copyModel(l.art.Training).Graph, copyModel(l.art.Optimizer).Graph
	clock := map[string]string{"learning_rate": "loop/rate", "step": "loop/step"}
	for _, from := range slices.Sorted(maps.Keys(clock)) {
		rename(update, from, clock[from])
	}
	for _, t := range l.art.Checkpoint.Frozen {
		if !slices.Contains(l.art.Buffers, t.Name) {
			l.body.Initializers = append(l.body.Initializers, t)
		}
	}
	for _, g := range []*onnxgraph.Graph{training, update} {
		l.body.Initializers = append(l.body.Initializers, g.Initializers...)
		l.body.Nodes = append(l.body.Nodes, g.Nodes...)
	}
}
