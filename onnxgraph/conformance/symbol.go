package conformance

import (
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// evaluate computes a dim: a number, or the polynomial that inference writes
// as a symbol ("2*x.0 + 1", "floor((x.0 + 2)/(3))"). It is false where a symbol has no value.
func evaluate(d onnxgraph.Dim, extents map[string]int64) (int64, bool) {
	if d.IsKnown() {
		return d.Value, true
	}
	if n, ok := extents[d.Symbol]; ok {
		return n, true
	}
	return sum(d.Symbol, extents)
}

// split cuts s at the separators that stand outside parentheses.
func split(s, separator string) []string {
	var out []string
	depth, start := 0, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], separator):
			out = append(out, s[start:i])
			start = i + len(separator)
		}
	}
	return append(out, s[start:])
}

func sum(s string, extents map[string]int64) (int64, bool) {
	total := int64(0)
	for _, positive := range split(s, " + ") {
		for i, term := range split(positive, " - ") {
			n, ok := product(term, extents)
			if !ok {
				return 0, false
			}
			if i > 0 {
				n = -n
			}
			total += n
		}
	}
	return total, true
}

func product(s string, extents map[string]int64) (int64, bool) {
	out := int64(1)
	for _, f := range split(s, "*") {
		n, ok := atom(f, extents)
		if !ok {
			return 0, false
		}
		out *= n
	}
	return out, true
}

func atom(s string, extents map[string]int64) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	if n, ok := extents[s]; ok {
		return n, true
	}
	inner, ok := strings.CutPrefix(s, "floor(")
	parts := split(strings.TrimSuffix(inner, ")"), "/")
	if !ok || len(parts) != 2 {
		return 0, false
	}
	a, aOK := bracketed(parts[0], extents)
	b, bOK := bracketed(parts[1], extents)
	if !aOK || !bOK || b == 0 {
		return 0, false
	}
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q, true
}

func bracketed(s string, extents map[string]int64) (int64, bool) {
	return sum(strings.TrimSuffix(strings.TrimPrefix(s, "("), ")"), extents)
}
