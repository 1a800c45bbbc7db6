package training

import (
	"context"
	"fmt"
	"math"
	"testing"

	"ninox/models"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
)

// splitmix is the generator of bench/torch_parity.py: splitmix64 of i.
func splitmix(i uint64) uint64 {
	z := (i + 1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// symmetric is number i of the generator as a double in [-1, 1).
func symmetric(i uint64) float64 { return float64(splitmix(i)>>11)*0x1p-52 - 1 }

// formulaModel is the task's network with weights by the formula.
func formulaModel(t testing.TB, task string) *onnxgraph.Model {
	t.Helper()
	k, err := models.Lookup(task)
	if err != nil {
		t.Fatal(err)
	}
	m, err := k.Model(1)
	if err != nil {
		t.Fatal(err)
	}
	at, fan := uint64(0), 0.0
	for i, p := range m.Graph.Initializers {
		if len(p.Dims) > 1 { // a weight; its bias follows and has the same bound
			fan = float64(p.Len() / p.Dims[0])
		}
		v := make([]float32, p.Len())
		for k := range v {
			v[k] = float32(symmetric(at+uint64(k)) / math.Sqrt(fan))
		}
		at += uint64(len(v))
		m.Graph.Initializers[i] = onnxgraph.Floats(p.Name, p.Dims, v)
	}
	return m
}

// formulaBatches are the batches of bench/torch_parity.py.
func formulaBatches(t testing.TB, batches, size int) []map[string]*ort.Value {
	t.Helper()
	const pixels, classes = 28 * 28, 10
	out := make([]map[string]*ort.Value, batches)
	for b := range out {
		x, y := make([]float32, size*pixels), make([]int64, size)
		for i := range y {
			n := uint64(b*size + i)
			y[i] = int64(splitmix(1<<40+n) % classes)
			for p := range pixels {
				v := symmetric(1<<32 + n*pixels + uint64(p))
				if int64(p%classes) == y[i] {
					v++
				}
				x[i*pixels+p] = float32(v)
			}
		}
		image, err := ort.FloatValue([]int64{int64(size), 1, 28, 28}, x)
		if err != nil {
			t.Fatal(err)
		}
		labels, err := ort.Int64Value([]int64{int64(size)}, y)
		if err != nil {
			t.Fatal(err)
		}
		out[b] = map[string]*ort.Value{models.InputName: image, "labels": labels}
	}
	return out
}

func mustArtifacts(t testing.TB, m *onnxgraph.Model, o ArtifactOptions) *Artifacts {
	t.Helper()
	a, err := BuildArtifacts(m, ops.Registry(), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Twenty steps of Adam from equal weights on equal batches have the losses that
// PyTorch recorded (bench/torch_parity.py --record).
func TestTorchLosses(t *testing.T) {
	var want struct {
		Torch  string    `json:"torch"`
		LR     float64   `json:"lr"`
		Losses []float64 `json:"losses"`
	}
	if err := readJSON("testdata/torch_fm16.json", &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Losses) != 20 {
		t.Fatalf("%d recorded losses", len(want.Losses))
	}
	a := mustArtifacts(t, formulaModel(t, "fm-16"), ArtifactOptions{Optimizer: Optimizer{Kind: Adam}})
	batches := formulaBatches(t, 4, 128)
	for _, o := range []ExecutorOptions{{Workers: 1}, {Workers: 1, Threads: 1}, {Workers: 2}, {Workers: 3}} {
		t.Run(fmt.Sprintf("%d workers %d threads", o.Workers, o.Threads), func(t *testing.T) {
			e := mustExecutor(t, a, o)
			worst := 0.0
			for s, w := range want.Losses {
				loss, err := e.Step(context.Background(), batches[s%4], want.LR)
				if err != nil {
					t.Fatal(err)
				}
				worst = math.Max(worst, math.Abs(loss-w))
				if !(math.Abs(loss-w) <= 1e-5) {
					t.Errorf("step %d: loss %.7f, PyTorch %s has %.7f", s+1, loss, want.Torch, w)
				}
			}
			t.Logf("largest difference %.1e", worst)
		})
	}
}

// One training step of the paper's networks, batch in memory.
func BenchmarkStep(b *testing.B) {
	for _, task := range []string{"fm-16", "fm-32"} {
		a := mustArtifacts(b, formulaModel(b, task), ArtifactOptions{Optimizer: Optimizer{Kind: Adam}})
		batches := formulaBatches(b, 4, 128)
		for _, workers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("%s/workers=%d", task, workers), func(b *testing.B) {
				e := mustExecutor(b, a, ExecutorOptions{Workers: workers})
				n := 0
				for b.Loop() {
					if _, err := e.Step(context.Background(), batches[n%4], 1e-3); err != nil {
						b.Fatal(err)
					}
					n++
				}
			})
		}
	}
}
