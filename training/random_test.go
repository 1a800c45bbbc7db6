package training

import (
	"context"
	"math"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// drawn runs a model of random operators with the draws of a seed and step, and
// returns its output.
func drawn(t *testing.T, m *onnxgraph.Model, in map[string]*ort.Value, seed uint64, step int64) *ort.Value {
	t.Helper()
	m = copyModel(m)
	n, err := drawFromTables(m)
	if err != nil || n == 0 {
		t.Fatalf("%d random operators, %v", n, err)
	}
	for _, node := range m.Graph.Nodes {
		if randomRules[node.OpType] != nil {
			t.Fatalf("%s is left", node.OpType)
		}
	}
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var owned closers
	t.Cleanup(owned.close)
	d, err := newDraws(&owned, n)
	if err != nil {
		t.Fatal(err)
	}
	d.fill(seed, step, 0, 0)
	all := map[string]*ort.Value{drawsName: d.value}
	for k, v := range in {
		all[k] = v
	}
	out, err := s.Run(context.Background(), all)
	if err != nil {
		t.Fatal(err)
	}
	v := out[m.Graph.Outputs[0].Name]
	t.Cleanup(func() { v.Close() })
	return v
}

// ones is a value of ones, and the model's input for it.
func ones(t *testing.T, dims ...int64) *ort.Value {
	t.Helper()
	v := make([]float32, Param{Dims: dims}.Len())
	for i := range v {
		v[i] = 1
	}
	x, err := ort.FloatValue(dims, v)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// dropouts is a model of two Dropout operators, one after the other, with
// training_mode as an input where dynamic is set.
func dropouts(t *testing.T, dims onnxgraph.Shape, ratios ...float32) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("dropouts", 13)
	x := b.Input("x", onnxgraph.Float, dims)
	on := b.Input("on", onnxgraph.Bool, onnxgraph.Shape{})
	for _, r := range ratios {
		x = b.Op("Dropout", []string{x, b.Const(onnxgraph.Scalar("ratio", r)), on})
	}
	b.Output(x, onnxgraph.Float, dims)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func switchValue(t *testing.T, on byte) *ort.Value {
	t.Helper()
	return must(ort.NewValue(&onnxgraph.Tensor{Name: "on", DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{on}}))
}

// What Dropout drops has the wanted share everywhere, is independent between
// elements, their neighbours, operators and steps, and follows from seed and step.
func TestDropoutDraws(t *testing.T) {
	const rows, cols, ratio = 3000, 777, 0.3
	m := dropouts(t, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(cols)}, ratio)
	x := ones(t, rows, cols)
	in := map[string]*ort.Value{"x": x, "on": switchValue(t, 1)}
	one := drawn(t, m, in, 1, 1).Floats()
	// z is by how many standard deviations a sum of n products of centred masks
	// lies off.
	centred := func(v []float32) []float64 {
		out := make([]float64, len(v))
		for i, f := range v {
			switch {
			case f == 0:
				out[i] = -(1 - ratio) / math.Sqrt(ratio*(1-ratio))
			case math.Abs(float64(f)-1/(1-ratio)) > 1e-6:
				t.Fatalf("element %d is %v", i, f)
			default:
				out[i] = ratio / math.Sqrt(ratio*(1-ratio))
			}
		}
		return out
	}
	a := centred(one)
	check := func(what string, n int, term func(i int) float64) {
		t.Helper()
		sum := 0.0
		for i := range n {
			sum += term(i)
		}
		if z := sum / math.Sqrt(float64(n)); math.Abs(z) > 4.5 {
			t.Errorf("%s: off by %.1f standard deviations", what, z)
		}
	}
	n := len(a)
	check("share of kept elements", n, func(i int) float64 { return a[i] })
	for _, lag := range []int{1, 2, cols, drawSpan, drawSpan + 1, 2 * drawSpan, drawSpan * drawSpan} {
		check("elements that lie apart", n-lag, func(i int) float64 { return a[i] * a[i+lag] })
	}
	check("corners of a rectangle of the tables", n-2*drawSpan-7, func(i int) float64 {
		return a[i] * a[i+7] * a[i+drawSpan] * a[i+drawSpan+7]
	})
	check("corners of a larger rectangle", n-5*drawSpan-100, func(i int) float64 {
		return a[i] * a[i+100] * a[i+5*drawSpan] * a[i+5*drawSpan+100]
	})
	for name, other := range map[string][]float32{"another step": drawn(t, m, in, 1, 2).Floats(), "another seed": drawn(t, m, in, 2, 1).Floats()} {
		b := centred(other)
		check(name, n, func(i int) float64 { return a[i] * b[i] })
	}
	again := drawn(t, m, in, 1, 1).Floats()
	for i := range one {
		if one[i] != again[i] {
			t.Fatal("equal seed and step draw differently")
		}
	}
	// Two operators: an element is kept by both with probability 0.49.
	both, kept := drawn(t, dropouts(t, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(cols)}, ratio, ratio), in, 1, 1).Floats(), 0.0
	for _, v := range both {
		if v != 0 {
			kept++
		}
	}
	if p := (1 - ratio) * (1 - ratio); math.Abs(kept-p*float64(n)) > 4.5*math.Sqrt(p*(1-p)*float64(n)) {
		t.Errorf("two operators keep %.4f, expected %.4f", kept/float64(n), p)
	}
	off := drawn(t, m, map[string]*ort.Value{"x": x, "on": switchValue(t, 0)}, 1, 1).Floats()
	for _, v := range off {
		if v != 1 {
			t.Fatalf("drops %v while training_mode is off", v)
		}
	}
}

