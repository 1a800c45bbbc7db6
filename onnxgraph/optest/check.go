package optest

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	ort "ninox/runtime"
	"ninox/training/autodiff"
)

// leastGradOpset is the lowest opset in which autodiff emits gradients; rows
// below it check types and shapes only.
const leastGradOpset = 13

// Check runs every check that the row's operator has rules for.
func Check(t *testing.T, engine *ort.Engine, reg *op.Registry, row Row) {
	t.Helper()
	domain, name := row.split()
	def := reg.Lookup(domain, name)
	if def == nil {
		t.Fatalf("operator %s is not registered", row.Op)
	}
	c := &checker{engine: engine, reg: reg, row: row, def: def}
	c.draw()
	if err := c.shapes(); err != nil {
		t.Errorf("shapes: %v", err)
		return
	}
	if err := c.flow(); err != nil {
		t.Errorf("axis flow (seed %d): %v", c.seed, err)
	}
	if row.opset() >= leastGradOpset && slices.ContainsFunc(row.In, Arg.varied) && (def.Grad.Rule() != nil || def.Grad.Refusal() == op.FromLowering.Refusal()) {
		if err := c.gradient(); err != nil {
			t.Errorf("gradient (seed %d): %v", c.seed, err)
		}
	}
	if def.Lower.Rule() != nil {
		if err := c.lowering(); err != nil {
			t.Errorf("lowering (seed %d): %v", c.seed, err)
		}
	}
}

type checker struct {
	engine *ort.Engine
	reg    *op.Registry
	row    Row
	def    *op.Def
	seed   uint64
	low    bool        // whether derivatives are checked with the operator lowered
	args   [][]float64 // values of float inputs, nil for others
	dirs   [][]float64 // direction of the differences
	// symbolic declares extents of the first input as symbols.
	symbolic bool
}

// draw chooses the inputs from a seed that depends on the row alone, so that
// a failure repeats.
func (c *checker) draw() {
	h := fnv.New64a()
	h.Write([]byte(c.row.Name()))
	c.seed = h.Sum64()
	rng := rand.New(rand.NewPCG(c.seed, 1))
	for _, a := range c.row.In {
		var v, d []float64
		if a.draw != nil {
			for range a.len() {
				v = append(v, a.draw(rng))
			}
			for range a.len() {
				d = append(d, rng.NormFloat64())
			}
			if a.frozen {
				clear(d)
			}
		}
		c.args, c.dirs = append(c.args, v), append(c.dirs, d)
	}
}

// values returns the arguments moved by eps along the direction, as inputs.
func (c *checker) values(d onnxgraph.DType, eps float64) (map[string]*ort.Value, error) {
	in := map[string]*ort.Value{}
	for i, a := range c.row.In {
		if a.draw == nil {
			continue
		}
		x := make([]float64, a.len())
		for k := range x {
			x[k] = c.args[i][k] + eps*c.dirs[i][k]
		}
		v, err := ort.NewValue(realTensor(argName(i), d, a.dims, x))
		if err != nil {
			return nil, err
		}
		in[argName(i)] = v
	}
	return in, nil
}

func argName(i int) string { return fmt.Sprintf("in%d", i) }
func outName(i int) string { return fmt.Sprintf("out%d", i) }

func realTensor(name string, d onnxgraph.DType, dims []int64, v []float64) *onnxgraph.Tensor {
	if d == onnxgraph.Double {
		return onnxgraph.Doubles(name, dims, v)
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return onnxgraph.Floats(name, dims, f)
}

// model is the bare operator as a model; its outputs have no types yet.
func (c *checker) model(d onnxgraph.DType) *onnxgraph.Model {
	b := onnxgraph.NewBuilder("optest", c.row.opset())
	domain, name := c.row.split()
	if domain != "" {
		b.Import(domain, 1)
	}
	var in, out []string
	for i, a := range c.row.In {
		switch {
		case a.absent():
			in = append(in, "")
		case a.fixed != nil:
			t := *a.fixed
			t.Name = argName(i)
			in = append(in, b.Init(&t))
		default:
			in = append(in, b.Input(argName(i), d, c.declared(i)))
		}
	}
	for i := range max(c.row.Outputs, 1) {
		out = append(out, outName(i))
	}
	b.Node(domain, name, in, out, c.row.Attrs...)
	m, _ := b.Model() // names are ours and distinct
	return m
}

// declared is the shape of an input as the model states it.
func (c *checker) declared(i int) onnxgraph.Shape {
	s := onnxgraph.StaticShape(c.row.In[i].dims...)
	if i == 0 && c.symbolic {
		for _, a := range c.row.free() {
			s[a] = onnxgraph.Sym(fmt.Sprintf("n%d", a))
		}
	}
	return s
}

// declare gives the graph the outputs, with inferred types.
func declare(m *onnxgraph.Model, facts *infer.Result, names ...string) {
	m.Graph.Outputs = nil
	for _, n := range names {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: n, Type: facts.Fact(n).Type})
	}
}

