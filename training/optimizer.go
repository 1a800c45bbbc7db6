package training

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// Optimizer kinds.
const (
	AdamW = "adamw" // Adam with decoupled weight decay
	Adam  = "adam"  // Adam; weight decay, where given, is added to the gradient (L2)
	SGD   = "sgd"   // gradient descent, with momentum where given; weight decay is L2
)

// Conventions of Adam and AdamW: where eps and the decay enter.
const (
	// PyTorch: w·(1 − lr·wd), then w − lr/(1−β1ᵗ)·m/(√v/√(1−β2ᵗ) + eps).
	PyTorch = "pytorch"
	// ORT is the convention of ONNX Runtime's AdamWOptimizer:
	// w − lr·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + eps), then w·(1 − lr·wd).
	ORT = "onnxruntime"
)

// Optimizer configures the update of the parameters. The zero value is AdamW
// with PyTorch's defaults, but without weight decay.
type Optimizer struct {
	Kind             string  // AdamW, Adam or SGD; default AdamW
	Convention       string  // of Adam and AdamW; default PyTorch
	Beta1, Beta2     float64 // default 0.9, 0.999
	Epsilon          float64 // default 1e-8 (convention ORT: 1e-6, upstream's default)
	WeightDecay      float64
	Momentum         float64 // of SGD
	NoBiasCorrection bool    // leave out the factors 1−βᵗ
	// ClipNorm scales the gradients by min(1, ClipNorm/(norm+1e-6)), where norm
	// is over all parameters together; 0 does not clip.
	ClipNorm float64
}

// withDefaults fills what is unset.
func (o Optimizer) withDefaults() Optimizer {
	if o.Kind == "" {
		o.Kind = AdamW
	}
	if o.Kind == SGD {
		return o
	}
	if o.Convention == "" {
		o.Convention = PyTorch
	}
	if o.Beta1 == 0 {
		o.Beta1 = 0.9
	}
	if o.Beta2 == 0 {
		o.Beta2 = 0.999
	}
	if o.Epsilon == 0 {
		o.Epsilon = 1e-8
		if o.Convention == ORT {
			o.Epsilon = 1e-6
		}
	}
	return o
}

// Validate names every field that makes no sense.
func (o Optimizer) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("optimizer: "+format, args...)) }
	switch o.Kind {
	case "", AdamW, Adam, SGD:
	default:
		bad("unknown kind %q, expected adamw, adam or sgd", o.Kind)
	}
	if o.Convention != "" && o.Convention != PyTorch && o.Convention != ORT {
		bad("unknown convention %q, expected pytorch or onnxruntime", o.Convention)
	}
	for name, v := range map[string]float64{"beta1": o.Beta1, "beta2": o.Beta2, "momentum": o.Momentum} {
		if !(v >= 0 && v < 1) {
			bad("%s %v is not in [0, 1)", name, v)
		}
	}
	for name, v := range map[string]float64{"epsilon": o.Epsilon, "weight decay": o.WeightDecay, "clip norm": o.ClipNorm} {
		if !(v >= 0) {
			bad("%s %v is negative", name, v)
		}
	}
	if o.Momentum != 0 && o.Kind != SGD {
		bad("momentum is an option of sgd; adam and adamw have beta1")
	}
	return errors.Join(errs...)
}

// moments is the number of state tensors per parameter.
func (o Optimizer) moments() int {
	switch {
	case o.Kind != SGD:
		return 2
	case o.Momentum != 0:
		return 1
	}
	return 0
}

// String writes the configuration as "key=value" pairs, the form in which
// artifacts keep it; parseOptimizer reads it.
func (o Optimizer) String() string {
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	parts := []string{"kind=" + o.Kind}
	if o.Kind != SGD {
		parts = append(parts, "convention="+o.Convention, "beta1="+f(o.Beta1), "beta2="+f(o.Beta2), "epsilon="+f(o.Epsilon),
			"bias_correction="+strconv.FormatBool(!o.NoBiasCorrection))
	} else {
		parts = append(parts, "momentum="+f(o.Momentum))
	}
	return strings.Join(append(parts, "weight_decay="+f(o.WeightDecay), "clip_norm="+f(o.ClipNorm)), " ")
}

func parseOptimizer(s string) (Optimizer, error) {
	var o Optimizer
	for _, part := range strings.Fields(s) {
		key, value, _ := strings.Cut(part, "=")
		var err error
		num := func(to *float64) { *to, err = strconv.ParseFloat(value, 64) }
		switch key {
		case "kind":
			o.Kind = value
		case "convention":
			o.Convention = value
		case "beta1":
			num(&o.Beta1)
		case "beta2":
			num(&o.Beta2)
		case "epsilon":
			num(&o.Epsilon)
		case "momentum":
			num(&o.Momentum)
		case "weight_decay":
			num(&o.WeightDecay)
		case "clip_norm":
			num(&o.ClipNorm)
		case "bias_correction":
			var on bool
			on, err = strconv.ParseBool(value)
			o.NoBiasCorrection = !on
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return o, fmt.Errorf("optimizer %q: %q: %w", s, part, err)
		}
	}
	return o, o.Validate()
}

