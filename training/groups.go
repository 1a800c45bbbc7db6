package training

import (
	"encoding/json"
	"fmt"

	"ninox/onnxgraph"
)

// Group says how the optimizer treats a parameter; the zero value is a
// parameter like any other.
type Group struct {
	NoDecay bool   `json:"no_decay,omitempty"` // no weight decay
	Matrix  Matrix `json:"matrix,omitempty"`   // set where Muon updates it
}

// Matrix says which way round a weight matrix is, "" where it is none.
type Matrix string

const (
	OutIn Matrix = "out-in" // rows are outputs: y = W·x
	InOut Matrix = "in-out" // columns are outputs: y = x·W
)

// encodeGroups writes the groups that are not zero as JSON, "" where all are.
func encodeGroups(params []Param) string {
	groups := map[string]Group{}
	for _, p := range params {
		if p.Group != (Group{}) {
			groups[p.Name] = p.Group
		}
	}
	if len(groups) == 0 {
		return ""
	}
	text, _ := json.Marshal(groups) // plain strings and booleans
	return string(text)
}

// decodeGroups gives the parameters the groups that encodeGroups wrote.
func decodeGroups(params []Param, text string) error {
	var groups map[string]Group
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		return fmt.Errorf("groups of parameters %q: %w", text, err)
	}
	for i, p := range params {
		g := groups[p.Name]
		if g.Matrix != "" && (g.Matrix != OutIn && g.Matrix != InOut || len(p.Dims) < 2) {
			return fmt.Errorf("groups of parameters: %q of shape %v cannot be a matrix %q", p.Name, p.Dims, g.Matrix)
		}
		params[i].Group = g
	}
	return nil
}

// groupsOf chooses the groups of parameters by the options.
func (b *builder) groupsOf(g *onnxgraph.Graph, names []string) (map[string]Group, error) {
	groups := map[string]Group{}
	used := map[string]bool{}
	for _, name := range names {
		dims := g.Initializer(name).Dims
		group := Group{NoDecay: b.opts.DecayMatricesOnly && longAxes(dims) < 2}
		for _, glob := range b.opts.NoDecay {
			if matches([]string{glob}, name) {
				group.NoDecay, used[glob] = true, true
			}
		}
		if b.art.Config.Kind == Muon && longAxes(dims) >= 2 {
			group.Matrix = matrixOf(g, name)
			for _, glob := range b.opts.NoMuon {
				if matches([]string{glob}, name) {
					group.Matrix, used[glob] = "", true
				}
			}
		}
		groups[name] = group
	}
	for _, glob := range append(append([]string{}, b.opts.NoDecay...), b.opts.NoMuon...) {
		if !used[glob] {
			return nil, fmt.Errorf("glob %q matches no parameter that it could concern", glob)
		}
	}
	return groups, nil
}

// longAxes counts the axes with more than one place: below two, a parameter is
// a bias or the gain of a normalisation, however it is shaped for broadcasting.
func longAxes(dims []int64) int {
	n := 0
	for _, d := range dims {
		if d > 1 {
			n++
		}
	}
	return n
}

// matrixOf says which way round a parameter multiplies: "" where it is no
// weight matrix or kernel, as embeddings are not, or where its uses disagree.
func matrixOf(g *onnxgraph.Graph, name string) Matrix {
	var found Matrix
	for _, n := range g.Nodes {
		for i, in := range n.Inputs {
			if in != name {
				continue
			}
			m := matrixAt(g, n, i)
			if m == "" || found != "" && m != found {
				return ""
			}
			found = m
		}
	}
	return found
}

// matrixAt is matrixOf for one use of a parameter.
func matrixAt(g *onnxgraph.Graph, n *onnxgraph.Node, i int) Matrix {
	rank := len(g.Initializer(n.Input(i)).Dims)
	transposed := map[int]string{0: "transA", 1: "transB"}[i]
	switch {
	case n.Domain != "" || i > 1:
	case n.OpType == "Conv" && i == 1:
		return OutIn
	case rank != 2:
	case n.OpType == "MatMul", n.OpType == "Gemm":
		if (i == 1) == (n.OpType == "MatMul" || n.Int(transposed, 0) == 0) {
			return InOut
		}
		return OutIn
	}
	return ""
}
