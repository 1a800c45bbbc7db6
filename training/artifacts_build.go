package training

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
	"ninox/training/autodiff"
)

// ErrNothingToTrain reports a model without a parameter that the options allow
// to train and that gradients reach.
var ErrNothingToTrain = errors.New("no parameter is left to train")

// ArtifactOptions say how to train a model. The zero value trains every
// parameter by cross-entropy and AdamW.
type ArtifactOptions struct {
	Loss string // one of Losses() or OutputLoss with a name; default cross-entropy
	LossOptions
	Optimizer Optimizer // default AdamW
	Precision string    // one of Precisions(), of the training model; default FP32
	LossScale LossScale // with Precision FP16 dynamic by default
	// LearningRate is saved as the initial one; default 1e-3.
	LearningRate float64
	// Train and Freeze are globs (path.Match) over initializer names. Without
	// Train, every float initializer with a gradient is trained, except those that
	// ConstantsOf tells; Freeze takes parameters out.
	Train, Freeze []string
	// TrainAlso names parameters to train beside those that match Train. Where it
	// is set, no others are trained.
	TrainAlso []string
	// FreezeStatistics lets batch normalization use its running statistics, as in
	// evaluation, and keeps them.
	FreezeStatistics bool
	// NoDecay are globs over parameters without weight decay, besides those that
	// DecayMatricesOnly leaves out: all with fewer than two axes longer than 1, as
	// biases and normalisation weights are.
	NoDecay           []string
	DecayMatricesOnly bool
	// NoMuon are globs over weight matrices that AdamW is to update. Muon's
	// authors leave out embeddings, as ninox does, and the output layer.
	NoMuon    []string
	Output    string // model output that the loss judges; default the first of type float
	Labels    string // name of the labels input; default "labels"
	ClassAxis int    // of cross-entropy, may be negative; 0 chooses 1, or the last of three axes
}

// Validate names every field that makes no sense.
func (o ArtifactOptions) Validate() error {
	var errs []error
	if err := o.LossOptions.validate(cmp.Or(o.Loss, CrossEntropy)); err != nil {
		errs = append(errs, fmt.Errorf("artifacts: %w", err))
	}
	if name, own := strings.CutPrefix(o.Loss, OutputLoss); own && o.Output != "" && o.Output != name {
		errs = append(errs, fmt.Errorf("artifacts: loss %q judges that output, not %q", o.Loss, o.Output))
	}
	for _, g := range slices.Concat(o.Train, o.Freeze, o.NoDecay, o.NoMuon) {
		if _, err := path.Match(g, ""); err != nil {
			errs = append(errs, fmt.Errorf("artifacts: glob %q: %w", g, err))
		}
	}
	if !(o.LearningRate >= 0) {
		errs = append(errs, fmt.Errorf("artifacts: learning rate %v is negative", o.LearningRate))
	}
	if o.Precision != "" && !slices.Contains(Precisions(), o.Precision) {
		errs = append(errs, fmt.Errorf("artifacts: unknown precision %q, expected one of %s", o.Precision, strings.Join(Precisions(), ", ")))
	}
	if f := o.LossScale.Factor; !(f >= 0 && f <= math.MaxFloat32) {
		errs = append(errs, fmt.Errorf("artifacts: loss scale %v is no number of at least 0", f))
	}
	if len(o.NoMuon) > 0 && o.Optimizer.Kind != Muon {
		errs = append(errs, fmt.Errorf("artifacts: parameters are to be left out of muon, but the optimizer is %s", cmp.Or(o.Optimizer.Kind, AdamW)))
	}
	return errors.Join(append(errs, o.Optimizer.Validate())...)
}

