package nino

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	Memory    string
	Peak      bool
}

func newStep(a *app.App, run func(context.Context, *app.App, stepOptions) error) *cobra.Command {
	var o stepOptions
	cmd := &cobra.Command{
		Use:   "step --model M.onnx --states S0 S1 S2 S3 S4 [--weights W] --k K -o OUT.safetensors",
		Short: "Predict parameters from five checkpoints",
		Long: `Reads five states of a model's parameters, taken at equal intervals, oldest first, and writes the
state that is predicted K intervals after the newest, under the states' own names and in their layout.

States may be .safetensors, an .index.json of shards, .npz, .onnx, or what torch.save wrote (.pt,
.pth, .bin). Their arrays are found in the model by name, by the end of the name, or by value: then
the model has to hold the numbers of one of the states, as they are, transposed, or with a batch
normalization folded in. What fits in more than one way is refused. Arrays that are tied to another
one follow it; those that are no parameters of the model are copied from the newest state.

States other than torch's are mapped into memory, not read, and the result is written the same way, with the element types and as many files as the newest state. Beside what
the system caches of files a step then takes memory for the neurons of the model, which is told
before it starts; --memory bounds that.`,
		Example: `  ninox nino step --model m.onnx --states s200.safetensors s400.safetensors s600.safetensors \
    s800.safetensors s1000.safetensors --k 20 -o next.safetensors`,
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
	f.StringVar(&o.Weights, "weights", "", "network weights, a file or a name of the program's (default: the program's for the method)")
	f.IntVar(&o.K, "k", 0, "horizon, in intervals between the states (required)")
	f.StringVar(&o.Compat, "compat", "", "reference: place the key bias as the reference does, to compare numbers with it")
	f.StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	f.StringVar(&o.Method, "method", methodNino, strings.Join(methods, ", "))
	f.StringVar(&o.Memory, "memory", "", "most memory to take beside cached files, such as 2GB; values that do not fit go to a temporary file")
	f.BoolVar(&o.Peak, "peak", false, "also measure what the machine reaches on products of matrices alone, and report the share of it")
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
	if _, err := o.memory(); err != nil {
		f.Addf("--memory %q: expected a size such as 500MB or 2GB", o.Memory)
	}
	return f.Err(c)
}

// Step is the machine-readable output of `ninox nino step`. Counts are of
// numbers, names of arrays.
type Step struct {
	Path       string       `json:"path"`
	Method     string       `json:"method"`
	K          int          `json:"k"`
	Parameters int          `json:"parameters"` // predicted
	Matched    []string     `json:"matched"`    // parameters of the model found in the states
	Matches    []nino.Match `json:"matches"`    // their arrays, and how they were found
	Missing    []string     `json:"missing"`    // parameters of the model that the states lack
	Tied       []nino.Tie   `json:"tied"`       // arrays that hold the numbers of another one, and follow it
	Copied     []string     `json:"copied"`     // arrays of the states that are no parameters of the model
	Newest     float64      `json:"newest_norm"`
	Update     float64      `json:"update_norm"`
	Seconds    float64      `json:"seconds"` // of the prediction, with reading and writing
	Streamed   *Stream      `json:"stream,omitempty"`
	arrays     int          // predicted
}

func runStep(ctx context.Context, a *app.App, o stepOptions) error {
	if err := checkOutput(o.Out, o.Overwrite); err != nil {
		return err
	}
	files, err := openStates(o.States)
	defer closeAll(files)
	if err != nil {
		return err
	}
	m, err := analyse(o.Model)
	if err != nil {
		return err
	}
	if files != nil && o.Method != methodLinefit { // a line wants whole states
		r, err := o.streamed(ctx, a, m, files)
		if err != nil {
			return err
		}
		return r.print(a)
	}
	return o.inMemory(ctx, a, m)
}

// inMemory predicts from states that are read as a whole.
func (o *stepOptions) inMemory(ctx context.Context, a *app.App, m *analysed) error {
	if o.Memory != "" {
		a.Notef("--memory: the states are read into memory beside it; as .safetensors they would not be")
	}
	states, meta, err := readStates(o.States)
	if err != nil {
		return err
	}
	newest := states[len(states)-1]
	matching, err := nino.MatchStates(m.trained(), states)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", o.Model, o.States[len(states)-1], err)
	}
	r := reportOf(*o, matching, newest)
	r.report(a)
	start := time.Now()
	predicted, err := o.nowcast(ctx, a, m.graph, matching, states)
	if err != nil {
		return err
	}
	for _, t := range matching.Tied {
		predicted.Add(t.Array, predicted.Get(t.Of))
	}
	r.Seconds = time.Since(start).Seconds()
	if err := r.compare(matching.Arrays(), newest, predicted); err != nil {
		return err
	}
	if meta, err = r.metadata(meta); err != nil {
		return err
	}
	if err := weights.WriteSafetensors(o.Out, predicted, meta, o.Overwrite); err != nil {
		return err
	}
	return r.print(a)
}

