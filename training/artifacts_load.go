package training

import (
	"fmt"
	"path/filepath"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
)

// LoadArtifacts reads the four files from dir: those that Artifacts.Write
// wrote, or those of ONNX Runtime's own offline tool, whose gradient operators
// are lowered to standard ones.
func LoadArtifacts(dir string) (*Artifacts, error) {
	a := &Artifacts{}
	for name, m := range map[string]**onnxgraph.Model{TrainingFile: &a.Training, EvalFile: &a.Eval, OptimizerFile: &a.Optimizer} {
		read, err := onnxgraph.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("artifacts: %w", err)
		}
		*m = read
	}
	var err error
	if a.Checkpoint, err = ReadCheckpoint(filepath.Join(dir, CheckpointFile)); err != nil {
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	if a.Checkpoint.Nominal {
		return nil, fmt.Errorf("artifacts: %s is nominal, it holds no parameter values", filepath.Join(dir, CheckpointFile))
	}
	if len(a.Checkpoint.Trainable) == 0 {
		return nil, fmt.Errorf("artifacts: %s holds no trainable parameters", filepath.Join(dir, CheckpointFile))
	}
	for _, t := range a.Checkpoint.Trainable {
		a.Params = append(a.Params, Param{t.Name, t.Dims})
	}
	if config, ok := a.Training.Meta(metaOptimizer); ok {
		err = a.readOwn(config)
	} else {
		err = a.readOfficial()
	}
	if err != nil {
		return nil, fmt.Errorf("artifacts %s: %w", dir, err)
	}
	return a, nil
}

// readOwn fills the description of artifacts that ninox wrote.
func (a *Artifacts) readOwn(config string) error {
	var err error
	if a.Config, err = parseOptimizer(config); err != nil {
		return err
	}
	a.LossKind, _ = a.Training.Meta(metaLoss)
	a.Output, _ = a.Training.Meta(metaOutput)
	if err := a.readInterface(); err != nil {
		return err
	}
	outputs := map[string]bool{}
	for _, v := range a.Training.Graph.Outputs {
		outputs[v.Name] = true
	}
	for _, p := range a.Params {
		if !outputs[p.Grad()] {
			return fmt.Errorf("the training model has no output %q", p.Grad())
		}
	}
	for _, t := range a.Checkpoint.Frozen {
		if outputs[t.Name+updatedSuffix] {
			a.Buffers = append(a.Buffers, t.Name)
		}
	}
	return nil
}

// readInterface finds loss and batch inputs: the first output, and the inputs
// that are not in the checkpoint.
func (a *Artifacts) readInterface() error {
	g := a.Training.Graph
	if len(g.Outputs) == 0 || len(a.Eval.Graph.Outputs) == 0 {
		return fmt.Errorf("the training or eval model has no outputs")
	}
	a.LossName = g.Outputs[0].Name
	if eval := a.Eval.Graph.Outputs[0].Name; eval != a.LossName {
		return fmt.Errorf("the training model's loss is %q, the eval model's %q", a.LossName, eval)
	}
	inputs := map[string]bool{}
	for _, v := range g.Inputs {
		inputs[v.Name] = true
		if a.Checkpoint.Tensor(v.Name) == nil {
			a.Inputs = append(a.Inputs, v.Name)
		}
	}
	for _, p := range a.Params {
		if !inputs[p.Name] {
			return fmt.Errorf("parameter %q of the checkpoint is not an input of the training model", p.Name)
		}
	}
	if len(a.Inputs) == 0 {
		return fmt.Errorf("the training model has no batch inputs")
	}
	a.Labels = a.Inputs[len(a.Inputs)-1]
	return nil
}

// Operators and names of upstream's training and optimizer models.
const (
	microsoft      = "com.microsoft"
	accumulator    = "InPlaceAccumulatorV2"
	lazyReset      = "lazy_reset_grad"
	bufferOfGrad   = ".accumulation.buffer"
	opAdamW        = "AdamWOptimizer"
	opSGD          = "SGDOptimizerV2"
	opClipGradNorm = "InplaceClipGradNorm"
	opBatchNorm    = "BatchNormInternal"
)

