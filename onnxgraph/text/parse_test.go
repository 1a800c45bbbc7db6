package text_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

// in puts nodes into a small model.
func in(nodes string) string {
	return "<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[2] x) => (float[2] y) {\n" + nodes + "\n}"
}

// Forms that the reference parser takes and its printer does not write.
func TestForms(t *testing.T) {
	for _, pair := range [][2]string{
		{"y = Op <a = 1, b = 1.5, c = \"s\"> (x)", "y = Op <a: int = 1, b: float = 1.5, c: string = \"s\"> (x)"},
		{"y = Op (x) <a = 1>", "y = Op <a: int = 1> (x)"},
		{"y = Op <a = [1, 2], b = [0.5, 1e3], c = [\"s\"]> (x)", "y = Op <a: ints = [1, 2], b: floats = [0.5, 1000], c: strings = [\"s\"]> (x)"},
		{"y = Op <a = inf, b: float = -inf, c = NaN>()", "y = Op <a: float = inf, b: float = -inf, c: float = nan>()"},
		{"y = Op <a: float = 1>()", "y = Op <a: float = 1.0>()"},
		{"y = Op <a: float = -0>()", "y = Op <a: float = -0.0>()"},
		{"y = Op <a = float[2] {1, 2}>()", "y = Op <a: tensor = float[2] {1, 2}>()"},
		{"y = Op <a = float[2] t {1, 2}>()", "y = Op <a: tensor = float[2] t = {1, 2}>()"},
		{"y = Op <a = float[2]>()", "y = Op <a: type_proto = float[2]>()"},
		{"y = Op <a = b () => (z) {}>()", "y = Op () <a: graph = b () => (z) {}>"},
		{"y = Op <a = b => (z) {}>()", "y = Op () <a: graph = b () => (z) {}>"},
		{"y = Op(,x)", "y = Op (\"\", x)"},
		{"y = Op(x,)", "y = Op (x)"},
		{"y = Op(,)", "y = Op (\"\")"},
		{"y = ai.onnx.Op(x)", "y = Op (x)"},
		{"y = Op(x) # comment\n# another", "y = Op(x)"},
		{"\"y\" = Op(\"x\")", "y = Op(x)"},
		{"y = \"a.b\".Op(x)", "y = a.b.Op(x)"},
		{`y = Op <a = "q\"b\\s\n">()`, `y = Op <a = "q\"b\\sn">()`}, // a backslash makes n an n
	} {
		a, err := text.Parse([]byte(in(pair[0])))
		if err != nil {
			t.Errorf("%s: %v", pair[0], err)
			continue
		}
		if d := difference(a, text.MustParse(in(pair[1]))); d != "" {
			t.Errorf("%s is not the same as %s: %s", pair[0], pair[1], d)
		}
	}
	// An input with a default is an initializer as well.
	m := text.MustParse("g (float[2] x = {1, 2}, float y) => () {}")
	if len(m.Graph.Inputs) != 2 || len(m.Graph.Initializers) != 1 || m.Graph.Initializers[0].Name != "x" {
		t.Errorf("inputs %v, initializers %v", m.Graph.Inputs, m.Graph.Initializers)
	}
	// Types of a function's inputs are kept as those of values.
	m = text.MustParse("g () => () {} f (float[2] a, b) => (int64[] c) {}")
	if f := m.Functions[0]; fmt.Sprint(f.Inputs, f.Outputs) != "[a b] [c]" || len(f.ValueInfo) != 2 {
		t.Errorf("function %+v", m.Functions[0])
	}
}

