package view

// OperatorSchema names the form of OperatorDocument.
const OperatorSchema = "ninox.operators/1"

// OperatorDocument is the operators of a model in standard form as JSON shows
// them.
type OperatorDocument struct {
	Schema    string         `json:"schema"`
	Model     any            `json:"model"` // as in ninox.graph/1
	Operators []OperatorNode `json:"operators"`
	Edges     []OperatorEdge `json:"edges"`
	Repeats   []Repeat       `json:"repeats"`

	Certificate any `json:"certificate,omitempty"` // with --verify, as in ninox.graph/1
}

// OperatorNode is one operator, input or output of the model.
type OperatorNode struct {
	ID         int      `json:"id"`
	Op         string   `json:"op"` // "input" and "output" for those of the model
	Name       string   `json:"name"`
	Output     string   `json:"output"`     // shape of the first output, "1×64×56×56"
	Parameters []string `json:"parameters"` // names
}

// OperatorEdge is a value that one operator makes and another reads.
type OperatorEdge struct {
	From  int    `json:"from"` // ids
	To    int    `json:"to"`
	Shape string `json:"shape"`
}

// Repeat is a part that occurs several times: the operators first …
// first+period-1, then as many again, copies times in all.
type Repeat struct {
	First  int `json:"first"`
	Period int `json:"period"`
	Copies int `json:"copies"`
}

func (v *View) operatorDocument() *OperatorDocument {
	s := v.operators(true)
	d := &OperatorDocument{Schema: OperatorSchema, Model: v.document.Model, Operators: []OperatorNode{}, Edges: []OperatorEdge{}, Repeats: []Repeat{}, Certificate: v.document.Certificate}
	for i, n := range s.nodes {
		x := OperatorNode{ID: i, Op: n.title, Name: n.name, Output: n.result, Parameters: []string{}}
		if n.kind == "input" || n.kind == "output" {
			x.Op, x.Name = n.kind, n.title
		}
		for _, p := range n.params {
			x.Parameters = append(x.Parameters, v.graph.Parameters[p].Name)
		}
		d.Operators = append(d.Operators, x)
	}
	for _, e := range s.edges {
		d.Edges = append(d.Edges, OperatorEdge{e.from, e.to, e.label})
	}
	var walk func(items []item)
	walk = func(items []item) {
		for _, it := range items {
			if it.box != nil {
				if it.box.copies > 1 {
					d.Repeats = append(d.Repeats, Repeat{it.box.first, it.box.period, it.box.copies})
				}
				walk(it.box.items)
			}
		}
	}
	walk(s.items)
	return d
}
