package training

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/finetune"
	"ninox/onnxgraph/weights"
)

// File names of a set of artifacts; upstream's tool uses the same.
const (
	TrainingFile   = "training_model.onnx"
	EvalFile       = "eval_model.onnx"
	OptimizerFile  = "optimizer_model.onnx"
	CheckpointFile = "checkpoint"
)

// Metadata keys of the training model.
const (
	metaLoss        = "ninox.loss"         // kind of the loss
	metaLossOptions = "ninox.loss_options" // LossOptions as JSON
	metaOptimizer   = "ninox.optimizer"    // Optimizer.String
	metaGroups      = "ninox.groups"       // the parameters' Groups as JSON, by name, where not zero
	metaPrecision   = "ninox.precision"    // of Precisions()
	metaOutput      = "ninox.output"       // the model output that the loss judges
)

// Suffixes of value names in training and optimizer models.
const (
	gradSuffix     = "_grad"       // gradient of a parameter
	updatedSuffix  = ".updated"    // new value of a parameter, moment or buffer
	momentumSuffix = ".momentum%d" // moment of a parameter
)

// Artifacts are everything a training needs: upstream's four files.
//
// The models hold no parameters; those are inputs, in the order of the
// checkpoint, and the checkpoint holds their values.
//
//	training: batch inputs, labels, parameters → loss, <p>_grad …, <buffer>.updated …
//	eval:     batch inputs, labels, parameters → loss, the model's own outputs
//	optimizer: learning_rate [1], step [1] (from 1), for each p: p, p_grad, p.momentum0 … → p.updated, p.momentum0.updated …
type Artifacts struct {
	Training   *onnxgraph.Model
	Eval       *onnxgraph.Model
	Optimizer  *onnxgraph.Model
	Checkpoint *Checkpoint

	LossName string // value name of the loss in both models
	LossKind string // as ArtifactOptions.Loss, "" where the artifacts are not ours
	LossOptions
	Precision string    // of products in the training model, one of Precisions()
	Config    Optimizer // what the optimizer model computes
	Inputs    []string  // names of the batch inputs, labels included and last
	Labels    string    // the last of Inputs, "" where an output of the model is the loss
	Output    string    // the model output that the loss judges, "" where unknown
	Params    []Param   // trainable parameters, in the order of the checkpoint
	Buffers   []string  // frozen tensors that the training model updates (running statistics)
}

// BatchInputs are the inputs of the training model that a batch fills, those
// that Inputs names, in the model's order.
func (a *Artifacts) BatchInputs() []*onnxgraph.Value {
	return keepValues(a.Training.Graph.Inputs, func(name string) bool { return slices.Contains(a.Inputs, name) })
}

// Param is one trainable parameter.
type Param struct {
	Name string
	Dims []int64
	Group
}

// Len is the number of elements.
func (p Param) Len() int64 {
	n := int64(1)
	for _, d := range p.Dims {
		n *= d
	}
	return n
}

// Grad is the name of the parameter's gradient in the training model.
func (p Param) Grad() string { return p.Name + gradSuffix }

// momentum is the name of moment i of a parameter.
func momentum(param string, i int) string { return param + fmt.Sprintf(momentumSuffix, i) }

// Write writes the four files into dir, which it creates. It refuses to
// replace files unless overwrite is set.
func (a *Artifacts) Write(dir string, overwrite bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("artifacts: %w", err)
	}
	if !overwrite {
		for _, name := range []string{TrainingFile, EvalFile, OptimizerFile, CheckpointFile} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return fmt.Errorf("artifacts: %w", &fs.PathError{Op: "write", Path: filepath.Join(dir, name), Err: fs.ErrExist})
			}
		}
	}
	for name, m := range map[string]*onnxgraph.Model{TrainingFile: a.Training, EvalFile: a.Eval, OptimizerFile: a.Optimizer} {
		if err := m.WriteFile(filepath.Join(dir, name), onnxgraph.WriteOptions{Overwrite: overwrite}); err != nil {
			return fmt.Errorf("artifacts: %w", err)
		}
	}
	return a.Checkpoint.Write(filepath.Join(dir, CheckpointFile))
}

