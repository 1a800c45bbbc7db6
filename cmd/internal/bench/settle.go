package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ninox/cmd/internal/accelerate"
	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/cmd/internal/method"
	"ninox/cmd/internal/version"
	"ninox/nino"
	"ninox/training"
	"ninox/training/bench"
	"ninox/training/data"
)

// tuningOffset is how far the seed of the search lies above the first seed.
const tuningOffset = 1000

// evaluations is how often a run is tested, where no flag says otherwise: the
// steps to a target are known to one part in so many.
const evaluations = 50

// settled are the flags of ninox accelerate that the bench sets itself.
var settled = map[string]bool{
	"out": true, "resume": true, "overwrite": true, "no-baseline": true, "keep-states": true, "data": true, "eval-data": true,
	"tokenizer": true, "method": true, "weights": true, "steps": true, "eval-every": true, "eval-samples": true, "period": true, "target": true, "seed": true,
}

// settle turns the flags into a protocol. Data and models are read, so that
// what does not fit is found before anything runs.
func (o *options) settle(ctx context.Context, a *app.App) (*bench.Protocol, error) {
	p := &bench.Protocol{
		Created: time.Now().UTC().Format(time.RFC3339), Ninox: version.Current().Version, Suite: o.Suite,
		Target: o.Target, Tune: o.Tune, Grid: o.Grid, TuningSeed: a.Seed + tuningOffset, Flags: o.With,
	}
	for i := range o.Seeds {
		p.Seeds = append(p.Seeds, a.Seed+uint64(i))
	}
	if err := errors.Join(o.settleMethods(p), o.settleTasks(ctx, a, p)); err != nil {
		return nil, err
	}
	p.Complete()
	if err := p.Validate(); err != nil {
		return nil, app.Usagef("%w", err)
	}
	return p, nil
}

// allMethods stands for all methods.
const allMethods = "all"

// settleMethods fills in the methods, the base first.
func (o *options) settleMethods(p *bench.Protocol) error {
	specs, weights := o.Methods, newChoices(o.Weights)
	if len(specs) == 0 {
		specs = suites()[o.Suite].methods
	}
	if slices.Equal(specs, []string{allMethods}) {
		specs = method.Names()
	}
	var errs []error
	if !slices.Contains(specs, bench.BaseMethod) {
		specs = append([]string{bench.BaseMethod}, specs...)
	}
	for _, spec := range specs {
		m, err := parseMethod(spec)
		if err == nil {
			err = settleWeights(&m, weights)
		}
		errs = append(errs, err)
		if m.Name == bench.BaseMethod {
			p.Methods = slices.Insert(p.Methods, 0, m)
		} else {
			p.Methods = append(p.Methods, m)
		}
	}
	if left := weights.unused(); len(left) > 0 {
		errs = append(errs, app.Usagef("--weights %s: no such method among %s", strings.Join(left, ", "), strings.Join(specs, ", ")))
	}
	return errors.Join(errs...)
}

// parseMethod reads "METHOD[:FLAG=VALUE…]", where a flag may be weights=FILE. An
// optimizer in place of a method means plain training with it.
func parseMethod(spec string) (bench.Method, error) {
	parts := strings.Split(spec, ":")
	m := bench.Method{Name: spec, Method: parts[0]}
	if !slices.Contains(method.Names(), m.Method) {
		if !slices.Contains(training.Optimizers(), m.Method) {
			return m, app.Usagef("method %q: expected one of %s, or an optimizer: %s", m.Method, strings.Join(method.Names(), ", "), strings.Join(training.Optimizers(), ", "))
		}
		m.Flags, m.Method = []string{"optimizer=" + m.Method}, bench.BaseMethod
	}
	for _, f := range parts[1:] {
		name, value, ok := strings.Cut(f, "=")
		if name == "weights" && value != "" { // rows and folders are named after the file
			m.Weights = value
			m.Name = strings.Replace(m.Name, value, strings.TrimSuffix(filepath.Base(value), filepath.Ext(value)), 1)
			continue
		}
		if !ok || settled[name] {
			return m, app.Usagef("method %q: %q: expected FLAG=VALUE, a flag that the bench does not set itself", spec, f)
		}
		if name == "lr" {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil || !(v > 0) {
				return m, app.Usagef("method %q: lr %q: expected a number above 0", spec, value)
			}
			m.LR = v
			continue
		}
		m.Flags = append(m.Flags, f)
	}
	return m, nil
}

