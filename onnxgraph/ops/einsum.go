// https://onnx.ai/onnx/operators/onnx__Einsum.html

package ops

import (
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var einsum = &op.Def{
	Name: "Einsum", Versions: since(12, 28), Attrs: attrs(need(aStr("equation"))), In: op.AtLeast(1), Out: op.Exactly(1),
	Infer: inferEinsum, Flow: op.Flows(flowEinsum), Grad: op.Gradient(gradEinsum), Lower: op.Primitive,
}

// equation is a parsed Einsum: one label per axis, letters for named axes and
// digits for those of the ellipsis, counted from the right.
type equation struct {
	in  [][]byte
	out []byte
}

// parseEquation reads an equation for inputs of the given ranks; problem says
// what is wrong with it.
func parseEquation(text string, ranks []int) (e equation, problem string) {
	text = strings.ReplaceAll(text, " ", "")
	left, right, explicit := strings.Cut(text, "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(ranks) {
		return e, "the number of terms is not that of the inputs"
	}
	most := 0
	for i, t := range terms {
		labels, dots, bad := einsumLabels(t, ranks[i])
		if bad != "" {
			return e, bad
		}
		most = max(most, dots)
		e.in = append(e.in, labels)
	}
	if !explicit {
		right = implicitOutput(left, most > 0)
	}
	labels, _, bad := einsumLabels(right, len(strings.Replace(right, "...", "", 1))+most*strings.Count(right, "..."))
	if bad != "" {
		return e, bad
	}
	e.out = labels
	for _, l := range e.out {
		if !slices.ContainsFunc(e.in, func(in []byte) bool { return slices.Contains(in, l) }) {
			return e, "output label " + string(l) + " is in no input"
		}
	}
	return e, ""
}

// einsumLabels are the labels of one term; dots is the number of axes that the
// ellipsis stands for.
func einsumLabels(term string, rank int) (labels []byte, dots int, problem string) {
	head, tail, ellipsis := strings.Cut(term, "...")
	dots = rank - len(head) - len(tail)
	if dots < 0 || dots > 9 || !ellipsis && dots != 0 {
		return nil, 0, "term " + term + " does not fit the rank of its input"
	}
	for _, r := range head + tail {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return nil, 0, "label " + string(r) + " is not a letter"
		}
	}
	labels = append(labels, head...)
	for i := range dots {
		labels = append(labels, byte('0'+dots-1-i))
	}
	return append(labels, tail...), dots, ""
}

// implicitOutput is the ellipsis and the labels that occur once, sorted.
func implicitOutput(left string, ellipsis bool) string {
	var once []byte
	for _, l := range []byte(left) {
		if l != ',' && l != '.' && strings.Count(left, string(l)) == 1 {
			once = append(once, l)
		}
	}
	slices.Sort(once)
	if ellipsis {
		return "..." + string(once)
	}
	return string(once)
}

func inferEinsum(c *op.InferCtx) error {
	ranks := make([]int, len(c.In))
	for i, in := range c.In {
		if ranks[i] = in.Rank(); ranks[i] < 0 {
			c.Set(0, c.I(0).DType(), nil)
			return nil
		}
	}
	e, problem := parseEquation(c.Node.Str("equation", ""), ranks)
	if problem != "" {
		return c.Errorf("equation", "%q: %s", c.Node.Str("equation", ""), problem)
	}
	extent := map[byte]onnxgraph.Dim{}
	for i, labels := range e.in {
		for a, l := range labels {
			d := c.I(i).Shape()[a]
			have, seen := extent[l]
			if seen {
				both, ok := broadcastDim(have, d)
				if !ok {
					return c.Errorf("equation", "label %s has extents %s and %s", string(l), have, d)
				}
				d = both
			}
			extent[l] = d
		}
	}
	out := onnxgraph.Shape{}
	for _, l := range e.out {
		out = append(out, extent[l])
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

// flowEinsum: equal labels are one axis; those that two inputs share and the
// output lacks are contracted.
func flowEinsum(c op.FlowCtx) error {
	ranks := make([]int, len(c.Node().Inputs))
	for i := range ranks {
		ranks[i] = c.InFact(i).Rank()
	}
	e, problem := parseEquation(c.Node().Str("equation", ""), ranks)
	if problem != "" {
		return opaque(c, "the rank is unknown")
	}
	first := map[byte]op.Axis{}
	for i, labels := range e.in {
		for a, l := range labels {
			axis := c.In(i, a)
			kept := slices.Index(e.out, l)
			at, seen := first[l]
			switch {
			case kept >= 0:
				c.Link(axis, c.Out(0, kept))
			case seen:
				c.Contract(at, axis)
			}
			if !seen {
				first[l] = axis
			}
		}
	}
	return nil
}

// gradEinsum: the gradient of one input is the product of dY and the other
// inputs, summed to the labels of that input. Labels that only it has were
// summed over: their gradient is the same everywhere.
func gradEinsum(c op.GradCtx) error {
	k := calc{c}
	n := len(c.Node().Inputs)
	ranks := make([]int, n)
	for i := range n {
		ranks[i] = c.Fact(c.I(i)).Rank()
	}
	e, problem := parseEquation(c.Node().Str("equation", ""), ranks)
	if problem != "" {
		return c.Errorf("equation: %s", problem)
	}
	for i := range n {
		if !c.Needs(i) {
			continue
		}
		for a, l := range e.in[i] {
			if slices.Contains(e.in[i][:a], l) {
				return c.Errorf("no gradient where an input repeats label %s", string(l))
			}
		}
		c.SetGI(i, k.einsumGrad(c, e, i))
	}
	return nil
}

func (k calc) einsumGrad(c op.GradCtx, e equation, i int) string {
	terms, inputs := [][]byte{e.out}, []string{c.GO(0)}
	for j, labels := range e.in {
		if j != i {
			terms, inputs = append(terms, labels), append(inputs, c.I(j))
		}
	}
	var have []byte // labels of this input that something else has
	var alone []int64
	for a, l := range e.in[i] {
		if slices.ContainsFunc(terms, func(t []byte) bool { return slices.Contains(t, l) }) {
			have = append(have, l)
		} else {
			alone = append(alone, int64(a))
		}
	}
	g := c.Emit("Einsum", inputs, onnxgraph.StringAttr("equation", spell(append(terms, have))))
	if len(alone) == 0 {
		return g
	}
	return k.expand(k.unsqueeze(g, alone...), c.I(i))
}

// spell writes an equation with the last term as the output. The axes of an
// ellipsis get letters that are free.
func spell(terms [][]byte) string {
	used := map[byte]bool{}
	for _, t := range terms {
		for _, l := range t {
			used[l] = true
		}
	}
	letter := map[byte]byte{}
	free := byte('A')
	var parts []string
	for _, t := range terms {
		s := make([]byte, len(t))
		for i, l := range t {
			if l >= '0' && l <= '9' && letter[l] == 0 {
				for used[free] {
					free++
				}
				used[free] = true
				letter[l] = free
			}
			if s[i] = l; letter[l] != 0 {
				s[i] = letter[l]
			}
		}
		parts = append(parts, string(s))
	}
	last := len(parts) - 1
	return strings.Join(parts[:last], ",") + "->" + parts[last]
}
