package view

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

// builder makes models of layers with random weights.
type builder struct {
	*onnxgraph.Builder
	rng *rand.Rand
}

func newBuilder(name string) *builder {
	return &builder{onnxgraph.NewBuilder(name, 17), rand.New(rand.NewPCG(1, 2))}
}

func (b *builder) weight(name string, dims ...int64) string {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.rng.NormFloat64())
	}
	return b.Init(onnxgraph.Floats(name, dims, v))
}

func (b *builder) linear(name, x string, in, out int64) string {
	return b.Named(name, "Gemm", []string{x, b.weight(name+".weight", in, out), b.weight(name+".bias", out)})
}

func (b *builder) view(t testing.TB, verdict *neuralgraph.Verdict) *View {
	t.Helper()
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(b.name(m), g, ops.Registry(), verdict)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *builder) name(m *onnxgraph.Model) string { return m.Graph.Name + ".onnx" }

// residual is a stack of n residual blocks of two layers between a first and a
// last layer, with one parameter that lies on no edges.
func residual(t testing.TB, n int, verdict *neuralgraph.Verdict) *View {
	b := newBuilder("residual")
	rows := onnxgraph.Sym("batch")
	x := b.linear("stem", b.Input("x", onnxgraph.Float, onnxgraph.Shape{rows, onnxgraph.Known(6)}), 6, 8)
	for i := range n {
		h := b.Named(fmt.Sprintf("blocks.%d.act", i), "Relu", []string{b.linear(fmt.Sprintf("blocks.%d.up", i), x, 8, 32)})
		x = b.Named(fmt.Sprintf("blocks.%d.add", i), "Add", []string{x, b.linear(fmt.Sprintf("blocks.%d.down", i), h, 32, 8)})
	}
	hidden := b.Op("Unsqueeze", []string{b.OpN("TopK", []string{b.weight("hidden", 8), b.Const(onnxgraph.Vector("", 1))}, 2)[0], b.Const(onnxgraph.Vector("", 0))})
	x = b.Named("shift", "Add", []string{x, hidden})
	b.Output(b.linear("head", x, 8, 3), onnxgraph.Float, onnxgraph.Shape{rows, onnxgraph.Known(3)})
	return b.view(t, verdict)
}

func write(t testing.TB, v *View, format string, o Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := v.Write(&out, format, o); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return out.String()
}

func lacks(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, text)
		}
	}
}

func TestText(t *testing.T) {
	v := residual(t, 4, nil)
	got := write(t, v, "text", Options{})
	lacks(t, "the text", got,
		"residual.onnx\n2,299 parameters in 21 tensors,",
		"blocks.* ×4                        2,208\n  up         linear  8 → 32          288\n  down       linear  32 → 8          264\n",
		"residuals    4 sums of 8 neurons\n",
		"opaque       hidden: ",
		"coverage     99.7 %: ",
		"certificate  not run (--verify)\n")
	for _, line := range strings.Split(got, "\n") {
		if utf8.RuneCountInString(line) > textWidth {
			t.Errorf("wider than %d: %q", textWidth, line)
		}
	}
	full := write(t, v, "text", Options{Expand: true})
	lacks(t, "the expanded text", full, "blocks.3.down  linear", "\nGROUP  ROLE", "\nBLOCK", "blocks.2.up.weight")
	if strings.Contains(full, "×4") {
		t.Errorf("expanded, but folded:\n%s", full)
	}
	lacks(t, "the text", write(t, residual(t, 1, &neuralgraph.Verdict{Certificate: "all is well"}), "text", Options{}), "certificate  all is well\n", " % in certified")
}

func TestOperatorText(t *testing.T) {
	v := residual(t, 4, nil)
	got := write(t, v, "text", Options{Operators: true})
	lacks(t, "the table", got, "blocks.* ×4\n  Gemm", "Relu", "float batch×6")
	if n := strings.Count(got, "Relu"); n != 1 {
		t.Errorf("%d of Relu, expected one for all copies", n)
	}
	if n := strings.Count(write(t, v, "text", Options{Operators: true, Expand: true}), "Relu"); n != 4 {
		t.Errorf("%d of Relu, expected every copy", n)
	}
}

