package training

import (
	"fmt"
	"maps"
	"slices"

	"ninox/onnxgraph"
)

// LoopFile is the name of a model that trains itself.
const LoopFile = "training_loop.onnx"

// Inputs and outputs of a model that trains itself, besides the data. No input
// has a default, since not every runtime lets defaults be replaced.
const (
	loopSteps  = "steps"         // input, int64 scalar: steps to make
	loopFirst  = "step"          // input, int64 [1]: steps made before, 0 at the start; output "step.final"
	loopRate   = "learning_rate" // input, float [n]: of each step, the last one for all further steps
	loopBatch  = "batch_size"    // input, int64 scalar: samples of a step; absent where the model fixes them
	loopState  = "state"         // input, float [n]: the output "state.final" of another run, or empty to start anew
	loopLosses = "losses"        // output, float [steps]
)

// LoopModel is a single model that makes any number of training steps in an
// ONNX Loop, so that any runtime can train with it and nothing leaves the
// device between steps. Parameters, moments and running statistics are
// loop-carried; they start as the checkpoint has them, or as another run left
// them in "state.final", and come out as "<name>.final" too. The batch inputs,
// called "<name>.data", take all samples at once; step i takes batch i, counted
// from "step" on and starting over where the data ends. Samples behind the last
// whole batch are left out.
func (a *Artifacts) LoopModel() (*onnxgraph.Model, error) {
	l := &loopBuilder{art: a, outer: &onnxgraph.Graph{Name: a.Training.Graph.Name + "_loop"}, body: &onnxgraph.Graph{Name: "step"}}
	if err := l.readBatch(); err != nil {
		return nil, fmt.Errorf("loop form: %w", err)
	}
	if err := l.build(); err != nil {
		return nil, fmt.Errorf("loop form: %w", err)
	}
	m := *a.Training
	m.Graph, m.Metadata = l.outer, slices.Clone(a.Training.Metadata)
	return &m, nil
}

type loopBuilder struct {
	art         *Artifacts
	outer, body *onnxgraph.Graph
	batch       int64 // samples of a step where the model fixes them, else 0
}

// readBatch finds the batch size and checks that the inputs share their first
// axis.
func (l *loopBuilder) readBatch() error {
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
		l.batch = max(d.Value, 0)
	}
	return nil
}

func (l *loopBuilder) batchInputs() []*onnxgraph.Value {
	return l.art.BatchInputs()
}

func (l *loopBuilder) build() error {
	carried, initial := l.state()
	if err := l.claim(carried); err != nil {
		return err
	}
	scalar := onnxgraph.Shape{}
	out := newGrower(l.outer, "around/")
	l.declare(out)
	pieces := l.unpackState(out, carried, initial)
	one := onnxgraph.TensorOf(onnxgraph.Int64, scalar)
	l.body.Inputs = []*onnxgraph.Value{{Name: "loop/i", Type: one}, {Name: "loop/go", Type: onnxgraph.TensorOf(onnxgraph.Bool, scalar)}}
	l.body.Outputs = []*onnxgraph.Value{{Name: "loop/goes_on", Type: onnxgraph.TensorOf(onnxgraph.Bool, scalar)}}
	w := newGrower(l.body, "loop/")
	w.named("loop/goes_on", "Identity", []string{"loop/go"})
	l.fetch(out, w)
	l.step()

	loop := &onnxgraph.Node{Name: "training", OpType: "Loop", Inputs: []string{loopSteps, ""}}
	flat := out.constant(onnxgraph.Vector("flat", -1))
	var finals []string
	for i, v := range carried {
		// Inside, values have the names that the models give them.
		l.body.Inputs = append(l.body.Inputs, v)
		l.body.Outputs = append(l.body.Outputs, &onnxgraph.Value{Name: v.Name + updatedSuffix, Type: v.Type})
		loop.Inputs = append(loop.Inputs, pieces[i])
		loop.Outputs = append(loop.Outputs, finalName(v.Name))
		l.outer.Outputs = append(l.outer.Outputs, &onnxgraph.Value{Name: finalName(v.Name), Type: v.Type})
	}
	l.body.Outputs = append(l.body.Outputs, &onnxgraph.Value{Name: l.art.LossName, Type: onnxgraph.TensorOf(onnxgraph.Float, scalar)})
	loop.Outputs = append(loop.Outputs, loopLosses)
	loop.Attrs = []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", l.body)}
	l.outer.Nodes = append(l.outer.Nodes, loop)
	out.named(finalName(loopFirst), "Add", []string{loopFirst, loopSteps})
	for _, v := range carried {
		finals = append(finals, out.op("Reshape", []string{finalName(v.Name), flat}))
	}
	out.named(finalName(loopState), "Concat", finals, onnxgraph.IntAttr("axis", 0))
	l.outer.Outputs = append([]*onnxgraph.Value{
		{Name: loopLosses, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim()})},
		{Name: finalName(loopFirst), Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.StaticShape(1))},
		{Name: finalName(loopState), Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim()})},
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
	for _, name := range []string{loopSteps, loopFirst, loopRate, loopBatch, loopLosses, loopState, finalName(loopFirst), finalName(loopState)} {
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
func (l *loopBuilder) declare(w *grower) {
	samples := onnxgraph.Sym("samples")
	for _, v := range l.batchInputs() {
		w.input(dataName(v.Name), v.Type.DType, append(onnxgraph.Shape{samples}, v.Type.Shape[1:]...))
	}
	w.input(loopSteps, onnxgraph.Int64, onnxgraph.Shape{})
	w.input(loopRate, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("rates")})
	if l.batch == 0 {
		w.input(loopBatch, onnxgraph.Int64, onnxgraph.Shape{})
	} else {
		l.outer.Initializers = append(l.outer.Initializers, onnxgraph.Int64s(loopBatch, []int64{}, []int64{l.batch}))
	}
	w.input(loopFirst, onnxgraph.Int64, onnxgraph.StaticShape(1))
	w.input(loopState, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("state_size")})
}