// update is one parameter (or several in one vector) in an optimizer graph.
type update struct {
	param, grad string
	moments     []string // as many as Optimizer.moments
	newParam    string   // names to give to the results
	newMoments  []string
}

// appendUpdates emits the update of all parameters. lr is a float and step an
// int64 value of one element each; step counts from 1.
func (o Optimizer) appendUpdates(w *grower, lr, step string, ups []update) {
	if o.ClipNorm > 0 {
		o.clip(w, ups)
	}
	switch o.Kind {
	case SGD:
		o.appendSGD(w, lr, ups)
	default:
		o.appendAdam(w, lr, step, ups)
	}
}

// clip replaces the gradients by scaled ones.
func (o Optimizer) clip(w *grower, ups []update) {
	squares := make([]string, len(ups))
	keep := onnxgraph.IntAttr("keepdims", 0)
	for i, u := range ups {
		squares[i] = w.op("ReduceSumSquare", []string{u.grad}, keep)
	}
	total := squares[0]
	if len(squares) > 1 {
		total = w.op("Sum", squares)
	}
	norm := w.op("Add", []string{w.op("Sqrt", []string{total}), w.scalar(1e-6)})
	factor := w.op("Min", []string{w.op("Div", []string{w.scalar(o.ClipNorm), norm}), w.scalar(1)})
	for i := range ups {
		ups[i].grad = w.op("Mul", []string{ups[i].grad, factor})
	}
}

func (o Optimizer) appendSGD(w *grower, lr string, ups []update) {
	for _, u := range ups {
		g := u.grad
		if o.WeightDecay > 0 {
			g = w.op("Add", []string{g, w.op("Mul", []string{u.param, w.scalar(o.WeightDecay)})})
		}
		if o.Momentum > 0 {
			g = w.named(u.newMoments[0], "Add", []string{w.op("Mul", []string{u.moments[0], w.scalar(o.Momentum)}), g})
		}
		w.named(u.newParam, "Sub", []string{u.param, w.op("Mul", []string{g, lr})})
	}
}

func (o Optimizer) appendAdam(w *grower, lr, step string, ups []update) {
	rate, root := o.rates(w, lr, step)
	b1, c1 := w.scalar(o.Beta1), w.scalar(1-o.Beta1)
	b2, c2 := w.scalar(o.Beta2), w.scalar(1-o.Beta2)
	eps := w.scalar(o.Epsilon)
	var keep string // 1 − lr·wd
	decay := o.Kind == AdamW && o.WeightDecay > 0
	if decay {
		keep = w.op("Sub", []string{w.scalar(1), w.op("Mul", []string{lr, w.scalar(o.WeightDecay)})})
	}
	for _, u := range ups {
		g, p := u.grad, u.param
		if o.Kind == Adam && o.WeightDecay > 0 {
			g = w.op("Add", []string{g, w.op("Mul", []string{p, w.scalar(o.WeightDecay)})})
		}
		m := w.named(u.newMoments[0], "Add", []string{w.op("Mul", []string{u.moments[0], b1}), w.op("Mul", []string{g, c1})})
		v := w.named(u.newMoments[1], "Add", []string{
			w.op("Mul", []string{u.moments[1], b2}), w.op("Mul", []string{w.op("Mul", []string{g, g}), c2})})
		den := w.op("Sqrt", []string{v})
		if root != "" {
			den = w.op("Div", []string{den, root})
		}
		den = w.op("Add", []string{den, eps})
		delta := w.op("Mul", []string{w.op("Div", []string{m, den}), rate})
		switch {
		case decay && o.Convention == PyTorch:
			w.named(u.newParam, "Sub", []string{w.op("Mul", []string{p, keep}), delta})
		case decay:
			w.named(u.newParam, "Mul", []string{w.op("Sub", []string{p, delta}), keep})
		default:
			w.named(u.newParam, "Sub", []string{p, delta})
		}
	}
}

// rates emits the bias-corrected step size and, where the convention divides
// √v by it, √(1−β2ᵗ) ("" else). They are computed in double: at the first
// steps 1−β2ᵗ is near 0.001, where float would lose four digits.
func (o Optimizer) rates(w *grower, lr, step string) (rate, root string) {
	if o.NoBiasCorrection {
		return lr, ""
	}
	to := func(v string, d onnxgraph.DType) string {
		return w.op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(d)))
	}
	double := func(v float64) string { return w.constant(onnxgraph.Doubles("", []int64{}, []float64{v})) }
	t := to(step, onnxgraph.Double)
	correction := func(beta float64) string {
		return w.op("Sub", []string{double(1), w.op("Pow", []string{double(beta), t})})
	}
	c1, c2 := correction(o.Beta1), w.op("Sqrt", []string{correction(o.Beta2)})
	scaled := w.op("Div", []string{to(lr, onnxgraph.Double), c1})
	if o.Convention == ORT {
		return to(w.op("Mul", []string{scaled, c2}), onnxgraph.Float), ""
	}
	return to(scaled, onnxgraph.Float), to(c2, onnxgraph.Float)
}
