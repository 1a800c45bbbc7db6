// Package method is the table of the ways to train faster: the paper's methods
// and those that people use today. `ninox accelerate` runs one beside plain
// training, `ninox bench` compares them.
//
//	m, err := method.Lookup("linefit")
//	p, err := m.Plan(engine, j, o)        // of a job.Job and the flags
//	defer p.Close()
//	summary, err := p.Job.Run(ctx, engine, p.Run)
package method

import (
	"slices"
	"strings"

	"ninox/cmd/internal/app"
	"ninox/nino"
)

// Kind says what a method changes.
type Kind string

// Kinds of methods.
const (
	Plain     Kind = "plain"     // nothing
	Nowcast   Kind = "nowcast"   // now and then the parameters, by a prediction
	Average   Kind = "average"   // what is tested and kept, or where steps start
	Optimizer Kind = "optimizer" // every update
)

// Names of methods.
const (
	None         = "none"
	Linefit      = "linefit"
	LinefitPlus  = "linefit+"
	WNN          = "wnn"
	WNNPlus      = "wnn+"
	NinoNaive    = "nino-naive"
	Nino         = "nino"
	EMA          = "ema"
	LAWA         = "lawa"
	ScheduleFree = "schedule-free"
	EMANesterov  = "ema-nesterov"
	Lookahead    = "lookahead"
	Muon         = "muon"
	L2O          = "l2o"
)

// weightsL2O stands for the weights of L2O, which are no variant of NiNo's.
const weightsL2O = "l2o"

// Method is one way to train.
type Method struct {
	Name string
	Kind Kind
	Doc  string // one line
	// Weights is the variant of the network that the method needs, "" for none.
	Weights string

	horizon int  // of the first nowcast, 0: the most that the weights know
	fixed   bool // all nowcasts are equally far
	prepare func(p *Plan, s *setup) error
}

var methods = []Method{
	{Name: None, Kind: Plain, Doc: "plain training only", prepare: nothing},
	{Name: Linefit, Kind: Nowcast, Doc: "a straight line through each parameter's past states, always equally far", horizon: 4, fixed: true, prepare: line(nino.Linefit)},
	{Name: LinefitPlus, Kind: Nowcast, Doc: "the same line, closer to recent states, less and less far", horizon: 8, prepare: line(nino.LinefitPlus)},
	{Name: WNN, Kind: Nowcast, Doc: "a network that sees each parameter by itself, scaled by its own range, always equally far", Weights: nino.VariantMLP, horizon: 5, fixed: true, prepare: network},
	{Name: WNNPlus, Kind: Nowcast, Doc: "the same with the paper's scaling by layer, less and less far", Weights: nino.VariantMLP, prepare: network},
	{Name: NinoNaive, Kind: Nowcast, Doc: "NiNo over a graph that knows nothing of attention", Weights: nino.VariantGNN, prepare: network},
	{Name: Nino, Kind: Nowcast, Doc: "the NiNo network over the model's neuron graph", Weights: nino.VariantGNN, prepare: network},
	{Name: EMA, Kind: Average, Doc: "tests and keeps the exponential moving average of the parameters", prepare: ema},
	{Name: LAWA, Kind: Average, Doc: "tests and keeps the mean of the latest states", prepare: lawa},
	{Name: ScheduleFree, Kind: Optimizer, Doc: "Schedule-Free AdamW, in place of the optimizer", prepare: scheduleFree},
	{Name: EMANesterov, Kind: Average, Doc: "takes each step from ahead of the parameters, along the mean of their way", prepare: emaNesterov},
	{Name: Lookahead, Kind: Average, Doc: "pulls slow parameters towards those trained for some steps, and goes on from there", prepare: lookahead},
	{Name: Muon, Kind: Optimizer, Doc: "Muon for weight matrices and AdamW for the rest, in place of the optimizer", prepare: muon},
	{Name: L2O, Kind: Optimizer, Doc: "a learned optimizer: a network over the model's neuron graph makes every step", Weights: weightsL2O, prepare: learned},
}

// Nowcasts says whether the method's weights are those of a network that predicts
// parameters.
func (m Method) Nowcasts() bool { return m.Weights != "" && m.Weights != weightsL2O }

// All lists the methods.
func All() []Method { return slices.Clone(methods) }

// Names lists their names.
func Names() []string {
	var out []string
	for _, m := range methods {
		out = append(out, m.Name)
	}
	return out
}

// Lookup finds a method by its name.
func Lookup(name string) (Method, error) {
	for _, m := range methods {
		if m.Name == name {
			return m, nil
		}
	}
	return Method{}, app.Usagef("method %q: expected one of %s", name, strings.Join(Names(), ", "))
}

// Default is the method where none is named.
func Default() Method {
	m, _ := Lookup(Nino) // it is in the table
	return m
}

// Table describes the methods for a help text, a line each.
func Table() string {
	var b strings.Builder
	for _, m := range methods {
		b.WriteString("  " + m.Name + strings.Repeat(" ", 15-len(m.Name)) + m.Doc + "\n")
	}
	return b.String()
}
