package job

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ninox/cmd/internal/app"
)

// parseModel reads the flags of ModelOptions and returns their faults.
func parseModel(t *testing.T, args ...string) (ModelOptions, error) {
	t.Helper()
	var o ModelOptions
	cmd := &cobra.Command{}
	o.Register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	var f app.Faults
	o.Check(&f)
	return o, f.Err(cmd)
}

func TestModelFlags(t *testing.T) {
	ignore := int64(-100)
	tests := map[string]struct {
		args string
		get  func(o ModelOptions) any
		want any
	}{
		"loss":                {"--loss bce-logits", func(o ModelOptions) any { return o.Loss }, "bce-logits"},
		"loss-output":         {"--loss-output y", func(o ModelOptions) any { return o.Output }, "y"},
		"optimizer":           {"--optimizer lion", func(o ModelOptions) any { return o.Optimizer }, "lion"},
		"weight-decay":        {"--weight-decay 0.01", func(o ModelOptions) any { return o.WeightDecay }, 0.01},
		"momentum":            {"--momentum 0.9 --optimizer muon", func(o ModelOptions) any { return o.Momentum }, 0.9},
		"clip-norm":           {"--clip-norm 2.5", func(o ModelOptions) any { return o.ClipNorm }, 2.5},
		"train":               {"--train a.*,b.*", func(o ModelOptions) any { return o.Train }, []string{"a.*", "b.*"}},
		"freeze":              {"--freeze c", func(o ModelOptions) any { return o.Freeze }, []string{"c"}},
		"lora":                {"--lora 8:16", func(o ModelOptions) any { return o.LoRA }, "8:16"},
		"lora-target":         {"--lora 8 --lora-target c_attn,fc*", func(o ModelOptions) any { return o.LoRATargets }, []string{"c_attn", "fc*"}},
		"new-head":            {"--new-head 10", func(o ModelOptions) any { return o.NewHead }, 10},
		"freeze-statistics":   {"--freeze-statistics", func(o ModelOptions) any { return o.FreezeStatistics }, true},
		"reduction":           {"--reduction sum", func(o ModelOptions) any { return o.Reduction }, "sum"},
		"ignore-index":        {"--ignore-index -100", func(o ModelOptions) any { return o.IgnoreIndex }, &ignore},
		"class-weights":       {"--class-weights 1,0.5", func(o ModelOptions) any { return o.ClassWeights }, []float32{1, 0.5}},
		"label-smoothing":     {"--label-smoothing 0.1", func(o ModelOptions) any { return o.LabelSmoothing }, 0.1},
		"pos-weight":          {"--pos-weight 3 --loss bce-logits", func(o ModelOptions) any { return o.PosWeight }, []float32{3}},
		"beta1":               {"--beta1 0.8", func(o ModelOptions) any { return o.Beta1 }, 0.8},
		"beta2":               {"--beta2 0.95 --optimizer lion", func(o ModelOptions) any { return o.Beta2 }, 0.95},
		"epsilon":             {"--epsilon 1e-5", func(o ModelOptions) any { return o.Epsilon }, 1e-5},
		"convention":          {"--convention onnxruntime", func(o ModelOptions) any { return o.Convention }, "onnxruntime"},
		"no-bias-correction":  {"--no-bias-correction", func(o ModelOptions) any { return o.NoBiasCorrection }, true},
		"dampening":           {"--dampening 0.5 --optimizer sgd --momentum 0.9", func(o ModelOptions) any { return o.Dampening }, 0.5},
		"nesterov":            {"--nesterov --optimizer sgd --momentum 0.9", func(o ModelOptions) any { return o.Nesterov }, true},
		"muon-adjust":         {"--muon-adjust match-rms-adamw --optimizer muon", func(o ModelOptions) any { return o.MuonAdjust }, "match-rms-adamw"},
		"adamw-rate":          {"--adamw-rate 0.1 --optimizer muon", func(o ModelOptions) any { return o.AdamWRate }, 0.1},
		"no-decay":            {"--no-decay *bias,norm*", func(o ModelOptions) any { return o.NoDecay }, []string{"*bias", "norm*"}},
		"decay-matrices-only": {"--decay-matrices-only", func(o ModelOptions) any { return o.DecayMatricesOnly }, true},
		"precision":           {"--precision fp16", func(o ModelOptions) any { return o.Precision }, "fp16"},
		"loss-scale":          {"--loss-scale dynamic", func(o ModelOptions) any { return o.LossScale }, "dynamic"},
		"no-muon":             {"--no-muon head --optimizer muon", func(o ModelOptions) any { return o.NoMuon }, []string{"head"}},
	}
	cmd := &cobra.Command{}
	new(ModelOptions).Register(cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := tests[f.Name]; !ok {
			t.Errorf("flag --%s has no test", f.Name)
		}
	})
	if len(modelFlags) != len(tests) {
		t.Errorf("%d names of flags for %d flags", len(modelFlags), len(tests))
	}
	for name, k := range tests {
		got, err := parseModel(t, strings.Fields(k.args)...)
		if err != nil || !reflect.DeepEqual(k.get(got), k.want) {
			t.Errorf("%s: got %v, %v, expected %v", k.args, k.get(got), err, k.want)
		}
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
}

