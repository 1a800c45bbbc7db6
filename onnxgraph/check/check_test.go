package check_test

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/check"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
)

var reg = ops.Registry()

// broken reads testdata/broken.txtar: models as text by name.
func broken(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/broken.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	name := ""
	for line := range strings.Lines(string(b)) {
		if head, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(head, " --\n")
			if _, twice := out[name]; twice {
				t.Fatalf("broken.txtar has %s twice", name)
			}
			out[name] = ""
		} else if name != "" {
			out[name] += line
		}
	}
	return out
}

// Every broken model has exactly the findings that are written beside it.
func TestBroken(t *testing.T) {
	models := broken(t)
	if len(models) < 75 {
		t.Fatalf("%d models, expected at least 75", len(models))
	}
	for name, src := range models {
		t.Run(name, func(t *testing.T) {
			var want, body []string
			for _, line := range strings.Split(src, "\n") {
				if w, ok := strings.CutPrefix(line, "# finds: "); ok {
					want = append(want, w)
				} else if !strings.HasPrefix(line, "#") {
					body = append(body, line)
				}
			}
			model := strings.Join(body, "\n")
			if !strings.HasPrefix(model, "<") {
				model = "<ir_version: 8, opset_import: [\"\" : 17]>\n" + model
			}
			m, err := text.Parse([]byte(model))
			if err != nil {
				t.Fatal(err)
			}
			got := check.Model(m, check.Options{Registry: reg})
			if len(got) != len(want) {
				t.Errorf("%d findings, expected %d", len(got), len(want))
			}
			for i := range min(len(got), len(want)) {
				if !strings.Contains(got[i].String(), want[i]) {
					t.Errorf("finds %s, expected %s", got[i], want[i])
				}
			}
			for _, f := range got {
				if f.Op != "" && f.Line == "" {
					t.Errorf("finding %s does not show its node", f)
				}
				if unsorted := strings.Contains(f.Message, "only a later node gives"); unsorted != f.Unsorted {
					t.Errorf("finding %s: unsorted is %v", f, f.Unsorted)
				}
			}
			if (check.Join(got) == nil) != (name == "valid") {
				t.Errorf("error is %v", check.Join(got))
			}
		})
	}
}

const header = `<ir_version: 8, opset_import: ["" : 17]>` + "\n"

// What texts cannot say.
func TestTensors(t *testing.T) {
	le := func(n int) []byte { return make([]byte, n) }
	for _, k := range []struct {
		t    onnxgraph.Tensor
		want string
	}{
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{2}, Data: le(7)}, "7 bytes of data, but float[2] takes 8"},
		{onnxgraph.Tensor{DType: onnxgraph.Int4, Dims: []int64{3}, Data: le(3)}, "3 bytes of data, but int4[3] takes 2"},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{-1}}, "shape [-1] is negative or too large"},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{1 << 40, 1 << 40}}, "is negative or too large"},
		{onnxgraph.Tensor{Dims: []int64{}}, "element type dtype(0) is none of the specification's"},
		{onnxgraph.Tensor{DType: onnxgraph.String, Dims: []int64{2}, Strings: [][]byte{{}}}, "1 strings for shape [2]"},
		{onnxgraph.Tensor{DType: onnxgraph.String, Dims: []int64{2}, External: &onnxgraph.External{Location: "f", Length: -1}}, "strings cannot be external data"},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{2}, External: &onnxgraph.External{Location: "../f", Length: -1}}, `external data "../f" lie outside the model's folder`},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{2}, External: &onnxgraph.External{Location: "/f", Length: -1}}, "outside the model's folder"},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{2}, External: &onnxgraph.External{Location: "f", Length: 4}}, "length 4, but float[2] takes 8 bytes"},
		{onnxgraph.Tensor{DType: onnxgraph.Float, Dims: []int64{2}, External: &onnxgraph.External{Location: "f", Offset: -4, Length: 8}}, "offset -4 is negative"},
	} {
		// The same tensor as initializer and in an attribute.
		m := text.MustParse(header + "g (float[2] x) => (float[2] y) { y = Neg (x) }")
		init := k.t
		init.Name = "w"
		m.Graph.Initializers = []*onnxgraph.Tensor{&init}
		expectOne(t, m, `check: graph "g": initializer "w": `, k.want)
		m = text.MustParse("<ir_version: 11, opset_import: [\"\" : 24]> g (float[2] x) => (float[2] y) { y = Neg (x)\n c = Constant () }")
		m.Graph.Nodes[1].Attrs = []*onnxgraph.Attribute{onnxgraph.TensorAttr("value", &k.t)}
		expectOne(t, m, `check: node "c" (Constant-24), attribute "value": `, k.want)
	}
}

