package conformance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	ort "ninox/runtime"
)

// The newest version of the file format, and of the default domain, that ONNX
// Runtime reads.
const (
	newestIR    = 13
	newestOpset = 26
)

func passed(word string) bool { return strings.HasPrefix(word, "ok") }

// machine is what models run on.
type machine struct {
	engine *ort.Engine
	reg    *op.Registry
}

// readable is m as the engine reads it: of versions that it knows, where no
// operator is newer, and with the shapes of the stored inputs declared, since
// some files declare others than they come with.
func (on machine) readable(m *onnxgraph.Model, d DataSet) *onnxgraph.Model {
	m = typed(m, d, asStored)
	m.IRVersion = min(m.IRVersion, newestIR)
	for i, o := range m.Opsets {
		if o.Domain == "" && o.Version > newestOpset && on.sameSince(m, o.Version, newestOpset) {
			m.Opsets[i].Version = newestOpset
		}
	}
	return m
}

// sameSince says whether no operator of the default domain that m uses differs
// between two opsets.
func (on machine) sameSince(m *onnxgraph.Model, a, b int64) bool {
	same := true
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			def := on.reg.For(n)
			same = same && (n.Domain != "" || def != nil && def.Since(a) == def.Since(b))
		}
	})
	return same
}

// execute runs a model on every data set and says how the outputs compare.
func (on machine) execute(m *onnxgraph.Model, sets []DataSet) string {
	m = on.readable(m, sets[0])
	s, err := on.engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return refusal(err)
	}
	defer s.Close()
	word := ""
	for _, d := range sets {
		if word, err = runSet(s, m, d); err != nil {
			return refusal(err)
		}
		if !passed(word) {
			break
		}
	}
	return word
}

func runSet(s *ort.Session, m *onnxgraph.Model, d DataSet) (string, error) {
	in := map[string]*ort.Value{}
	for i, v := range d.In {
		if v.Kind == onnxgraph.NoType {
			return notRun + "the C API of ONNX Runtime cannot give an optional input that holds nothing", nil
		}
		value, err := v.value()
		if err != nil {
			return "", err
		}
		defer value.Close()
		in[m.Graph.Inputs[i].Name] = value
	}
	out, err := s.Run(context.Background(), in)
	if err != nil {
		return "", err
	}
	random := Draws(m)
	worst := 0
	for i, want := range d.Out {
		name := m.Graph.Outputs[i].Name
		if random {
			if err := sameType(want, out[name]); err != nil {
				return fmt.Sprintf(differs+"output %s: %v", name, err), nil
			}
			continue
		}
		level, err := closeness(want, out[name])
		if err != nil {
			return fmt.Sprintf(differs+"output %s: %v", name, err), nil
		}
		worst = max(worst, level)
	}
	if random {
		return "ok, random", nil
	}
	return tolerances[worst].word, nil
}

// value is v as the runtime takes it.
func (v *Value) value() (*ort.Value, error) {
	if v.Kind == onnxgraph.TensorKind {
		return ort.NewValue(v.Tensor)
	}
	var elems []*ort.Value
	for _, e := range v.Elems {
		x, err := e.value()
		if err != nil {
			return nil, err
		}
		elems = append(elems, x)
	}
	return ort.SequenceValue(elems...)
}

// Draws says whether the model draws random numbers, which no two
// implementations draw alike.
func Draws(m *onnxgraph.Model) bool {
	random := false
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			training := n.OpType == "Dropout" && n.Input(2) != ""
			random = random || training || strings.HasPrefix(n.OpType, "Random") || slices.Contains([]string{"Bernoulli", "Multinomial"}, n.OpType)
		}
	})
	return random
}

// refusal says in a few words why ONNX Runtime does not run a model: what
// kind of message it gives.
func refusal(err error) string {
	var run *ort.RunError
	if !errors.As(err, &run) {
		return notRun + words(err)
	}
	for _, k := range kinds {
		if m := k.message.FindStringSubmatch(run.Message); m != nil {
			return notRun + strings.Join(append([]string{k.word}, m[1:]...), " ")
		}
	}
	message := sourcePlace.ReplaceAllString(words(errors.New(run.Message)), "")
	if r := []rune(message); len(r) > 120 {
		message = string(r[:120]) + "…"
	}
	return notRun + message
}

// noLocale is the refusal of StringNormalizer where the system does not have the
// locale that it asks for.
const noLocale = notRun + "no such locale"

// kinds are the usual messages of ONNX Runtime, and what is kept of them.
var kinds = []struct {
	word    string
	message *regexp.Regexp
}{
	{"no such locale", regexp.MustCompile(`Failed to construct locale`)},
	{"no kernel for these types:", regexp.MustCompile(`(?:Could not find an implementation for|Failed to find kernel for) (\w+\(\d+\))`)},
	{newer, regexp.MustCompile(`No Op registered for (\w+) with domain_version of (\d+)`)},
	{"unknown operator:", regexp.MustCompile(`Fatal error: (\S+)\(-?\d+\) is not a registered function/op`)},
	{"unknown attribute:", regexp.MustCompile(`Unrecognized attribute: (\w+)`)},
}

// sourcePlace is where in its own code ONNX Runtime found something.
var sourcePlace = regexp.MustCompile(`/onnxruntime_src/\S+ .*?\)(?: \[with [^]]*\])? `)