func (c *checker) run(m *onnxgraph.Model, in map[string]*ort.Value) (map[string]*onnxgraph.Tensor, error) {
	s, err := c.engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		return nil, err
	}
	res := map[string]*onnxgraph.Tensor{}
	for name, v := range out {
		res[name] = v.Tensor(name)
		v.Close()
	}
	return res, nil
}

// shapes checks inference against execution in float32.
func (c *checker) shapes() error {
	m := c.model(onnxgraph.Float)
	facts, err := infer.Run(m, c.reg, infer.Options{})
	if err != nil {
		return err
	}
	names := m.Graph.Nodes[0].Outputs
	declare(m, facts, names...)
	in, err := c.values(onnxgraph.Float, 0)
	if err != nil {
		return err
	}
	out, err := c.run(m, in)
	if err != nil {
		return err
	}
	for _, n := range names {
		f := facts.Fact(n)
		if f.DType() != out[n].DType {
			return fmt.Errorf("%s is inferred as %s, executed as %s", n, f.DType(), out[n].DType)
		}
		if f.Rank() != len(out[n].Dims) {
			return fmt.Errorf("%s is inferred as %s, executed as %v", n, f.Shape(), out[n].Dims)
		}
		for i, d := range f.Shape() {
			if d.IsKnown() && d.Value != out[n].Dims[i] {
				return fmt.Errorf("%s is inferred as %s, executed as %v", n, f.Shape(), out[n].Dims)
			}
		}
	}
	return nil
}

// precision is a way to take finite differences.
type precision struct {
	dtype    onnxgraph.DType
	eps, tol float64
}

// gradient compares the derivative along the direction with differences.
func (c *checker) gradient() error {
	double := precision{onnxgraph.Double, 1e-5, 1e-7}
	single := precision{onnxgraph.Float, 1e-2, 2e-3}
	if c.row.Linear {
		single = precision{onnxgraph.Float, 0.5, 3e-5}
	}
	p := double
	m, grads, err := c.runnable(double)
	if err != nil && c.def.Lower.Rule() != nil { // no double kernel of the operator itself
		c.low = true
		m, grads, err = c.runnable(double)
	}
	if err != nil { // none of its lowering either
		p, c.low = single, false
		if m, grads, err = c.backward(onnxgraph.Float); err != nil {
			return err
		}
	}
	at, err := c.probe(m, p)
	if err != nil {
		return err
	}
	want := (at[1] - at[0]) / (2 * p.eps)
	in, err := c.values(p.dtype, 0)
	if err != nil {
		return err
	}
	out, err := c.run(m, in)
	if err != nil {
		return err
	}
	var got, scale float64
	for i, name := range grads {
		g, err := out[name].AsDoubles()
		if err != nil {
			return err
		}
		if !slices.Equal(out[name].Dims, c.row.In[i].dims) {
			return fmt.Errorf("gradient of input %d has shape %v, the input %v", i, out[name].Dims, c.row.In[i].dims)
		}
		for k := range g {
			got += g[k] * c.dirs[i][k]
			scale += math.Abs(g[k] * c.dirs[i][k])
		}
	}
	tol := c.row.Tol
	if tol == 0 {
		tol = p.tol
	}
	if diff := math.Abs(got - want); !(diff <= tol*(1+scale)) {
		return fmt.Errorf("%s: derivative along the direction is %.9g by the rule, %.9g by differences", p.dtype, got, want)
	}
	if scale == 0 {
		return fmt.Errorf("the gradient is zero everywhere, the row checks nothing")
	}
	return c.anyExtent(p.dtype, in, out, grads)
}

// runnable is backward, if the engine executes it in that precision.
func (c *checker) runnable(p precision) (*onnxgraph.Model, map[int]string, error) {
	m, grads, err := c.backward(p.dtype)
	if err == nil {
		_, err = c.probe(m, p)
	}
	return m, grads, err
}

// anyExtent checks that the gradients are the same where extents of the first
// input are symbols when they are derived.
func (c *checker) anyExtent(d onnxgraph.DType, in map[string]*ort.Value, want map[string]*onnxgraph.Tensor, grads map[int]string) error {
	first := c.row.In[0]
	if c.row.Static || first.draw == nil || len(first.dims) == 0 || c.row.Free == nil && first.dims[0] < 2 {
		return nil
	}
	c.symbolic = true
	defer func() { c.symbolic = false }()
	m, names, err := c.backward(d)
	if err != nil {
		return fmt.Errorf("symbolic extents: %w", err)
	}
	out, err := c.run(m, in)
	if err != nil {
		return fmt.Errorf("symbolic extents: %w", err)
	}
	tol := 1e-9
	if d == onnxgraph.Float {
		tol = 1e-4
	}
	for i, name := range grads {
		a, err := want[name].AsDoubles()
		if err != nil {
			return err
		}
		b, err := out[names[i]].AsDoubles()
		if err != nil {
			return err
		}
		if !slices.Equal(want[name].Dims, out[names[i]].Dims) {
			return fmt.Errorf("symbolic extents: gradient of input %d has shape %v, expected %v", i, out[names[i]].Dims, want[name].Dims)
		}
		for k := range a {
			if diff := math.Abs(a[k] - b[k]); !(diff <= tol*(1+math.Abs(a[k]))) {
				return fmt.Errorf("symbolic extents: element %d of the gradient of input %d is %.9g, with a known extent %.9g", k, i, b[k], a[k])
			}
		}
	}
	return nil
}

