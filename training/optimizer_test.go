package training

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// reference is the update of every optimizer in plain Go and double, written
// from the formulas of PyTorch's documentation and of upstream's AdamWOptimizer.
type reference struct {
	o      Optimizer
	params []Param
	w      [][]float64
	m, v   [][]float64
}

func (r *reference) step(t int, lr float64, grads [][]float64) {
	o := r.o
	clip := 1.0
	if o.ClipNorm > 0 {
		sum := 0.0
		for _, g := range grads {
			for _, x := range g {
				sum += x * x
			}
		}
		clip = math.Min(1, o.ClipNorm/(math.Sqrt(sum)+1e-6))
	}
	c1, c2 := 1-math.Pow(o.Beta1, float64(t)), 1-math.Pow(o.Beta2, float64(t))
	if o.NoBiasCorrection {
		c1, c2 = 1, 1
	}
	for p := range r.w {
		for i := range r.w[p] {
			w, g := &r.w[p][i], clip*grads[p][i]
			wd := o.WeightDecay
			if r.params[p].NoDecay {
				wd = 0
			}
			if o.Kind == Lion {
				ahead := o.Beta1*r.m[p][i] + (1-o.Beta1)*g
				r.m[p][i] = o.Beta2*r.m[p][i] + (1-o.Beta2)*g
				*w = *w*(1-lr*wd) - lr*math.Copysign(1, ahead)
				continue
			}
			if o.Kind != AdamW {
				g += wd * *w
			}
			if o.Kind == SGD {
				r.m[p][i] = o.Momentum*r.m[p][i] + g
				*w -= lr * r.m[p][i]
				continue
			}
			r.m[p][i] = o.Beta1*r.m[p][i] + (1-o.Beta1)*g
			r.v[p][i] = o.Beta2*r.v[p][i] + (1-o.Beta2)*g*g
			m, v := r.m[p][i], r.v[p][i]
			decay := 1.0
			if o.Kind == AdamW {
				decay = 1 - lr*wd
			}
			if o.Convention == PyTorch {
				*w = *w*decay - lr/c1*m/(math.Sqrt(v)/math.Sqrt(c2)+o.Epsilon)
			} else {
				*w = (*w - lr*math.Sqrt(c2)/c1*m/(math.Sqrt(v)+o.Epsilon)) * decay
			}
		}
	}
}

// optimizerRun holds the values of an optimizer model from step to step.
// Values are numbers of the generator, in the order in which they are drawn.
type optimizerRun struct {
	t       *testing.T
	session *ort.Session
	params  []Param
	values  map[string]*ort.Value
	drawn   uint64
}

