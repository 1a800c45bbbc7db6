package ops

import (
	"strings"
	"testing"

	"ninox/onnxgraph"
)

func TestDimArithmetic(t *testing.T) {
	n := onnxgraph.Known
	h, w := onnxgraph.Sym("h"), onnxgraph.Sym("w")
	rows := []struct {
		what string
		got  onnxgraph.Dim
		want string
	}{
		{"h+0", addDims(h, n(0)), "h"},
		{"h+1", addDims(h, n(1)), "h + 1"},
		{"(h+1)-1", subDims(addDims(h, n(1)), n(1)), "h"},
		{"h-h", subDims(h, h), "0"},
		{"3-5", subDims(n(3), n(5)), "?"},
		{"2h·3w", mulDims(mulDims(n(2), h), mulDims(n(3), w)), "6*h*w"},
		{"w·h is h·w", subDims(mulDims(w, h), mulDims(h, w)), "0"},
		{"(h+1)(h-1)", mulDims(addDims(h, n(1)), subDims(h, n(1))), "h*h - 1"},
		{"6hw/2h", divDims(mulDims(n(6), mulDims(h, w)), mulDims(n(2), h)), "3*w"},
		{"h/2 is not exact", divDims(h, n(2)), "?"},
		{"⌊h/2⌋", floorDims(h, n(2)), "floor((h)/(2))"},
		{"⌊h/2⌋·2", mulDims(floorDims(h, n(2)), n(2)), "2*floor((h)/(2))"},
		{"⌊(4h+2)/2⌋", floorDims(addDims(mulDims(h, n(4)), n(2)), n(2)), "2*h + 1"},
		{"⌊7/2⌋", floorDims(n(7), n(2)), "3"},
		{"h/0", floorDims(h, n(0)), "?"},
		{"0·?", mulDims(n(0), onnxgraph.UnknownDim()), "0"},
		{"?+1", addDims(onnxgraph.UnknownDim(), n(1)), "?"},
		{"a name with a dash", mulDims(onnxgraph.Sym("seq-len"), n(2)), "2*seq-len"},
		{"an exporter's sum", subDims(onnxgraph.Sym("past + seq"), onnxgraph.Sym("past")), "seq"},
		{"-h+3", subDims(n(3), h), "-1*h + 3"},
		{"3-(3-h)", subDims(n(3), subDims(n(3), h)), "h"},
	}
	for _, r := range rows {
		if r.got.String() != r.want {
			t.Errorf("%s = %s, want %s", r.what, r.got, r.want)
		}
	}
}

// TestDimsStayBounded: what a model computes with its symbols cannot grow
// without end.
func TestDimsStayBounded(t *testing.T) {
	d := onnxgraph.Sym("a")
	for range 100 {
		d = mulDims(addDims(d, onnxgraph.Sym("b")), addDims(d, onnxgraph.Known(3)))
		if len(d.Symbol) > maxSymbol {
			t.Fatalf("a symbol of %d bytes", len(d.Symbol))
		}
	}
	if long := onnxgraph.Sym(strings.Repeat("a*", 10000) + "a"); addDims(long, onnxgraph.Known(1)) != onnxgraph.UnknownDim() {
		t.Error("a symbol of 20,001 bytes was computed with")
	}
	if deep := floorDims(onnxgraph.Sym(strings.Repeat("x", 200)), onnxgraph.Sym(strings.Repeat("y", 200))); len(deep.Symbol) > maxSymbol {
		t.Errorf("a symbol of %d bytes", len(deep.Symbol))
	}
}

// Products and quotients of single terms take a shorter way than those of
// polynomials; both ways give the same.
func TestSingleTerms(t *testing.T) {
	dims := []onnxgraph.Dim{onnxgraph.Known(1), onnxgraph.Known(6), onnxgraph.Known(1 << 30), onnxgraph.Known(1 << 40)}
	for _, s := range []string{"n", "seq-len", "2*n", "b*a", "a*b", "-3*x", "0*x", "4*a*b*c", "12", " n", "a*", "a + b", "floor((a)/(2))"} {
		dims = append(dims, onnxgraph.Sym(s))
	}
	shorter := 0
	for _, a := range dims {
		for _, b := range dims {
			p, ok := polyOf(a)
			q, ok2 := polyOf(b)
			if !ok || !ok2 || a.Value == 1 || b.Value == 1 || a.IsKnown() && b.IsKnown() {
				continue
			}
			if single(a) && single(b) {
				shorter++
			}
			if got, want := mulDims(a, b), p.times(q).dim(); got != want {
				t.Errorf("%s × %s is %s, expected %s", a, b, got, want)
			}
			want := onnxgraph.UnknownDim()
			if exact, ok := p.over(q); ok {
				want = exact.dim()
			}
			if got := divDims(a, b); got != want {
				t.Errorf("%s / %s is %s, expected %s", a, b, got, want)
			}
		}
	}
	if shorter < 50 {
		t.Errorf("only %d pairs took the shorter way", shorter)
	}
}
