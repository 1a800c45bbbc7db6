package view

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// View is a model with its neural graph, ready to be shown.
type View struct {
	name       string
	graph      *neuralgraph.Graph
	document   *neuralgraph.Document
	verdict    *neuralgraph.Verdict
	nino       *neuralgraph.NiNo
	facts      *infer.Result
	paramIndex map[string]int // in graph.Parameters
	blocksOf   map[string][]*neuralgraph.ParameterBlock
	groupOf    map[string]*neuralgraph.Group
	reader     map[string]*onnxgraph.Node // the operator that first reads a value
	firstUse   map[string]int             // where the operators first read a value, in their order
}

// Options choose what is shown.
type Options struct {
	Operators bool // the operators instead of the neurons
	Expand    bool // every copy of parts that repeat
}

// New prepares a graph to be shown. The name is that of the model; the verdict
// is nil where no certificate was run.
func New(name string, g *neuralgraph.Graph, reg *op.Registry, verdict *neuralgraph.Verdict) (*View, error) {
	v := &View{name: name, graph: g, verdict: verdict, paramIndex: map[string]int{}, firstUse: map[string]int{}, reader: map[string]*onnxgraph.Node{}, blocksOf: map[string][]*neuralgraph.ParameterBlock{}}
	var err error
	if v.document, err = g.Document(verdict); err != nil {
		return nil, err
	}
	if v.nino, err = g.NiNo(nil); err != nil {
		return nil, err
	}
	if v.facts, err = infer.Run(g.Model(), reg, infer.Options{}); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	for i, p := range g.Parameters {
		v.paramIndex[p.Name] = i
	}
	for i := range g.Blocks {
		b := &g.Blocks[i]
		v.blocksOf[b.Parameter] = append(v.blocksOf[b.Parameter], b)
	}
	v.groupOf = map[string]*neuralgraph.Group{}
	for i := range g.Groups {
		v.groupOf[g.Groups[i].ID] = &g.Groups[i]
	}
	step := 0
	v.visit(g.Model().Graph, &step)
	return v, nil
}

// visit numbers the operators, those of subgraphs before the one that holds
// them, and notes where each value is first read.
func (v *View) visit(g *onnxgraph.Graph, step *int) {
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			v.visit(sub, step)
		}
		for _, in := range n.Inputs {
			if _, ok := v.firstUse[in]; !ok {
				v.firstUse[in], v.reader[in] = *step, n
			}
		}
		*step++
	}
}

// formats write a view; neurons and operators alike.
var formats = map[string]func(*View, io.Writer, Options) error{
	"text": (*View).Text,
	"json": (*View).JSON,
	"dot":  (*View).DOT,
	"svg":  (*View).SVG,
	"png":  (*View).PNG,
	"html": (*View).HTML,
}

// Formats lists what Write knows.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Write shows the view in one of the Formats.
func (v *View) Write(w io.Writer, format string, o Options) error {
	write := formats[format]
	if write == nil {
		return fmt.Errorf("view: unknown format %q", format)
	}
	return write(v, w, o)
}

func (v *View) scene(o Options) *scene {
	if o.Operators {
		return v.operators(o.Expand)
	}
	return v.neurons()
}