// unpackState cuts the state into the carried values: the input, or where that
// is empty the initial values.
func (l *loopBuilder) unpackState(w *grower, carried []*onnxgraph.Value, initial []*onnxgraph.Tensor) []string {
	flat := w.constant(onnxgraph.Vector("flat", -1))
	l.outer.Initializers = append(l.outer.Initializers, initial...)
	vector := onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.UnknownDim()})
	start := &onnxgraph.Graph{Name: "start", Outputs: []*onnxgraph.Value{{Name: "start/state", Type: vector}}}
	goOn := &onnxgraph.Graph{Name: "go_on", Outputs: []*onnxgraph.Value{{Name: "go_on/state", Type: vector}}}
	inner := newGrower(start, "start/")
	var parts, pieces []string
	sizes := make([]int64, len(initial))
	for i, t := range initial {
		parts = append(parts, inner.op("Reshape", []string{t.Name, flat}))
		sizes[i] = t.Len()
		pieces = append(pieces, w.fresh("piece"))
	}
	inner.named("start/state", "Concat", parts, onnxgraph.IntAttr("axis", 0))
	newGrower(goOn, "go_on/").named("go_on/state", "Identity", []string{loopState})
	none := w.op("Equal", []string{w.op("Size", []string{loopState}), w.constant(onnxgraph.Int64s("none", []int64{}, []int64{0}))})
	state := w.op("If", []string{none}, onnxgraph.GraphAttr("then_branch", start), onnxgraph.GraphAttr("else_branch", goOn))
	l.outer.Nodes = append(l.outer.Nodes, &onnxgraph.Node{
		Name: w.fresh("Split"), OpType: "Split", Outputs: pieces,
		Inputs: []string{state, w.constant(onnxgraph.Vector("sizes", sizes...))}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 0)},
	})
	values := make([]string, len(carried))
	for i, v := range carried {
		dims, _ := v.Type.Shape.Static() // of a tensor
		values[i] = w.op("Reshape", []string{pieces[i], w.constant(onnxgraph.Vector("shape", dims...))})
	}
	return values
}

// fetch emits, inside, what a step reads: its batch, its learning rate, and its
// number. Numbers that are the same in every step are computed outside.
func (l *loopBuilder) fetch(out, w *grower) {
	scalar := func(w *grower, v int64) string { return w.constant(onnxgraph.Int64s("number", []int64{}, []int64{v})) }
	data := dataName(l.batchInputs()[0].Name)
	samples := out.op("Gather", []string{out.op("Shape", []string{data}), scalar(out, 0)})
	batches := out.op("Div", []string{samples, loopBatch})
	within := out.op("Range", []string{scalar(out, 0), loopBatch, scalar(out, 1)})
	first := out.op("Squeeze", []string{loopFirst})
	lastRate := out.op("Sub", []string{out.op("Size", []string{loopRate}), scalar(out, 1)})

	at := w.op("Mod", []string{w.op("Add", []string{first, "loop/i"}), batches})
	rows := w.op("Add", []string{w.op("Mul", []string{at, loopBatch}), within})
	if l.batch > 0 {
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