// readOfficial turns upstream's artifacts into our form.
func (a *Artifacts) readOfficial() error {
	var err error
	if a.Config, err = officialOptimizer(a.Optimizer.Graph); err != nil {
		return err
	}
	if err := a.dropAccumulators(); err != nil {
		return err
	}
	fixEvalBatchNorm(a.Eval.Graph)
	a.adoptStatistics()
	if a.Training, err = lowerOfficial(a.Training); err != nil {
		return err
	}
	if a.Eval, err = lowerOfficial(a.Eval); err != nil {
		return err
	}
	a.Optimizer = optimizerModel(a.Config, a.Params, a.Training.OpsetVersion(""))
	if err := a.readInterface(); err != nil {
		return err
	}
	return a.exposeOutput()
}

// exposeOutput finds the model output that the loss judges and makes it an
// output of the eval model, which upstream gives none besides the loss unless
// asked to. It is the value through which alone the loss depends on anything
// but the labels; where there is no such value, the model stays as it is.
func (a *Artifacts) exposeOutput() error {
	g := a.Eval.Graph
	facts, err := infer.Run(a.Eval, ops.Registry(), infer.Options{})
	if err != nil {
		return err
	}
	name := judged(g, a.Labels, a.LossName)
	f := facts.Fact(name)
	if f.Rank() < 0 || f.DType() != onnxgraph.Float {
		return nil
	}
	a.Output = name
	if !slices.ContainsFunc(g.Outputs, func(v *onnxgraph.Value) bool { return v.Name == name }) {
		g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: name, Type: f.Type})
	}
	return nil
}

// judged is the value that depends on no label and on which every other such
// value that meets the labels on the way to the loss depends; "" where there is
// none.
func judged(g *onnxgraph.Graph, labels, loss string) string {
	labelled := map[string]bool{labels: true}
	for _, n := range g.Nodes {
		if slices.ContainsFunc(n.Reads(), func(in string) bool { return labelled[in] }) {
			for _, out := range n.Outputs {
				labelled[out] = out != ""
			}
		}
	}
	needed := map[string]bool{loss: true}
	met := map[string]bool{} // where unlabelled values enter the labelled part
	computed := map[string]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		for _, out := range n.Outputs {
			computed[out] = true
		}
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return needed[out] && labelled[out] }) {
			continue
		}
		for _, in := range n.Reads() {
			needed[in] = true
			met[in] = met[in] || !labelled[in]
		}
	}
	for _, n := range g.Nodes { // in order: the first computed value that was met comes before all others
		for _, out := range n.Outputs {
			if met[out] && computed[out] && dominates(g, out, met) {
				return out
			}
		}
	}
	return ""
}

// dominates says whether every computed value of a set is the given one or
// depends on it.
func dominates(g *onnxgraph.Graph, value string, set map[string]bool) bool {
	after := map[string]bool{value: true}
	for _, n := range g.Nodes {
		depends := slices.ContainsFunc(n.Reads(), func(in string) bool { return after[in] })
		for _, out := range n.Outputs {
			after[out] = after[out] || depends
			if set[out] && !after[out] {
				return false
			}
		}
	}
	return true
}

// officialOptimizer reads the configuration from the optimizer model's nodes.
func officialOptimizer(g *onnxgraph.Graph) (Optimizer, error) {
	var o Optimizer
	for _, n := range g.Nodes {
		switch {
		case n.Domain == microsoft && n.OpType == opAdamW:
			o.Kind, o.Convention = AdamW, ORT
			if n.Int("adam_mode", 0) == 0 {
				o.Convention = PyTorch
			}
			o.Beta1, o.Beta2 = decimal(n.Float("alpha", 0.9)), decimal(n.Float("beta", 0.999))
			o.Epsilon, o.WeightDecay = decimal(n.Float("epsilon", 1e-8)), decimal(n.Float("weight_decay", 1e-2))
			o.NoBiasCorrection = n.Int("correct_bias", 1) == 0
		case n.Domain == microsoft && n.OpType == opSGD:
			o.Kind = SGD
		case n.Domain == microsoft && n.OpType == opClipGradNorm:
			o.ClipNorm = decimal(n.Float("max_norm", 1))
		case n.Domain == "" && (n.OpType == "SequenceConstruct" || n.OpType == "Identity"):
		default:
			return o, fmt.Errorf("optimizer model: node %q (%s) is not an optimizer that ninox knows", n.Name, n.Op())
		}
	}
	if o.Kind == "" {
		return o, fmt.Errorf("optimizer model: neither %s nor %s found", opAdamW, opSGD)
	}
	return o, o.Validate()
}

