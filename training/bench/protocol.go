package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"ninox/training"
)

// Schema names the form of protocol.json.
const Schema = "ninox.bench/1"

// MinSeeds is the least number of seeds that a comparison rests on.
const MinSeeds = 3

// Rules for the target of a task.
const (
	TargetTuned = "tuned" // the level that the tuned base reaches with every seed
	TargetPaper = "paper" // the level that the paper gives for the task
)

// What the search over learning rates covers.
const (
	TuneBase = "base" // the base; the other methods take over its rate
	TuneEach = "each" // every method, with the same number of runs
	TuneNone = "none" // nothing: every method has its own rate, or that of the task
)

// Protocol says what is compared and how, before anything runs.
type Protocol struct {
	Schema     string    `json:"schema"`
	Created    string    `json:"created"` // RFC 3339
	Ninox      string    `json:"ninox"`   // version of the program
	Suite      string    `json:"suite,omitempty"`
	Target     string    `json:"target"`      // TargetTuned or TargetPaper
	Tune       string    `json:"tune"`        // TuneBase, TuneEach or TuneNone
	Grid       []float64 `json:"grid"`        // factors of a task's learning rate
	TuningSeed uint64    `json:"tuning_seed"` // none of Seeds, so that the search does not favour what it chose
	Seeds      []uint64  `json:"seeds"`
	Level      float64   `json:"level"` // of the confidence intervals
	Flags      []string  `json:"flags"` // of every run, "NAME=VALUE"
	Rules      []string  `json:"rules"` // what is computed, in words
	Methods    []Method  `json:"methods"`
	Tasks      []Task    `json:"tasks"`
	LeftOut    []string  `json:"left_out,omitempty"` // of a suite, and why
}

// Task is what all methods train.
type Task struct {
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	Source      string   `json:"source"` // argument of ninox accelerate
	Data        string   `json:"data"`
	EvalData    string   `json:"eval_data,omitempty"`
	Tokenizer   string   `json:"tokenizer,omitempty"`
	Note        string   `json:"note,omitempty"` // a remark on the data
	TrainHash   string   `json:"train_sha256"`
	TestHash    string   `json:"test_sha256"`
	Metric      string   `json:"metric"` // training.MetricAccuracy or MetricLoss, on the test data
	PaperTarget *float64 `json:"paper_target,omitempty"`
	PaperData   bool     `json:"paper_data"` // trained on what the paper trains on
	Parameters  int      `json:"parameters"`
	LR          float64  `json:"lr"` // the middle of the grid
	Batch       int      `json:"batch"`
	BatchBytes  int64    `json:"batch_bytes"` // of the samples of one step, as the model gets them
	Steps       int      `json:"steps"`
	Period      int      `json:"period"` // steps from one nowcast to the next
	EvalEvery   int      `json:"eval_every"`
	EvalSamples int      `json:"eval_samples,omitempty"` // of the test data; 0: all
}

// Method is one row of the comparison. The first one is the base.
type Method struct {
	Name        string   `json:"name"`   // unique
	Method      string   `json:"method"` // of ninox accelerate
	Flags       []string `json:"flags,omitempty"`
	Weights     string   `json:"weights,omitempty"`
	WeightsHash string   `json:"weights_sha256,omitempty"`
	LR          float64  `json:"lr,omitempty"` // its own instead of the task's
}

// BaseMethod is the method that the others are compared with.
const BaseMethod = "none"

// Base is the method that the others are compared with.
func (p *Protocol) Base() Method { return p.Methods[0] }