// Elements of every type, as they are written and as bytes.
func TestElements(t *testing.T) {
	for _, k := range []struct {
		tensor string
		bytes  string // in hexadecimal
		prints string // "" where as given
	}{
		{"float[3] {1, -0.5, 1e-45}", "0000803f 000000bf 01000000", ""},
		{"float[4] {inf, -inf, nan, -nan}", "0000807f 000080ff 0000c07f 0000c0ff", ""},
		{"double[1] {0.1}", "9a9999999999b93f", ""},
		{"int8[2] {-128, 127}", "80 7f", ""},
		{"uint8[2] {0, 255}", "00 ff", ""},
		{"int16[1] {-2}", "feff", ""},
		{"uint16[1] {65535}", "ffff", ""},
		{"int32[1] {-2}", "feffffff", ""},
		{"uint32[1] {4294967295}", "ffffffff", ""},
		{"int64[1] {-9223372036854775808}", "0000000000000080", ""},
		{"uint64[1] {18446744073709551615}", "ffffffffffffffff", ""},
		{"bool[2] {1, 0}", "01 00", ""},
		{"complex64[1] {1, -1}", "0000803f 000080bf", ""},
		{"complex128[1] {1, 0}", "000000000000f03f 0000000000000000", ""},
		{"float16[2] {15360, 64512}", "003c 00fc", ""},
		{"float16[6] {1.0, -inf, nan, 6e-8, 65504.0, 0.33325195}", "003c 00fc 007e 0100 ff7b 5535", "float16[6] {15360, 64512, 32256, 1, 31743, 13653}"},
		{"bfloat16[4] {1.0, 1.00390625, 1.01171875, nan}", "803f 803f 823f c07f", "bfloat16[4] {16256, 16256, 16258, 32704}"},
		{"float8e4m3fn[2] {56, 255}", "38 ff", ""},
		{"float8e4m3fnuz[1] {1}", "01", ""},
		{"float8e5m2[1] {1}", "01", ""},
		{"float8e5m2fnuz[1] {1}", "01", ""},
		{"float8e8m0[1] {127}", "7f", ""},
		{"int4[3] {33, 15}", "21 0f", ""},
		{"int4[3] {1, 2, -1}", "21 0f", "int4[3] {33, 15}"},
		{"int4[1] {-1}", "0f", "int4[1] {15}"},
		{"uint4[4] {1, 2, 3, 4}", "21 43", "uint4[4] {33, 67}"},
		{"float4e2m1[2] {255}", "ff", ""},
		{"uint2[5] {1, 2, 3, 0, 1}", "39 01", "uint2[5] {57, 1}"},
		{"int2[4] {-1, 1, -2, 0}", "27", "int2[4] {39}"},
		{"float6e2m3[4] {1, 63, 0, 32}", "c10f80", ""},
		{"float6e3m2[1] {63}", "3f", ""},
		{"float[0] {}", "", ""},
		{"float[2,0] {}", "", ""},
		{"float {3}", "00004040", ""},
	} {
		m, err := text.Parse([]byte(in("y = Op <t: tensor = " + k.tensor + "> ()")))
		if err != nil {
			t.Errorf("%s: %v", k.tensor, err)
			continue
		}
		x := m.Graph.Nodes[0].Attrs[0].T
		if got := fmt.Sprintf("%x", x.Data); got != strings.ReplaceAll(k.bytes, " ", "") {
			t.Errorf("%s holds %s, expected %s", k.tensor, got, k.bytes)
		}
		want := k.prints
		if want == "" {
			want = k.tensor
		}
		if got := text.String(m, text.Options{}); !strings.Contains(got, "t: tensor = "+want+">") {
			t.Errorf("%s is printed in\n%s", k.tensor, got)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, k := range []struct{ text, want string }{
		{"", `1:1: expected the name of a graph, found the end of the text`},
		{"<ir_version 8>", `1:13: expected ":", found number 8`},
		{"<ir_version: \"8\">", `1:14: expected a number (an integer), found string "8"`},
		{"<irversion: 8>", `1:2: "irversion" is not a property of this header`},
		{"<opset_import: [\"\" : 99999999999999999999]>", `1:22: 99999999999999999999 does not fit into 64 bits`},
		{"g (floot[2] x) => () {}", `1:9: expected "," or ")", found "["`},
		{"g (float[-1] x) => () {}", `1:10: dim -1 is negative`},
		{"g (float[2 x) => () {}", `1:12: expected "," or "]", found name "x"`},
		{"g (seq(flat) x) => () {}", `1:8: "flat" is not a type`},
		{"g (map(string) x) => () {}", `1:14: expected ",", found ")"`},
		{"g () = > () {}", `1:6: expected "=>", found "="`},
		{"g () => () {", `1:13: expected a name, "," or "=", found the end of the text`},
		{"g () => ()\n<float[2] w = {1}> {}", `2:13: tensor "w": 1 elements, but its shape [2] takes 2`},
		{"g () => ()\n<float[2] w = {1, 2,\n 3}> {}", `3:2: tensor "w": more than the 2 elements of its shape [2]`},
		{"g () => () <float[N] w = {1}> {}", `1:24: tensor "w" with data has the shape [N], expected numbers`},
		{"g () => () <float[9223372036854775807,9223372036854775807] w = {}> {}", `shape [9223372036854775807 9223372036854775807] is too large`},
		{"g () => () <seq(float) w = {}> {}", `data of type seq(float[]), expected that of a tensor`},
		{"g () => () <float w = 1> {}", `1:23: expected "{" and elements, or "[" and a reference to external data, found number 1`},
		{"g () => () <uint8 w = {256}> {}", `1:24: 256 does not fit into uint8`},
		{"g () => () <uint4[2] w = {-1, 2}> {}", `1:27: -1 does not fit into uint4`},
		{"g () => () <float w = {1e39}> {}", `1:24: 1e39 does not fit into a float of 32 bits`},
		{"g () => () <int32 w = {1.5}> {}", `1:24: expected an integer, found number 1.5`},
		{"g () => () <string w = {1}> {}", `1:25: expected a string, found number 1`},
		{"g () => () <float w = {1, ...}> {}", `1:27: tensor "w": elements are left out here`},
		{"g () => () <float w = [\"offset\": \"8\"]> {}", `external data without a location`},
		{"g () => () <float w = [\"location\": \"f\", \"offset\": \"-8\"]> {}", `external data: offset "-8" is not a non-negative number`},
		{in("y = Op <a = []> (x)"), `3:13: an empty list needs a type`},
		{in("y = Op <a: ints = 1> (x)"), `3:19: expected a list, as ints are, found number 1`},
		{in("y = Op <a: int = [1]> (x)"), `3:18: expected one value, as the type int says, found "["`},
		{in("y = Op <a: int = 1.5> (x)"), `3:18: expected a value of type int, found one of type float`},
		{in("y = Op <a = [1, \"s\"]> (x)"), `3:17: expected a value of type int, found one of type string`},
		{in("y = Op <a: number = 1> (x)"), `3:12: "number" is not a type of attributes`},
		{in("y = Op <a: tensor = float[2]> (x)"), `expected a value of type tensor, found one of type type_proto`},
		{in("y = Op (x"), `4:1: expected "," or ")", found "}"`},
		{in("y = Op (x) #@ doc_string: 1"), `3:27: note: expected a string in double quotes, found "1"`},
		{in("y = Op (x) #@ doc: \"s\""), `3:15: note: key "doc" means nothing here`},
		{in("y = Op (x) #@ doc_string"), `3:15: note: expected key: value, found "doc_string"`},
		{in("y = Op (x, #@ doc_string: \"s\"\n z)"), `3:14: expected a name`},
		{"g () => () <float w = {\"1", `1:24: the string has no end`},
		{"g () => () <float w = {-}> {}", `1:24: expected a number behind "-"`},
		{"g () => () <float w = {-x}> {}", `1:24: expected a number behind "-"`},
		{"g () => () <float w = {1e}> {}", `1:26: expected the digits of an exponent`},
		{"g () => () {}\n\x08\x07", `2:1: a byte 0x08 outside a string`},
		{"g (" + strings.Repeat("seq(", 200) + "float" + strings.Repeat(")", 200) + " x) => () {}", `nested more than 100 deep`},
		{strings.Repeat("g () => () { = If () <a = ", 200), `nested more than 100 deep`},
	} {
		_, err := text.Parse([]byte(k.text))
		var syntax *text.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), k.want) {
			t.Errorf("error is %v, expected one that says %s, in\n%s", err, k.want, excerpt(k.text))
		}
	}
}

