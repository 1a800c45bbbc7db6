package training

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/training/data"
)

// Stepper is what the loop needs of an executor of training artifacts.
// *Executor is one.
type Stepper interface {
	// Step computes loss and gradients of a batch and updates the parameters.
	// The loss is that before the update.
	Step(ctx context.Context, batch map[string]*ort.Value, lr float64) (loss float64, err error)
	// Eval computes loss and outputs of a batch and changes nothing. The
	// outputs belong to the caller, who closes them.
	Eval(ctx context.Context, batch map[string]*ort.Value) (loss float64, outputs map[string]*ort.Value, err error)
	// State is a copy of the trainable parameters.
	State() (*weights.Set, error)
	// SetState replaces the parameters; the optimizer's moments stay.
	SetState(*weights.Set) error
	// Moments is a copy of the optimizer's state and SetMoments restores it.
	Moments() (*weights.Set, error)
	SetMoments(*weights.Set) error
	// StepCount is the number of optimizer updates so far.
	StepCount() int64
	SetStepCount(int64)
}

// Accumulator is a Stepper that can make one update with the summed gradients of
// several batches. The loop needs it where Config.Accumulate is above 1.
type Accumulator interface {
	StepAccumulated(ctx context.Context, batches []map[string]*ort.Value, lr float64) (losses []float64, err error)
}

// Timed is a Stepper that knows how long it has been in the runtime.
type Timed interface {
	ComputeTime() time.Duration
}

// Buffered is a Stepper whose steps also update arrays that get no gradient:
// the running statistics of batch normalization. The loop keeps them in
// checkpoints and puts them into states and the final model.
type Buffered interface {
	Buffers() (*weights.Set, error)
	SetBuffers(*weights.Set) error
}

// Nowcaster predicts parameters k horizons ahead from past states, oldest
// first; Context is the number of states that it wants.
type Nowcaster interface {
	Name() string
	Context() int
	Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error)
}

// Target is the level of a metric that counts as done.
type Target struct {
	Metric string  `json:"metric"` // MetricAccuracy or MetricLoss, on the test data
	Value  float64 `json:"value"`
}

// Metrics that a Target can name.
const (
	MetricAccuracy = "accuracy" // percent, reached from below
	MetricLoss     = "loss"     // reached from above
)

// better says whether evaluation e is better than b: by accuracy where there is
// one, else by loss.
func (e Evaluation) better(b Evaluation) bool {
	if e.Accuracy != nil && b.Accuracy != nil {
		return *e.Accuracy > *b.Accuracy
	}
	return e.Loss < b.Loss
}

// Reached says whether an evaluation is at or beyond the target.
func (t *Target) Reached(e Evaluation) bool {
	if t.Metric == MetricLoss {
		return e.Loss <= t.Value
	}
	return e.Accuracy != nil && *e.Accuracy >= t.Value
}

// Config describes one training run. Fields without a remark may stay zero.
type Config struct {
	Dir       string // run directory; required
	Resume    bool   // continue the run in Dir from its last checkpoint
	Overwrite bool   // replace the run in Dir

	Task      string
	Method    string         // for the record; default is the nowcaster's name or "none"
	Record    map[string]any // further facts for config.json: device, versions, hash of the weights …
	Trainer   Stepper        // required; holds the initial parameters
	Artifacts *Artifacts     // what Trainer executes; gives Inputs and Logits their defaults and makes final.onnx

	Inputs []*onnxgraph.Value // what a batch consists of, labels included; required without Artifacts
	Logits string             // output that accuracy is computed from; default: the only one of shape [batch, classes]
	Train  data.Dataset       // required
	Test   data.Dataset       // nil: no evaluation

	Steps      int    // required
	Batch      int    // samples, or rows of the longest array where they differ (data.Unit); default 128
	Accumulate int    // batches per step; default 1
	NoShuffle  bool   // take the samples in their own order
	Seed       uint64 // of the order of the samples

	LR       float64 // required
	Schedule string  // ScheduleConstant (default), ScheduleCosine, ScheduleLinear, ScheduleWSD
	Warmup   int     // steps over which the learning rate rises linearly to LR

	EvalEvery    int     // steps between evaluations; default 100
	EvalBatch    int     // samples per evaluation batch; default 1000, or the model's where it is fixed
	Target       *Target // nil: none
	StopAtTarget bool    // end the run at the first evaluation that reaches Target

	KeepStates      []int // steps after which the parameters are written to states/
	CheckpointEvery int   // steps between checkpoints; default 1000
	KeepLast        int   // checkpoints that are kept; default 2
	KeepBest        bool  // keep a checkpoint of the best evaluation, and its weights and model

	Averager Averager // nil: the parameters that are trained are tested and kept

	Nowcaster Nowcaster // nil: plain training
	Period    int       // steps from one nowcast to the next; default 1000
	Horizons  []int     // k of each nowcast; the last one repeats; required with a Nowcaster
	Safeguard bool      // undo a nowcast after which the training loss stays higher than before; see trial
	// Alternatives are further candidates of the safeguard, less bold one after the
	// other. They look back on as many states as Nowcaster.
	Alternatives []Alternative
	Moments      string // what becomes of the optimizer's moments; default MomentsKeep

	Progress io.Writer    // nil: silent
	Label    string       // name of the run in progress messages; default Method
	Log      *slog.Logger // nil: silent
}

