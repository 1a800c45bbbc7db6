package ops

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// Extents that inference computes from symbols are kept as polynomials whose
// canonical text is the symbol of the new dim, "2*h + 1". Equal computations
// on equal symbols then give equal dims.

// poly maps a monomial (sorted atoms joined by "*", "" for the constant) to
// its coefficient. An atom is a symbol or a whole "floor(…)".
type poly map[string]int64

// maxTerms and maxSymbol bound the polynomials and texts that a model can
// make grow; beyond them the extent is unknown.
const (
	maxTerms  = 32
	maxSymbol = 256
)

// polyOf reads a dim, false where it is unknown.
func polyOf(d onnxgraph.Dim) (poly, bool) {
	switch {
	case d.IsKnown():
		return constant(d.Value), true
	case d.Symbol == "" || len(d.Symbol) > maxSymbol:
		return nil, false
	}
	p := poly{}
	rest, sign := d.Symbol, int64(1)
	for rest != "" {
		term, op, tail := cutTerm(rest)
		mono, coefficient := monomial(term)
		p[mono] += sign * coefficient
		rest, sign = tail, op
	}
	return p.clean(), true
}

func constant(v int64) poly { return poly{"": v}.clean() }

// cutTerm splits off the first term of a sum; op is the sign of what follows.
// Only " + " and " - " outside parentheses are operators, so that a symbol
// such as "seq-len" stays one.
func cutTerm(s string) (term string, op int64, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ' ':
			if depth == 0 && i+3 <= len(s) && s[i+2] == ' ' && (s[i+1] == '+' || s[i+1] == '-') {
				if s[i+1] == '-' {
					return s[:i], -1, s[i+3:]
				}
				return s[:i], 1, s[i+3:]
			}
		}
	}
	return s, 1, ""
}

// monomial reads a product of atoms and numbers.
func monomial(term string) (string, int64) {
	var atoms []string
	coefficient, depth, start := int64(1), 0, 0
	add := func(f string) {
		f = strings.TrimSpace(f)
		if f == "" {
			return
		}
		if f[0] <= '9' { // else it is a name, and the error costs time
			if n, err := strconv.ParseInt(f, 10, 32); err == nil {
				coefficient *= n
				return
			}
		}
		atoms = append(atoms, f)
	}
	for i := 0; i < len(term); i++ {
		switch term[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '*':
			if depth == 0 {
				add(term[start:i])
				start = i + 1
			}
		}
	}
	add(term[start:])
	slices.Sort(atoms)
	return strings.Join(atoms, "*"), coefficient
}

func (p poly) clean() poly {
	for m, c := range p {
		if c == 0 {
			delete(p, m)
		}
	}
	return p
}

// value is the number that the polynomial is, false where it has symbols.
func (p poly) value() (int64, bool) {
	c, ok := p[""]
	return c, len(p) == 0 || ok && len(p) == 1
}

// dim is the polynomial as a dim; negative numbers, which no extent can be,
// become unknown.
func (p poly) dim() onnxgraph.Dim {
	if v, ok := p.value(); ok {
		if v < 0 {
			return onnxgraph.UnknownDim()
		}
		return onnxgraph.Known(v)
	}
	if len(p) > maxTerms {
		return onnxgraph.UnknownDim()
	}
	return bounded(p.String())
}

// bounded is a symbol, unless its text is too long.
func bounded(text string) onnxgraph.Dim {
	if len(text) > maxSymbol {
		return onnxgraph.UnknownDim()
	}
	return onnxgraph.Sym(text)
}

// String writes the terms sorted, those with symbols first.
func (p poly) String() string {
	monos := make([]string, 0, len(p))
	for m := range p {
		if m != "" {
			monos = append(monos, m)
		}
	}
	slices.Sort(monos)
	if _, ok := p[""]; ok {
		monos = append(monos, "")
	}
	var b strings.Builder
	for i, m := range monos {
		c := p[m]
		switch {
		case i > 0 && c < 0:
			b.WriteString(" - ")
			c = -c
		case i > 0:
			b.WriteString(" + ")
		}
		switch {
		case m == "":
			fmt.Fprint(&b, c)
		case c == 1:
			b.WriteString(m)
		default:
			fmt.Fprintf(&b, "%d*%s", c, m)
		}
	}
	return b.String()
}

func (p poly) plus(q poly, sign int64) poly {
	out := poly{}
	for m, c := range p {
		out[m] += c
	}
	for m, c := range q {
		out[m] += sign * c
	}
	return out.clean()
}

func (p poly) times(q poly) poly {
	out := poly{}
	for m, c := range p {
		for n, d := range q {
			mono, _ := monomial(m + "*" + n)
			out[mono] += c * d
		}
	}
	return out.clean()
}

// over divides by a single term, false where a remainder would be left.
func (p poly) over(q poly) (poly, bool) {
	if len(q) != 1 {
		return nil, false
	}
	out := poly{}
	for n, d := range q {
		for m, c := range p {
			rest, ok := without(m, n)
			if !ok || c%d != 0 {
				return nil, false
			}
			out[rest] += c / d
		}
	}
	return out.clean(), true
}

