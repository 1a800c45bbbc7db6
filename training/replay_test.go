package training

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// replayCase is a recorded training of upstream's engine: folder
// fixtures/ort-training/<name>, whose README says how it was made.
type replayCase struct {
	name string
	loss string // of our own artifacts; "" where our losses do not include it
	// Tolerances: gradients of step 1 relative to the largest of their tensor,
	// losses and parameters absolute.
	grad, losses, params float64
	last                 float64 // of the parameters after step 20; 0 takes params
}

func replayCases() []replayCase {
	c := func(name, loss string) replayCase {
		return replayCase{name: name, loss: loss, grad: 2e-6, losses: 1e-5, params: 1e-6}
	}
	// Adam divides gradients by their own size, so where they nearly cancel it
	// shows in the parameters how they were rounded.
	rounded := func(name, loss string, params float64) replayCase {
		k := c(name, loss)
		k.params = params
		return k
	}
	// Two values that max pooling chooses between at step 14 (sample 2, channel
	// 24) differ by a quarter of a millionth: PyTorch in float32 decides as we
	// do, in float64 as upstream's kernels happened to.
	pooled := c("convnet_ce_adamw", CrossEntropy)
	pooled.last = 5e-4
	return []replayCase{
		pooled,
		rounded("mlp_ce_adamw", CrossEntropy, 2e-6),
		c("mlp_ce_adamw_wd_clip", CrossEntropy),
		rounded("mlp_ce_adamw_nobiascorr_accum3", CrossEntropy, 4e-6),
		c("mlp_ce_sum_addout_adamw", ""),
		c("mlp_bce_adamw_frozen", BCELogits),
		c("mlp_l1_adamw_gelu", L1),
		c("mlp_mse_sgd_frozen", MSE),
		c("convmix_plain_mse_adamw", MSE),
		c("convmix_groupconv_mse_adamw", MSE),
		c("convmix_strided_dilated_se_mse_adamw", MSE),
		c("resnet_bn_ce_adamw", CrossEntropy),
		c("gru_unrolled_ce_adamw", CrossEntropy),
		c("lstm_ce_adamw", CrossEntropy),
		rounded("gpt2_tanh_tied_lnop_op17_adamw", CrossEntropy, 3e-6),
		rounded("gpt2_erf_tied_lndecomposed_op15_adamw", CrossEntropy, 3e-6),
		c("gpt2_erf_untied_frozen_op17_sgd", CrossEntropy),
		rounded("llama_rsqrt_gqa_rope_adamw", CrossEntropy, 1e-5),
		rounded("llama_normsonly_adamw", CrossEntropy, 4e-6),
	}
}

// recording is what the folder of a case holds.
type recording struct {
	dir      string
	batches  []map[string]*ort.Value
	grads    *weights.Set
	params   map[int]*weights.Set // by step
	Batches  int                  `json:"n_batches"`
	Accum    int                  `json:"accum"`
	LR       float64              `json:"lr"`
	Inputs   []string             `json:"input_names"`
	Trained  []string             `json:"requires_grad"`
	Frozen   []string             `json:"frozen"`
	Losses   []json.RawMessage    `json:"losses"` // a number, or one for each accumulated batch
	EvalLast []float64            `json:"eval_loss_after_20"`
}