// withDefaults fills in defaults and reports every bad field at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("config: "+format, args...)) }
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&c.Batch, 128)
	set(&c.Accumulate, 1)
	set(&c.EvalEvery, 100)
	set(&c.CheckpointEvery, 1000)
	set(&c.KeepLast, 2)
	set(&c.Period, 1000)
	if c.Schedule == "" {
		c.Schedule = ScheduleConstant
	}
	if c.Moments == "" {
		c.Moments = MomentsKeep
	}
	if c.Method == "" {
		c.Method = "none"
		if c.Nowcaster != nil {
			c.Method = c.Nowcaster.Name()
		} else if c.Averager != nil {
			c.Method = c.Averager.Name()
		}
	}
	if a := c.Artifacts; a != nil {
		if len(c.Inputs) == 0 {
			c.Inputs = a.BatchInputs()
		}
		if c.Logits == "" {
			c.Logits = a.Output
		}
	}
	if c.Label == "" {
		c.Label = c.Method
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, f := range []struct {
		name    string
		missing bool
	}{{"Dir", c.Dir == ""}, {"Trainer", c.Trainer == nil}, {"Inputs", len(c.Inputs) == 0}, {"Train", c.Train == nil}} {
		if f.missing {
			bad("%s is missing", f.name)
		}
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"Steps", c.Steps}, {"Batch", c.Batch}, {"Accumulate", c.Accumulate}, {"EvalEvery", c.EvalEvery}, {"CheckpointEvery", c.CheckpointEvery}, {"KeepLast", c.KeepLast}, {"Period", c.Period}} {
		if f.value <= 0 {
			bad("%s is %d, expected at least 1", f.name, f.value)
		}
	}
	if !(c.LR > 0) {
		bad("LR is %v, expected more than 0", c.LR)
	}
	if c.Warmup < 0 || c.EvalBatch < 0 {
		bad("Warmup is %d and EvalBatch %d, expected at least 0", c.Warmup, c.EvalBatch)
	}
	if c.Test == nil && (c.KeepBest || c.StopAtTarget) {
		bad("KeepBest and StopAtTarget need Test, data to evaluate on")
	}
	if c.StopAtTarget && c.Target == nil {
		bad("StopAtTarget needs a Target")
	}
	if c.Resume && c.Overwrite {
		bad("Resume and Overwrite exclude each other")
	}
	if _, ok := schedules[c.Schedule]; !ok {
		bad("Schedule is %q, expected one of %s", c.Schedule, strings.Join(Schedules(), ", "))
	}
	if !slices.Contains(MomentPolicies(), c.Moments) {
		bad("Moments is %q, expected one of %s", c.Moments, strings.Join(MomentPolicies(), ", "))
	}
	if t := c.Target; t != nil && t.Metric != MetricAccuracy && t.Metric != MetricLoss {
		bad("Target.Metric is %q, expected %s or %s", t.Metric, MetricAccuracy, MetricLoss)
	}
	if _, ok := c.Trainer.(Accumulator); c.Accumulate > 1 && c.Trainer != nil && !ok {
		bad("Accumulate is %d, but the trainer cannot accumulate gradients", c.Accumulate)
	}
	if n := c.Nowcaster; n != nil {
		if n.Context() < 1 || c.Period%n.Context() != 0 {
			bad("Period is %d, expected a multiple of the %d states that %s wants", c.Period, n.Context(), n.Name())
		}
		if c.Safeguard && c.Train != nil && data.IsOnce(c.Train) {
			bad("Safeguard looks ahead at samples, which a stream does not allow")
		}
		if c.Safeguard && n.Context() > 0 && c.Period < 2*n.Context() {
			bad("Period is %d, expected at least %d: the safeguard needs a step between two states", c.Period, 2*n.Context())
		}
		for _, a := range c.Alternatives {
			if a.Nowcaster == nil || a.Nowcaster.Context() != n.Context() || !(a.Share > 0) {
				bad("Alternatives are to look back on %d states, with a share of the horizon above 0", n.Context())
			}
		}
		if len(c.Horizons) == 0 {
			bad("Horizons is empty")
		}
		for _, k := range c.Horizons {
			if k < 1 {
				bad("Horizons is %v, expected at least 1 each", c.Horizons)
				break
			}
		}
	}
	return c, errors.Join(errs...)
}