// BuildArtifacts derives what is needed to train a forward model.
func BuildArtifacts(m *onnxgraph.Model, reg *op.Registry, o ArtifactOptions) (*Artifacts, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.Loss = cmp.Or(o.Loss, CrossEntropy)
	if name, own := strings.CutPrefix(o.Loss, OutputLoss); own {
		o.Output, o.Labels = name, ""
	} else {
		o.Labels = cmp.Or(o.Labels, "labels")
	}
	o.LearningRate = cmp.Or(o.LearningRate, 1e-3)
	if o.Precision = cmp.Or(o.Precision, FP32); o.Precision == FP16 && o.LossScale == (LossScale{}) {
		o.LossScale.Dynamic = true
	}
	if o.LossScale.Dynamic {
		o.LossScale.Factor = cmp.Or(o.LossScale.Factor, scaleStart)
	}
	o.Optimizer.SkipNonFinite = o.Optimizer.SkipNonFinite || o.LossScale.Factor != 0
	b := &builder{opts: o, reg: reg, art: &Artifacts{
		LossKind: o.Loss, LossOptions: o.LossOptions, Precision: o.Precision, Labels: o.Labels, Config: o.Optimizer.withDefaults(),
		Checkpoint: &Checkpoint{Version: 2},
	}}
	if err := b.build(m); err != nil {
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	return b.art, nil
}

// builder carries the parts of BuildArtifacts.
type builder struct {
	opts ArtifactOptions
	reg  *op.Registry
	art  *Artifacts

	groups map[string]Group
	loops  map[string]string // loops that cannot be written out, by label, and why
	given  map[string]bool   // float initializers of the model as it came: its parameters, as exporters write them
}

func (b *builder) build(m *onnxgraph.Model) error {
	b.given = map[string]bool{}
	constants := ConstantsOf(m)
	for _, t := range m.Graph.Initializers {
		b.given[t.Name] = t.DType == onnxgraph.Float && constants[t.Name] == ""
	}
	eval, err := b.standard(m)
	if err != nil {
		return err
	}
	g := eval.Graph
	inits := map[string]bool{}
	for _, t := range g.Initializers {
		inits[t.Name] = true
	}
	// Before IR version 4, initializers were listed as inputs too.
	g.Inputs = keepValues(g.Inputs, func(name string) bool { return !inits[name] })
	for _, v := range g.Inputs {
		b.art.Inputs = append(b.art.Inputs, v.Name)
	}
	if b.opts.Labels != "" {
		b.art.Inputs = append(b.art.Inputs, b.opts.Labels)
	}
	b.art.LossName = lossName(g)

	facts, err := infer.Run(eval, b.reg, infer.Options{})
	if err != nil {
		return err
	}
	if b.art.Output, err = facts.FloatOutput(b.opts.Output); err != nil {
		return err
	}
	f := facts.Fact(b.art.Output)
	loss := lossSpec{
		kind: b.opts.Loss, LossOptions: b.opts.LossOptions, value: b.art.Output, shape: f.Shape(), dtype: f.DType(),
		labels: b.opts.Labels, classAxis: b.opts.ClassAxis, name: b.art.LossName,
	}
	if err := appendLoss(g, loss); err != nil {
		return err
	}
	training := copyModel(eval)
	if b.opts.FreezeStatistics {
		evalMode(training)
	}
	buffers := trainingMode(training, b.opts.FreezeStatistics)
	evalMode(eval)
	g.Outputs = append([]*onnxgraph.Value{{Name: b.art.LossName, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{})}}, g.Outputs...)

	if facts, err = infer.Run(training, b.reg, infer.Options{}); err != nil {
		return err
	}
	target := b.art.LossName
	if dtype, ok := half[b.opts.Precision]; ok {
		lowerPrecision(training, dtype, func(v string) onnxgraph.DType { return facts.Fact(v).DType() })
	}
	scale := b.opts.LossScale
	if scale.Factor != 0 {
		if target, err = scale.scaled(training, target, buffers); err != nil {
			return err
		}
	}
	if scale.Factor != 0 || b.opts.Precision != FP32 {
		if facts, err = infer.Run(training, b.reg, infer.Options{}); err != nil {
			return err
		}
	}
	trainable, frozen, grads, err := b.differentiate(training, facts, target, buffers)
	if err != nil {
		return err
	}
	b.art.Training, b.art.Eval = grads.Model, eval
	for _, name := range trainable {
		if grads.Grads[name] != (Param{Name: name}).Grad() {
			return fmt.Errorf("the model has a value named %q already, which is to be the gradient of parameter %q; rename it", Param{Name: name}.Grad(), name)
		}
	}
	if scale.Factor != 0 {
		names := make([]string, len(trainable))
		for i, name := range trainable {
			names[i] = grads.Grads[name]
		}
		scale.unscale(grads.Model, names)
	}
	if b.groups, err = b.groupsOf(eval.Graph, trainable); err != nil {
		return err
	}
	b.checkpoint(trainable, frozen)
	b.parametersToInputs(b.art.Eval.Graph, nil)
	b.parametersToInputs(b.art.Training.Graph, b.trainingOutputs(grads.Grads, facts, buffers))
	b.art.Optimizer = optimizerModel(b.art.Config, b.art.Params, m.OpsetVersion(""))
	describe(b.art)
	return nil
}