// Scalars, empty arrays, and the ends of the range of ratios.
func TestDropoutExtremes(t *testing.T) {
	for _, k := range []struct {
		dims  []int64
		ratio float32
		kept  int
	}{{nil, 0, 1}, {[]int64{0, 3}, 0.5, 0}, {[]int64{5}, 0, 5}, {[]int64{1 << 12}, 0.99999, 0}, {[]int64{3, 341, 3}, 1e-7, 3069}} {
		v := drawn(t, dropouts(t, onnxgraph.StaticShape(k.dims...), k.ratio), map[string]*ort.Value{"x": ones(t, k.dims...), "on": switchValue(t, 1)}, 1, 1)
		kept := 0
		for _, f := range v.Floats() {
			if f != 0 {
				kept++
			}
		}
		if kept != k.kept {
			t.Errorf("%v with ratio %v: %d elements kept, expected %d", k.dims, k.ratio, kept, k.kept)
		}
	}
}

// Every random operator draws from the distribution that ONNX defines.
func TestRandomDistributions(t *testing.T) {
	const n = 1 << 18
	shape := onnxgraph.IntsAttr("shape", n)
	like := onnxgraph.StaticShape(n)
	x := onnxgraph.StaticShape(2, 3)
	for name, k := range map[string]struct {
		op             string
		in             onnxgraph.Shape // of the input, nil for none
		scale          float32         // of the input, which is ones
		attrs          []*onnxgraph.Attribute
		mean, variance float64
		low, high      float64
	}{
		"uniform":     {"RandomUniform", nil, 0, []*onnxgraph.Attribute{shape, onnxgraph.FloatAttr("low", -1), onnxgraph.FloatAttr("high", 3)}, 1, 16.0 / 12, -1, 3},
		"like":        {"RandomUniformLike", like, 1, nil, 0.5, 1.0 / 12, 0, 1},
		"normal":      {"RandomNormal", nil, 0, []*onnxgraph.Attribute{shape, onnxgraph.FloatAttr("mean", 2), onnxgraph.FloatAttr("scale", 3)}, 2, 9, -20, 24},
		"normal like": {"RandomNormalLike", like, 1, nil, 0, 1, -7, 7},
		"bernoulli":   {"Bernoulli", like, 0.2, nil, 0.2, 0.16, 0, 1},
		// Of three classes of equal weight: numbers 0, 1, 2.
		"multinomial": {"Multinomial", x, 1, []*onnxgraph.Attribute{onnxgraph.IntAttr("sample_size", n/2), onnxgraph.IntAttr("dtype", int64(onnxgraph.Int64))}, 1, 2.0 / 3, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := onnxgraph.NewBuilder("random", 17)
			in, values := []string{}, map[string]*ort.Value{}
			if k.in != nil {
				dims, _ := k.in.Static()
				values["x"] = ones(t, dims...)
				in = []string{b.Op("Mul", []string{b.Input("x", onnxgraph.Float, k.in), b.Const(onnxgraph.Scalar("scale", k.scale))})}
			}
			b.Output(b.Op("Cast", []string{b.Op(k.op, in, k.attrs...)}, onnxgraph.IntAttr("to", int64(onnxgraph.Float))), onnxgraph.Float, nil)
			m, err := b.Model()
			if err != nil {
				t.Fatal(err)
			}
			v := drawn(t, m, values, 4, 5).Floats()
			if len(v) != n {
				t.Fatalf("%d numbers", len(v))
			}
			mean, square := 0.0, 0.0
			for _, f := range v {
				mean += float64(f) / n
				if float64(f) < k.low || float64(f) > k.high {
					t.Fatalf("draws %v, expected %v to %v", f, k.low, k.high)
				}
			}
			for _, f := range v {
				square += (float64(f) - mean) * (float64(f) - mean) / n
			}
			if math.Abs(mean-k.mean) > 5*math.Sqrt(k.variance/n) || math.Abs(square/k.variance-1) > 0.02 {
				t.Errorf("mean %.4f and variance %.4f, expected %.4f and %.4f", mean, square, k.mean, k.variance)
			}
		})
	}
}

// While batches are compared with their parts, Dropout keeps every element.
func TestStillDraws(t *testing.T) {
	bits := uint64(stillDraw)
	if got := int64(bits * bits); got != math.MaxInt64-6 {
		t.Errorf("the square is %d", got)
	}
	e := dropoutConfig(t, ExecutorOptions{Workers: 2}).Trainer.(*Executor)
	c := dropoutConfig(t, ExecutorOptions{Workers: 2})
	c.Trainer = e
	mustRun(t, c)
	if e.Workers() != 2 {
		t.Errorf("batches of a model with Dropout are split over %d workers, expected 2", e.Workers())
	}
}
