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
	o    Optimizer
	w    [][]float64
	m, v [][]float64
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
			if o.Kind != AdamW {
				g += o.WeightDecay * *w
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
				decay = 1 - lr*o.WeightDecay
			}
			if o.Convention == PyTorch {
				*w = *w*decay - lr/c1*m/(math.Sqrt(v)/math.Sqrt(c2)+o.Epsilon)
			} else {
				*w = (*w - lr*math.Sqrt(c2)/c1*m/(math.Sqrt(v)+o.Epsilon)) * decay
			}
		}
	}
}

func TestOptimizers(t *testing.T) {
	params := []Param{{"a", []int64{2, 3}}, {"b", []int64{}}, {"c", []int64{4}}}
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
	} {
		o = o.withDefaults()
		t.Run(o.String(), func(t *testing.T) {
			if back, err := parseOptimizer(o.String()); err != nil || back != o {
				t.Fatalf("%q is read as %+v, %v", o.String(), back, err)
			}
			ref := &reference{o: o}
			values := map[string]*ort.Value{}
			next := uint64(0)
			fill := func(name string, dims []int64, scale float64) []float64 {
				v := make([]float32, Param{Dims: dims}.Len())
				for i := range v {
					v[i] = float32(scale * symmetric(next))
					next++
				}
				x, err := ort.FloatValue(dims, v)
				if err != nil {
					t.Fatal(err)
				}
				values[name] = x
				return doubles(v)
			}
			for _, p := range params {
				ref.w = append(ref.w, fill(p.Name, p.Dims, 1))
				ref.m = append(ref.m, make([]float64, p.Len()))
				ref.v = append(ref.v, make([]float64, p.Len()))
				for k := range o.moments() {
					fill(momentum(p.Name, k), p.Dims, 0)
				}
			}
			session, err := runtimetest.Engine(t).NewSession(optimizerModel(o, params, 17), ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			for step := 1; step <= 5; step++ {
				lr := 0.1 / float64(step)
				rate, err1 := ort.FloatValue([]int64{1}, []float32{float32(lr)})
				count, err2 := ort.Int64Value([]int64{1}, []int64{int64(step)})
				if err1 != nil || err2 != nil {
					t.Fatal(err1, err2)
				}
				in := map[string]*ort.Value{"learning_rate": rate, "step": count}
				var grads [][]float64
				for _, p := range params {
					grads = append(grads, fill(p.Grad(), p.Dims, 1))
				}
				for name, v := range values {
					in[name] = v
				}
				out, err := session.Run(context.Background(), in)
				if err != nil {
					t.Fatal(err)
				}
				for name, v := range out {
					values[strings.TrimSuffix(name, updatedSuffix)] = v
				}
				ref.step(step, lr, grads)
				for p, want := range ref.w {
					for i, w := range want {
						if got := float64(values[params[p].Name].Floats()[i]); !(math.Abs(got-w) <= 3e-7*math.Max(1, math.Abs(w))) {
							t.Errorf("step %d: %s[%d] is %.9f, expected %.9f", step, params[p].Name, i, got, w)
						}
					}
				}
			}
		})
	}
}

func TestOptimizerErrors(t *testing.T) {
	err := Optimizer{Kind: "lion", Convention: "jax", Beta1: 1, Beta2: -1, Momentum: 0.5, Epsilon: -1, WeightDecay: math.NaN(), ClipNorm: -2}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`kind "lion"`, `convention "jax"`, "beta1 1 is not", "beta2 -1 is not", "epsilon -1 is negative", "weight decay NaN", "clip norm -2", "momentum is an option of sgd"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	for _, text := range []string{"kind=lion", "kind=adam speed=3", "kind=adam beta1=x", "kind=adam bias_correction=perhaps"} {
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