// expectOne checks that exactly one finding says what is wanted.
func expectOne(t *testing.T, m *onnxgraph.Model, want ...string) {
	t.Helper()
	found := 0
	for _, f := range check.Model(m, check.Options{Registry: reg}) {
		says := !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(f.String(), w) })
		if says {
			found++
		} else {
			t.Errorf("unexpected finding %s", f)
		}
	}
	if found != 1 {
		t.Errorf("%d findings say %q, expected one", found, want)
	}
}

func TestSparse(t *testing.T) {
	for _, k := range []struct{ tensor, want string }{
		{"sparse_tensor(float[9]) s = {float[2] {1, 2}, int64[2] {0, 8}}", ""},
		{"sparse_tensor(float[3,3]) s = {float[2] {1, 2}, int64[2,2] {0, 1, 2, 2}}", ""},
		{"sparse_tensor(float) s = {float[1] {1}, int64[1] {0}}", "shape [], expected at least one axis and positive extents"},
		{"sparse_tensor(float[0]) s = {float[1] {1}, int64[1] {0}}", "shape [0], expected at least one axis"},
		{"sparse_tensor(float[9]) s = {float[1,1] {1}, int64[1] {0}}", "values of shape [1 1], expected one axis"},
		{"sparse_tensor(float[9]) s = {float[2] {1, 2}, int64[1] {0}}", "indices are int64[1], expected int64[2] or int64[2 1]"},
		{"sparse_tensor(float[9]) s = {float[1] {1}, int32[1] {0}}", "indices are int32[1], expected int64[1]"},
		{"sparse_tensor(float[9]) s = {float[2] {1, 2}, int64[2] {8, 0}}", "index 1 is not greater than the one before"},
		{"sparse_tensor(float[9]) s = {float[1] {1}, int64[1] {9}}", "index 0 is 9, expected less than 9"},
		{"sparse_tensor(float[9]) s = {float[1] {1}, int64[1] {-1}}", "index 0 is -1"},
		{"sparse_tensor(float[3,3]) s = {float[1] {1}, int64[1,2] {0, 3}}", "index 0 is 3 in axis 1, which has the extent 3"},
		{"sparse_tensor(float[3,3]) s = {float[2] {1, 2}, int64[2,2] {1, 1, 1, 1}}", "index 1 is not greater than the one before"},
	} {
		m := text.MustParse(header + "g (float[2] x) => (float[2] y) <" + k.tensor + "> { y = Neg (x) }")
		if k.want != "" {
			expectOne(t, m, `check: graph "g": sparse initializer "s": `, k.want)
		} else if err := check.Join(check.Model(m, check.Options{})); err != nil {
			t.Errorf("%s: %v", k.tensor, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	base := func() *onnxgraph.Model {
		return text.MustParse(header + "g (bool c, float[2] x) => (float[2] y) { y = If (c) <then_branch: graph = t () => (float[2] a) { a = Neg (x) }, else_branch: graph = e () => (float[2] b) { b = Neg (x) }> }")
	}
	for want, edit := range map[string]func(n *onnxgraph.Node){
		`node "y" (-17): has no operator`:            func(n *onnxgraph.Node) { n.OpType = "" },
		`check: the graph has no name`:               func(n *onnxgraph.Node) { n.Attrs[0].G.Name = "" },
		`node "y" (If-17): an attribute has no name`: func(n *onnxgraph.Node) { n.Attrs = append(n.Attrs, onnxgraph.IntAttr("", 1)) },
		`attribute "__hint": holds a value of another type than its own, int`: func(n *onnxgraph.Node) {
			n.Attrs = append(n.Attrs, &onnxgraph.Attribute{Name: "__hint", Type: onnxgraph.AttrInt, Ints: []int64{1}})
		},
		`attribute "__hint": has no type`:                     func(n *onnxgraph.Node) { n.Attrs = append(n.Attrs, &onnxgraph.Attribute{Name: "__hint"}) },
		`attribute "then_branch": holds no value of its type`: func(n *onnxgraph.Node) { n.Attrs[0].G = nil },
	} {
		m := base()
		edit(m.Graph.Nodes[0])
		found := check.Model(m, check.Options{})
		if !slices.ContainsFunc(found, func(f *check.Finding) bool { return strings.Contains(f.String(), want) }) {
			t.Errorf("findings are %v, expected %s", check.Join(found), want)
		}
	}
	if got := check.Join(check.Model(&onnxgraph.Model{}, check.Options{})); got == nil || got.Error() != "check: the model has no graph" {
		t.Errorf("a model without graph: %v", got)
	}
}

// The levels below All look for less; and findings about nodes are errors of nodes.
func TestLevels(t *testing.T) {
	m := text.MustParse(`<opset_import: ["" : 17, "com.microsoft" : 1]>
	"" (float[2] x) => (y) {
		h = Frobnicate (x)
		i = com.microsoft.Gelu (h, h)
		k = Softmax <axis: float = 1> (i)
		y = Neg (q)
	}`)
	for level, want := range map[check.Level][]string{
		check.Structure: {`input 0 is "q"`},
		check.Operators: {`(Frobnicate-17): unknown operator`, `(com.microsoft:Gelu-1): 2 inputs, expected 1`, `attribute "axis": has type float`, `input 0 is "q"`},
		check.All: {`ir_version`, `the graph has no name`, `output "y" is declared without its type`,
			`(Frobnicate-17): unknown operator`, `(com.microsoft:Gelu-1): 2 inputs, expected 1`, `attribute "axis": has type float`, `input 0 is "q"`},
	} {
		found := check.Model(m, check.Options{Level: level, Registry: reg})
		if len(found) != len(want) {
			t.Errorf("level %d: %d findings, expected %d: %v", level, len(found), len(want), check.Join(found))
			continue
		}
		for i, f := range found {
			if !strings.Contains(f.String(), want[i]) {
				t.Errorf("level %d: finding %d is %s, expected %s", level, i, f, want[i])
			}
		}
		var node *op.NodeError
		if err := check.Join(found); !errors.As(err, &node) || node.Stage != "check" {
			t.Errorf("level %d: %v holds no error of a node", level, err)
		}
	}
}

func TestSharedModels(t *testing.T) {
	valid(t, 100, testenv.Shared(t, "models"), testenv.Shared(t, "fixtures"))
}

func TestONNXTestData(t *testing.T) { valid(t, 1000, testenv.ONNXTestData(t)) }

// invalid are models, by file or folder, that onnx.checker refuses as well and
// for the same reason: training graphs of ONNX Runtime have operators of its own
// in the default domain, the others break rules of the first opsets.
var invalid = map[string]string{
	"ort_mul_1.onnx":                    "is not an input, as ir_version 3 demands",
	"training_model.onnx":               "unknown operator",
	"test_PixelShuffle":                 intConstant,
	"test_operator_repeat":              intConstant,
	"test_operator_repeat_dim_overflow": intConstant,
}

const intConstant = "(Constant-6), attribute \"value\": makes the output int64, expected double, float or float16"

// valid checks that nothing is found in the models below some folders.
func valid(t *testing.T, atLeast int, roots ...string) {
	t.Helper()
	checked := 0
	for _, root := range roots {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(p) != ".onnx" {
				return err
			}
			m, err := onnxgraph.ReadFile(p)
			if err != nil {
				return err
			}
			checked++
			for _, f := range check.Model(m, check.Options{Registry: reg}) {
				why := cmp.Or(invalid[filepath.Base(p)], invalid[filepath.Base(filepath.Dir(p))], "nothing")
				if !strings.Contains(f.String(), why) {
					t.Errorf("%s: %s", p, f)
				}
			}
			return m.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked < atLeast {
		t.Errorf("%d models checked, expected at least %d", checked, atLeast)
	}
}

// Whatever a text says, the checker comes to a verdict, and what it lets pass
// at all it lets pass at every level.
func FuzzCheck(f *testing.F) {
	b, err := os.ReadFile("testdata/broken.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, model := range strings.Split(string(b), "\n-- ")[1:] {
		_, model, _ = strings.Cut(model, " --\n")
		f.Add(model)
	}
	f.Fuzz(func(t *testing.T, src string) {
		m, err := text.Parse([]byte(src))
		if err != nil {
			return
		}
		if len(check.Model(m, check.Options{Registry: reg})) == 0 {
			if err := check.Join(check.Model(m, check.Options{Level: check.Structure})); err != nil {
				t.Errorf("valid, but not in structure: %v", err)
			}
		}
	})
}
