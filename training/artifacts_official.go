package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

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

// lowerOfficial replaces the operators that only upstream's training build
// has (those of com.microsoft, and a few that it puts into the default domain)
// by standard ones.
func lowerOfficial(m *onnxgraph.Model) (*onnxgraph.Model, error) {
	reg := ops.Registry()
	std, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, err
	}
	low, err := rewrite.Lower(std, reg, upstreamOnly)
	if err != nil {
		return nil, err
	}
	var left []string
	low.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if upstreamOnly(n) && !slices.Contains(left, n.Op()) {
				left = append(left, n.Op())
			}
		}
	})
	if len(left) > 0 {
		return nil, fmt.Errorf("the training model uses operators that have no form in standard ONNX: %s", strings.Join(left, ", "))
	}
	low.Opsets = slices.DeleteFunc(low.Opsets, func(o onnxgraph.Opset) bool { return o.Domain != "" })
	// Folding and sharing again: lowerings compute sizes that are known.
	return rewrite.Standard(low, reg)
}

// upstreamOnly says whether the node's operator is none of the ONNX standard.
func upstreamOnly(n *onnxgraph.Node) bool {
	if n.Domain != "" {
		return true
	}
	switch n.OpType {
	case "SimplifiedLayerNormalization", "MaxPoolGrad", "AveragePoolGrad":
		return true
	}
	return false
}