// standard prepares the model: loops through which gradients would have to flow
// are written out, since there are no gradients inside of them.
func (b *builder) standard(m *onnxgraph.Model) (*onnxgraph.Model, error) {
	m, err := rewrite.Standard(m, b.reg)
	if err != nil {
		return nil, err
	}
	before := len(m.Graph.Nodes)
	trained := dependsOnWeights(m.Graph)
	if m, b.loops, err = rewrite.Unroll(m, b.reg, trained); err != nil || len(m.Graph.Nodes) == before {
		return m, err
	}
	return rewrite.Standard(m, b.reg)
}

// dependsOnWeights tells the nodes that read, directly or not, a float
// initializer with axes.
func dependsOnWeights(g *onnxgraph.Graph) func(*onnxgraph.Node) bool {
	reached := map[string]bool{}
	for _, t := range g.Initializers {
		reached[t.Name] = t.DType == onnxgraph.Float && len(t.Dims) > 0
	}
	reads := func(n *onnxgraph.Node) bool {
		return slices.ContainsFunc(n.Reads(), func(in string) bool { return reached[in] })
	}
	for _, n := range g.Nodes {
		if reads(n) {
			for _, out := range n.Outputs {
				reached[out] = true
			}
		}
	}
	return reads
}

// explainLoops adds to the refusal of a gradient why a loop stays.
func (b *builder) explainLoops(err error) error {
	var refused *autodiff.RefusalError
	if errors.As(err, &refused) {
		for i, k := range refused.Blockers {
			if why := b.loops[k.Node]; why != "" {
				refused.Blockers[i].Reason = "gradients do not enter it, and it cannot be written out: " + why
			}
		}
	}
	return err
}

// differentiate chooses the parameters and appends their gradients. Without
// Train globs, float initializers whose gradient is zero everywhere (shapes
// of resizing, limits of clipping) are constants, not parameters, and so is what
// ConstantsOf tells.
func (b *builder) differentiate(m *onnxgraph.Model, facts *infer.Result, target string, buffers map[string]string) (trainable, frozen []string, res *autodiff.Result, err error) {
	// Some exporters write parameters as Constant nodes, and then all of them.
	chosen := len(b.opts.Train) > 0 || len(b.opts.TrainAlso) > 0
	lifted := !slices.Contains(slices.Collect(maps.Values(b.given)), true)
	for _, t := range m.Graph.Initializers {
		switch {
		case strings.HasPrefix(t.Name, lossPrefix):
		case t.DType != onnxgraph.Float:
		case buffers[t.Name] != "":
			frozen = append(frozen, t.Name)
		case matches(b.opts.Freeze, t.Name), chosen && !matches(b.opts.Train, t.Name) && !slices.Contains(b.opts.TrainAlso, t.Name):
			if len(t.Dims) > 0 {
				frozen = append(frozen, t.Name)
			}
		case chosen || len(t.Dims) > 0 && (b.given[t.Name] || lifted):
			trainable = append(trainable, t.Name)
		}
	}
	for _, glob := range slices.Concat(b.opts.Train, b.opts.Freeze) {
		if !slices.ContainsFunc(slices.Concat(trainable, frozen), func(n string) bool { return matches([]string{glob}, n) }) {
			return nil, nil, nil, fmt.Errorf("glob %q matches no float initializer", glob)
		}
	}
	for {
		if len(trainable) == 0 {
			return nil, nil, nil, ErrNothingToTrain
		}
		res, err = autodiff.Gradients(m, b.reg, facts, autodiff.Options{Loss: target, Wrt: trainable})
		if err != nil {
			return nil, nil, nil, b.explainLoops(err)
		}
		if len(res.Zero) == 0 {
			return trainable, frozen, res, nil
		}
		if chosen {
			return nil, nil, nil, fmt.Errorf("the loss does not depend on %s", strings.Join(res.Zero, ", "))
		}
		trainable = slices.DeleteFunc(trainable, func(n string) bool { return slices.Contains(res.Zero, n) })
		if facts, err = infer.Run(m, b.reg, infer.Options{}); err != nil {
			return nil, nil, nil, err
		}
	}
}

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, _ := path.Match(g, name)
		return ok || g == name
	})
}

