package job

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/training"
	"ninox/training/data"
)

// Options are the flags that train and accelerate share. Zero values mean the
// default of the source.
type Options struct {
	ModelOptions
	Data            string
	EvalData        string
	Reading         data.Options
	ImageSize       string // --image-size, which Check parses into Reading
	Steps           int
	Batch           int
	Accumulate      int
	NoShuffle       bool
	LR              float64
	Schedule        string
	Warmup          int
	Target          string
	KeepStates      []int
	EvalEvery       int
	EvalSamples     int
	CheckpointEvery int
	KeepLast        int
	KeepBest        bool
	StopAtTarget    bool
	Workers         int
	Out             string
	Resume          bool
	Overwrite       bool

	// Once says that the command goes through its data once, so that this may be a
	// stream.
	Once bool
}

// Register adds the flags to a command.
func (o *Options) Register(c *cobra.Command) {
	o.ModelOptions.Register(c)
	f := c.Flags()
	f.StringVar(&o.Data, "data", "", "data to train on: "+kinds())
	f.StringVar(&o.EvalData, "eval-data", "", "data to test on, where --data brings no test part (npz)")
	f.StringVar(&o.Reading.Tokenizer, "tokenizer", "", "of text: tokenizer.json, a folder with vocabulary and merges, or gpt2-bpe where that was fetched (default: bytes)")
	f.IntVar(&o.Reading.Length, "seq-len", 0, "of text: tokens in a sequence (default: that of the task, else 128)")
	f.StringVar(&o.ImageSize, "image-size", "", "of pictures: scale to this many pixels, N or HEIGHTxWIDTH, and take the middle (default: all have one size)")
	f.IntVar(&o.Steps, "steps", 0, "optimizer steps (default: those of the task)")
	f.IntVar(&o.Batch, "batch-size", 0, "samples per batch (default: that of the task or model, else 128; of a stream, the rows of its first record batch)")
	f.IntVar(&o.Accumulate, "accumulate", 1, "batches whose gradients are summed for one step")
	f.BoolVar(&o.NoShuffle, "no-shuffle", false, "take the samples in their own order")
	f.Float64Var(&o.LR, "lr", 0, "learning rate (default: that of the task or artifacts, else 0.001)")
	f.StringVar(&o.Schedule, "schedule", training.ScheduleConstant, "learning rate over time: "+strings.Join(training.Schedules(), ", "))
	f.IntVar(&o.Warmup, "warmup", 0, "steps over which the learning rate rises at the start")
	f.StringVar(&o.Target, "target", "", "goal on the test data: accuracy in percent of a classification, else loss; or accuracy:X, loss:X")
	f.IntSliceVar(&o.KeepStates, "keep-states", nil, "steps after which the parameters are kept in RUN/states")
	f.IntVar(&o.EvalEvery, "eval-every", 100, "steps between two tests")
	f.IntVar(&o.EvalSamples, "eval-samples", 0, "test on this many samples, evenly spread over the test data (default: all)")
	f.IntVar(&o.CheckpointEvery, "checkpoint-every", 1000, "steps between two checkpoints")
	f.IntVar(&o.KeepLast, "keep-last", 2, "checkpoints that are kept")
	f.BoolVar(&o.KeepBest, "keep-best", false, "also keep the checkpoint of the best test, and leave best.onnx and best.safetensors")
	f.BoolVar(&o.StopAtTarget, "stop-at-target", false, "end the run at the first test that reaches the target")
	f.IntVar(&o.Workers, "workers", 0, "parts into which a batch is split, each on one thread; 0 chooses, 1 does not split")
	f.StringVarP(&o.Out, "out", "o", "", "run folder (default: a new one, run-NAME)")
	f.BoolVar(&o.Resume, "resume", false, "continue the run in --out from its last checkpoint")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace the run in --out")
	app.Choices(c, "schedule", training.Schedules())
}