// backward builds loss = Σ out·r with fixed random r, and its gradients; the
// result maps input index to gradient name.
func (c *checker) backward(d onnxgraph.DType) (*onnxgraph.Model, map[int]string, error) {
	m := c.model(d)
	facts, err := infer.Run(m, c.reg, infer.Options{})
	if err != nil {
		return nil, nil, err
	}
	dims, err := c.outputDims()
	if err != nil {
		return nil, nil, err
	}
	rng := rand.New(rand.NewPCG(c.seed, 2))
	g := m.Graph
	var parts []string
	add := func(opType, out string, in []string, attrs ...*onnxgraph.Attribute) error {
		n := &onnxgraph.Node{Name: out, OpType: opType, Inputs: in, Outputs: []string{out}, Attrs: attrs}
		g.Nodes = append(g.Nodes, n)
		return facts.Add(n)
	}
	for i, o := range g.Nodes[0].Outputs {
		if !facts.Fact(o).DType().IsFloat() || slices.Contains(c.row.Skip, i) {
			continue
		}
		r := make([]float64, Arg{dims: dims[i]}.len())
		for k := range r {
			r[k] = rng.NormFloat64()
		}
		w := realTensor("r_"+o, d, dims[i], r)
		g.Initializers = append(g.Initializers, w)
		// The weights have the shape of the output as far as that is known, so
		// that symbols reach the rule.
		facts.Set(w.Name, &op.Fact{Type: onnxgraph.TensorOf(d, facts.Fact(o).Shape()), Param: true})
		if err := add("Mul", "weighted_"+o, []string{o, w.Name}); err != nil {
			return nil, nil, err
		}
		if err := add("ReduceSum", "sum_"+o, []string{"weighted_" + o}, onnxgraph.IntAttr("keepdims", 0)); err != nil {
			return nil, nil, err
		}
		parts = append(parts, "sum_"+o)
	}
	if err := add("Sum", "loss", parts); err != nil {
		return nil, nil, err
	}
	var wrt []string
	for i, a := range c.row.In {
		if a.varied() {
			wrt = append(wrt, argName(i))
		}
	}
	res, err := autodiff.Gradients(m, c.reg, facts, autodiff.Options{Loss: "loss", Wrt: wrt})
	if err != nil {
		return nil, nil, err
	}
	if len(res.Zero) > 0 {
		return nil, nil, fmt.Errorf("no gradient flows to %v", res.Zero)
	}
	grads := map[int]string{}
	outputs := []string{"loss"}
	for i := range c.row.In {
		if name, ok := res.Grads[argName(i)]; ok {
			grads[i] = name
			outputs = append(outputs, name)
		}
	}
	gm := *res.Model
	graph := *res.Model.Graph
	gm.Graph = &graph
	declare(&gm, facts, outputs...)
	if !c.low {
		return &gm, grads, nil
	}
	low, err := c.lowered(&gm)
	return low, grads, err
}

// outputDims executes the operator once, in float32, for its output shapes.
func (c *checker) outputDims() ([][]int64, error) {
	m := c.model(onnxgraph.Float)
	facts, err := infer.Run(m, c.reg, infer.Options{})
	if err != nil {
		return nil, err
	}
	names := m.Graph.Nodes[0].Outputs
	declare(m, facts, names...)
	in, err := c.values(onnxgraph.Float, 0)
	if err != nil {
		return nil, err
	}
	out, err := c.run(m, in)
	if err != nil {
		return nil, err
	}
	var dims [][]int64
	for _, n := range names {
		dims = append(dims, out[n].Dims)
	}
	return dims, nil
}

// probe is the loss at both ends of the difference.
func (c *checker) probe(m *onnxgraph.Model, p precision) ([2]float64, error) {
	var at [2]float64
	for i, eps := range []float64{-p.eps, p.eps} {
		in, err := c.values(p.dtype, eps)
		if err != nil {
			return at, err
		}
		out, err := c.run(m, in)
		if err != nil {
			return at, err
		}
		v, err := out["loss"].AsDoubles()
		if err != nil {
			return at, err
		}
		at[i] = v[0]
	}
	return at, nil
}