// ruleTexts say what Evaluate computes.
func (p *Protocol) ruleTexts() []string {
	target := "Target of a task: the best value of its metric on the test data that the base reaches with every seed (the worst of its bests), so that the base never misses it."
	if p.Target == TargetPaper {
		target = "Target of a task: the value that the paper gives, reached or not."
	}
	search := fmt.Sprintf("Learning rates: the best of %v times the task's rate after a full run with seed %d, which no result contains; ", p.Grid, p.TuningSeed)
	switch p.Tune {
	case TuneBase:
		search += "searched for the base, taken over by the methods that name no rate of their own."
	case TuneEach:
		search += "searched for every method by itself, with equal numbers of runs."
	default:
		search = "Learning rates: those of the methods, else of the tasks, without a search."
	}
	return []string{
		search, target,
		"Steps, seconds and bytes to the target: at the first evaluation at or beyond it; a run that does not get there within its steps, or diverges, counts as infinite. Seconds are training time with evaluations and nowcasts; bytes are those of the samples read.",
		"Result of a method on a task: 100·(1 − median of its steps / median of the base's steps), medians over seeds. The paired difference is the median over seeds of the base's steps minus the method's with the same seed, which has the same initial parameters and order of samples.",
		fmt.Sprintf("Intervals: percentile bootstrap at %g %% over seeds, the base and the method resampled together; all resamples where these are at most %d, else %d random ones. Averages over tasks resample each task by itself.", 100*p.Level, maxExact, randomResamples),
	}
}

// Complete fills in what follows from the rest.
func (p *Protocol) Complete() {
	p.Schema = Schema
	if p.Level == 0 {
		p.Level = 0.95
	}
	p.Rules = p.ruleTexts()
}

// Validate reports everything that is wrong with the protocol at once.
func (p *Protocol) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("protocol: "+format, args...))
	}
	if p.Schema != Schema {
		bad("schema %q, expected %q", p.Schema, Schema)
	}
	if len(p.Seeds) < MinSeeds {
		bad("%d seeds, expected at least %d", len(p.Seeds), MinSeeds)
	}
	seen := map[string]bool{}
	unique := func(what, name string) {
		if name == "" || seen[what+name] {
			bad("%s %q: expected a name of its own", what, name)
		}
		seen[what+name] = true
	}
	for _, s := range p.Seeds {
		unique("seed", fmt.Sprint(s))
	}
	if p.Tune != TuneNone && seen["seed"+fmt.Sprint(p.TuningSeed)] {
		bad("tuning seed %d is one of the seeds", p.TuningSeed)
	}
	oneOf := func(what, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		bad("%s %q, expected one of %s", what, value, strings.Join(allowed, ", "))
	}
	oneOf("target", p.Target, TargetTuned, TargetPaper)
	oneOf("tune", p.Tune, TuneBase, TuneEach, TuneNone)
	if p.Tune != TuneNone && len(p.Grid) == 0 {
		bad("an empty grid of learning rates")
	}
	for _, f := range p.Grid {
		if !(f > 0) || math.IsInf(f, 0) {
			bad("factor %v of the learning rate, expected more than 0", f)
		}
	}
	if !(p.Level > 0 && p.Level < 1) {
		bad("level %v, expected between 0 and 1", p.Level)
	}
	if len(p.Methods) == 0 || p.Methods[0].Name != BaseMethod {
		bad("the first method must be %q, the base", BaseMethod)
	}
	for _, m := range p.Methods {
		unique("method", m.Name)
	}
	if len(p.Tasks) == 0 {
		bad("no tasks")
	}
	for _, t := range p.Tasks {
		unique("task", t.Name)
		if t.Steps < 1 || t.EvalEvery < 1 || !(t.LR > 0) {
			bad("task %s: %d steps, evaluated every %d, learning rate %v", t.Name, t.Steps, t.EvalEvery, t.LR)
		}
		oneOf("task "+t.Name+": metric", t.Metric, training.MetricAccuracy, training.MetricLoss)
		if p.Target == TargetPaper && t.PaperTarget == nil {
			bad("task %s: the paper gives no target for it; choose the tuned one", t.Name)
		}
	}
	return errors.Join(errs...)
}

// Differences lists what another protocol says otherwise, when it was made
// aside.
func (p *Protocol) Differences(other *Protocol) []string {
	var out []string
	a, b := reflect.ValueOf(*p), reflect.ValueOf(*other)
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		if name == "created" || name == "rules" {
			continue
		}
		x, errX := json.Marshal(a.Field(i).Interface())
		y, errY := json.Marshal(b.Field(i).Interface())
		if errX != nil || errY != nil || string(x) != string(y) {
			out = append(out, fmt.Sprintf("%s is %s, was %s", name, x, y))
		}
	}
	return out
}