// LearningRate is the initial learning rate that the checkpoint holds, 0 where
// it holds none.
func (a *Artifacts) LearningRate() float64 {
	if v, ok := a.Checkpoint.Property(PropLearningRate).(float32); ok {
		return float64(v)
	}
	for _, g := range a.Checkpoint.Groups {
		return float64(g.InitialLearningRate)
	}
	return 0
}

// Inference is the eval model as a plain model: without labels and loss, the
// parameters as initializers. Values come from state; parameters that state
// lacks (frozen ones; all where state is nil) come from the checkpoint.
func (a *Artifacts) Inference(state *weights.Set) (*onnxgraph.Model, error) {
	m := copyModel(a.Eval)
	g := m.Graph
	given := map[string]bool{}
	for _, list := range [][]*onnxgraph.Tensor{a.Checkpoint.Trainable, a.Checkpoint.Frozen} {
		for _, t := range list {
			given[t.Name] = true
			if state != nil && state.Get(t.Name) != nil {
				v, err := state.Floats(t.Name)
				if err != nil {
					return nil, err
				}
				if int64(len(v)) != t.Len() {
					return nil, fmt.Errorf("state %q has %d elements, expected %v", t.Name, len(v), t.Dims)
				}
				t = onnxgraph.Floats(t.Name, t.Dims, v)
			}
			g.Initializers = append(g.Initializers, t)
		}
	}
	outputs := keepValues(g.Outputs, func(name string) bool { return name != a.LossName })
	if len(outputs) == 0 {
		return nil, fmt.Errorf("the eval model has no output besides the loss %q", a.LossName)
	}
	g.Outputs = outputs
	dropDead(g)
	read := map[string]bool{}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			read[in] = true
		}
	}
	g.Inputs = keepValues(g.Inputs, func(name string) bool { return !given[name] && (name != a.Labels || read[name]) })
	m.Metadata = nil
	for _, kv := range a.Eval.Metadata {
		if !strings.HasPrefix(kv.Key, "ninox.") || kv.Key == finetune.MetaKey {
			m.Metadata = append(m.Metadata, kv)
		}
	}
	return m, nil
}

// hasOutputs says whether the eval model computes anything besides the loss.
func (a *Artifacts) hasOutputs() bool {
	return slices.ContainsFunc(a.Eval.Graph.Outputs, func(v *onnxgraph.Value) bool { return v.Name != a.LossName })
}

func keepValues(values []*onnxgraph.Value, keep func(name string) bool) []*onnxgraph.Value {
	var out []*onnxgraph.Value
	for _, v := range values {
		if keep(v.Name) {
			out = append(out, v)
		}
	}
	return out
}

// dropDead removes the nodes and initializers that no output needs.
func dropDead(g *onnxgraph.Graph) {
	live := map[string]bool{}
	for _, v := range g.Outputs {
		live[v.Name] = true
	}
	keep := make([]bool, len(g.Nodes))
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		for _, out := range n.Outputs {
			keep[i] = keep[i] || out != "" && live[out]
		}
		if keep[i] {
			markInputs(n, live)
		}
	}
	var nodes []*onnxgraph.Node
	for i, n := range g.Nodes {
		if keep[i] {
			nodes = append(nodes, n)
		}
	}
	g.Nodes = nodes
	var inits []*onnxgraph.Tensor
	for _, t := range g.Initializers {
		if live[t.Name] {
			inits = append(inits, t)
		}
	}
	g.Initializers = inits
}

// markInputs marks what a node reads; of subgraphs it marks every name that
// occurs, which keeps a few values too many rather than one too few.
func markInputs(n *onnxgraph.Node, live map[string]bool) {
	for _, in := range n.Inputs {
		live[in] = true
	}
	for _, a := range n.Attrs {
		graphs := a.Graphs
		if a.G != nil {
			graphs = append([]*onnxgraph.Graph{a.G}, graphs...)
		}
		for _, g := range graphs {
			for _, inner := range g.Nodes {
				markInputs(inner, live)
			}
			for _, out := range g.Outputs {
				live[out.Name] = true
			}
		}
	}
}
