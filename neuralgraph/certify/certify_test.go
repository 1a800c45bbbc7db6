package certify_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/neuralgraph/certify"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

func analyse(t *testing.T, s *sample) (*onnxgraph.Model, *neuralgraph.Graph) {
	t.Helper()
	m, err := s.model()
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	return m, g
}

func TestSamples(t *testing.T) {
	for i := range samples {
		s := &samples[i]
		t.Run(s.name, func(t *testing.T) {
			_, g := analyse(t, s)
			var groups []string
			sizes := map[string]string{}
			for _, gr := range g.Groups {
				sizes[gr.ID] = fmt.Sprint(gr.Size)
				if gr.Permutable {
					groups = append(groups, fmt.Sprintf("%s %d", gr.Role, gr.Size))
				}
			}
			if !reflect.DeepEqual(groups, s.groups) {
				t.Errorf("permutable groups %q, expected %q", groups, s.groups)
			}
			if len(g.Opaque) > 0 {
				t.Errorf("opaque parameters: %v", g.Opaque)
			}
			if s.blocks != nil {
				if got := blockTexts(g, sizes); !reflect.DeepEqual(got, s.blocks) {
					t.Errorf("blocks\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(s.blocks, "\n"))
				}
			}
			checkNiNo(t, g, s)
		})
	}
}

func blockTexts(g *neuralgraph.Graph, sizes map[string]string) []string {
	join := func(ids []string) string {
		parts := make([]string, len(ids))
		for i, id := range ids {
			parts[i] = sizes[id]
		}
		return strings.Join(parts, "·")
	}
	var out []string
	for _, b := range g.Blocks {
		name := b.Parameter
		if b.Slice != "" {
			name += "[" + b.Slice + "]"
		}
		out = append(out, strings.Replace(fmt.Sprintf("%s: %s > %s, %d %s", name, join(b.Source), join(b.Target), b.Taps, b.Type.Name()), ":  >", ": >", 1))
	}
	return out
}

// checkNiNo compares counts, and requires every element of every parameter on
// exactly one edge.
func checkNiNo(t *testing.T, g *neuralgraph.Graph, s *sample) {
	t.Helper()
	n, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n.Nodes != s.nodes {
		t.Errorf("%d nodes, expected %d: %+v", n.Nodes, s.nodes, n.Layers)
	}
	got := map[int]int{}
	for kind, edges := range n.Summary().EdgesByType {
		if k, _ := strconv.Atoi(kind); k != int(neuralgraph.EdgeSelfLoop) {
			got[k] = int(edges)
		}
	}
	if !reflect.DeepEqual(got, s.edges) {
		t.Errorf("edges by type %v, expected %v", got, s.edges)
	}
	count := map[string][]int{}
	for i := range g.Parameters {
		count[g.Parameters[i].Name] = make([]int, g.Parameters[i].Elements())
	}
	for i := range n.Blocks {
		for e := range n.Blocks[i].All() {
			for _, at := range e.Elements {
				count[n.Blocks[i].Parameter][at]++
			}
		}
	}
	for name, list := range count {
		for i, c := range list {
			if c != 1 {
				t.Fatalf("element %d of %s lies on %d edges", i, name, c)
			}
		}
	}
}

func TestSamplesAreCertified(t *testing.T) {
	engine := runtimetest.Engine(t)
	for i := range samples {
		s := &samples[i]
		t.Run(s.name, func(t *testing.T) {
			m, g := analyse(t, s)
			cert, err := certify.Run(context.Background(), engine, m, g, certify.Options{Seed: uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			if len(cert.Failed) > 0 || cert.Passed != len(s.groups) || cert.Groups != len(s.groups) || cert.MaxRelError > 1e-5 {
				t.Errorf("certificate %+v of groups %+v", cert, g.Groups)
			}
			if !cert.NegativeControl.Changed {
				t.Errorf("no broken group changes the outputs: %+v", cert.NegativeControl)
			}
		})
	}
}

// TestWrongGroupFails claims that a fixed group is permutable: the certificate
// must refuse it and nothing else.
func TestWrongGroupFails(t *testing.T) {
	engine := runtimetest.Engine(t)
	m, g := analyse(t, &samples[0])
	for i := range g.Groups {
		if g.Groups[i].Role == neuralgraph.RoleOutput {
			g.Groups[i].Permutable = true
			cert, err := certify.Run(context.Background(), engine, m, g, certify.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(cert.Failed, []string{g.Groups[i].ID}) || cert.Passed != 1 {
				t.Errorf("certificate %+v, expected %s to fail alone", cert, g.Groups[i].ID)
			}
			return
		}
	}
	t.Fatal("no output group")
}

// TestSharedModels certifies exported models: every one that lies there.
func TestSharedModels(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"fixtures/nino/*/model*.onnx", "models/*.onnx"} {
		list, err := filepath.Glob(filepath.Join(testenv.Shared(t, "."), pattern))
		if err != nil || len(list) == 0 {
			t.Fatalf("no models %s: %v", pattern, err)
		}
		paths = append(paths, list...)
	}
	engine := runtimetest.Engine(t)
	for _, path := range paths {
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if testing.Short() && info.Size() > 1<<20 {
				t.Skip("short")
			}
			certifyFile(t, engine, path)
		})
	}
}

func certifyFile(t *testing.T, engine *ort.Engine, path string) {
	t.Helper()
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certify.Run(context.Background(), engine, m, g, certify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.Document(&neuralgraph.Verdict{Certificate: cert, Failed: cert.Failed})
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.Failed) > 0 || cert.Passed != cert.Groups || cert.Groups > 0 && !cert.NegativeControl.Changed || cert.MaxRelError > cert.Tolerance {
		t.Errorf("certificate %+v", *cert)
	}
	// A few refused groups of sparse or saturated models are not told apart.
	if r := cert.Refused; r.Changed*5 < r.Groups*4 {
		t.Errorf("refused groups: only %d of %d change the outputs, unknown %v", r.Changed, r.Groups, r.Unknown)
	}
	missing := d.Coverage.Parameters - d.Coverage.InBlocks
	for _, o := range d.Coverage.Opaque {
		for _, p := range g.Parameters {
			if p.Name == o.Parameter && o.Reason == "quantized" {
				missing -= p.Elements()
			}
		}
	}
	if missing*100 > d.Coverage.Parameters {
		t.Errorf("%d of %d parameters in blocks; opaque %v", d.Coverage.InBlocks, d.Coverage.Parameters, d.Coverage.Opaque)
	}
}

// TestPermutedGraph: permuting twice, there and back, gives the weights back.
func TestPermutedGraph(t *testing.T) {
	for i := range samples {
		m, g := analyse(t, &samples[i])
		p := g.RandomPermutations(rand.New(rand.NewPCG(uint64(i), 1)))
		back := neuralgraph.Permutations{}
		for id, order := range p {
			inverse := make([]int, len(order))
			for k, o := range order {
				inverse[o] = k
			}
			back[id] = inverse
		}
		moved := 0
		for _, w := range m.Graph.Initializers {
			if !w.DType.IsFloat() {
				continue
			}
			q, err := g.Permute(w, p)
			if err != nil {
				t.Fatal(err)
			}
			if string(q.Data) != string(w.Data) {
				moved++
			}
			r, err := g.Permute(q, back)
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Data) != string(w.Data) {
				t.Errorf("%s: %s does not come back", samples[i].name, w.Name)
			}
		}
		if moved < 2 {
			t.Errorf("%s: only %d parameters move", samples[i].name, moved)
		}
	}
}