func TestJSON(t *testing.T) {
	v := residual(t, 4, nil)
	var graph neuralgraph.Document
	if err := json.Unmarshal([]byte(write(t, v, "json", Options{})), &graph); err != nil || graph.Schema != neuralgraph.Schema || len(graph.Residuals) != 4 {
		t.Errorf("%+v, %v", graph, err)
	}
	var d OperatorDocument
	if err := json.Unmarshal([]byte(write(t, v, "json", Options{Operators: true})), &d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != OperatorSchema || len(d.Repeats) != 1 || d.Repeats[0].Copies != 4 || d.Repeats[0].Period != 4 {
		t.Errorf("repeats %+v", d.Repeats)
	}
	first := d.Operators[d.Repeats[0].First]
	if first.Op != "Gemm" || first.Name != "blocks.0.up" || strings.Join(first.Parameters, " ") != "blocks.0.up.weight blocks.0.up.bias" || first.Output != "batch×32" {
		t.Errorf("%+v", first)
	}
	if last := d.Operators[len(d.Operators)-1]; d.Operators[0].Op != "input" || last.Op != "output" {
		t.Errorf("%+v … %+v", d.Operators[0], last)
	}
}

func TestDOT(t *testing.T) {
	v := residual(t, 4, &neuralgraph.Verdict{Certificate: "all is well"})
	got := write(t, v, "dot", Options{})
	lacks(t, "DOT", got, "digraph", "certificate: all is well", `label="blocks.* ×4"`, `label="residual"`, "style=dashed")
	if n := strings.Count(got, "subgraph"); n != 1 {
		t.Errorf("%d clusters", n)
	}
	if n := strings.Count(write(t, v, "dot", Options{Expand: true}), "subgraph"); n != 4 {
		t.Errorf("%d clusters, expected one for each copy", n)
	}
}

// elements counts the elements of an SVG picture by name.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatalf("SVG: %v", err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

func TestSVG(t *testing.T) {
	v := residual(t, 4, &neuralgraph.Verdict{Certificate: "a < b"})
	folded := write(t, v, "svg", Options{})
	lacks(t, "SVG", folded, ">blocks.* ×4<", "certificate: a &lt; b", ">up<", ">head<")
	all := write(t, v, "svg", Options{Expand: true})
	lacks(t, "SVG", all, ">1 of 4<", ">4 of 4<", ">blocks.3.up<")
	if a, b := elements(t, folded), elements(t, all); a["rect"] >= b["rect"] || a["path"] >= b["path"] {
		t.Errorf("folded %v, expanded %v", a, b)
	}
	elements(t, write(t, v, "svg", Options{Operators: true}))
}

// TestPNG: the picture has the size of the drawing, twice, and letters where
// the drawing has them.
func TestPNG(t *testing.T) {
	v := residual(t, 4, nil)
	img, err := png.Decode(strings.NewReader(write(t, v, "png", Options{})))
	if err != nil {
		t.Fatal(err)
	}
	d := v.drawing(Options{})
	if b := img.Bounds(); b.Dx() != int(pngScale*d.w+0.999) || b.Dy() != int(pngScale*d.h+0.999) {
		t.Errorf("size %v, the drawing has %.1f × %.1f", b, d.w, d.h)
	}
	dark := 0
	for y := range 60 {
		for x := range 300 {
			if r, _, _, _ := img.At(x, y).RGBA(); r < 0x4000 {
				dark++
			}
		}
	}
	if dark < 300 {
		t.Errorf("%d dark pixels, expected those of a title", dark)
	}
}

func TestPNGTooLarge(t *testing.T) {
	b := newBuilder("long")
	x := b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(1, 4))
	for i := range 900 {
		x = b.Named(fmt.Sprintf("n%d", i), []string{"Relu", "Tanh", "Sigmoid"}[(i*i+i/7)%3], []string{x})
	}
	b.Output(b.linear("y", x, 4, 4), onnxgraph.Float, onnxgraph.StaticShape(1, 4))
	var size *SizeError
	if err := b.view(t, nil).Write(io.Discard, "png", Options{Operators: true, Expand: true}); !errors.As(err, &size) || size.Height < pngSide {
		t.Errorf("error %v", err)
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := residual(t, 1, nil).Write(io.Discard, "bmp", Options{}); err == nil || !strings.Contains(err.Error(), `"bmp"`) {
		t.Errorf("error %v", err)
	}
}

// TestFonts: letters are measured by the fonts that PNG pictures use.
func TestFonts(t *testing.T) {
	r := newRuler()
	for _, s := range []style{titleStyle, lineStyle, labelStyle, headStyle} {
		if r.face(s) == nil || r.width(s, "mm") < 1.5*r.width(s, "m") {
			t.Errorf("style %+v", s)
		}
	}
	if got := r.fit(lineStyle, "encoder.layers.11.attention", 80); !strings.Contains(got, "…") || r.width(lineStyle, got) > 80 {
		t.Errorf("cut to %q", got)
	}
}
