package graph

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// compare lists the differences in a fixed order, and the parameters that
// correspond under different names.
func compare(x, y *view) ([]Change, []Rename) {
	m := match(x.model, y.model)
	out := []Change{}
	add := func(list []Change) { out = append(out, list...) }
	add(differences("opset", x.opsets(), y.opsets()))
	symbolsA, symbolsB := symbols{}, symbols{}
	add(values("input", x.model.Graph.Inputs, y.model.Graph.Inputs, symbolsA, symbolsB))
	add(values("output", x.model.Graph.Outputs, y.model.Graph.Outputs, symbolsA, symbolsB))
	add(m.operatorChanges())
	changes, renamed := m.parameterChanges()
	add(changes)
	add(blockChanges(x.graph, y.graph, m))
	add(counts("group", groupTexts(x.graph), groupTexts(y.graph)))
	add(counts("attention", attentionTexts(x.graph), attentionTexts(y.graph)))
	add(counts("residual", residualTexts(x.graph), residualTexts(y.graph)))
	return out, renamed
}

// differences compares two descriptions name by name.
func differences(kind string, a, b map[string]string) []Change {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if a[name] != b[name] {
			out = append(out, Change{Kind: kind, Name: name, A: a[name], B: b[name]})
		}
	}
	return out
}

// counts compares how often each text occurs.
func counts(kind string, a, b []string) []Change {
	n := func(list []string) map[string]string {
		count := map[string]int{}
		for _, s := range list {
			count[s]++
		}
		out := map[string]string{}
		for s, k := range count {
			out[s] = fmt.Sprintf("%d×", k)
		}
		return out
	}
	return differences(kind, n(a), n(b))
}

func (v *view) opsets() map[string]string {
	out := map[string]string{}
	for _, o := range v.model.Opsets {
		name := o.Domain
		if name == "" {
			name = "ai.onnx"
		}
		out[name] = fmt.Sprint(o.Version)
	}
	return out
}

// symbols numbers the names of extents that are not known, in the order in
// which they are met: which name an exporter gave does not count.
type symbols map[string]int

// text is the type of a value with numbers for names.
func (s symbols) text(t onnxgraph.Type) string {
	t.Shape = t.Shape.Clone()
	for i, d := range t.Shape {
		if d.Symbol == "" {
			continue
		}
		if _, ok := s[d.Symbol]; !ok {
			s[d.Symbol] = len(s)
		}
		t.Shape[i].Symbol = fmt.Sprintf("#%d", s[d.Symbol])
	}
	return t.String()
}

// values compares inputs or outputs by their places.
func values(kind string, a, b []*onnxgraph.Value, symbolsA, symbolsB symbols) []Change {
	var out []Change
	for i := range max(len(a), len(b)) {
		c := Change{Kind: kind}
		var x, y string
		if i < len(b) {
			c.Name, c.B, y = b[i].Name, b[i].Type.String(), symbolsB.text(b[i].Type)
		}
		if i < len(a) {
			c.Name, c.A, x = a[i].Name, a[i].Type.String(), symbolsA.text(a[i].Type)
		}
		if x != y {
			out = append(out, c)
		}
	}
	return out
}

// operatorChanges lists operators that only one model has, those whose
// attributes or kinds of inputs differ, and those that read other values.
func (m *matching) operatorChanges() []Change {
	var out []Change
	for i, a := range m.a.steps {
		j := m.to[i]
		if j < 0 {
			out = append(out, Change{Kind: "operator", Name: a.node.Label(), A: a.does})
			continue
		}
		if b := m.b.steps[j]; a.does != b.does {
			out = append(out, Change{Kind: "operator", Name: a.node.Label(), A: a.does, B: b.does})
		} else if k := m.rewired(i, j); k >= 0 {
			out = append(out, Change{Kind: "operator", Name: a.node.Label(), A: fmt.Sprintf("%s, input %d from %s", a.node.Op(), k, m.a.origin(i, k)), B: fmt.Sprintf("%s, input %d from %s", a.node.Op(), k, m.b.origin(j, k))})
		}
	}
	for j, b := range m.b.steps {
		if m.from[j] < 0 {
			out = append(out, Change{Kind: "operator", Name: b.node.Label(), B: b.does})
		}
	}
	return out
}

