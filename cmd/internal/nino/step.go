package nino

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/weights"
)

// Methods of a nowcast.
const (
	methodNino    = "nino"
	methodWNN     = "wnn+"
	methodLinefit = "linefit"
)

var methods = []string{methodNino, methodWNN, methodLinefit}

// compatReference is the one value of --compat.
const compatReference = "reference"

var compats = []string{compatReference}

type stepOptions struct {
	Model     string
	States    []string
	Weights   string
	K         int
	Compat    string
	Out       string
	Method    string
	Overwrite bool
}

func newStep(a *app.App, run func(context.Context, *app.App, stepOptions) error) *cobra.Command {
	var o stepOptions
	cmd := &cobra.Command{
		Use:   "step --model M.onnx --states S0 S1 S2 S3 S4 --weights W --k K -o OUT.safetensors",
		Short: "Predict parameters from five checkpoints",
		Long: `Reads five states of a model's parameters, taken at equal intervals, oldest first (.safetensors or
.npz, named as in the model), and writes the state that is predicted K intervals after the newest.
Arrays that are no parameters of the model are copied from the newest state.`,
		Example: `  ninox nino step --model m.onnx --states s200.safetensors s400.safetensors s600.safetensors \
    s800.safetensors s1000.safetensors --weights nino.safetensors --k 20 -o next.safetensors`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(o.States) > 0 { // --states takes one file, the others follow it
				o.States = append(o.States, args...)
			} else if len(args) > 0 {
				return app.Usagef("unexpected argument %q (see '%s --help')", args[0], c.CommandPath())
			}
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Model, "model", "", "the model as ONNX (required)")
	f.StringArrayVar(&o.States, "states", nil, "five states, oldest first (required)")
	f.StringVar(&o.Weights, "weights", "", "network weights (required for nino and wnn+)")
	f.IntVar(&o.K, "k", 0, "horizon, in intervals between the states (required)")
	f.StringVar(&o.Compat, "compat", "", "reference: place the key bias as the reference does, to compare numbers with it")
	f.StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	f.StringVar(&o.Method, "method", methodNino, strings.Join(methods, ", "))
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace an existing file")
	app.Choices(cmd, "method", methods)
	app.Choices(cmd, "compat", compats)
	return cmd
}

// stateCount is the number of states that all methods look back on.
const stateCount = 5

func (o *stepOptions) check(c *cobra.Command) error {
	var f app.Faults
	if o.Model == "" {
		f.Addf("--model M.onnx is missing")
	}
	if len(o.States) != stateCount {
		f.Addf("--states: %d files, expected %d, oldest first", len(o.States), stateCount)
	}
	if o.K < 1 {
		f.Addf("--k %d: expected a horizon from 1 on", o.K)
	}
	if o.Out == "" {
		f.Addf("-o OUT.safetensors is missing: the file to write")
	}
	f.OneOf("method", o.Method, methods)
	f.OneOf("compat", o.Compat, compats)
	if o.Method != methodLinefit {
		needWeights(&f, o.Weights)
	}
	return f.Err(c)
}

// Step is the machine-readable output of `ninox nino step`. Counts are of
// numbers, names of arrays.
type Step struct {
	Path       string   `json:"path"`
	Method     string   `json:"method"`
	K          int      `json:"k"`
	Parameters int      `json:"parameters"` // predicted
	Matched    []string `json:"matched"`    // parameters of the model found in the states
	Missing    []string `json:"missing"`    // parameters of the model that the states lack
	Copied     []string `json:"copied"`     // arrays of the states that are no parameters of the model
	Newest     float64  `json:"newest_norm"`
	Update     float64  `json:"update_norm"`
	Seconds    float64  `json:"seconds"`
}

func runStep(ctx context.Context, a *app.App, o stepOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	states, meta, err := readStates(o.States)
	if err != nil {
		return err
	}
	g, statistics, err := analyse(o.Model)
	if err != nil {
		return err
	}
	newest := states[len(states)-1]
	r := &Step{Path: o.Out, Method: o.Method, K: o.K, Matched: []string{}, Missing: []string{}, Copied: []string{}}
	if err := r.match(g.Parameters, statistics, newest); err != nil {
		return fmt.Errorf("%s and %s: %w", o.Model, o.States[len(states)-1], err)
	}
	r.report(a)
	start := time.Now()
	predicted, err := o.nowcast(ctx, a, g, r.Matched, states)
	if err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	if r.Newest, r.Update, err = norms(r.Matched, newest, predicted); err != nil {
		return err
	}
	if math.IsNaN(r.Update) || math.IsInf(r.Update, 0) {
		return fmt.Errorf("the prediction is not finite (the newest state has norm %v); nothing is written", r.Newest)
	}
	record, err := json.Marshal(map[string]any{"method": r.Method, "k": r.K})
	if err != nil {
		return err
	}
	meta = maps.Clone(meta)
	if meta == nil {
		meta = map[string]string{}
	}
	meta["ninox.nowcast"] = string(record)
	if err := weights.WriteSafetensors(o.Out, predicted, meta, o.Overwrite); err != nil {
		return err
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written    %s\npredicted  %d numbers of %d arrays with %s, k = %d, in %.2f s\nupdate     %.4g (norm; the newest state has %.4g)\n",
		r.Path, r.Parameters, len(r.Matched), r.Method, r.K, r.Seconds, r.Update, r.Newest)
	return err
}

