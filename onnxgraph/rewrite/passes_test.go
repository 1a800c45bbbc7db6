package rewrite_test

import (
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/text"
)

// passCases show each pass alone: what it makes of its pattern, and what looks
// like the pattern but stays. Headers of models are as in withHeader.
var passCases = []struct {
	pass  string
	name  string
	model string
	fires int
	want  string // the model afterwards; empty where it stays as it is
}{
	{"inline", "calls within calls, attributes and their defaults",
		`g (float[4] x) => (float[4] z) {
			y = local.scale (x)
			z = local.leaky <slope = 0.5> (y)
		}
		<domain: "local", opset_import: ["" : 17, "local" : 1]>
		scale (a) => (b) {
			t = local.leaky (a)
			b = Mul (t, a)
		}
		<domain: "local", opset_import: ["" : 17]>
		leaky <slope: float = 0.1> (a) => (b) {
			b = LeakyRelu <alpha: float = @slope> (a)
		}`, 3,
		`g (float[4] x) => (float[4] z) {
			["y/t_1/b"] "y/t" = LeakyRelu <alpha = 0.1> (x)
			["y/b"] y = Mul ("y/t", x)
			["z/b"] z = LeakyRelu <alpha = 0.5> (y)
		}`},
	{"inline", "an operator that is no function of the model",
		`g (float[4] x) => (float[4] y) {
			y = local.scale (x)
		}`, 0, ""},

	{"sort", "a node before one that it reads, within a branch as well",
		`g (float[4] x, bool c) => (float[4] y) {
			y = If (c) <
				then_branch = a () => (float[4] r) {
					r = Neg (t)
					t = Abs (s)
				}, else_branch = b () => (float[4] q) {
					q = Exp (s)
				}
			>
			s = Sin (x)
		}`, 2,
		`g (float[4] x, bool c) => (float[4] y) {
			s = Sin (x)
			y = If (c) <
				then_branch = a () => (float[4] r) {
					t = Abs (s)
					r = Neg (t)
				}, else_branch = b () => (float[4] q) {
					q = Exp (s)
				}
			>
		}`},
	{"sort", "sorted in another order than by name or depth",
		`g (float[4] x) => (float[4] y, float[4] a) {
			z = Abs (x)
			y = Neg (z)
			a = Exp (x)
		}`, 0, ""},

	{"branches", "a condition on the rank of an input",
		`g (float[4] x) => (float[4] y) <int64 one = {1}> {
			shape = Shape (x)
			rank = Size (shape)
			c = Equal (rank, one)
			y = If (c) <
				then_branch = a () => (float[4] r) <float two = {2}> {
					t = Abs (x)
					r = Mul (t, two)
				}, else_branch = b () => (float[4] r) {
					r = Neg (x)
				}
			>
		}`, 1,
		`g (float[4] x) => (float[4] y) <int64 one = {1}, float "y/two" = {2}> {
			shape = Shape (x)
			rank = Size (shape)
			c = Equal (rank, one)
			["y/t_1"] "y/t" = Abs (x)
			["y/r"] y = Mul ("y/t", "y/two")
		}`},
	{"branches", "a condition on numbers of an input",
		`g (float[4] x, bool c) => (float[4] y) {
			y = If (c) <
				then_branch = a () => (float[4] r) {
					r = Abs (x)
				}, else_branch = b () => (float[4] r) {
					r = Neg (x)
				}
			>
		}`, 0, ""},

	{"lists", "every part read at a known place, one from the end",
		`g (float[4] x) => (float[3] b, float[1] a) <int64[2] sizes = {1, 3}, int64 first = {0}, int64 last = {-1}> {
			list = SplitToSequence (x, sizes)
			b = SequenceAt (list, last)
			a = SequenceAt (list, first)
		}`, 1,
		`g (float[4] x) => (float[3] b, float[1] a) <int64[2] sizes = {1, 3}, int64 first = {0}, int64 last = {-1}, int64[2] "list/sizes" = {1, 3}> {
			"list/part_0", "list/part_1" = Split <axis = 0> (x, "list/sizes")
			b = Identity ("list/part_1")
			a = Identity ("list/part_0")
		}`},
	{"lists", "a place that only the run tells",
		`g (float[4] x, int64 place) => (float[n] a) <int64[2] sizes = {1, 3}> {
			list = SplitToSequence (x, sizes)
			a = SequenceAt (list, place)
		}`, 0, ""},
	{"lists", "a list that is an output",
		`g (float[4] x) => (float[1] a, seq(float[n]) list) <int64[2] sizes = {1, 3}, int64 first = {0}> {
			list = SplitToSequence (x, sizes)
			a = SequenceAt (list, first)
		}`, 0, ""},

	{"fold", "a shape of a parameter, and arithmetic on it",
		`g (float[4] x) => (float[2,2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}, int64[2] less = {0, 1}> {
			shape = Shape (w)
			target = Sub (shape, less)
			y = Reshape (x, target)
		}`, 2,
		`g (float[4] x) => (float[2,2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}, int64[2] less = {0, 1}, int64[2] shape = {2, 3}, int64[2] target = {2, 2}> {
			y = Reshape (x, target)
		}`},
	{"fold", "a number that a parameter flows into, a shape that is not known, and an output",
		`g (float[n] x) => (float[n] y, int64[1] out, int64[1] s) <float w = {2}, int64[2] m = {3, 4}> {
			v = Identity (w)
			y = Mul (x, v)
			s = Shape (x)
			out = Shape (m)
		}`, 0, ""},

	{"constants", "in the graph, and under one name in two branches",
		`g (float[4] x, bool c) => (float[4] y, int64[2] z) {
			k = Constant <value_ints = [1, 0]> ()
			z = Neg (k)
			y = If (c) <
				then_branch = a () => (float[4] r) {
					two = Constant <value = float {2}> ()
					r = Mul (x, two)
				}, else_branch = b () => (float[4] r) {
					two = Constant <value_float = 3.0> ()
					r = Mul (x, two)
				}
			>
		}`, 3,
		`g (float[4] x, bool c) => (float[4] y, int64[2] z) <int64[2] k = {1, 0}, float two_1 = {2}, float two_2 = {3}> {
			z = Neg (k)
			y = If (c) <
				then_branch = a () => (float[4] r) {
					r = Mul (x, two_1)
				}, else_branch = b () => (float[4] r) {
					r = Mul (x, two_2)
				}
			>
		}`},
	{"constants", "one that is an output",
		`g (float[4] x) => (float y) {
			y = Constant <value_float = 1.0> ()
		}`, 0, ""},

	{"aliases", "a chain",
		`g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
			v = Identity (w)
			u = Identity (v)
			t = Add (x, u)
			y = Mul (t, w)
		}`, 2,
		`g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
			t = Add (x, w)
			y = Mul (t, w)
		}`},
	{"aliases", "an output and its alias, and a value that is no initializer",
		`g (float[4] x) => (float[4] y, float[4] v) <float[4] w = {1, 2, 3, 4}> {
			v = Identity (w)
			u = Identity (v)
			t = Identity (x)
			y = Mul (t, u)
		}`, 0, ""},

	{"dead", "a chain that ends nowhere, with its initializer and its type",
		`g (float[4] x) => (float[4] y) <float w = {1}, float[4] s> {
			s = Mul (x, w)
			t = Neg (s)
			y = Abs (x)
		}`, 2,
		`g (float[4] x) => (float[4] y) {
			y = Abs (x)
		}`},
	{"dead", "what only a branch reads, and one of two results",
		`g (float[4] x, bool c) => (float[4] y) <int64[2] sizes = {1, 3}> {
			p, q = Split (x, sizes)
			y = If (c) <
				then_branch = a () => (float[n] r) {
					r = Neg (p)
				}, else_branch = b () => (float[n] r) {
					r = Abs (x)
				}
			>
		}`, 0, ""},

	{"weights", "two readers through Transpose, one of them in a branch and behind an Identity",
		`g (float[3] x, bool c) => (float[2] y, float[2] z) <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[3,2] turned> {
			turned = Transpose <perm = [1, 0]> (w)
			y = MatMul (x, turned)
			z = If (c) <
				then_branch = a () => (float[2] r) {
					v = Identity (w)
					t = Transpose (v)
					r = MatMul (x, t)
				}, else_branch = b () => (float[2] r) {
					r = Neg (y)
				}
			>
		}`, 1,
		`g (float[3] x, bool c) => (float[2] y, float[2] z) <float[3,2] "w.transposed" = {1, 4, 2, 5, 3, 6}> {
			y = MatMul (x, "w.transposed")
			z = If (c) <
				then_branch = a () => (float[2] r) {
					r = MatMul (x, "w.transposed")
				}, else_branch = b () => (float[2] r) {
					r = Neg (y)
				}
			>
		}`},
	{"weights", "turned twice, and turned back",
		`g (float[3] x) => (float[3,2,1] y, float[2,3] z) <float[1,2,3] w = {1, 2, 3, 4, 5, 6}, float[2,3] v = {1, 2, 3, 4, 5, 6}> {
			a = Transpose <perm = [1, 2, 0]> (w)
			b = Transpose <perm = [1, 0, 2]> (a)
			y = Neg (b)
			c = Transpose (v)
			d = Transpose (c)
			z = Neg (d)
		}`, 2,
		`g (float[3] x) => (float[3,2,1] y, float[2,3] z) <float[3,2,1] "w.transposed" = {1, 4, 2, 5, 3, 6}, float[2,3] v = {1, 2, 3, 4, 5, 6}> {
			y = Neg ("w.transposed")
			z = Neg (v)
		}`},
	{"weights", "read in two layouts: embeddings tied to the last layer",
		`g (int64[n] tokens, float[n,3] x) => (float[n,3] e, float[n,2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}> {
			e = Gather (w, tokens)
			t = Transpose <perm = [1, 0]> (w)
			y = MatMul (x, t)
		}`, 0, ""},
	{"weights", "Gemm's own transposition, and aliases",
		`g (float[n,3] x) => (float[n,2] y, float[2,3] z) <float[2,3] w = {1, 2, 3, 4, 5, 6}> {
			y = Gemm <transB = 1> (x, w)
			v = Identity (w)
			z = Neg (v)
		}`, 0, ""},
	{"weights", "declared: an input with a default, an output, a Transpose that is one",
		`g (float[n,3] x, float[2,3] w) => (float[n,2] y, float[3,1] u, float[3,1] q, float[1,3] o) <float[2,3] w = {1, 2, 3, 4, 5, 6}, float[1,3] v = {1, 2, 3}, float[1,3] o = {1, 2, 3}> {
			t = Transpose <perm = [1, 0]> (w)
			y = MatMul (x, t)
			u = Transpose <perm = [1, 0]> (v)
			p = Transpose <perm = [1, 0]> (o)
			q = Add (p, u)
		}`, 0, ""},
	{"weights", "a Transpose that nobody reads, one of another domain, one that is no permutation",
		`g (float[2] x) => (float[2,2] y, float[2,2] z) <float[2,2] w = {1, 2, 3, 4}, float[2,2] v = {1, 2, 3, 4}, float[2,2] u = {1, 2, 3, 4}> {
			unread = Transpose <perm = [1, 0]> (w)
			p = local.Transpose (v)
			y = Add (x, p)
			q = Transpose <perm = [0, 0]> (u)
			z = Add (x, q)
		}`, 0, ""},
	{"weights", "elements of half a byte",
		`g (float[n,2] x) => (float[n,2] y) <int4[2,2] w = {33, 67}, float scale = {1}> {
			t = Transpose <perm = [1, 0]> (w)
			f = DequantizeLinear (t, scale)
			y = MatMul (x, f)
		}`, 0, ""},
}