// checkpoint fills the checkpoint from the initializers.
func (b *builder) checkpoint(trainable, frozen []string) {
	c := b.art.Checkpoint
	g := b.art.Training.Graph
	group := OptimizerGroup{Name: "group0", InitialLearningRate: float32(b.opts.LearningRate)}
	for _, name := range trainable {
		t := g.Initializer(name)
		c.Trainable = append(c.Trainable, t)
		b.art.Params = append(b.art.Params, Param{Name: name, Dims: t.Dims, Group: b.groups[name]})
		state := ParameterState{Param: name}
		for i := range b.art.Config.moments(b.groups[name]) {
			state.Moments = append(state.Moments, &onnxgraph.Tensor{
				Name: fmt.Sprintf("momentum%d", i), DType: t.DType, Dims: t.Dims, Data: make([]byte, len(t.Data)),
			})
		}
		group.States = append(group.States, state)
	}
	for _, name := range frozen {
		c.Frozen = append(c.Frozen, g.Initializer(name))
	}
	c.Groups = []OptimizerGroup{group}
	c.SetProperty(PropLearningRate, float32(b.opts.LearningRate))
	c.SetProperty(PropStep, int64(0))
}

// parametersToInputs turns the checkpoint's tensors from initializers into
// inputs, in the order of the checkpoint, and replaces the outputs if given.
func (b *builder) parametersToInputs(g *onnxgraph.Graph, outputs []*onnxgraph.Value) {
	param := map[string]bool{}
	c := b.art.Checkpoint
	for _, t := range slices.Concat(c.Trainable, c.Frozen) {
		param[t.Name] = true
		g.Inputs = append(g.Inputs, &onnxgraph.Value{Name: t.Name, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
	}
	g.Initializers = slices.DeleteFunc(slices.Clone(g.Initializers), func(t *onnxgraph.Tensor) bool { return param[t.Name] })
	if outputs != nil {
		g.Outputs = outputs
	}
	dropDead(g)
}

// trainingOutputs lists the loss, the gradients and the updated buffers.
func (b *builder) trainingOutputs(grads map[string]string, facts *infer.Result, buffers map[string]string) []*onnxgraph.Value {
	outputs := []*onnxgraph.Value{{Name: b.art.LossName, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{})}}
	for _, p := range b.art.Params {
		outputs = append(outputs, &onnxgraph.Value{Name: grads[p.Name], Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(p.Dims...))})
	}
	for _, t := range b.art.Checkpoint.Frozen {
		if updated := buffers[t.Name]; updated != "" {
			b.art.Buffers = append(b.art.Buffers, t.Name)
			outputs = append(outputs, &onnxgraph.Value{Name: updated, Type: onnxgraph.TensorOf(t.DType, t.Shape())})
		}
	}
	return outputs
}

// describe records in the models what reading them back needs.
func describe(a *Artifacts) {
	for _, m := range []*onnxgraph.Model{a.Training, a.Eval, a.Optimizer} {
		m.ProducerName = "ninox"
		m.SetMeta(metaOptimizer, a.Config.String())
		m.SetMeta(metaLoss, a.LossKind)
		if options := a.LossOptions.encode(); options != "{}" {
			m.SetMeta(metaLossOptions, options)
		}
		m.SetMeta(metaOutput, a.Output)
		m.SetMeta(metaPrecision, a.Precision)
		if groups := encodeGroups(a.Params); groups != "" {
			m.SetMeta(metaGroups, groups)
		}
	}
}

// optimizerModel is the update of every parameter as a model of its own.
func optimizerModel(o Optimizer, params []Param, opset int64) *onnxgraph.Model {
	b := onnxgraph.NewBuilder("optimizer", opset)
	w := newGrower(b.Graph(), "optimizer/")
	one := onnxgraph.StaticShape(1)
	rate := w.input("learning_rate", onnxgraph.Float, one)
	step := w.input("step", onnxgraph.Int64, one)
	// Scalars broadcast against parameters of every rank.
	rate, step = w.op("Squeeze", []string{rate}), w.op("Squeeze", []string{step})
	ups := make([]update, len(params))
	for i, p := range params {
		shape := onnxgraph.StaticShape(p.Dims...)
		u := update{dims: p.Dims, group: p.Group, param: w.input(p.Name, onnxgraph.Float, shape), grad: w.input(p.Grad(), onnxgraph.Float, shape), newParam: p.Name + updatedSuffix}
		w.output(u.newParam, onnxgraph.Float, shape)
		for k := range o.moments(p.Group) {
			name := momentum(p.Name, k)
			u.moments = append(u.moments, w.input(name, onnxgraph.Float, shape))
			u.newMoments = append(u.newMoments, name+updatedSuffix)
			w.output(name+updatedSuffix, onnxgraph.Float, shape)
		}
		ups[i] = u
	}
	o.appendUpdates(w, rate, step, ups)
	dropDead(b.Graph())
	m, _ := b.Model() // the grower keeps names apart, the builder was used for its header only
	return m
}
