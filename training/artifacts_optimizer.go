package training

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
)

// WithOptimizer are the same artifacts for another optimizer, with the
// parameters of the checkpoint and an optimizer state of zeros at step 0. Which
// parameters decay stays as it is; Muon updates the weight matrices.
func (a *Artifacts) WithOptimizer(o Optimizer) (*Artifacts, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	out := *a
	out.Config = o.withDefaults()
	out.Config.SkipNonFinite = a.Config.SkipNonFinite
	eval := copyModel(a.Eval).Graph
	eval.Initializers = append(eval.Initializers, a.Checkpoint.Trainable...)
	out.Params = make([]Param, len(a.Params))
	group := OptimizerGroup{Name: "group0", InitialLearningRate: float32(a.LearningRate())}
	for i, p := range a.Params {
		p.Matrix = ""
		if out.Config.Kind == Muon && longAxes(p.Dims) >= 2 {
			p.Matrix = matrixOf(eval, p.Name)
		}
		out.Params[i] = p
		state := ParameterState{Param: p.Name}
		for k := range out.Config.moments(p.Group) {
			state.Moments = append(state.Moments, onnxgraph.Floats(fmt.Sprintf("momentum%d", k), p.Dims, make([]float32, p.Len())))
		}
		group.States = append(group.States, state)
	}
	c := *a.Checkpoint
	c.Groups = []OptimizerGroup{group}
	c.Properties = slices.Clone(c.Properties)
	c.SetProperty(PropStep, int64(0))
	out.Checkpoint = &c
	out.Training, out.Eval = copyModel(a.Training), copyModel(a.Eval)
	out.Optimizer = optimizerModel(out.Config, out.Params, a.Training.OpsetVersion(""))
	describe(&out)
	return &out, nil
}