// withHeader parses a model without its header, of opset 21; the domain local
// is imported where it is used.
func withHeader(t *testing.T, body string) *onnxgraph.Model {
	t.Helper()
	opsets := `"" : 21`
	if strings.Contains(body, "local.") {
		opsets += `, "local" : 1`
	}
	m, err := text.Parse([]byte(`<ir_version: 10, opset_import: [` + opsets + `]> ` + body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPasses(t *testing.T) {
	type shown struct{ fires, stays bool }
	rows := map[string]*shown{}
	passes := map[string]rewrite.Pass{}
	for _, p := range append(rewrite.Passes(), rewrite.Optional()...) {
		passes[p.Name], rows[p.Name] = p, &shown{}
	}
	for _, c := range passCases {
		p, ok := passes[c.pass]
		if !ok {
			t.Errorf("there is no pass %q", c.pass)
			continue
		}
		rows[c.pass].fires = rows[c.pass].fires || c.fires > 0
		rows[c.pass].stays = rows[c.pass].stays || c.fires == 0
		t.Run(c.pass+"/"+c.name, func(t *testing.T) {
			m := withHeader(t, c.model)
			before := text.String(m, text.Options{})
			out, fired, err := rewrite.Apply(m, reg, []rewrite.Pass{p})
			if err != nil {
				t.Fatal(err)
			}
			if c.fires > 0 {
				out.Metadata = nil // its notes have a test of their own
			}
			want := before
			if c.want != "" {
				want = text.String(withHeader(t, c.want), text.Options{})
			}
			if got := text.String(out, text.Options{}); fired[c.pass] != c.fires || got != want {
				t.Errorf("fired %d times, expected %d; the model is\n%s\nexpected\n%s", fired[c.pass], c.fires, got, want)
			}
			if text.String(m, text.Options{}) != before {
				t.Error("the model given was changed")
			}
		})
	}
	for name, r := range rows {
		if !r.fires || !r.stays {
			t.Errorf("pass %s: a case where it fires: %v, one where it does not: %v; both are needed", name, r.fires, r.stays)
		}
	}
}
