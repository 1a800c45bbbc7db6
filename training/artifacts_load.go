package training

import (
	"fmt"
	"path/filepath"
	"strings"

	"ninox/onnxgraph"
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
		a.Params = append(a.Params, Param{Name: t.Name, Dims: t.Dims})
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
	if text, ok := a.Training.Meta(metaLossOptions); ok {
		if a.LossOptions, err = decodeLossOptions(text); err != nil {
			return err
		}
	}
	if text, ok := a.Training.Meta(metaGroups); ok {
		if err := decodeGroups(a.Params, text); err != nil {
			return err
		}
	}
	a.Output, _ = a.Training.Meta(metaOutput)
	a.Precision, _ = a.Training.Meta(metaPrecision)
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
	if !strings.HasPrefix(a.LossKind, OutputLoss) {
		a.Labels = a.Inputs[len(a.Inputs)-1]
	}
	return nil
}
