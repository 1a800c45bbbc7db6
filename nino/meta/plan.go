package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"ninox/models"
	"ninox/training"
)

// PlanSchema is the schema of plan files.
const PlanSchema = "ninox.meta.plan/1"

// Plan describes training runs: sets of runs, each set with choices from which
// its runs draw. The draws depend on the seed, the set's name and the run's
// number alone, so that a longer plan contains the runs of a shorter one.
type Plan struct {
	Schema string `json:"schema"`
	Seed   uint64 `json:"seed"`
	Sets   []Set  `json:"sets"`
}

// Set is a number of runs. Each list holds choices; an empty one stands for the
// zero value of what it chooses.
type Set struct {
	Name    string `json:"name"`
	Count   int    `json:"count"`              // runs
	HeldOut bool   `json:"held_out,omitempty"` // not for training: evaluation measures on these

	Data       []string  `json:"data"`                  // kinds of image data, or text:FILES for language models
	Samples    []int     `json:"samples,omitempty"`     // the first so many samples; 0: all
	Classes    []int     `json:"classes,omitempty"`     // so many of the classes, drawn at random; 0: all
	LabelNoise []float64 `json:"label_noise,omitempty"` // share of the labels that are drawn at random
	Shift      []int     `json:"shift,omitempty"`       // images are moved by up to so many pixels

	Kernel     []int    `json:"kernel,omitempty"`
	Hidden     [][]int  `json:"hidden,omitempty"`
	Strides    [][]int  `json:"strides,omitempty"`
	Norm       []string `json:"norm,omitempty"`
	Activation []string `json:"activation,omitempty"`
	Residual   []bool   `json:"residual,omitempty"`
	Flatten    []bool   `json:"flatten,omitempty"`

	// Language models, of bytes, in place of kernel to flatten.
	Family  []string `json:"family,omitempty"` // models.GPT2 or models.Llama
	Layers  []int    `json:"layers,omitempty"`
	Width   []int    `json:"width,omitempty"`
	Heads   []int    `json:"heads,omitempty"`
	KVHeads []int    `json:"kv_heads,omitempty"` // of keys and values; 0: as many as heads
	Length  []int    `json:"length,omitempty"`   // tokens of a sequence

	Optimizer   []string  `json:"optimizer"`
	LR          []float64 `json:"lr"`
	WeightDecay []float64 `json:"weight_decay,omitempty"`
	Batch       []int     `json:"batch"`
	Steps       int       `json:"steps"`
	Every       int       `json:"every"` // steps between stored states
}

// Task is one training run, fully decided. What it leaves in the store depends
// on nothing else.
type Task struct {
	Set         string         `json:"set"`
	HeldOut     bool           `json:"held_out,omitempty"`
	Network     models.Variant `json:"network"`            // without the sizes that the data decides
	Language    *Language      `json:"language,omitempty"` // in place of Network
	Data        string         `json:"data"`
	Samples     int            `json:"samples,omitempty"`
	Classes     int            `json:"classes,omitempty"`
	LabelNoise  float64        `json:"label_noise,omitempty"`
	Shift       int            `json:"shift,omitempty"`
	Optimizer   string         `json:"optimizer"`
	LR          float64        `json:"lr"`
	WeightDecay float64        `json:"weight_decay,omitempty"`
	Batch       int            `json:"batch"`
	Steps       int            `json:"steps"`
	Every       int            `json:"every"`
	Seed        uint64         `json:"seed"`
}

// Language is a causal language model of bytes.
type Language struct {
	Family  string `json:"family"`
	Layers  int    `json:"layers"`
	Width   int    `json:"width"`
	Heads   int    `json:"heads"`
	KVHeads int    `json:"kv_heads,omitempty"`
	Length  int    `json:"length"` // tokens of a sequence
}

