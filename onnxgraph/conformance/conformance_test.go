package conformance_test

import (
	"flag"
	"os"
	"sort"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph/conformance"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

var update = flag.Bool("update", false, "rewrite testdata/manifest.tsv")

const manifestFile = "testdata/manifest.tsv"

// debianCases is the number of cases of libonnx-testdata 1.12.
const debianCases = 1072

// judgeAll judges every case of a folder, each as a subtest.
func judgeAll(t *testing.T, engine *ort.Engine, root string, each func(t *testing.T, v conformance.Verdict)) []conformance.Verdict {
	t.Helper()
	cases, err := conformance.Find(root)
	if err != nil {
		t.Fatal(err)
	}
	// ONNX Runtime refuses opsets that are not released yet unless asked not to.
	t.Setenv("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")
	var out []conformance.Verdict
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			v := conformance.Judge(engine, ops.Registry(), c)
			out = append(out, v)
			each(t, v)
		})
	}
	return out
}

func readManifest(t *testing.T) conformance.Manifest {
	t.Helper()
	file, err := os.Open(manifestFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, err := conformance.ReadManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestManifest judges the cases of Debian's libonnx-testdata and compares every
// verdict with the manifest.
func TestManifest(t *testing.T) {
	root := testenv.ONNXTestData(t)
	engine := runtimetest.Engine(t)
	var manifest conformance.Manifest
	if !*update {
		manifest = readManifest(t)
	}
	verdicts := judgeAll(t, engine, root, func(t *testing.T, v conformance.Verdict) {
		if !*update {
			for _, d := range manifest.Against(v) {
				t.Error(d)
			}
		}
	})
	if len(verdicts) != debianCases {
		t.Errorf("%d cases in %s, expected %d", len(verdicts), root, debianCases)
	}
	if !*update {
		if len(manifest) != debianCases {
			t.Errorf("%d cases in the manifest, expected %d", len(manifest), debianCases)
		}
		return
	}
	var b strings.Builder
	if err := conformance.Write(&b, verdicts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifestFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFolder judges the cases of the folder that NINOX_ONNX_CASES names, such
// as those that bench/node_cases.py writes, and reports how many have which
// verdict. What is wrong whatever the case fails.
func TestFolder(t *testing.T) {
	root := os.Getenv("NINOX_ONNX_CASES")
	if root == "" {
		testenv.Missing(t, "cases", "NINOX_ONNX_CASES names no folder of cases")
	}
	verdicts := judgeAll(t, runtimetest.Engine(t), root, func(t *testing.T, v conformance.Verdict) {
		t.Log(strings.Join(v.Row(), "\t"))
		for _, fault := range v.Faults() {
			t.Error(fault)
		}
	})
	for i, column := range conformance.Columns[1:] {
		counts := map[string]int{}
		for _, v := range verdicts {
			counts[v.Row()[i+1]]++
		}
		words := make([]string, 0, len(counts))
		for w := range counts {
			words = append(words, w)
		}
		sort.Slice(words, func(a, b int) bool { return counts[words[a]] > counts[words[b]] })
		for _, w := range words {
			t.Logf("%s: %d× %s", column, counts[w], w)
		}
	}
}