// metadata is what the result's file says of itself, beside what the newest
// state's says.
func (r *Step) metadata(newest map[string]string) (map[string]string, error) {
	record, err := json.Marshal(map[string]any{"method": r.Method, "k": r.K})
	meta := maps.Clone(newest)
	if meta == nil {
		meta = map[string]string{}
	}
	meta["ninox.nowcast"] = string(record)
	return meta, err
}

func (r *Step) print(a *app.App) error {
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err := fmt.Fprintf(a.Out, "written    %s\npredicted  %d numbers of %d arrays with %s, k = %d, in %.2f s\nupdate     %.4g (norm; the newest state has %.4g)\n",
		r.Path, r.Parameters, r.arrays, r.Method, r.K, r.Seconds, r.Update, r.Newest)
	if err != nil || r.Streamed == nil {
		return err
	}
	return r.Streamed.print(a)
}

// reportOf is the report of a step before it ran.
func reportOf(o stepOptions, m *nino.Matching, newest nino.Arrays) *Step {
	r := &Step{
		Path: o.Out, Method: o.Method, K: o.K, Matched: m.Parameters(), Matches: m.Matches,
		Missing: append([]string{}, m.Missing...), Tied: append([]nino.Tie{}, m.Tied...), Copied: append([]string{}, m.Rest...),
	}
	for _, name := range m.Arrays() {
		r.Parameters += int(newest.Tensor(name).Len())
		r.arrays++
	}
	return r
}

// analysed is a model file with its neuron graph.
type analysed struct {
	model      *onnxgraph.Model // in standard form
	graph      *neuralgraph.Graph
	statistics map[string]bool // running statistics, which training updates but no gradient
}

// analyse derives the neuron graph of a model file.
func analyse(path string) (*analysed, error) {
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := &analysed{m, g, map[string]bool{}}
	for _, n := range m.Graph.Nodes {
		if n.Op() == "BatchNormalization" {
			out.statistics[n.Input(3)], out.statistics[n.Input(4)] = true, true
		}
	}
	return out, nil
}

// trained are the parameters that training changes by gradients.
func (m *analysed) trained() []nino.ModelParameter {
	var out []nino.ModelParameter
	for _, p := range m.graph.Parameters {
		if !m.statistics[p.Name] {
			out = append(out, nino.ModelParameter{Name: p.Name, Shape: p.Shape, Value: m.model.Graph.Initializer(p.Name)})
		}
	}
	return out
}

// report tells what matches how, and what does not.
func (r *Step) report(a *app.App) {
	counts := map[nino.How]int{}
	var otherwise []string
	for _, m := range r.Matches {
		counts[m.How]++
		if m.How == nino.ByName && !m.Transposed {
			continue
		}
		how := string(m.How)
		if m.Transposed {
			how += ", transposed"
		}
		otherwise = append(otherwise, fmt.Sprintf("%s is %s (%s)", m.Parameter, m.Array, how))
	}
	var ways []string
	for _, how := range []nino.How{nino.ByName, nino.BySuffix, nino.ByValue, nino.ByFold} {
		if counts[how] > 0 {
			ways = append(ways, fmt.Sprintf("%d by %s", counts[how], map[nino.How]string{nino.ByName: "name", nino.BySuffix: "the end of the name", nino.ByValue: "value", nino.ByFold: "value, with a folded normalization"}[how]))
		}
	}
	a.Notef("%d arrays of the states are parameters of the model: %s", len(r.Matches), strings.Join(ways, ", "))
	if len(otherwise) > 0 {
		a.Notef("matched otherwise: %s", listed(otherwise))
	}
	if len(r.Missing) > 0 {
		a.Notef("not in the states, left out of the neural graph: %s", listed(r.Missing))
	}
	for _, t := range r.Tied {
		a.Notef("%s holds the numbers of %s and follows it", t.Array, t.Of)
	}
	if len(r.Copied) > 0 {
		a.Notef("not in the model, copied from the newest state: %s", listed(r.Copied))
	}
}

// listed names a few of many.
func listed(names []string) string {
	const most = 20
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// nowcast runs the method on the parameters that match.
func (o *stepOptions) nowcast(ctx context.Context, a *app.App, g *neuralgraph.Graph, matching *nino.Matching, states []*weights.Set) (*weights.Set, error) {
	if o.Method == methodLinefit {
		return nino.Linefit().Nowcast(ctx, states, o.K)
	}
	n, _, err := o.nowcaster(ctx, a, g, matching)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	a.Notef("neural graph: %d nodes, %d edges", n.Nodes(), n.Edges())
	return n.Nowcast(ctx, states, o.K)
}