// kinds lists the kinds of data: "fashion-mnist[:DIR], npz:FILE …".
func kinds() string {
	var out []string
	for _, s := range data.Sources() {
		text := s.Kind
		switch {
		case s.Path == "":
		case len(s.Places()) == 0:
			text += ":" + s.Path
		default:
			text += "[:" + s.Path + "]"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// Check adds the faults of the flags of a command for a source.
func (o *Options) Check(c *cobra.Command, src Source, f *app.Faults) {
	o.ModelOptions.Check(f)
	o.checkNumbers(c, f)
	f.OneOf("schedule", o.Schedule, training.Schedules())
	if o.Schedule == "" {
		f.Addf(`--schedule "": expected one of %s`, strings.Join(training.Schedules(), ", "))
	}
	if o.Data == "" && src.Task == nil {
		f.Addf("--data is missing: expected one of %s", kinds())
	}
	if src.Task == nil && !c.Flags().Changed("steps") {
		f.Addf("--steps is missing")
	}
	for _, d := range []struct{ flag, spec string }{{"data", o.Data}, {"eval-data", o.EvalData}} {
		if _, err := data.ParseSpec(d.spec); d.spec != "" && err != nil {
			f.Addf("--%s: %w", d.flag, err)
		}
	}
	o.checkReading(c, f)
	if _, err := parseTarget(o.Target, training.MetricAccuracy); err != nil {
		*f = append(*f, err)
	}
	if o.Resume && o.Overwrite {
		f.Addf("--resume and --overwrite exclude each other")
	}
	if o.Resume && o.Out == "" {
		f.Addf("--resume needs --out, the run folder to continue")
	}
	if src.Dir != "" {
		for _, flag := range modelFlags {
			if c.Flags().Changed(flag) {
				f.Addf("--%s: the artifacts in %s settle that already; give it to 'ninox artifacts'", flag, src.Dir)
			}
		}
	}
}

// checkReading checks the flags about files of text and pictures.
func (o *Options) checkReading(c *cobra.Command, f *app.Faults) {
	kind, _, _ := strings.Cut(o.Data, ":")
	text := slices.ContainsFunc(data.Sources(), func(s data.Source) bool { return s.Kind == kind && s.Text })
	if !text && (o.Reading.Tokenizer != "" || c.Flags().Changed("seq-len")) {
		f.Addf("--tokenizer and --seq-len go with --data text:FILES, or parquet:FILES of text")
	}
	if o.ImageSize == "" {
		return
	}
	if !slices.Contains([]string{"images", "parquet", "arrow"}, kind) {
		f.Addf("--image-size goes with --data images:DIR, or parquet:FILES of images")
	}
	var err error
	if o.Reading.ImageSize, err = parseSize(o.ImageSize); err != nil {
		*f = append(*f, err)
	}
}

// parseSize reads --image-size, "224" or "HEIGHTxWIDTH".
func parseSize(text string) ([2]int, error) {
	height, width, two := strings.Cut(text, "x")
	if !two {
		width = height
	}
	h, e1 := strconv.Atoi(height)
	w, e2 := strconv.Atoi(width)
	const most = 4096
	if e1 != nil || e2 != nil || h < 1 || w < 1 || h > most || w > most {
		return [2]int{}, app.Usagef("--image-size %q: expected pixels, as 224, or HEIGHTxWIDTH, at most %d", text, most)
	}
	return [2]int{h, w}, nil
}

func (o *Options) checkNumbers(c *cobra.Command, f *app.Faults) {
	for _, n := range []struct {
		flag  string
		value int
	}{{"steps", o.Steps}, {"batch-size", o.Batch}, {"accumulate", o.Accumulate}, {"eval-every", o.EvalEvery}, {"eval-samples", o.EvalSamples}, {"checkpoint-every", o.CheckpointEvery}, {"keep-last", o.KeepLast}, {"seq-len", o.Reading.Length}} {
		if n.value < 1 && c.Flags().Changed(n.flag) {
			f.Addf("--%s %d: expected at least 1", n.flag, n.value)
		}
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"warmup", o.Warmup}, {"workers", o.Workers}} {
		if n.value < 0 {
			f.Addf("--%s %d: expected at least 0", n.flag, n.value)
		}
	}
	if c.Flags().Changed("lr") && !(o.LR > 0 && !math.IsInf(o.LR, 0)) {
		f.Addf("--lr %v: expected a number above 0", o.LR)
	}
	for _, s := range o.KeepStates {
		if s < 1 || o.Steps > 0 && s > o.Steps {
			f.Addf("--keep-states %d: expected a step from 1 to the last", s)
		}
	}
}

// parseTarget reads --target; metric is the one of a plain number.
func parseTarget(text, metric string) (*training.Target, error) {
	if text == "" {
		return nil, nil
	}
	number := text
	if m, rest, ok := strings.Cut(text, ":"); ok {
		metric, number = m, rest
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || metric != training.MetricAccuracy && metric != training.MetricLoss {
		return nil, app.Usagef("--target %q: expected a number, accuracy:NUMBER or loss:NUMBER", text)
	}
	return &training.Target{Metric: metric, Value: v}, nil
}
