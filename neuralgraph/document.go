package neuralgraph

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// Schema names the form of Document.
const Schema = "ninox.graph/1"

// Document is a neural graph as JSON shows it.
type Document struct {
	Schema      string           `json:"schema"`
	Model       ModelSummary     `json:"model"`
	Groups      []Group          `json:"groups"`
	Blocks      []ParameterBlock `json:"blocks"`
	Attention   []Attention      `json:"attention"`
	Residuals   []Residual       `json:"residuals"`
	NiNo        NiNoSummary      `json:"nino"`
	Coverage    Coverage         `json:"coverage"`
	Certificate any              `json:"certificate,omitempty"`
}

// ModelSummary describes the model.
type ModelSummary struct {
	Parameters int64 `json:"parameters"` // elements
	Nodes      int   `json:"nodes"`      // operators in standard form
	Opset      int64 `json:"opset"`
	MACs       int64 `json:"macs"` // multiplications of layers with parameters, for one sample, open extents counted as 1
}

// NiNoSummary counts the NiNo graph of all parameters, self-loops included.
type NiNoSummary struct {
	Nodes       int              `json:"nodes"`
	Edges       int64            `json:"edges"`
	EdgesByType map[string]int64 `json:"edges_by_type"` // by the number of the type
}

// Coverage says how many parameter elements lie on edges, and how many in
// blocks with a group whose permutation the certificate confirmed.
type Coverage struct {
	Parameters int64             `json:"parameters"`
	InBlocks   int64             `json:"in_blocks"`
	Certified  int64             `json:"certified"`
	Opaque     []OpaqueParameter `json:"opaque"`
}

// Verdict is the outcome of a certificate, for a Document.
type Verdict struct {
	Certificate any      // printed as it is
	Failed      []string // ids of groups
}

// Document gathers what JSON shows; verdict is nil where no certificate was run.
func (g *Graph) Document(verdict *Verdict) (*Document, error) {
	d := &Document{Schema: Schema, Groups: notNil(g.Groups), Blocks: notNil(g.Blocks), Attention: notNil(g.Attention), Residuals: notNil(g.Residuals)}
	n, err := g.NiNo(nil)
	if err != nil {
		return nil, err
	}
	d.NiNo = n.Summary()
	d.Coverage = g.coverage(verdict)
	d.Model = ModelSummary{Parameters: d.Coverage.Parameters, Nodes: g.Nodes, Opset: g.Opset, MACs: g.macs()}
	if verdict != nil {
		d.Certificate = verdict.Certificate
	}
	return d, nil
}

func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Summary counts nodes and edges.
func (n *NiNo) Summary() NiNoSummary {
	s := NiNoSummary{Nodes: n.Nodes, Edges: int64(n.Nodes), EdgesByType: map[string]int64{}}
	if n.Nodes > 0 {
		s.EdgesByType[strconv.Itoa(int(EdgeSelfLoop))] = int64(n.Nodes)
	}
	for i := range n.Blocks {
		e := int64(n.Blocks[i].Edges())
		s.Edges += e
		s.EdgesByType[strconv.Itoa(int(n.Blocks[i].Type))] += e
	}
	return s
}

func (g *Graph) coverage(verdict *Verdict) Coverage {
	c := Coverage{Opaque: notNil(g.Opaque)}
	for i := range g.Parameters {
		c.Parameters += g.Parameters[i].Elements()
	}
	confirmed := map[string]bool{}
	for _, gr := range g.Groups {
		confirmed[gr.ID] = gr.Permutable && verdict != nil
	}
	if verdict != nil {
		for _, id := range verdict.Failed {
			confirmed[id] = false
		}
	}
	for _, b := range g.Blocks {
		n := b.Edges * b.Taps
		c.InBlocks += n
		for _, id := range append(append([]string{}, b.Source...), b.Target...) {
			if confirmed[id] {
				c.Certified += n
				break
			}
		}
	}
	return c
}

// macs counts multiplications: every element of a linear layer once for each
// position at which the layer is applied, and contractions of two values.
func (g *Graph) macs() int64 {
	total := int64(0)
	elements := map[string]int64{}
	for i := range g.Parameters {
		elements[g.Parameters[i].Name] = g.Parameters[i].Elements()
	}
	for name, n := range elements {
		for _, u := range g.uses[name] {
			if u.linear && !u.index && u.loose == "" {
				total += n * g.positions(u)
			}
		}
	}
	for _, p := range g.fine.products {
		k := max(find(p.aC).dim.Value, 1)
		total += k * g.volume(p.node.Output(0))
	}
	return total
}

// positions is how often a linear layer is applied: the elements of its result
// over the neurons among them.
func (g *Graph) positions(u *use) int64 {
	neurons := int64(1)
	for a := range u.roles {
		for _, roles := range u.roles[a] {
			n := int64(1)
			found := false
			for i, r := range roles {
				if r == roleTarget || r == roleShared {
					n *= u.local[a][0].leaves[i].size
					found = true
				}
			}
			if found {
				neurons *= n
				break
			}
		}
	}
	return max(g.volume(u.node.Output(0))/max(neurons, 1), 1)
}

// volume is the number of elements of a value for one sample.
func (g *Graph) volume(value string) int64 {
	n := int64(1)
	for _, d := range g.analysis.facts.Fact(value).Shape() {
		n *= max(d.Value, 1)
	}
	return n
}

// JSON writes the Document.
func (g *Graph) JSON(w io.Writer, verdict *Verdict) error {
	d, err := g.Document(verdict)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("neural graph: %w", err)
	}
	return nil
}