func TestIsText(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "<ir_version: 8>": true, "# comment\ng () => () {}": true, "  g () => () {}": true,
		"\x08\x08\x12\x07pytorch": false, "B\x02\x10\x11": false, ":\x80\x01": false, "\x1f\x8b\x08": false,
	} {
		if got := text.IsText([]byte(s)); got != want {
			t.Errorf("IsText(%q) is %v", s, got)
		}
	}
}

func TestMustParse(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "1:3: expected") {
			t.Errorf("panic %v", r)
		}
	}()
	text.MustParse("g }")
}

func FuzzText(f *testing.F) {
	f.Add([]byte(in("y = Op <a = [1, 2]> (x)")))
	f.Add([]byte(in("y = If (x) <t = g () => (y) <float[2] w = {1, 2}> { y = \"a-b\".Op:v (w) }>")))
	f.Add([]byte("<> f () => () {}"))
	for _, name := range []string{"official", "extended"} {
		b, err := os.ReadFile("testdata/" + name + ".onnxtxt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := text.Parse(b)
		if err != nil {
			return
		}
		printed := roundTrip(t, m)
		if !t.Failed() && len(printed) > 1000+20*len(b) {
			t.Errorf("%d bytes are printed as %d", len(b), len(printed))
		}
		_ = text.String(m, text.Options{Elide: 1})
		for _, n := range m.Graph.Nodes {
			if line := text.Node(n); strings.ContainsAny(line, "\n") {
				t.Errorf("a node on several lines: %q", line)
			}
		}
		if b, err := m.Marshal(); err == nil {
			back, err := onnxgraph.Unmarshal(b)
			if err != nil {
				return // texts may say more than files may hold
			}
			roundTrip(t, back)
		}
	})
}