// parameterChanges compares the initializers that correspond: their types,
// then their values.
func (m *matching) parameterChanges() (out []Change, renamed []Rename) {
	renamed = []Rename{}
	pairs := m.parameters()
	describe := func(t *onnxgraph.Tensor) string { return onnxgraph.TensorOf(t.DType, t.Shape()).String() }
	met := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.a.tensors)) {
		x := m.a.tensors[name]
		other, ok := pairs[name]
		if !ok {
			out = append(out, Change{Kind: "parameter", Name: name, A: describe(x)})
			continue
		}
		met[other] = true
		y := m.b.tensors[other]
		if other != name {
			renamed = append(renamed, Rename{name, other})
		}
		switch a, b := describe(x), describe(y); {
		case a != b:
			out = append(out, Change{Kind: "parameter", Name: name, A: a, B: b})
		case string(x.Data) != string(y.Data) || !slices.EqualFunc(x.Strings, y.Strings, bytes.Equal):
			out = append(out, Change{Kind: "parameter", Name: name, A: a, B: b, MaxDiff: maxDiff(x, y)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.b.tensors)) {
		if !met[name] {
			out = append(out, Change{Kind: "parameter", Name: name, B: describe(m.b.tensors[name])})
		}
	}
	return out, renamed
}

// maxDiff is the largest difference of two tensors of one type, nil where it
// is not finite or the type is not one of numbers.
func maxDiff(x, y *onnxgraph.Tensor) *float64 {
	a, errA := x.AsDoubles()
	b, errB := y.AsDoubles()
	if errA != nil || errB != nil {
		return nil
	}
	worst := 0.0
	for i := range a {
		d := math.Abs(a[i] - b[i])
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return nil
		}
		worst = max(worst, d)
	}
	return &worst
}

// blockChanges compares how corresponding parameters lie between groups.
func blockChanges(x, y *neuralgraph.Graph, m *matching) []Change {
	a, b := blockTexts(x), blockTexts(y)
	var out []Change
	for name, other := range m.parameters() {
		if a[name] != b[other] {
			out = append(out, Change{Kind: "block", Name: name, A: a[name], B: b[other]})
		}
	}
	slices.SortFunc(out, func(p, q Change) int { return strings.Compare(p.Name, q.Name) })
	return out
}

// blockTexts describes the blocks of each parameter by the sizes and roles of
// their groups, which do not depend on how groups are numbered.
func blockTexts(g *neuralgraph.Graph) map[string]string {
	group := map[string]string{}
	for _, gr := range g.Groups {
		group[gr.ID] = groupText(gr)
	}
	ends := func(ids []string) string {
		var list []string
		for _, id := range ids {
			list = append(list, group[id])
		}
		return strings.Join(list, "·")
	}
	out := map[string]string{}
	for _, b := range g.Blocks {
		text := strings.Join(strings.Fields(fmt.Sprintf("%s %s %s → %s", b.Type.Name(), b.Slice, ends(b.Source), ends(b.Target))), " ")
		if b.Taps > 1 {
			text += fmt.Sprintf(" ×%d", b.Taps)
		}
		if out[b.Parameter] != "" {
			text = out[b.Parameter] + "; " + text
		}
		out[b.Parameter] = text
	}
	for _, o := range g.Opaque {
		out[o.Parameter] = "opaque: " + o.Reason
	}
	return out
}

func groupText(g neuralgraph.Group) string {
	if g.Permutable {
		return fmt.Sprintf("%s of %d", g.Role, g.Size)
	}
	return fmt.Sprintf("fixed %s of %d", g.Role, g.Size)
}

func groupTexts(g *neuralgraph.Graph) []string {
	var out []string
	for _, gr := range g.Groups {
		out = append(out, groupText(gr))
	}
	return out
}

func attentionTexts(g *neuralgraph.Graph) []string {
	var out []string
	for _, a := range g.Attention {
		text := fmt.Sprintf("%d heads of %d, %d of keys and values", a.Heads, a.HeadDim, a.KVHeads)
		if a.Rope {
			text += ", rotary"
		}
		if a.Packed {
			text += ", packed"
		}
		out = append(out, text)
	}
	return out
}

func residualTexts(g *neuralgraph.Graph) []string {
	var out []string
	for _, r := range g.Residuals {
		out = append(out, fmt.Sprintf("sum of %d neurons", r.Size))
	}
	return out
}