// without removes the atoms of n from those of m.
func without(m, n string) (string, bool) {
	if n == "" {
		return m, true
	}
	atoms := strings.Split(m, "*")
	for _, a := range strings.Split(n, "*") {
		i := slices.Index(atoms, a)
		if i < 0 {
			return "", false
		}
		atoms = slices.Delete(atoms, i, i+1)
	}
	return strings.Join(atoms, "*"), true
}

// both reads two dims.
func both(a, b onnxgraph.Dim) (poly, poly, bool) {
	p, ok := polyOf(a)
	q, ok2 := polyOf(b)
	return p, q, ok && ok2 && len(p)*len(q) <= maxTerms*maxTerms
}

// single says whether a dim is one term for certain: a number of ordinary size
// or a product of plain names.
func single(d onnxgraph.Dim) bool {
	if d.IsKnown() {
		return d.Value > 0 && d.Value <= math.MaxInt32
	}
	return d.Symbol != "" && len(d.Symbol) <= maxSymbol/2 && !strings.ContainsAny(d.Symbol, " (")
}

// term is a monomial with its coefficient as a dim, as poly.dim gives it.
func term(mono string, coefficient int64) onnxgraph.Dim {
	switch {
	case coefficient == 0 || mono == "" && coefficient >= 0:
		return onnxgraph.Known(coefficient)
	case mono == "":
		return onnxgraph.UnknownDim()
	case coefficient == 1:
		return bounded(mono)
	}
	return bounded(strconv.FormatInt(coefficient, 10) + "*" + mono)
}

func addDims(a, b onnxgraph.Dim) onnxgraph.Dim {
	switch zero := onnxgraph.Known(0); {
	case a == zero:
		return b
	case b == zero:
		return a
	}
	if a.IsKnown() && b.IsKnown() && a.Value <= math.MaxInt64-b.Value {
		return onnxgraph.Known(a.Value + b.Value)
	}
	if p, q, ok := both(a, b); ok {
		return p.plus(q, 1).dim()
	}
	return onnxgraph.UnknownDim()
}

func subDims(a, b onnxgraph.Dim) onnxgraph.Dim {
	if b == onnxgraph.Known(0) {
		return a
	}
	if p, q, ok := both(a, b); ok {
		return p.plus(q, -1).dim()
	}
	return onnxgraph.UnknownDim()
}

func mulDims(a, b onnxgraph.Dim) onnxgraph.Dim {
	switch zero, one := onnxgraph.Known(0), onnxgraph.Known(1); {
	case a == zero || b == zero:
		return zero
	case a == one:
		return b
	case b == one:
		return a
	case a.IsKnown() && b.IsKnown() && a.Value > math.MaxInt64/b.Value:
		return onnxgraph.UnknownDim() // no tensor is so large
	case a.IsKnown() && b.IsKnown():
		return onnxgraph.Known(a.Value * b.Value)
	case single(a) && single(b): // the same as below, in a fraction of the time
		return term(monomial(a.String() + "*" + b.String()))
	}
	if p, q, ok := both(a, b); ok {
		return p.times(q).dim()
	}
	return onnxgraph.UnknownDim()
}

// floorDims is ⌊a/b⌋.
func floorDims(a, b onnxgraph.Dim) onnxgraph.Dim {
	if b == onnxgraph.Known(1) {
		return a
	}
	p, q, ok := both(a, b)
	if !ok || b == onnxgraph.Known(0) {
		return onnxgraph.UnknownDim()
	}
	if exact, ok := p.over(q); ok {
		return exact.dim()
	}
	if a.IsKnown() && b.IsKnown() {
		return onnxgraph.Known(a.Value / b.Value)
	}
	return bounded(fmt.Sprintf("floor((%s)/(%s))", p, q))
}

// divDims is a/b where the division is exact, else unknown.
func divDims(a, b onnxgraph.Dim) onnxgraph.Dim {
	if b == onnxgraph.Known(1) {
		return a
	}
	if single(a) && single(b) && b != onnxgraph.Known(0) {
		m, c := monomial(a.String())
		n, d := monomial(b.String())
		rest, ok := without(m, n)
		if c == 0 && d != 0 {
			return onnxgraph.Known(0)
		}
		if !ok || d == 0 || c%d != 0 {
			return onnxgraph.UnknownDim()
		}
		return term(rest, c/d)
	}
	if p, q, ok := both(a, b); ok && b != onnxgraph.Known(0) {
		if exact, ok := p.over(q); ok {
			return exact.dim()
		}
	}
	return onnxgraph.UnknownDim()
}

// product is the number of elements of a shape.
func product(s onnxgraph.Shape) onnxgraph.Dim {
	n := onnxgraph.Known(1)
	for _, known := range []bool{true, false} { // numbers first: they multiply fast
		for _, d := range s {
			if d.IsKnown() == known {
				n = mulDims(n, d)
			}
		}
	}
	return n
}

// unknowns is a shape of rank unknown extents.
func unknowns(rank int) onnxgraph.Shape {
	s := make(onnxgraph.Shape, rank)
	for i := range s {
		s[i] = onnxgraph.UnknownDim()
	}
	return s
}