// readStates reads the states and the metadata of the newest.
func readStates(paths []string) (states []*weights.Set, meta map[string]string, err error) {
	for _, path := range paths {
		var s *weights.Set
		if filepath.Ext(path) == ".npz" {
			s, err = weights.ReadNPZ(path)
			meta = nil
		} else {
			s, meta, err = weights.ReadSafetensors(path)
		}
		if err != nil {
			return nil, nil, err
		}
		states = append(states, s)
	}
	return states, meta, nil
}

// analyse derives the neuron graph of a model file, and names its running
// statistics, which training updates but no gradient.
func analyse(path string) (*neuralgraph.Graph, map[string]bool, error) {
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	statistics := map[string]bool{}
	for _, n := range m.Graph.Nodes {
		if n.Op() == "BatchNormalization" {
			statistics[n.Input(3)], statistics[n.Input(4)] = true, true
		}
	}
	return g, statistics, nil
}

// match compares the names and shapes of the model's parameters with those of
// a state. Shapes that differ are errors, all reported at once.
func (r *Step) match(parameters []neuralgraph.Parameter, statistics map[string]bool, newest *weights.Set) error {
	var errs []error
	known := map[string]bool{}
	for _, p := range parameters {
		if statistics[p.Name] {
			continue
		}
		known[p.Name] = true
		d := newest.Get(p.Name)
		if d == nil {
			r.Missing = append(r.Missing, p.Name)
			continue
		}
		got := weights.Dims(d)
		if scalar := len(p.Shape) == 0 && slices.Equal(got, []int64{1}); !scalar && !slices.Equal(got, p.Shape) {
			errs = append(errs, fmt.Errorf("parameter %q has shape %v in the model, %v in the states", p.Name, p.Shape, got))
		}
		r.Matched = append(r.Matched, p.Name)
		r.Parameters += d.DataSize()
	}
	for _, name := range newest.Names() {
		if !known[name] {
			r.Copied = append(r.Copied, name)
		}
	}
	if len(r.Matched) == 0 {
		errs = append(errs, fmt.Errorf("no name in common: the model has %s, the states have %s", listed(r.Missing), listed(r.Copied)))
	}
	return errors.Join(errs...)
}

// report tells what does not match.
func (r *Step) report(a *app.App) {
	a.Notef("%d arrays of the states are parameters of the model", len(r.Matched))
	if len(r.Missing) > 0 {
		a.Notef("not in the states, left out of the neural graph: %s", listed(r.Missing))
	}
	if len(r.Copied) > 0 {
		a.Notef("not in the model, copied from the newest state: %s", listed(r.Copied))
	}
}

// listed names a few of many.
func listed(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "none"
	}
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// nowcast runs the method on the parameters that match.
func (o *stepOptions) nowcast(ctx context.Context, a *app.App, g *neuralgraph.Graph, matched []string, states []*weights.Set) (*weights.Set, error) {
	if o.Method == methodLinefit {
		return nino.Linefit().Nowcast(ctx, states, o.K)
	}
	w, err := nino.Import(o.Weights)
	if err != nil {
		return nil, err
	}
	if (o.Method == methodWNN) != (w.Variant == nino.VariantMLP) {
		return nil, app.Usagef("--method %s: %s holds weights of the variant %q", o.Method, o.Weights, w.Variant)
	}
	if o.K > w.Horizons {
		return nil, app.Usagef("--k %d: %s predicts 1 to %d", o.K, o.Weights, w.Horizons)
	}
	graph, err := g.NiNo(matched)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Model, err)
	}
	if o.Compat == compatReference {
		graph = nino.CompatReference(graph)
	}
	engine, err := a.Engine(ctx)
	if err != nil {
		return nil, err
	}
	log, err := a.Logger()
	if err != nil {
		return nil, err
	}
	n, err := nino.New(engine, w, graph, nino.Options{Log: log, Progress: progress(a)})
	if err != nil {
		return nil, err
	}
	defer n.Close()
	a.Notef("neural graph: %d nodes, %d edges", graph.Nodes, n.Edges())
	return n.Nowcast(ctx, states, o.K)
}

// progressEvery is the time between two lines of progress.
const progressEvery = 2 * time.Second

// progress prints how far the network is, now and then.
func progress(a *app.App) func(done, total int) {
	last := time.Now()
	return func(done, total int) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			a.Notef("%3d %%", int(100*int64(done)/int64(total)))
		}
	}
}

// norms are the Euclidean norms of the newest state's parameters and of the
// update.
func norms(names []string, newest, predicted *weights.Set) (state, update float64, err error) {
	for _, name := range names {
		a, err := newest.Floats(name)
		if err != nil {
			return 0, 0, err
		}
		b, err := predicted.Floats(name)
		if err != nil {
			return 0, 0, err
		}
		for i, x := range a {
			d := float64(b[i]) - float64(x)
			state += float64(x) * float64(x)
			update += d * d
		}
	}
	return math.Sqrt(state), math.Sqrt(update), nil
}
