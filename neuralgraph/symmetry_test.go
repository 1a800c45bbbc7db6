package neuralgraph_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/neuralgraph/graphtest"
	"ninox/onnxgraph"
)

// TestGraphHasTheModelsSymmetries: permuting any groups of a model is the same
// as ordering the nodes of its graph in another way, edges of all kinds
// included.
func TestGraphHasTheModelsSymmetries(t *testing.T) {
	for name, m := range networks(t) {
		checkSymmetries(t, name, m)
	}
}

// TestGraphsOfExportsHaveTheModelsSymmetries is the same for exported models.
func TestGraphsOfExportsHaveTheModelsSymmetries(t *testing.T) {
	for _, pattern := range []string{"fixtures/nino/*/model*.onnx", "models/*.onnx"} {
		paths, err := filepath.Glob(filepath.Join(testenv.Shared(t, "."), pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no models %s: %v", pattern, err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 {
				continue // their graphs have too many edges for a test that looks at each
			}
			m, err := onnxgraph.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkSymmetries(t, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), m)
		}
	}
}

func checkSymmetries(t *testing.T, name string, m *onnxgraph.Model) {
	t.Helper()
	g := analysed(t, m)
	n, err := g.NiNo(nil)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 3))
	all := g.RandomPermutations(rng)
	order, err := graphtest.NodeOrder(g, n, all)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		for id := range all {
			if _, err := graphtest.NodeOrder(g, n, neuralgraph.Permutations{id: all[id]}); err != nil {
				t.Errorf("%s: group %s alone: %v", name, id, err)
			}
		}
		return
	}
	moved := 0
	for i, k := range order {
		if i != k {
			moved++
		}
	}
	if len(all) > 0 && moved < 2 {
		t.Errorf("%s: %d groups permuted, %d nodes move", name, len(all), moved)
	}
}
