package view

import (
	"fmt"
	"strings"
	"testing"

	"ninox/onnxgraph"
)

// chain is a sequence in which each thing reads the one before, labelled by
// letters.
func chain(letters string) *sequence {
	s := &sequence{}
	known := numbers{}
	for i, c := range letters {
		s.labels = append(s.labels, known.of(string(c)))
		var reads []int
		if i > 0 {
			reads = []int{i - 1}
		}
		s.reads = append(s.reads, reads)
	}
	return s
}

func text(list []repeat) string {
	var out []string
	for _, r := range list {
		s := fmt.Sprintf("%d+%d×%d", r.first, r.period, r.copies)
		if len(r.inner) > 0 {
			s += "(" + text(r.inner) + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestFold(t *testing.T) {
	for letters, want := range map[string]string{
		"":                   "",
		"abcdef":             "",
		"xababaty":           "", // two copies of two hide two only
		"xabababty":          "1+2×3",
		"aaaa":               "0+1×4",
		"abcabcabc":          "0+3×3",
		"xabcabcydefdefdefz": "1+3×2 8+3×3",
		"abbbbcabbbbc":       "0+6×2(1+1×4)",
	} {
		if got := text(chain(letters).fold()); got != want {
			t.Errorf("%s: %q, expected %q", letters, got, want)
		}
	}
}

// TestFoldPhase: copies begin where the fewest values pass from one to the
// next, not where the labels happen to begin to repeat.
func TestFoldPhase(t *testing.T) {
	// s (embedding sum), then blocks n f s, where s adds the stream and f.
	s := chain("esnfsnfsnfsy")
	for _, i := range []int{4, 7, 10} {
		s.reads[i] = []int{i - 3, i - 1}
	}
	if got := text(s.fold()); got != "2+3×3" {
		t.Errorf("%q, expected 2+3×3", got)
	}
}

// TestFoldWiring: copies that are joined in another way are no copies.
func TestFoldWiring(t *testing.T) {
	s := chain("abcdabcdabcdabcd")
	s.reads[10] = []int{8} // c of the third copy passes b by
	if got := text(s.fold()); got != "0+4×2" {
		t.Errorf("%q, expected 0+4×2", got)
	}
	outside := chain("mxabcabcabcabc")
	for i := 2; i < 14; i += 3 {
		outside.reads[i] = append(outside.reads[i], 0) // all copies read m
	}
	if got := text(outside.fold()); got != "2+3×4" {
		t.Errorf("%q, expected 2+3×4", got)
	}
}

func TestPattern(t *testing.T) {
	for _, k := range []struct {
		names []string
		want  string
	}{
		{[]string{"h.0.conv1", "h.1.conv1", "h.10.conv1"}, "h.*.conv1"},
		{[]string{"a", "b"}, "a"},
		{[]string{"w1", "w1"}, "w1"},
	} {
		if got := pattern(k.names); got != k.want {
			t.Errorf("%q: %q, expected %q", k.names, got, k.want)
		}
	}
	if got := stem([]string{"h.*.ln", "h.*.mlp.fc", "onnx::MatMul_7"}); got != "h.*." {
		t.Errorf("stem %q", got)
	}
}

func TestModuleName(t *testing.T) {
	for name, want := range map[string]string{
		"/layer1/layer1.0/conv1/Conv": "layer1.0.conv1",
		"/h.0/attn/MatMul_1":          "h.0.attn",
		"Conv":                        "Conv",
		"":                            "",
	} {
		op := "Conv"
		if strings.Contains(name, "MatMul") {
			op = "MatMul"
		}
		if got := moduleName(&onnxgraph.Node{Name: name, OpType: op}); got != want {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
	}
}