func newOptimizerRun(t *testing.T, o Optimizer, params []Param) *optimizerRun {
	t.Helper()
	session, err := runtimetest.Engine(t).NewSession(optimizerModel(o, params, 17), ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	r := &optimizerRun{t: t, session: session, params: params, values: map[string]*ort.Value{}}
	for _, p := range params {
		r.draw(p.Name, p.Dims)
	}
	for _, p := range params {
		for k := range o.moments(p.Group) {
			r.set(momentum(p.Name, k), p.Dims, make([]float32, p.Len()))
		}
	}
	return r
}

func (r *optimizerRun) set(name string, dims []int64, v []float32) {
	r.t.Helper()
	x, err := ort.FloatValue(dims, v)
	if err != nil {
		r.t.Fatal(err)
	}
	r.values[name] = x
}

func (r *optimizerRun) draw(name string, dims []int64) []float64 {
	r.t.Helper()
	v := make([]float32, Param{Dims: dims}.Len())
	for i := range v {
		v[i] = float32(symmetric(r.drawn))
		r.drawn++
	}
	r.set(name, dims, v)
	return doubles(v)
}

// step draws gradients, which it returns, and updates.
func (r *optimizerRun) step(step int, lr float64) [][]float64 {
	r.t.Helper()
	grads := r.gradients()
	r.update(step, lr)
	return grads
}

func (r *optimizerRun) gradients() (grads [][]float64) {
	r.t.Helper()
	for _, p := range r.params {
		grads = append(grads, r.draw(p.Grad(), p.Dims))
	}
	return grads
}

func (r *optimizerRun) update(step int, lr float64) {
	r.t.Helper()
	r.set("learning_rate", []int64{1}, []float32{float32(lr)})
	count, err := ort.Int64Value([]int64{1}, []int64{int64(step)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.values["step"] = count
	out, err := r.session.Run(context.Background(), r.values)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, v := range out {
		r.values[strings.TrimSuffix(name, updatedSuffix)] = v
	}
}

// check compares a parameter with what it must be.
func (r *optimizerRun) check(p int, want []float64, tolerance float64) {
	r.t.Helper()
	for i, w := range want {
		if got := float64(r.values[r.params[p].Name].Floats()[i]); !(math.Abs(got-w) <= tolerance*math.Max(1, math.Abs(w))) {
			r.t.Errorf("%s[%d] is %.9f, expected %.9f", r.params[p].Name, i, got, w)
		}
	}
}

// Five steps from equal parameters with equal gradients end at PyTorch's
// parameters (bench/torch_reference.py); whichever way round Muon's matrices are
// said to be in the second half of the cases.
func TestOptimizersOfTorch(t *testing.T) {
	var cases []struct {
		Config string
		Params [][]float64
	}
	if err := readJSON("testdata/torch_optimizers.json", &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 11 {
		t.Fatalf("%d recorded optimizers", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Config, func(t *testing.T) {
			o, err := parseOptimizer(c.Config)
			if err != nil {
				t.Fatal(err)
			}
			o = o.withDefaults()
			params := []Param{{Name: "a", Dims: []int64{3, 4}}, {Name: "b", Dims: []int64{5, 2}}}
			if o.Kind == Muon {
				params[0].Matrix, params[1].Matrix = OutIn, OutIn
			}
			run := newOptimizerRun(t, o, params)
			for step := 1; step <= 5; step++ {
				run.step(step, 0.1/float64(step))
			}
			for p := range params {
				run.check(p, c.Params[p], 1e-6)
			}
		})
	}
}

func TestOptimizers(t *testing.T) {
	params := []Param{{Name: "a", Dims: []int64{2, 3}}, {Name: "b", Dims: []int64{}}, {Name: "c", Dims: []int64{4}, Group: Group{NoDecay: true}}}
	for _, o := range []Optimizer{
		{},
		{Kind: AdamW, WeightDecay: 0.1},
		{Kind: AdamW, WeightDecay: 0.1, Convention: ORT, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-3},
		{Kind: AdamW, WeightDecay: 0.1, Convention: ORT, NoBiasCorrection: true},
		{Kind: AdamW, NoBiasCorrection: true, Epsilon: 1e-2},
		{Kind: Adam, WeightDecay: 0.2, ClipNorm: 0.5},
		{Kind: SGD},
		{Kind: SGD, Momentum: 0.9, WeightDecay: 0.1},
		{Kind: SGD, ClipNorm: 0.1},
		{Kind: SGD, ClipNorm: 1e6},
		{Kind: Lion},
		{Kind: Lion, WeightDecay: 0.2, Beta1: 0.95, Beta2: 0.98},
	} {
		o = o.withDefaults()
		t.Run(o.String(), func(t *testing.T) {
			if back, err := parseOptimizer(o.String()); err != nil || back != o {
				t.Fatalf("%q is read as %+v, %v", o.String(), back, err)
			}
			ref := &reference{o: o, params: params}
			run := newOptimizerRun(t, o, params)
			for _, p := range params {
				ref.w = append(ref.w, doubles(run.values[p.Name].Floats()))
				ref.m = append(ref.m, make([]float64, p.Len()))
				ref.v = append(ref.v, make([]float64, p.Len()))
			}
			for step := 1; step <= 5; step++ {
				lr := 0.1 / float64(step)
				ref.step(step, lr, run.step(step, lr))
				for p, want := range ref.w {
					run.check(p, want, 3e-7)
				}
			}
		})
	}
}

// A kernel or a matrix that is stored transposed moves as the matrix that it is
// does; what is no matrix moves by AdamW at its own rate.
func TestMuon(t *testing.T) {
	o := Optimizer{Kind: Muon, WeightDecay: 0.1, AdamWRate: 0.5}.withDefaults()
	params := []Param{
		{Name: "matrix", Dims: []int64{6, 4}, Group: Group{Matrix: OutIn}},
		{Name: "kernel", Dims: []int64{6, 1, 2, 2}, Group: Group{Matrix: OutIn}},
		{Name: "transposed", Dims: []int64{4, 6}, Group: Group{Matrix: InOut}},
		{Name: "bias", Dims: []int64{3}},
	}
	run := newOptimizerRun(t, o, params)
	transpose := func(v []float32) []float32 {
		out := make([]float32, len(v))
		for i := range 6 {
			for k := range 4 {
				out[k*6+i] = v[i*4+k]
			}
		}
		return out
	}
	same := func(suffix string) {
		v := run.values["matrix"+suffix].Floats()
		run.set("kernel"+suffix, params[1].Dims, v)
		run.set("transposed"+suffix, params[2].Dims, transpose(v))
	}
	same("")
	ref := &reference{o: Optimizer{Kind: AdamW, WeightDecay: 0.1, Beta2: 0.95}.withDefaults(), params: params[3:]}
	ref.w, ref.m, ref.v = [][]float64{doubles(run.values["bias"].Floats())}, [][]float64{make([]float64, 3)}, [][]float64{make([]float64, 3)}
	for step := 1; step <= 3; step++ {
		grads := run.gradients()
		same(gradSuffix)
		run.update(step, 0.1)
		ref.step(step, 0.05, grads[3:])
		run.check(3, ref.w[0], 3e-7)
	}
	matrix := run.values["matrix"].Floats()
	run.check(1, doubles(matrix), 1e-6)
	run.check(2, doubles(transpose(matrix)), 1e-6)
}

func TestOptimizerErrors(t *testing.T) {
	err := Optimizer{Kind: "adagrad", Convention: "jax", Adjust: "none", Beta1: 1, Beta2: -1, Momentum: 0.5, Epsilon: -1, WeightDecay: math.NaN(), ClipNorm: -2}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`kind "adagrad"`, `convention "jax"`, `adjustment "none"`, "beta1 1 is not", "beta2 -1 is not", "epsilon -1 is negative", "weight decay NaN", "clip norm -2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	for _, c := range []struct {
		want string
		o    Optimizer
	}{
		{"momentum is an option of sgd, muon, not of adamw", Optimizer{Momentum: 0.5}},
		{"dampening is an option of sgd", Optimizer{Kind: Muon, Dampening: 0.5}},
		{"nesterov is an option of sgd", Optimizer{Kind: Lion, Nesterov: true}},
		{"plain momentum is an option of muon", Optimizer{Kind: SGD, NoNesterov: true}},
		{"no bias correction is an option of adamw, adam, muon, not of lion", Optimizer{Kind: Lion, NoBiasCorrection: true}},
		{"a convention is an option", Optimizer{Kind: SGD, Convention: ORT}},
		{"epsilon is an option", Optimizer{Kind: SGD, Epsilon: 1}},
		{"an adjustment is an option of muon", Optimizer{Adjust: MatchRMS}},
		{"a rate of adamw is an option of muon", Optimizer{AdamWRate: 1}},
		{"nesterov needs momentum", Optimizer{Kind: SGD, Nesterov: true}},
		{"nesterov needs momentum and no dampening", Optimizer{Kind: SGD, Nesterov: true, Momentum: 0.9, Dampening: 0.1}},
	} {
		if err := c.o.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, expected %q", c.o, err, c.want)
		}
	}
	for _, text := range []string{"kind=adagrad", "kind=adam speed=3", "kind=adam beta1=x", "kind=adam bias_correction=perhaps"} {
		if _, err := parseOptimizer(text); err == nil || !strings.Contains(err.Error(), "optimizer") {
			t.Errorf("%q: %v", text, err)
		}
	}
	// Upstream's optimizer models: an unknown node, and none at all.
	g := &onnxgraph.Graph{Nodes: []*onnxgraph.Node{{Name: "n", OpType: "Adagrad", Domain: microsoft}}}
	if _, err := officialOptimizer(g); err == nil || !strings.Contains(err.Error(), "com.microsoft:Adagrad") {
		t.Errorf("an unknown optimizer: %v", err)
	}
	if _, err := officialOptimizer(&onnxgraph.Graph{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("neither %s nor", opAdamW)) {
		t.Errorf("no optimizer: %v", err)
	}
}