// ReadPlan reads a plan file (JSON). Unknown fields are errors.
func ReadPlan(path string) (*Plan, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := ParsePlan(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// ParsePlan reads a plan.
func ParsePlan(b []byte) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var p Plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if p.Schema != PlanSchema {
		return nil, fmt.Errorf("plan: schema %q, expected %q", p.Schema, PlanSchema)
	}
	var errs []error
	if len(p.Sets) == 0 {
		errs = append(errs, errors.New("plan: no sets"))
	}
	names := map[string]bool{}
	for _, s := range p.Sets {
		if err := s.validate(); err != nil {
			errs = append(errs, fmt.Errorf("plan: set %q: %w", s.Name, err))
		}
		if names[s.Name] {
			errs = append(errs, fmt.Errorf("plan: set %q appears twice", s.Name))
		}
		names[s.Name] = true
	}
	return &p, errors.Join(errs...)
}

func (s *Set) validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Name == "" {
		fault("no name")
	}
	if s.Count < 1 {
		fault("count %d, expected at least 1", s.Count)
	}
	if len(s.Data) == 0 || len(s.Optimizer) == 0 || len(s.LR) == 0 || len(s.Batch) == 0 {
		fault("data, optimizer, lr and batch each need a choice")
	}
	language := len(s.Family) > 0
	switch {
	case language == (len(s.Hidden) > 0):
		fault("expected choices of hidden, for classifiers of images, or of family, for language models")
	case language && (len(s.Layers) == 0 || len(s.Width) == 0 || len(s.Heads) == 0 || len(s.Length) == 0):
		fault("language models need choices of layers, width, heads and length")
	}
	for _, lr := range s.LR {
		if !(lr > 0) {
			fault("lr %v, expected above 0", lr)
		}
	}
	for _, b := range s.Batch {
		if b < 1 {
			fault("batch %d, expected at least 1", b)
		}
	}
	for _, o := range s.Optimizer {
		if err := (training.Optimizer{Kind: o}).Validate(); err != nil || o == "" {
			fault("optimizer %q: %w", o, err)
		}
	}
	for _, n := range s.LabelNoise {
		if !(n >= 0 && n <= 1) {
			fault("label_noise %v, expected 0 to 1", n)
		}
	}
	if s.Steps < 1 || s.Every < 1 || s.Steps%s.Every != 0 {
		fault("steps %d, every %d: expected a multiple", s.Steps, s.Every)
	}
	for _, n := range slices.Concat(s.Shift, s.Classes, s.Samples) {
		if n < 0 {
			fault("shift, classes and samples cannot be negative")
		}
	}
	return errors.Join(errs...)
}

// Tasks are the runs of the plan, in order.
func (p *Plan) Tasks() []Task {
	var out []Task
	for i := range p.Sets {
		s := &p.Sets[i]
		for n := range s.Count {
			out = append(out, s.task(p.Seed, n))
		}
	}
	return out
}

// task draws run number n. The order of the draws is part of the meaning of a
// plan.
func (s *Set) task(seed uint64, n int) Task {
	h := sha256.Sum256([]byte(s.Name))
	rng := rand.New(rand.NewPCG(seed^uint64(n)<<32, uint64(h[0])|uint64(h[1])<<8|uint64(h[2])<<16|uint64(h[3])<<24))
	t := Task{Set: s.Name, HeldOut: s.HeldOut, Steps: s.Steps, Every: s.Every, Seed: rng.Uint64() >> 12} // exact as a JSON number
	t.Data = draw(rng, s.Data)
	t.Samples = draw(rng, s.Samples)
	t.Classes = draw(rng, s.Classes)
	t.LabelNoise = draw(rng, s.LabelNoise)
	t.Shift = draw(rng, s.Shift)
	t.Network.Kernel = draw(rng, s.Kernel)
	t.Network.Hidden = draw(rng, s.Hidden)
	t.Network.Strides = draw(rng, s.Strides)
	t.Network.Norm = draw(rng, s.Norm)
	t.Network.Activation = draw(rng, s.Activation)
	t.Network.Residual = draw(rng, s.Residual)
	t.Network.Flatten = draw(rng, s.Flatten)
	t.Optimizer = draw(rng, s.Optimizer)
	t.LR = draw(rng, s.LR)
	t.WeightDecay = draw(rng, s.WeightDecay)
	t.Batch = draw(rng, s.Batch)
	if len(s.Family) > 0 {
		t.Language = &Language{
			Family: draw(rng, s.Family), Layers: draw(rng, s.Layers), Width: draw(rng, s.Width),
			Heads: draw(rng, s.Heads), KVHeads: draw(rng, s.KVHeads), Length: draw(rng, s.Length),
		}
	}
	return t.fit()
}

// draw is one of the choices, the zero value where there are none.
func draw[T any](rng *rand.Rand, choices []T) T {
	i := rng.IntN(max(1, len(choices))) // drawn always, so that a new list moves no other draw
	if len(choices) == 0 {
		var zero T
		return zero
	}
	return choices[i]
}

// fit drops choices that do not go together, so that lists can be combined
// freely.
func (t Task) fit() Task {
	n := &t.Network
	if n.Kernel == 0 {
		n.Strides, n.Norm, n.Flatten = nil, "", false
	}
	if t.Language != nil && t.Language.Family == models.GPT2 {
		t.Language.KVHeads = 0
	}
	if len(n.Strides) > len(n.Hidden) {
		n.Strides = n.Strides[:len(n.Hidden)]
	}
	return t
}

// ID names the run in the store: the first 16 hexadecimal digits of the
// SHA-256 of what decides it.
func (t Task) ID() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("meta: task: " + err.Error()) // numbers, strings and lists of them
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}

// States is the number of states that the run leaves, the initial one
// included.
func (t Task) States() int { return t.Steps/t.Every + 1 }
