package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
)

// Phases of a training step.
const (
	Forward  = "forward"
	Backward = "backward"
	Update   = "update"
)

// MemoryReport says what a training step needs in memory, in bytes.
type MemoryReport struct {
	Batch      int64   `json:"batch"`      // samples
	Parameters int64   `json:"parameters"` // the trainable ones, and running statistics
	Moments    int64   `json:"moments"`    // optimizer state
	Frozen     int64   `json:"frozen"`     // other constants
	Data       int64   `json:"data"`       // one batch
	Kept       int64   `json:"kept"`       // results of forward that backward reads
	Phases     []Phase `json:"phases"`     // in order
	Evaluation int64   `json:"evaluation"` // a test of one batch, beside all this
	// Unknown lists results whose size depends on more than the batch; they are
	// not counted.
	Unknown []string `json:"unknown,omitempty"`
}

// Phase is a part of a step.
type Phase struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	Peak  int64  `json:"peak"` // largest sum of results alive at once, without what the report lists apart
}

// State is the size of parameters and moments as an executor holds them: twice,
// since a step reads one copy and writes the other.
func (r *MemoryReport) State() int64 { return 2 * (r.Parameters + r.Moments) }

// Total is the peak of a step with everything that it needs.
func (r *MemoryReport) Total() int64 {
	peak := int64(0)
	for _, p := range r.Phases {
		peak = max(peak, p.Peak)
	}
	return r.State() + r.Frozen + r.Data + peak
}

// programMemory is what the program takes with ONNX Runtime and its sessions
// before it trains anything, pages of their files included, as measured on Linux.
const programMemory = 75e6

// Run is the resident memory of a whole run with tests on batches of the same size,
// beside its data: sessions do not give back what they took for their results.
func (r *MemoryReport) Run() int64 { return r.Total() + r.Evaluation + programMemory }

// Explain computes, without running anything, what a step on a batch of a
// number of samples needs. Results count from the node that makes them to the
// last that reads them; memory that a runtime needs within an operator, loses
// between blocks of different size, or saves by computing in place, is not known
// here, and came to 5 to 40 % more than is said in the networks measured.
func Explain(a *Artifacts, batch int64) (*MemoryReport, error) {
	m := stepModels{art: a, slots: layoutOf(a.Params)}.merged()
	setBatch(m.Graph, a.Inputs, batch)
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	r := &MemoryReport{Batch: batch}
	for _, p := range a.Params {
		r.Parameters += 4 * p.Len()
		r.Moments += 4 * p.Len() * int64(a.Config.moments(p.Group))
	}
	for _, name := range a.Buffers {
		r.Parameters += int64(len(a.Checkpoint.Tensor(name).Data))
	}
	for _, t := range m.Graph.Initializers {
		r.Frozen += int64(len(t.Data))
	}
	for _, v := range m.Graph.Inputs {
		if slices.Contains(a.Inputs, v.Name) {
			n, _ := bytesOf(v.Type)
			r.Data += n
		}
	}
	state := map[string]bool{} // written into buffers that exist already
	for _, v := range m.Graph.Outputs {
		state[v.Name] = true
	}
	r.Phases = make([]Phase, 3)
	for i, name := range []string{Forward, Backward, Update} {
		r.Phases[i].Name = name
	}
	r.trace(m.Graph, facts, phasesOf(m.Graph, a.LossName), r.Phases, state)
	return r, r.evaluation(a)
}

// evaluation adds up what a test of a batch takes: the constants and results of
// the eval model, and its outputs once more, as copies.
func (r *MemoryReport) evaluation(a *Artifacts) error {
	m := stepModels{art: a, slots: layoutOf(a.Params)}.eval()
	setBatch(m.Graph, a.Inputs, r.Batch)
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		return fmt.Errorf("explain: eval model: %w", err)
	}
	tested := make([]Phase, 1)
	r.trace(m.Graph, facts, make([]int, len(m.Graph.Nodes)), tested, nil)
	r.Evaluation = tested[0].Peak
	for _, t := range m.Graph.Initializers {
		r.Evaluation += int64(len(t.Data))
	}
	for _, v := range m.Graph.Outputs {
		n, _ := bytesOf(facts.Fact(v.Name).Type)
		r.Evaluation += n
	}
	return nil
}

// setBatch replaces the symbol of the batch inputs' first axis by a number.
func setBatch(g *onnxgraph.Graph, inputs []string, batch int64) {
	symbol := ""
	for _, v := range g.Inputs {
		if slices.Contains(inputs, v.Name) && len(v.Type.Shape) > 0 && symbol == "" {
			symbol = v.Type.Shape[0].Symbol
		}
	}
	for i, v := range g.Inputs {
		c := *v
		c.Type.Shape = v.Type.Shape.Clone()
		for k, d := range c.Type.Shape {
			if d.Symbol == symbol && symbol != "" {
				c.Type.Shape[k] = onnxgraph.Known(batch)
			}
		}
		g.Inputs[i] = &c
	}
	for i, v := range g.Outputs { // what they declare would contradict the number
		g.Outputs[i] = &onnxgraph.Value{Name: v.Name}
	}
	g.ValueInfo = nil
}

// bytesOf is the size of a value of static shape.
func bytesOf(t onnxgraph.Type) (int64, bool) {
	dims, ok := t.Shape.Static()
	if !ok || t.Shape == nil {
		return 0, false
	}
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	return n * int64(max(t.DType.Bits(), 8)) / 8, true
}

// trace follows the results through the nodes in order, each of which belongs to
// one of the phases. State is not counted; other outputs stay to the end.
func (r *MemoryReport) trace(g *onnxgraph.Graph, facts *infer.Result, phase []int, phases []Phase, state map[string]bool) {
	last := map[string]int{}
	for i, n := range g.Nodes {
		for _, in := range n.Reads() {
			last[in] = i
		}
	}
	for _, v := range g.Outputs {
		last[v.Name] = len(g.Nodes) - 1
	}
	size, free := map[string]int64{}, make([][]string, len(g.Nodes))
	alive := int64(0)
	for i, n := range g.Nodes {
		for _, out := range n.Outputs {
			until, read := last[out]
			if out == "" || state[out] || !read {
				continue
			}
			bytes, ok := bytesOf(facts.Fact(out).Type)
			if !ok {
				r.Unknown = append(r.Unknown, out)
				continue
			}
			size[out] = bytes
			alive += bytes
			free[until] = append(free[until], out)
			if phase[i] == 0 && phase[until] == 1 {
				r.Kept += bytes
			}
		}
		p := &phases[phase[i]]
		p.Nodes++
		p.Peak = max(p.Peak, alive)
		for _, v := range free[i] {
			alive -= size[v]
		}
	}
}

// phasesOf gives each node its place in the list of phases: forward is what the
// loss depends on, the update bears the prefix that it was built with.
func phasesOf(g *onnxgraph.Graph, loss string) []int {
	needed := map[string]bool{loss: true}
	out := make([]int, len(g.Nodes))
	for i, n := range slices.Backward(g.Nodes) {
		out[i] = 1
		if slices.ContainsFunc(n.Outputs, func(v string) bool { return needed[v] }) {
			out[i] = 0
			for _, in := range n.Reads() {
				needed[in] = true
			}
		}
	}
	for i := slices.IndexFunc(g.Nodes, isUpdate); i >= 0 && i < len(out); i++ {
		out[i] = 2
	}
	return out
}

func isUpdate(n *onnxgraph.Node) bool { return strings.HasPrefix(n.Name, updatePrefix) }
