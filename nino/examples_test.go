package nino_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// stepCase is a model of the whole step with five states, and what ninox itself
// predicts from them.
type stepCase struct {
	model  string
	states []string
	k      int
	want   *weights.Set
}

// newStepCase makes one of a fixture.
func newStepCase(t *testing.T, form nino.Form, precision nino.Precision) *stepCase {
	t.Helper()
	dir := testenv.Shared(t, "fixtures/nino/a_fm16")
	c := &stepCase{model: filepath.Join(t.TempDir(), "step.onnx"), k: 20}
	m, err := onnxgraph.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	graph, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int64{}
	for _, p := range g.Parameters {
		shapes[p.Name] = p.Shape
	}
	w, err := nino.Import(testenv.Shared(t, "fixtures/weights/nino_no_posw.pt"))
	if err != nil {
		t.Fatal(err)
	}
	step, err := nino.Export(w, nino.ExportOptions{Form: form, Precision: precision, Graph: graph, Shapes: shapes})
	if err != nil {
		t.Fatal(err)
	}
	if err := step.WriteFile(c.model, onnxgraph.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var states []*weights.Set
	for i := range 5 {
		c.states = append(c.states, filepath.Join(dir, fmt.Sprintf("state_%d.safetensors", i)))
		s, _, err := weights.ReadSafetensors(c.states[i])
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	n, err := nino.New(runtimetest.Engine(t), w, graph, nino.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if c.want, err = n.Nowcast(t.Context(), states, c.k); err != nil {
		t.Fatal(err)
	}
	return c
}

// compare compares a file with what was expected.
func (c *stepCase) compare(t *testing.T, path string, tolerance float64) {
	t.Helper()
	got, _, err := weights.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.want.Names() {
		x, _ := c.want.Floats(name)
		v, err := got.Floats(name)
		if err != nil || len(v) != len(x) {
			t.Fatalf("%s: %d numbers, %v", name, len(v), err)
		}
		for i := range x {
			if d := math.Abs(float64(x[i]) - float64(v[i])); !(d <= tolerance) {
				t.Errorf("%s: number %d is %v, expected %v", name, i, v[i], x[i])
				break
			}
		}
	}
}

// python finds an interpreter that has the packages: the one that the variable
// names, else python3.
func python(t *testing.T, variable string, packages ...string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = "python3"
	}
	if out, err := exec.Command(path, "-c", "import "+strings.Join(packages, ", ")).CombinedOutput(); err != nil {
		testenv.Missing(t, packages[0], fmt.Sprintf("%s cannot import %s (%s names another interpreter): %s", path, strings.Join(packages, ", "), variable, out))
	}
	return path
}

func runExample(t *testing.T, c *stepCase, interpreter, script string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "next.safetensors")
	args := append([]string{script, c.model, fmt.Sprint(c.k)}, append(c.states, out)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if text, err := exec.CommandContext(ctx, interpreter, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, text)
	}
	return out
}

// precisionTolerance is what an example's numbers may be off by: parameters are of
// the order of 0.1, and int8 weights move them by some percent of the update.
var precisionTolerance = map[nino.Precision]float64{nino.FP32: 2e-6, nino.BF16: 0.01, nino.INT8: 0.05}

func TestExampleONNXRuntime(t *testing.T) {
	interpreter := python(t, "NINOX_PYTHON", "onnxruntime", "safetensors.numpy")
	for precision, tolerance := range precisionTolerance {
		c := newStepCase(t, nino.FormTiles, precision)
		c.compare(t, runExample(t, c, interpreter, "examples/onnxruntime_step.py"), tolerance)
	}
}

func TestExampleOpenVINO(t *testing.T) {
	interpreter := python(t, "NINOX_PYTHON_OPENVINO", "openvino", "safetensors.numpy")
	for precision, tolerance := range precisionTolerance {
		c := newStepCase(t, nino.FormEdges, precision)
		c.compare(t, runExample(t, c, interpreter, "examples/openvino_step.py"), 5*tolerance)
	}
}

// browser finds Chromium.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.Missing(t, "chromium", "no chromium in PATH to open the page with")
	return ""
}

