package nino

import (
	"bytes"
	"slices"

	"ninox/onnxgraph"
)

// MatchNames finds the parameters of a model in states that have all of them
// under the model's names, in its shapes; false where they do not, for which see
// MatchStates. It looks at numbers only to find arrays that hold those of a
// parameter in every state. Names are the arrays of the newest, the last one.
func MatchNames(parameters []ModelParameter, states []Arrays, names []string) (*Matching, bool) {
	m := &Matching{shapes: map[string][]int64{}}
	newest := states[len(states)-1]
	known := map[string]bool{}
	for _, p := range parameters {
		t := newest.Tensor(p.Name)
		if t == nil || !t.DType.IsFloat() || !slices.Equal(t.Dims, p.Shape) && (len(p.Shape) > 0 || t.Len() != 1) {
			return nil, false
		}
		m.Matches = append(m.Matches, Match{Parameter: p.Name, Array: p.Name, How: ByName})
		m.shapes[p.Name] = p.Shape
		known[p.Name] = true
	}
	for _, name := range names {
		if known[name] {
			continue
		}
		if of := twin(name, parameters, states); of != "" {
			m.Tied = append(m.Tied, Tie{name, of})
		} else {
			m.Rest = append(m.Rest, name)
		}
	}
	return m, len(m.Matches) > 0
}

// twin is the parameter whose numbers an array holds in every state, "" where
// there is none. Small arrays may be equal by chance.
func twin(name string, parameters []ModelParameter, states []Arrays) string {
	for _, p := range parameters {
		if len(p.Shape) < 2 {
			continue
		}
		same := !slices.ContainsFunc(states, func(s Arrays) bool { return !equalArrays(s.Tensor(name), s.Tensor(p.Name)) })
		if same {
			return p.Name
		}
	}
	return ""
}

func equalArrays(a, b *onnxgraph.Tensor) bool {
	return a != nil && b != nil && a.DType == b.DType && slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Data, b.Data)
}
