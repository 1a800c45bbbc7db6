package method

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/nino"
	"ninox/training"
)

// Options are the flags of methods. Zero values mean the method's default.
type Options struct {
	Weights   string
	Period    int
	Horizon   int
	Power     *float64 // nil: the method's
	Safeguard string
	Moments   string

	Scaling       string
	Positions     string
	WordPositions string
	EdgeTypes     string
	Context       int
	Layers        int
	Width         int

	Decay  float64
	Every  int
	States int
	Ahead  float64
}

// Values of flags that switch something.
const (
	on  = "on"
	off = "off"
)

var switches = []string{on, off}

// Register adds the flags to a command.
func (o *Options) Register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.Weights, "weights", "", "weights of the network: safetensors, or the reference's .pt")
	f.IntVar(&o.Period, "period", 1000, "steps from one nowcast to the next")
	f.IntVar(&o.Horizon, "horizon", 0, "horizon of the first nowcast, in intervals between states (default: the most that the weights know; without weights that of the method)")
	f.Var(number{&o.Power}, "horizon-power", "how fast the horizon falls to 1 over the run: 1 is straight, more is faster at first, 0 not at all (default 2; linefit and wnn 0)")
	f.StringVar(&o.Safeguard, "safeguard", on, "on: choose among candidates and undo a nowcast after which the training loss stays higher than before; off: keep all, as the paper does")
	f.StringVar(&o.Moments, "moments", "", "of the optimizer after a nowcast: "+strings.Join(training.MomentPolicies(), ", ")+" (default "+training.MomentsKeep+")")
	f.StringVar(&o.Scaling, "scaling", "", "of parameters before the network sees them (default: that of the weights): "+strings.Join(scalings(), ", "))
	f.StringVar(&o.Positions, "positions", on, "off: the network does not see where neurons are in the graph")
	f.StringVar(&o.WordPositions, "word-positions", on, "off: nor the places of words in the vocabulary")
	f.StringVar(&o.EdgeTypes, "edge-types", on, "off: nor what kind of parameter an edge is")
	f.IntVar(&o.Context, "context", 0, "past states that a nowcast looks back on (default 5; networks: what their weights say)")
	f.IntVar(&o.Layers, "layers", 0, "layers that the weights must have")
	f.IntVar(&o.Width, "width", 0, "width that the weights must have")
	f.Float64Var(&o.Decay, "average-decay", 0, "ema: decay a step (default 0.999); ema-nesterov: of the mean way (default 0.99)")
	f.IntVar(&o.Every, "average-every", 0, "lawa: steps between states (default: those of nowcasts); lookahead: steps of the fast parameters (default 5)")
	f.IntVar(&o.States, "average-states", 0, "lawa: states in the mean (default 5)")
	f.Float64Var(&o.Ahead, "ahead", 0, "lookahead: share of the way that slow parameters go (default 0.5); ema-nesterov: how far ahead, in mean steps (default 0.5)")
	for flag, values := range map[string][]string{
		"safeguard": switches, "positions": switches, "word-positions": switches, "edge-types": switches,
		"moments": training.MomentPolicies(), "scaling": scalings(),
	} {
		app.Choices(c, flag, values)
	}
}

// uses says which methods a flag is for.
var uses = map[string]func(m Method) bool{
	"weights":        withWeights,
	"period":         func(m Method) bool { return m.Kind == Nowcast || m.Name == LAWA || m.Kind == Plain },
	"horizon":        nowcasts,
	"horizon-power":  nowcasts,
	"safeguard":      func(m Method) bool { return m.Kind == Nowcast || m.Kind == Plain },
	"moments":        nowcasts,
	"scaling":        Method.Nowcasts,
	"positions":      graph,
	"word-positions": graph,
	"edge-types":     Method.Nowcasts,
	"context":        nowcasts,
	"layers":         Method.Nowcasts,
	"width":          Method.Nowcasts,
	"average-decay":  of(EMA, EMANesterov),
	"average-every":  of(LAWA, Lookahead),
	"average-states": of(LAWA),
	"ahead":          of(Lookahead, EMANesterov),
}