// driver fills the page's inputs as a person would, presses the button, and
// posts the file that the page offers.
const driver = `<script>(async () => {
  const file = async name => new File([await (await fetch(name)).arrayBuffer()], name);
  const choose = async (id, names) => {
    const list = new DataTransfer();
    for (const name of names) list.items.add(await file(name));
    get(id).files = list.files;
  };
  await choose("model", ["step.onnx"]);
  await choose("states", [0, 1, 2, 3, 4].map(i => "state_" + i + ".safetensors"));
  await get("run").onclick();
  const link = document.querySelector("#log a");
  const body = link ? await (await fetch(link.href)).arrayBuffer() : get("log").textContent;
  await fetch("done?ok=" + !!link, { method: "POST", body });
})();</script>`

func TestExampleWeb(t *testing.T) {
	chromium := browser(t)
	dist := os.Getenv("NINOX_ORT_WEB")
	if _, err := os.Stat(filepath.Join(dist, "ort.wasm.min.js")); dist == "" || err != nil {
		testenv.Missing(t, "onnxruntime-web", "NINOX_ORT_WEB names no folder dist of the npm package onnxruntime-web")
	}
	page, err := os.ReadFile("examples/web_step.html")
	if err != nil {
		t.Fatal(err)
	}
	for precision, tolerance := range precisionTolerance {
		c := newStepCase(t, nino.FormTiles, precision)
		done := make(chan error, 1)
		out := filepath.Join(t.TempDir(), "next.safetensors")
		mux := http.NewServeMux()
		mux.Handle("/dist/", http.StripPrefix("/dist/", http.FileServer(http.Dir(dist))))
		mux.HandleFunc("/step.onnx", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, c.model) })
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if name := filepath.Base(r.URL.Path); strings.HasPrefix(name, "state_") {
				http.ServeFile(w, r, filepath.Join(filepath.Dir(c.states[0]), name))
				return
			}
			fmt.Fprintf(w, "%s%s", page, driver)
		})
		mux.HandleFunc("/done", func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil && r.URL.Query().Get("ok") != "true" {
				err = fmt.Errorf("the page says %s", body)
			}
			if err == nil {
				err = os.WriteFile(out, body, 0o600)
			}
			done <- err
		})
		server := httptest.NewServer(mux)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), server.URL+"/page")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Error("the page did not finish")
		}
		cancel()
		_ = cmd.Wait() // killed
		server.Close()
		if !t.Failed() {
			c.compare(t, out, tolerance)
		}
	}
}

// sameInTorch loads two files of torch.save and compares them; the second may have
// been written by ninox.
const sameInTorch = `import sys, torch
a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in sys.argv[1:])
assert a["model_args"] == b["model_args"], (a["model_args"], b["model_args"])
assert list(a["state_dict"]) == list(b["state_dict"])
for name, t in a["state_dict"].items():
    u = b["state_dict"][name]
    assert t.dtype == u.dtype and t.shape == u.shape and u.is_contiguous() and torch.equal(t, u), name
`

// PyTorch reads what ninox writes for the reference, and finds in it what was
// imported: tensors, their order, settings and their types.
func TestReferenceInTorch(t *testing.T) {
	interpreter := python(t, "NINOX_PYTHON_TORCH", "torch")
	for _, name := range []string{"nino_no_posw", "nino_mlp", "nino_mlp_h32"} {
		from := testenv.Shared(t, "fixtures/weights/"+name+".pt")
		w, err := nino.Import(from)
		if err != nil {
			t.Fatal(err)
		}
		own, back := filepath.Join(t.TempDir(), "own.safetensors"), filepath.Join(t.TempDir(), "back.pt")
		if err := w.Write(own, false); err != nil {
			t.Fatal(err)
		}
		if w, err = nino.Import(own); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteReference(back, false); err != nil {
			t.Fatal(err)
		}
		if text, err := exec.Command(interpreter, "-c", sameInTorch, from, back).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}
