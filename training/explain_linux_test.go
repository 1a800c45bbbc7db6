package training

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// measuredNets are networks of several kinds: their samples x, and what becomes
// of them before a last layer.
var measuredNets = []struct {
	name  string
	batch int64
	dims  []int64 // of a sample
	width int64   // of the value that build returns
	build func(w *measured, x string) string
}{
	{"residual", 128, []int64{16, 16, 16}, 16, func(w *measured, x string) string {
		for range 3 {
			h := w.norm(w.b.Op("Conv", []string{x, w.param(16, 16, 3, 3)}, onnxgraph.IntsAttr("pads", 1, 1, 1, 1)))
			h = w.norm(w.b.Op("Conv", []string{w.b.Op("Relu", []string{h}), w.param(16, 16, 3, 3)}, onnxgraph.IntsAttr("pads", 1, 1, 1, 1)))
			x = w.b.Op("Relu", []string{w.b.Op("Add", []string{x, h})})
		}
		return w.b.Op("Flatten", []string{w.b.Op("GlobalAveragePool", []string{x})})
	}},
	{"attention", 64, []int64{64, 32}, 32, func(w *measured, x string) string {
		for range 3 {
			q, k, v := w.b.Op("MatMul", []string{x, w.param(32, 32)}), w.b.Op("MatMul", []string{x, w.param(32, 32)}), w.b.Op("MatMul", []string{x, w.param(32, 32)})
			scores := w.b.Op("MatMul", []string{q, w.b.Op("Transpose", []string{k}, onnxgraph.IntsAttr("perm", 0, 2, 1))})
			x = w.b.Op("Add", []string{x, w.b.Op("MatMul", []string{w.b.Op("Softmax", []string{scores}), v})})
			up := w.b.Op("Relu", []string{w.b.Op("MatMul", []string{x, w.param(32, 128)})})
			x = w.b.Op("Add", []string{x, w.b.Op("MatMul", []string{up, w.param(128, 32)})})
		}
		return w.b.Op("ReduceMean", []string{x}, onnxgraph.IntsAttr("axes", 1), onnxgraph.IntAttr("keepdims", 0))
	}},
	{"lstm", 512, []int64{16, 32}, 64, func(w *measured, x string) string {
		x = w.b.Op("Transpose", []string{x}, onnxgraph.IntsAttr("perm", 1, 0, 2))
		y := w.b.Op("LSTM", []string{x, w.param(1, 256, 32), w.param(1, 256, 64)}, onnxgraph.IntAttr("hidden_size", 64))
		return w.b.Op("ReduceMean", []string{y}, onnxgraph.IntsAttr("axes", 0, 1), onnxgraph.IntAttr("keepdims", 0))
	}},
}

type measured struct {
	b    *onnxgraph.Builder
	next uint64
}

func (w *measured) param(dims ...int64) string {
	v := make([]float32, Param{Dims: dims}.Len())
	for i := range v {
		v[i] = float32(symmetric(w.next)) / 4
		w.next++
	}
	return w.b.Init(onnxgraph.Floats(fmt.Sprint("w", w.next), dims, v))
}

func (w *measured) norm(x string) string {
	one := func(kind string) string {
		w.next++
		return w.b.Init(onnxgraph.Floats(fmt.Sprint(kind, w.next), []int64{16}, slices.Repeat([]float32{1}, 16)))
	}
	return w.b.Op("BatchNormalization", []string{x, one("scale"), one("bias"), one("mean"), one("var")})
}

// What a step of a large batch takes beyond one of a single sample, and what the
// process takes in all once it has tested, too, as the system counts it, is what
// Explain says before. Each network is measured in a
// process of its own, since only the largest use so far is known.
func TestExplainIsMeasured(t *testing.T) {
	const child = "NINOX_EXPLAIN_CHILD"
	for _, net := range measuredNets {
		if os.Getenv(child) == net.name {
			w := &measured{b: onnxgraph.NewBuilder(net.name, 17)}
			x := w.b.Input("x", onnxgraph.Float, append(onnxgraph.Shape{onnxgraph.Sym("n")}, onnxgraph.StaticShape(net.dims...)...))
			h := net.build(w, x)
			w.b.Output(w.b.Named("y", "MatMul", []string{h, w.param(net.width, 4)}), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(4)})
			m, err := w.b.Model()
			if err != nil {
				t.Fatal(err)
			}
			measureStep(t, mustArtifacts(t, m, ArtifactOptions{}), net.batch, net.dims)
			return
		}
	}
	runtimetest.Engine(t) // or skips
	for _, net := range measuredNets {
		t.Run(net.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestExplainIsMeasured$", "-test.v")
			cmd.Env = append(os.Environ(), child+"="+net.name)
			out, err := cmd.CombinedOutput()
			all := regexp.MustCompile(`(a step|a run) took (\d+) of (\d+)`).FindAllSubmatch(out, -1)
			if err != nil || len(all) != 2 {
				t.Fatalf("%v: %s", err, out)
			}
			for _, found := range all {
				took, _ := strconv.ParseFloat(string(found[2]), 64)
				said, _ := strconv.ParseFloat(string(found[3]), 64)
				t.Logf("%s: %.1f MB, Explain says %.1f MB", found[1], took/1e6, said/1e6)
				bound := map[string]float64{"a step": 1.6, "a run": 1.3}[string(found[1])]
				if ratio := took / said; !(ratio > 1/bound && ratio < bound) {
					t.Errorf("%s takes %.2f times what Explain says", found[1], ratio)
				}
			}
		})
	}
}

func measureStep(t *testing.T, a *Artifacts, batch int64, dims []int64) {
	e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
	row := Param{Dims: dims}.Len()
	batches := map[int64]map[string]*ort.Value{}
	for _, n := range []int64{1, batch} {
		v := make([]float32, n*row)
		for i := range v {
			v[i] = float32(symmetric(uint64(i)))
		}
		x, err1 := ort.FloatValue(append([]int64{n}, dims...), v)
		y, err2 := ort.Int64Value([]int64{n}, make([]int64, n))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		batches[n] = map[string]*ort.Value{"x": x, "labels": y}
	}
	large := true // as it is on first sight of the larger batch
	e.isLarge = &large
	step := func(n int64) {
		for range 3 {
			if _, err := e.Step(context.Background(), batches[n], 1e-3); err != nil {
				t.Fatal(err)
			}
		}
	}
	explain := func(n int64) *MemoryReport {
		r, err := Explain(a, n)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	small, whole := explain(1), explain(batch)
	step(1)
	before := mostResident(t)
	step(batch)
	t.Logf("a step took %d of %d", mostResident(t)-before, whole.Total()-whole.Data-small.Total())
	_, out, err := e.Eval(context.Background(), batches[batch])
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out {
		v.Close()
	}
	t.Logf("a run took %d of %d", mostResident(t), whole.Run())
}

// mostResident is the largest resident memory of this process so far, in bytes.
func mostResident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if err != nil || found == nil {
		t.Fatal("the system does not say")
	}
	kb, _ := strconv.ParseInt(string(bytes.TrimSpace(found[1])), 10, 64)
	return kb << 10
}