func openRecording(t testing.TB, name string) *recording {
	t.Helper()
	r := &recording{dir: testenv.Shared(t, "fixtures/ort-training/"+name), params: map[int]*weights.Set{}}
	if err := readJSON(filepath.Join(r.dir, "losses.json"), r); err != nil {
		t.Fatal(err)
	}
	read := func(file string) *weights.Set {
		s, err := weights.ReadNPZ(filepath.Join(r.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	r.grads = read("grads_step1.npz")
	for _, step := range []int{0, 1, 5, 20} {
		r.params[step] = read(fmt.Sprintf("params_step%d.npz", step))
	}
	inputs := read("inputs.npz")
	for k := range r.Batches {
		b := map[string]*ort.Value{}
		for _, in := range r.Inputs {
			v, err := ort.DenseValue(inputs.Get(fmt.Sprintf("%s__%d", in, k)))
			if err != nil {
				t.Fatalf("%s: input %s: %v", name, in, err)
			}
			b[in] = v
		}
		r.batches = append(r.batches, b)
	}
	return r
}

// of lists the batches of a step, counted from 1.
func (r *recording) of(step int) []map[string]*ort.Value {
	var out []map[string]*ort.Value
	for a := range r.Accum {
		out = append(out, r.batches[((step-1)*r.Accum+a)%r.Batches])
	}
	return out
}

// loss is the recorded loss of a step's batches.
func (r *recording) loss(t testing.TB, step int) []float64 {
	t.Helper()
	var one float64
	if json.Unmarshal(r.Losses[step-1], &one) == nil {
		return []float64{one}
	}
	var all []float64
	if err := json.Unmarshal(r.Losses[step-1], &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// own builds our artifacts from the forward model and upstream's settings.
func (r *recording) own(t testing.TB, c replayCase) *Artifacts {
	t.Helper()
	optimizer, err := onnxgraph.ReadFile(filepath.Join(r.dir, OptimizerFile))
	if err != nil {
		t.Fatal(err)
	}
	o, err := officialOptimizer(optimizer.Graph)
	if err != nil {
		t.Fatal(err)
	}
	forward, err := onnxgraph.ReadFile(filepath.Join(r.dir, "forward.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := BuildArtifacts(forward, ops.Registry(), ArtifactOptions{
		Loss: c.loss, Optimizer: o, LearningRate: r.LR, Freeze: r.Frozen, Labels: r.Inputs[len(r.Inputs)-1],
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// gradientsOf is the gradient of every parameter on the sum of the batches.
func gradientsOf(t testing.TB, e *Executor, batches []map[string]*ort.Value) map[string][]float64 {
	t.Helper()
	out := map[string][]float64{}
	r, err := e.runner(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if _, err := r.gradients(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		for _, sl := range e.models.slots {
			g := r.workers[0].grads[sl.name].Floats()
			for _, p := range sl.params {
				if out[p.Name] == nil {
					out[p.Name] = make([]float64, p.Len())
				}
				for i := range out[p.Name] {
					out[p.Name][i] += float64(g[i])
				}
				g = g[p.Len():]
			}
		}
	}
	return out
}

// largest is the largest absolute difference of two arrays, and the largest
// absolute value of the second.
func largest(t testing.TB, got []float64, want []float32) (diff, scale float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, expected %d", len(got), len(want))
	}
	for i, w := range want {
		diff = math.Max(diff, math.Abs(got[i]-float64(w)))
		scale = math.Max(scale, math.Abs(float64(w)))
	}
	return diff, scale
}

func doubles(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// replay trains 20 steps and compares everything that was recorded.
func replay(t *testing.T, r *recording, c replayCase, e *Executor) {
	t.Helper()
	var names []string
	for _, p := range e.art.Params {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(r.Trained)); !slices.Equal(names, want) {
		t.Fatalf("trainable are %q, upstream trains %q", names, want)
	}
	buffers, err := e.Buffers()
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for name, g := range gradientsOf(t, e, r.of(1)) {
		want, err := r.grads.Floats(name)
		if err != nil {
			t.Fatal(err)
		}
		diff, scale := largest(t, g, want)
		worst = math.Max(worst, diff/scale)
		if !(diff <= c.grad*scale) {
			t.Errorf("gradient of %s differs by %.2g, relative to its largest value %.2g by %.2g", name, diff, scale, diff/scale)
		}
	}
	worstLoss, worstParam := 0.0, 0.0
	for step := 1; step <= 20; step++ {
		losses, err := e.StepAccumulated(context.Background(), r.of(step), r.LR)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range r.loss(t, step) {
			d := math.Abs(losses[i] - want)
			worstLoss = math.Max(worstLoss, d)
			if !(d <= c.losses*math.Max(1, math.Abs(want))) {
				t.Errorf("step %d: loss %.8f, upstream has %.8f", step, losses[i], want)
			}
		}
		if r.params[step] == nil {
			continue
		}
		state, err := e.State()
		if err != nil {
			t.Fatal(err)
		}
		tol := c.params
		if step == 20 && c.last > 0 {
			tol = c.last
		}
		for _, name := range r.Trained {
			got, err := state.Floats(name)
			if err != nil {
				t.Fatal(err)
			}
			want, err := r.params[step].Floats(name)
			if err != nil {
				t.Fatal(err)
			}
			d, _ := largest(t, doubles(got), want)
			worstParam = math.Max(worstParam, d)
			if !(d <= tol) {
				t.Errorf("step %d: parameter %s differs by %.2g", step, name, d)
			}
		}
	}
	// Upstream evaluates with the running statistics of the start.
	if err := e.SetBuffers(buffers); err != nil {
		t.Fatal(err)
	}
	loss, out, err := e.Eval(context.Background(), r.batches[0])
	if err != nil {
		t.Fatal(err)
	}
	closeValues(out)
	if d := math.Abs(loss - r.EvalLast[0]); !(d <= c.losses*math.Max(1, math.Abs(loss))) {
		t.Errorf("evaluation after step 20: loss %.8f, upstream has %.8f", loss, r.EvalLast[0])
	}
	t.Logf("largest differences: gradients %.1e (relative), losses %.1e, parameters %.1e", worst, worstLoss, worstParam)
}

func mustExecutor(t testing.TB, a *Artifacts, o ExecutorOptions) *Executor {
	t.Helper()
	e, err := NewExecutor(runtimetest.Engine(t), a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Artifacts that we derive from the forward model train as upstream's engine
// does.
func TestReplayOwnArtifacts(t *testing.T) {
	for _, c := range replayCases() {
		if c.loss == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := openRecording(t, c.name)
			replay(t, r, c, mustExecutor(t, r.own(t, c), ExecutorOptions{Workers: 1}))
		})
	}
}

// Upstream's own artifacts train here as they do there.
func TestReplayOfficialArtifacts(t *testing.T) {
	for _, c := range replayCases() {
		t.Run(c.name, func(t *testing.T) {
			r := openRecording(t, c.name)
			a, err := LoadArtifacts(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, r, c, mustExecutor(t, a, ExecutorOptions{}))
			inferAlike(t, r, a)
		})
	}
}

// inferAlike compares the plain model that artifacts turn into with the
// forward model that they were made from.
func inferAlike(t *testing.T, r *recording, a *Artifacts) {
	t.Helper()
	forward, err := onnxgraph.ReadFile(filepath.Join(r.dir, "forward.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if forward, err = rewrite.Standard(forward, ops.Registry()); err != nil {
		t.Fatal(err)
	}
	evalMode(forward)
	plain, err := a.Inference(nil)
	if err != nil {
		t.Fatal(err)
	}
	var results [2][]float32
	for i, m := range []*onnxgraph.Model{forward, plain} {
		s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		in := map[string]*ort.Value{}
		for _, v := range m.Graph.Inputs {
			if m.Graph.Initializer(v.Name) == nil {
				in[v.Name] = r.batches[0][v.Name]
			}
		}
		out, err := s.Run(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		results[i] = out[m.Graph.Outputs[0].Name].Floats()
	}
	diff, scale := largest(t, doubles(results[1]), results[0])
	if !(diff <= 1e-5*scale) {
		t.Errorf("the plain model's output %q differs from the forward model's by %.1e", a.Output, diff)
	}
}

// A batch split over workers, and artifacts written and read back, change
// nothing that upstream's recording would notice.
func TestReplayVariants(t *testing.T) {
	c := replayCases()[0]
	r := openRecording(t, c.name)
	t.Run("workers", func(t *testing.T) {
		for _, n := range []int{2, 3} {
			e := mustExecutor(t, r.own(t, c), ExecutorOptions{Workers: n})
			replay(t, r, c, e)
			if e.Workers() != 2 { // the batch of 16 makes two parts
				t.Errorf("asked for %d workers, %d were used", n, e.Workers())
			}
		}
	})
	t.Run("written and read", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "artifacts")
		a := r.own(t, c)
		if err := a.Write(dir, false); err != nil {
			t.Fatal(err)
		}
		if err := a.Write(dir, false); err == nil {
			t.Error("existing artifacts were replaced")
		}
		back, err := LoadArtifacts(dir)
		if err != nil {
			t.Fatal(err)
		}
		if back.Config != a.Config || back.LossKind != a.LossKind || back.Labels != a.Labels || back.Output != a.Output || back.LearningRate() != a.LearningRate() {
			t.Errorf("read back %+v, written %+v", back.Config, a.Config)
		}
		replay(t, r, c, mustExecutor(t, back, ExecutorOptions{Workers: 1}))
		for _, f := range []string{TrainingFile, CheckpointFile} {
			if err := os.Truncate(filepath.Join(dir, f), 100); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadArtifacts(dir); err == nil {
				t.Errorf("a truncated %s was read", f)
			}
		}
	})
	t.Run("loaded checkpoint", func(t *testing.T) {
		// Upstream's checkpoint after 20 steps carries on with its moments.
		a, err := LoadArtifacts(r.dir)
		if err != nil {
			t.Fatal(err)
		}
		straight := mustExecutor(t, a, ExecutorOptions{})
		for step := 1; step <= 20; step++ {
			if _, err := straight.StepAccumulated(context.Background(), r.of(step), r.LR); err != nil {
				t.Fatal(err)
			}
		}
		b := *a
		if b.Checkpoint, err = ReadCheckpoint(filepath.Join(r.dir, "checkpoint_step20_with_opt")); err != nil {
			t.Fatal(err)
		}
		loaded := mustExecutor(t, &b, ExecutorOptions{})
		if loaded.StepCount() != 20 {
			t.Errorf("the checkpoint is of step %d, expected 20", loaded.StepCount())
		}
		for step := 21; step <= 25; step++ {
			one, err1 := straight.StepAccumulated(context.Background(), r.of(step), r.LR)
			two, err2 := loaded.StepAccumulated(context.Background(), r.of(step), r.LR)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if math.Abs(one[0]-two[0]) > c.losses {
				t.Errorf("step %d: loss %.8f, from upstream's checkpoint %.8f", step, one[0], two[0])
			}
		}
	})
}