// settleWeights finds the weights of a method that needs some. Those of the
// program serve where there are no others.
func settleWeights(m *bench.Method, weights *choices) error {
	kind, err := method.Lookup(m.Method)
	if err == nil && kind.Weights == "" && m.Weights != "" {
		err = app.Usagef("method %s: %s has no weights", m.Name, m.Method)
	}
	if err != nil || kind.Weights == "" {
		return err
	}
	if m.Weights == "" {
		m.Weights = weights.of(m.Name, m.Method)
	}
	origin := m.Weights
	if m.Method == method.L2O {
		_, err = nino.ReadL2O(m.Weights)
	} else {
		_, origin, err = nino.ImportOrEmbedded(m.Weights, m.Method)
	}
	if err == nil && m.Weights != "" && origin == m.Weights {
		m.WeightsHash, err = training.FileHash(m.Weights)
	}
	return err
}

// settleTasks reads the data and the models of the tasks.
func (o *options) settleTasks(ctx context.Context, a *app.App, p *bench.Protocol) error {
	var errs []error
	tasks := suites()[o.Suite].tasks
	optional := len(o.Tasks) == 0
	if !optional {
		known := tasks
		tasks = nil
		for _, source := range o.Tasks {
			t := suiteTask{source: source, data: []string{""}}
			if i := slices.IndexFunc(known, func(k suiteTask) bool { return k.source == source }); i >= 0 {
				t = known[i]
			}
			tasks = append(tasks, t)
		}
	}
	data, eval, tokenizer := newChoices(o.Data), newChoices(o.EvalData), newChoices(o.Tokenizer)
	for _, t := range tasks {
		source, err := job.ParseSource(t.source)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		name := source.Name()
		task := bench.Task{
			Name: name, Title: name, Source: t.source, EvalData: eval.of(name, ""), Tokenizer: tokenizer.of(name, ""),
			Steps: cmp.Or(o.Steps, t.steps), Period: cmp.Or(o.Period, t.period, 1000), EvalSamples: cmp.Or(o.EvalSamples, t.samples),
		}
		if source.Task != nil {
			task.Title = source.Task.Title
		}
		specs := t.data
		if d := data.of(name, ""); d != "" {
			specs = []string{d}
		}
		settled, err := o.firstThatFits(ctx, a, task, specs, p)
		var usage *app.UsageError
		switch {
		case err == nil:
			p.Tasks = append(p.Tasks, settled)
		case optional && !errors.As(err, &usage):
			p.LeftOut = append(p.LeftOut, fmt.Sprintf("%s: %v", name, err))
		default:
			errs = append(errs, fmt.Errorf("task %s: %w", name, err))
		}
	}
	for flag, left := range map[string][]string{"data": data.unused(), "eval-data": eval.unused(), "tokenizer": tokenizer.unused()} {
		if len(left) > 0 {
			errs = append(errs, app.Usagef("--%s: no task %s", flag, strings.Join(left, ", ")))
		}
	}
	return errors.Join(errs...)
}

// firstThatFits settles a task with the first of several data sets that can be
// had; the error is that of the first.
func (o *options) firstThatFits(ctx context.Context, a *app.App, t bench.Task, specs []string, p *bench.Protocol) (bench.Task, error) {
	var first error
	for _, spec := range specs {
		t.Data = spec
		settled, err := o.settleTask(ctx, a, t, p)
		if err == nil {
			return settled, nil
		}
		if first == nil {
			first = err
		}
	}
	return t, first
}

