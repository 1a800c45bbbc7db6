package view

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// browser opens a page without a window, as its address after # asks, and
// returns what has become of its document.
func browser(t *testing.T, page string, wish url.Values) string {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		testenv.Missing(t, "chromium", "no chromium in PATH to open the page with")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+dir,
		"--window-size=1400,900", "--virtual-time-budget=3000", "--dump-dom", "file://"+page+"#"+wish.Encode())
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, errs.String())
	}
	dom := string(out)
	if i := strings.Index(dom, `<script type="application/json"`); i > 0 { // what was drawn, not the data
		dom = dom[:i]
	}
	if !strings.Contains(dom, "data-ready=") {
		t.Fatalf("%v: the page did not start:\n%.2000s", wish, dom)
	}
	return dom
}

func savePage(t *testing.T, v *View, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(write(t, v, "html", o)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func attribute(t *testing.T, dom, name string) string {
	t.Helper()
	m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(dom)
	if m == nil {
		t.Fatalf("no attribute %s", name)
	}
	return m[1]
}

// leaves counts what is drawn as a node.
func (b *block) leaves() int {
	if b.box == nil && b.parent != nil {
		return 1
	}
	n := 0
	for _, c := range b.children {
		n += c.leaves()
	}
	return n
}

// TestPageIsAlone: nothing is loaded from elsewhere, and names cannot break out
// of the data.
func TestPageIsAlone(t *testing.T) {
	b := newBuilder("evil")
	b.Output(b.linear("</script><img src=x onerror=alert(1)>", b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(1, 2)), 2, 2), onnxgraph.Float, nil)
	got := write(t, b.view(t, nil), "html", Options{})
	for _, bad := range []string{"http://", "https://", "src=", "@import", "url(", "<img"} {
		if strings.Contains(strings.ReplaceAll(got, `img src=x onerror`, ""), bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	if n := strings.Count(got, "</script>"); n != 4 {
		t.Errorf("%d ends of scripts, expected those of the page", n)
	}
}

func TestPage(t *testing.T) {
	v := residual(t, 4, &neuralgraph.Verdict{Certificate: "all is well", Failed: []string{}})
	page := savePage(t, v, Options{})
	for name, k := range map[string]struct {
		wish    url.Values
		want    []string
		absent  []string
		picture Options // that has as many blocks
	}{
		"first":                           {nil, []string{"residual.onnx", "certificate: all is well", "blocks.* ×4", "stem", ">99.7 %<", `data-view="neurons" role="tab" aria-selected="true"`, ">Opaque<"}, []string{"1 of 4"}, Options{}},
		"operators unfolded, in the dark": {url.Values{"view": {"operators"}, "unfold": {"all"}, "theme": {"dark"}}, []string{`data-theme="dark"`, "1 of 4", "4 of 4", "batch×32"}, []string{"×4"}, Options{Operators: true, Expand: true}},
		"search and details": {url.Values{"view": {"operators"}, "search": {"blocks.2.down"}, "select": {"blocks.1.up.weight"}},
			[]string{"1 found", "8×32", "<h3>Blocks</h3>", "256 edges", "<h3>Operators</h3>", "Gemm blocks.1.up"}, []string{">Relu<"}, Options{Operators: true}},
		"side by side, an opaque tensor": {url.Values{"view": {"both"}, "theme": {"light"}, "list": {"opaque"}, "row": {"0"}},
			[]string{`data-theme="light"`, `aria-label="Neurons"`, `aria-label="Operators"`, "<h2>hidden</h2>", "<h3>Opaque</h3>"}, nil, Options{}},
		"adjacency, a group": {url.Values{"view": {"adjacency"}, "list": {"groups"}, "row": {"1"}},
			[]string{"rows: from, columns: to", `aria-label="Adjacency matrix of the NiNo graph"`, "hidden of 8", "Parameters that lead here"}, nil, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			dom := browser(t, page, k.wish)
			for _, w := range k.want {
				if !strings.Contains(dom, w) {
					t.Errorf("the document lacks %q:\n%s", w, dom)
				}
			}
			for _, w := range k.absent {
				if strings.Contains(dom, w) {
					t.Errorf("the document has %q", w)
				}
			}
			if !strings.Contains(dom, "data-painted=") {
				t.Error("nothing was painted")
			}
			want := strconv.Itoa(v.drawing(k.picture).root.leaves())
			if got, _, _ := strings.Cut(attribute(t, dom, "data-blocks"), " "); got != "" && got != want {
				t.Errorf("%s blocks, the picture has %s", got, want)
			}
		})
	}
}

// large is a model of n operators without parts that repeat.
func large(t testing.TB, n int) *View {
	b := newBuilder("large")
	x, width, made := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(8)}), int64(8), 0
	step := func(op string, in ...string) string {
		made++
		return b.Named(fmt.Sprintf("%s_%d", op, made), op, in)
	}
	for made < n-4 {
		switch k := b.rng.IntN(10); {
		case k < 4:
			to := 4 + 4*int64(b.rng.IntN(5))
			made++
			x, width = b.linear(fmt.Sprintf("layer_%d", made), x, width, to), to
		case k < 6:
			x = step([]string{"Relu", "Tanh", "Sigmoid"}[k%3], x)
		case k < 8:
			x = step("Mul", step("Tanh", x), step("Sigmoid", x))
		default:
			h := step("Relu", step("MatMul", x, b.weight(fmt.Sprintf("w_%d", made), width, width)))
			x = step("Add", x, h)
		}
	}
	b.Output(x, onnxgraph.Float, nil)
	return b.view(t, nil)
}

// TestPageOfManyNodes: a model of 10,000 operators is painted soon, and its list
// has rows for what is in sight only.
func TestPageOfManyNodes(t *testing.T) {
	v := large(t, 10_000)
	dom := browser(t, savePage(t, v, Options{Operators: true}), url.Values{})
	painted, err := strconv.Atoi(attribute(t, dom, "data-painted"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := attribute(t, dom, "data-blocks")
	t.Logf("%d operators, %s blocks, laid out in %s ms, painted after %d ms", v.document.Model.Nodes, blocks, attribute(t, dom, "data-layout"), painted)
	if painted > 30_000 {
		t.Errorf("painted after %d ms", painted)
	}
	if n := strings.Count(dom, `class="row"`); n == 0 || n > 100 {
		t.Errorf("%d rows in the list", n)
	}
}