// Every flag of the optimizer and of the loss arrives in the artifacts.
func TestModelFlagsAreObeyed(t *testing.T) {
	j, err := prepare(t, Options{Data: "embedded", ModelOptions: ModelOptions{
		Optimizer: "muon", WeightDecay: 0.1, ClipNorm: 2, Momentum: 0.9,
		LossTuning: LossTuning{Reduction: "sum", LabelSmoothing: 0.1, ClassWeights: []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, IgnoreIndex: new(int64)},
		OptimizerTuning: OptimizerTuning{
			Beta1: 0.8, Beta2: 0.9, Epsilon: 1e-4, Convention: "onnxruntime", NoBiasCorrection: true,
			MuonAdjust: "match-rms-adamw", AdamWRate: 0.5, NoDecay: []string{"fc.0.weight"}, DecayMatricesOnly: true, NoMuon: []string{"fc.8.weight"},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "kind=muon convention=onnxruntime beta1=0.8 beta2=0.9 epsilon=0.0001 bias_correction=false momentum=0.9 adjust=match-rms-adamw adamw_rate=0.5 weight_decay=0.1 clip_norm=2"
	if got := j.Artifacts.Config.String(); got != want {
		t.Errorf("optimizer %q,\nexpected  %q", got, want)
	}
	if o := j.Artifacts.LossOptions; o.Reduction != "sum" || o.LabelSmoothing != 0.1 || len(o.ClassWeights) != 10 || o.IgnoreIndex == nil {
		t.Errorf("loss options %+v", o)
	}
	for _, p := range j.Artifacts.Params {
		noDecay := p.Name == "fc.0.weight" || strings.HasSuffix(p.Name, ".bias")
		muon := strings.HasSuffix(p.Name, ".weight") && p.Name != "fc.8.weight"
		if p.NoDecay != noDecay || (p.Matrix != "") != muon {
			t.Errorf("%s: group %+v", p.Name, p.Group)
		}
	}
	j, err = prepare(t, Options{Data: "embedded", ModelOptions: ModelOptions{
		Optimizer: "sgd", Momentum: 0.9, OptimizerTuning: OptimizerTuning{Dampening: 0.5, Precision: "fp16", LossScale: "1024"},
	}})
	if err != nil || j.Artifacts.Config.Dampening != 0.5 || j.Artifacts.Precision != "fp16" || !j.Artifacts.Config.SkipNonFinite || len(j.Artifacts.Buffers) != 0 {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestModelFlagFaults(t *testing.T) {
	for args, want := range map[string]string{
		"--loss output:":                             `--loss "output:": expected one of cross-entropy, mse, l1, bce-logits, output:NAME`,
		"--reduction max":                            `--reduction "max": expected one of mean, sum`,
		"--label-smoothing 2":                        "--label-smoothing 2: expected 0 to 1",
		"--class-weights 1,-1":                       "-1: expected at least 0",
		"--ignore-index 3 --loss mse":                "--ignore-index: an option of --loss cross-entropy, not of mse",
		"--class-weights 1 --loss mse":               "--class-weights: an option of --loss cross-entropy",
		"--label-smoothing .1 --loss l1":             "--label-smoothing: an option of --loss cross-entropy, not of l1",
		"--pos-weight 1":                             "--pos-weight: an option of --loss bce-logits, not of cross-entropy",
		"--reduction sum --loss output:y":            "--reduction: an option of --loss cross-entropy, mse, l1, bce-logits, not of output:y",
		"--precision int8":                           `--precision "int8": expected one of fp32, fp16, bf16`,
		"--loss-scale big":                           `--loss-scale "big": expected a number of at least 0, or dynamic`,
		"--loss-scale -1":                            `--loss-scale "-1": expected`,
		"--convention jax":                           `--convention "jax": expected one of pytorch, onnxruntime`,
		"--muon-adjust none --optimizer muon":        `--muon-adjust "none": expected one of original, match-rms-adamw`,
		"--beta1 1":                                  "--beta1 1: expected 0 to below 1",
		"--beta2 -1":                                 "--beta2 -1: expected 0 to below 1",
		"--dampening 1 --optimizer sgd":              "--dampening 1: expected 0 to below 1",
		"--epsilon -1":                               "--epsilon -1: expected at least 0",
		"--adamw-rate NaN":                           "--adamw-rate NaN: expected at least 0",
		"--momentum 0.5":                             "--momentum: an option of --optimizer sgd, muon, not of adamw",
		"--nesterov --optimizer sgd":                 "--nesterov: expected a --momentum above 0",
		"--beta1 0.5 --optimizer sgd":                "--beta1: an option of --optimizer adamw, adam, muon, schedule-free, lion, not of sgd",
		"--epsilon 1 --optimizer lion":               "--epsilon: an option of --optimizer adamw, adam, muon, schedule-free, not of lion",
		"--no-bias-correction --optimizer lion":      "--no-bias-correction: an option",
		"--convention onnxruntime --optimizer sgd":   "--convention: an option",
		"--muon-adjust original":                     "--muon-adjust: an option of --optimizer muon",
		"--adamw-rate 1":                             "--adamw-rate: an option of --optimizer muon",
		"--no-muon head":                             "--no-muon: an option of --optimizer muon",
		"--dampening 0.5 --optimizer muon":           "--dampening: an option of --optimizer sgd",
		"--nesterov --momentum 0.5 --optimizer muon": "--nesterov: an option of --optimizer sgd",
		"--lora 0":                                   `--lora "0": expected RANK or RANK:ALPHA`,
		"--lora 8:0":                                 `--lora "8:0": expected RANK or RANK:ALPHA`,
		"--lora x":                                   `--lora "x": expected`,
		"--lora-target a":                            "--lora-target goes with --lora RANK",
		"--lora 2 --lora-target [":                   `--lora-target "["`,
		"--new-head -1":                              "--new-head -1: expected at least 1 class",
		"--no-decay [a":                              `"[a"`,
	} {
		if _, err := parseModel(t, strings.Fields(args)...); app.ExitCode(err) != app.ExitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", args, err, want)
		}
	}
}
