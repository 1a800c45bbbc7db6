package text_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

// roundTrip prints a model and reads it again.
func roundTrip(t testing.TB, m *onnxgraph.Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := text.Print(&b, m, text.Options{}); err != nil {
		t.Error(err)
		return nil
	}
	back, err := text.Parse(b.Bytes())
	if err != nil {
		t.Errorf("%v in\n%s", err, excerpt(b.String()))
		return nil
	}
	if d := difference(m, back); d != "" {
		t.Errorf("the text reads as another model, %s:\n%s", d, excerpt(b.String()))
	}
	return b.Bytes()
}

func excerpt(s string) string { return s[:min(len(s), 3000)] }

func modelFiles(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(p) == ".onnx" {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func roundTripFiles(t *testing.T, files []string, atLeast int) {
	if len(files) < atLeast {
		t.Fatalf("%d models found, expected at least %d", len(files), atLeast)
	}
	for _, path := range files {
		m, err := onnxgraph.ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) { roundTrip(t, m) })
	}
}

func TestRoundTripShared(t *testing.T) {
	roundTripFiles(t, append(modelFiles(t, testenv.Shared(t, "models")), modelFiles(t, testenv.Shared(t, "fixtures"))...), 50)
}

func TestRoundTripTestData(t *testing.T) {
	roundTripFiles(t, modelFiles(t, testenv.ONNXTestData(t)), 1000)
}

// Models that hold every construct of the syntax, printed as testdata has them.
// "official" uses what onnx.parser knows; "extended" the rest.
func TestGolden(t *testing.T) {
	for _, name := range []string{"official", "extended"} {
		file := filepath.Join("testdata", name+".onnxtxt")
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := text.Parse(want)
		if err != nil {
			t.Fatalf("%s:%v", file, err)
		}
		got := roundTrip(t, m)
		if !bytes.Equal(got, want) {
			t.Errorf("%s is printed as\n%s", file, got)
		}
		if !text.IsText(got) {
			t.Errorf("%s is not taken for a text", file)
		}
		// A model file keeps all of it, too.
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := onnxgraph.Unmarshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := difference(m, back); d != "" {
			t.Errorf("%s changes when it is serialised, %s", file, d)
		}
		if text.IsText(b) {
			t.Errorf("the serialised %s is taken for a text", file)
		}
	}
}

func TestElide(t *testing.T) {
	m := text.MustParse(`<ir_version: 8, opset_import: ["" : 17]>
		g (float[5] x) => (float[5] y) <float[5] w = {1, 2, 3, 4, 5}, string[3] s = {"a", "b", "c"}> {
			y = Foo <axes: ints = [1, 2, 3], one: ints = [1]> (x, w) #@ doc_string: "why"
		}`)
	got := text.String(m, text.Options{Elide: 2})
	for _, want := range []string{`w = {1, 2, ...}`, `s = {"a", "b", ...}`, `axes: ints = [1, 2, ...], one: ints = [1]> (x, w)`} {
		if !strings.Contains(got, want) {
			t.Errorf("the text lacks %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "why") {
		t.Errorf("a text for reading has notes:\n%s", got)
	}
	if _, err := text.Parse([]byte(got)); err == nil || !strings.Contains(err.Error(), "elements are left out") {
		t.Errorf("reading an elided text: %v", err)
	}
}

func TestNode(t *testing.T) {
	m := text.MustParse(`g (bool c, float[2] x) => (y) {
		[n] "a/y", "" = my.domain.Op:v2 <axes = [1, 2, 3, 4, 5, 6], name: string = "a
b", value: tensor = float[6] "t/x" {1, 2, 3, 4, 5, 6}> (x, "")
		y = If (c) <then_branch: graph = t () => (x) { x = Neg (x) }, else_branch: graph = e () => (x) {}>
	}`)
	for i, want := range []string{
		`"a/y", "" = my.domain.Op:v2 <axes = [1, 2, 3, 4, ...], name = "a b", value = float[6] {1, 2, 3, 4, ...}> (x, "")`,
		`y = If (c) <then_branch = t {...}, else_branch = e {...}>`,
	} {
		if got := text.Node(m.Graph.Nodes[i]); got != want {
			t.Errorf("node %d is\n%s, expected\n%s", i, got, want)
		}
	}
	long := &onnxgraph.Node{OpType: "Concat", Inputs: strings.Split(strings.Repeat("value ", 100), " ")}
	if got := text.Node(long); len(got) > 170 || !strings.HasSuffix(got, "…") {
		t.Errorf("a long node is %q", got)
	}
}

// What has no form is an error that names it.
func TestPrintErrors(t *testing.T) {
	graph := func(t *onnxgraph.Tensor, attrs ...*onnxgraph.Attribute) *onnxgraph.Model {
		return &onnxgraph.Model{Graph: &onnxgraph.Graph{Name: "g", Initializers: []*onnxgraph.Tensor{t}, Nodes: []*onnxgraph.Node{{OpType: "Op", Attrs: attrs}}}}
	}
	w := onnxgraph.Scalar("w", 1)
	for want, m := range map[string]*onnxgraph.Model{
		"the model has no graph":                             {},
		`tensor "w": 4 bytes of data do not make a float[2]`: graph(&onnxgraph.Tensor{Name: "w", DType: onnxgraph.Float, Dims: []int64{2}, Data: w.Data}),
		`tensor "w": 0 strings for shape [1]`:                graph(&onnxgraph.Tensor{Name: "w", DType: onnxgraph.String, Dims: []int64{1}}),
		`attribute "value" has no value of its type, tensor`: graph(w, &onnxgraph.Attribute{Name: "value", Type: onnxgraph.AttrTensor}),
	} {
		if err := text.Print(&bytes.Buffer{}, m, text.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, expected one that says %s", err, want)
		}
	}
}

// The example of the documentation is printed as it stands there.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/TEXT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```\n<\n")
	example, _, _ = strings.Cut("<\n"+example, "```")
	m, err := text.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if got := text.String(m, text.Options{}); got != example {
		t.Errorf("the example is printed as\n%s", got)
	}
}