// decimal is the shortest decimal number that rounds to the float: attributes
// are stored as float32, but 0.999 was meant.
func decimal(f float32) float64 {
	var d float64
	fmt.Sscan(fmt.Sprint(f), &d)
	return d
}

// dropAccumulators removes the in-place gradient accumulation and makes the
// gradients outputs: the executor accumulates itself.
func (a *Artifacts) dropAccumulators() error {
	a.Training = copyModel(a.Training)
	g := a.Training.Graph
	if len(g.Outputs) == 0 {
		return fmt.Errorf("the training model has no outputs")
	}
	w := newGrower(g, "ninox/")
	gradOf := map[string]string{} // accumulation buffer → gradient
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		if n.Domain == microsoft && n.OpType == accumulator {
			gradOf[n.Input(0)] = n.Input(1)
			continue
		}
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
	outputs := g.Outputs[:1]
	for _, p := range a.Params {
		grad, ok := gradOf[p.Grad()+bufferOfGrad]
		if !ok {
			return fmt.Errorf("the training model has no gradient accumulator for parameter %q", p.Name)
		}
		if grad != p.Grad() {
			w.named(p.Grad(), "Identity", []string{grad})
		}
		outputs = append(outputs, &onnxgraph.Value{Name: p.Grad(), Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(p.Dims...))})
	}
	g.Outputs = slices.Clone(outputs)
	g.Inputs = keepValues(g.Inputs, func(name string) bool { _, buffer := gradOf[name]; return !buffer && name != lazyReset })
	dropDead(g)
	return nil
}

// adoptStatistics makes the running statistics of batch normalization part of
// the training state. Upstream keeps them as constants of the graphs, so that
// its eval model never learns what training measured.
func (a *Artifacts) adoptStatistics() {
	g := a.Training.Graph
	moved := map[string]bool{}
	for i, n := range g.Nodes {
		if n.Domain != microsoft || n.OpType != opBatchNorm || len(n.Outputs) < 3 {
			continue
		}
		mean, variance := g.Initializer(n.Input(3)), g.Initializer(n.Input(4))
		if mean == nil || variance == nil || moved[mean.Name] || moved[variance.Name] {
			continue // computed or shared statistics stay as they are
		}
		c := *n
		c.Outputs = slices.Clone(n.Outputs)
		for k, t := range []*onnxgraph.Tensor{mean, variance} {
			moved[t.Name] = true
			c.Outputs[k+1] = t.Name + updatedSuffix
			a.Buffers = append(a.Buffers, t.Name)
			a.Checkpoint.Frozen = append(a.Checkpoint.Frozen, t)
			g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: c.Outputs[k+1], Type: onnxgraph.TensorOf(t.DType, t.Shape())})
		}
		g.Nodes[i] = &c
	}
	for _, g := range []*onnxgraph.Graph{a.Training.Graph, a.Eval.Graph} {
		g.Initializers = slices.DeleteFunc(g.Initializers, func(t *onnxgraph.Tensor) bool { return moved[t.Name] })
		for _, name := range a.Buffers {
			t := a.Checkpoint.Tensor(name)
			g.Inputs = append(g.Inputs, &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
		}
	}
}

// fixEvalBatchNorm repairs a defect of upstream's tool, which leaves the
// outputs of training mode on BatchNormalization nodes of eval models.
func fixEvalBatchNorm(g *onnxgraph.Graph) {
	for i, n := range g.Nodes {
		if n.Domain == "" && n.OpType == "BatchNormalization" && len(n.Outputs) > 1 && n.Int("training_mode", 0) == 0 {
			c := *n
			c.Outputs = n.Outputs[:1]
			g.Nodes[i] = &c
		}
	}
}