func nowcasts(m Method) bool    { return m.Kind == Nowcast }
func withWeights(m Method) bool { return m.Weights != "" }
func graph(m Method) bool       { return m.Weights == nino.VariantGNN }
func of(names ...string) func(Method) bool {
	return func(m Method) bool { return slices.Contains(names, m.Name) }
}

func scalings() []string {
	var out []string
	for _, s := range nino.Scalings() {
		out = append(out, string(s))
	}
	return out
}

// Check adds the faults of the flags of a command for a method that runs for so
// many steps, 0 where that is not known yet.
func (o *Options) Check(c *cobra.Command, m Method, steps int, f *app.Faults) {
	for _, flag := range slices.Sorted(maps.Keys(uses)) {
		if c.Flags().Changed(flag) && !uses[flag](m) {
			f.Addf("--%s: not for --method %s", flag, m.Name)
		}
	}
	f.OneOf("safeguard", o.Safeguard, switches)
	f.OneOf("positions", o.Positions, switches)
	f.OneOf("word-positions", o.WordPositions, switches)
	f.OneOf("edge-types", o.EdgeTypes, switches)
	f.OneOf("moments", o.Moments, training.MomentPolicies())
	f.OneOf("scaling", o.Scaling, scalings())
	for _, n := range []struct {
		flag         string
		value, least int
	}{{"horizon", o.Horizon, 1}, {"context", o.Context, 2}, {"layers", o.Layers, 1}, {"width", o.Width, 1}, {"average-every", o.Every, 1}, {"average-states", o.States, 1}} {
		if n.value < n.least && c.Flags().Changed(n.flag) {
			f.Addf("--%s %d: expected at least %d", n.flag, n.value, n.least)
		}
	}
	if o.Power != nil && !(*o.Power >= 0) {
		f.Addf("--horizon-power %v: expected at least 0", *o.Power)
	}
	if c.Flags().Changed("average-decay") && !(o.Decay > 0 && o.Decay < 1) {
		f.Addf("--average-decay %v: expected a number between 0 and 1", o.Decay)
	}
	if c.Flags().Changed("ahead") && !(o.Ahead > 0 && (o.Ahead <= 1 || m.Name == EMANesterov)) {
		f.Addf("--ahead %v: expected a number above 0, at most 1 for lookahead", o.Ahead)
	}
	o.checkPeriod(m, steps, f)
}

func (o *Options) checkPeriod(m Method, steps int, f *app.Faults) {
	states := o.context()
	if o.Period < states || o.Period%states != 0 {
		f.Addf("--period %d: expected a multiple of %d, the states of a nowcast", o.Period, states)
	}
	if o.Safeguard == on && o.Period > 0 && o.Period < 2*states {
		f.Addf("--period %d: the safeguard needs at least %d steps; choose --safeguard off", o.Period, 2*states)
	}
	if m.Kind == Nowcast && steps > 0 && steps < o.Period {
		f.Addf("--steps %d: the first nowcast is due at step %d; choose a smaller --period, or --method none", steps, o.Period)
	}
}

// context is the number of states as far as the flags say.
func (o *Options) context() int {
	if o.Context >= 2 {
		return o.Context
	}
	return nino.DefaultContext
}

// ablation is what the flags leave out of the network.
func (o *Options) ablation() nino.Ablation {
	return nino.Ablation{
		Scaling: nino.Scaling(o.Scaling), NoPositions: o.Positions == off, NoWordPositions: o.WordPositions == off, NoEdgeTypes: o.EdgeTypes == off,
		Context: o.Context, Layers: o.Layers, Width: o.Width,
	}
}

// number is the value of a flag for a *float64 that is nil until set.
type number struct{ to **float64 }

func (number) Type() string { return "float" }

func (v number) String() string {
	if v.to == nil || *v.to == nil {
		return ""
	}
	return strconv.FormatFloat(**v.to, 'g', -1, 64)
}

func (v number) Set(text string) error {
	x, err := strconv.ParseFloat(text, 64)
	*v.to = &x
	return err
}