// settleTask reads data and model of a task and checks the flags of every
// method on it.
func (o *options) settleTask(ctx context.Context, a *app.App, t bench.Task, p *bench.Protocol) (bench.Task, error) {
	base, err := accelerate.Parse(ctx, a, arguments(p, t, p.Methods[0], "run", 0))
	if err != nil {
		return t, err
	}
	quiet := *a
	quiet.Quiet = true
	j, err := job.Prepare(ctx, &quiet, base.Source, base.Options)
	if err != nil {
		return t, err
	}
	if j.Split.Test == nil {
		return t, fmt.Errorf("data %s has no test part; --eval-data %s=SPEC names one", j.Split.Name, t.Name)
	}
	t.Note, t.TrainHash, t.TestHash = j.Split.Note, j.Split.Train.Hash(), j.Split.Test.Hash()
	t.Metric, t.LR, t.Batch, t.Steps = j.Metric(), j.LR, j.Batch, j.Steps
	t.Data, t.EvalEvery = cmp.Or(t.Data, j.Data, j.Split.Name), cmp.Or(o.EvalEvery, max(1, t.Steps/evaluations))
	if task := base.Source.Task; task != nil {
		t.PaperData = j.Split.Name == task.Data
		if task.Target > 0 {
			t.PaperTarget = &task.Target
		}
	}
	for _, param := range j.Artifacts.Params {
		t.Parameters += int(param.Len())
	}
	if t.BatchBytes, err = batchBytes(j); err != nil {
		return t, err
	}
	for _, m := range p.Methods[1:] {
		if _, err := accelerate.Parse(ctx, a, arguments(p, t, m, "run", 0)); err != nil {
			return t, fmt.Errorf("method %s: %w", m.Name, err)
		}
	}
	return t, nil
}

// batchBytes is the size of the samples of one step, as the model gets them.
func batchBytes(j *job.Job) (int64, error) {
	bound, err := data.Bind(j.Split.Train, j.Artifacts.BatchInputs())
	if err != nil {
		return 0, err
	}
	samples := int64(j.Batch/data.Unit(bound)) * int64(max(j.Accumulate, 1))
	sum := int64(0)
	for _, c := range bound.Columns() {
		sum += c.DType.RawSize(samples * int64(c.Elements()))
	}
	return sum, nil
}

// arguments are those of ninox accelerate for a run into a folder; learning
// rate 0 is that of the task.
func arguments(p *bench.Protocol, t bench.Task, m bench.Method, dir string, lr float64) []string {
	args := []string{t.Source, "--method", m.Method, "--no-baseline", "--out", dir}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, "--"+flag+"="+value)
		}
	}
	add("data", t.Data)
	add("eval-data", t.EvalData)
	add("tokenizer", t.Tokenizer)
	add("weights", m.Weights)
	for _, f := range []struct {
		flag  string
		value int
	}{{"steps", t.Steps}, {"eval-every", t.EvalEvery}, {"eval-samples", t.EvalSamples}} {
		if f.value > 0 {
			add(f.flag, strconv.Itoa(f.value))
		}
	}
	if k, err := method.Lookup(m.Method); err == nil && (k.Kind == method.Nowcast || k.Name == method.LAWA) {
		add("period", strconv.Itoa(t.Period))
	}
	if lr > 0 {
		add("lr", strconv.FormatFloat(lr, 'g', -1, 64))
	}
	for _, f := range slices.Concat(p.Flags, m.Flags) {
		args = append(args, "--"+f)
	}
	return args
}

// choices are values given as NAME=VALUE, or as VALUE for all names.
type choices struct {
	named map[string]string
	rest  string
	used  map[string]bool
}

func newChoices(flags []string) *choices {
	c := &choices{named: map[string]string{}, used: map[string]bool{}}
	for _, f := range flags {
		// A path or a spec may hold a "=" itself, behind a "/" or a ":".
		if name, value, ok := strings.Cut(f, "="); ok && !strings.ContainsAny(name, "/\\") && !isSpec(name) {
			c.named[name] = value
		} else {
			c.rest = f
		}
	}
	return c
}

// isSpec says whether text starts like a data spec, "text:a=b".
func isSpec(text string) bool {
	_, err := data.ParseSpec(text)
	return err == nil && strings.Contains(text, ":")
}

// of is the value for a name, or for what it is a kind of.
func (c *choices) of(name, kind string) string {
	for _, n := range []string{name, kind} {
		if v, ok := c.named[n]; ok {
			c.used[n] = true
			return v
		}
	}
	return c.rest
}

// unused are the names that nothing asked for.
func (c *choices) unused() []string {
	var out []string
	for n := range c.named {
		if !c.used[n] {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
