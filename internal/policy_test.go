// Package internal_test holds the import policy of the project as a test.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// allowed lists, for every package (a trailing /... covers a subtree), which
// packages of ours it may import. Tests are held to it as well, but may also
// use testHelpers.
var allowed = map[string][]string{
	"onnxgraph":                      {"onnxgraph/internal/..."},
	"onnxgraph/internal/...":         {"onnxgraph/internal/..."},
	"onnxgraph/op":                   {"onnxgraph", "onnxgraph/text"},
	"onnxgraph/ops":                  {"onnxgraph", "onnxgraph/op"},
	"onnxgraph/ops/internal/...":     {"onnxgraph/op", "onnxgraph/ops"},
	"onnxgraph/infer":                {"onnxgraph", "onnxgraph/op"},
	"onnxgraph/schema":               {"onnxgraph"},
	"onnxgraph/check":                {"onnxgraph", "onnxgraph/op", "onnxgraph/schema", "onnxgraph/text"},
	"onnxgraph/rewrite":              {"onnxgraph", "onnxgraph/op", "onnxgraph/infer", "onnxgraph/check", "onnxgraph/text"},
	"onnxgraph/text":                 {"onnxgraph"},
	"onnxgraph/rewrite/internal/...": {"onnxgraph/rewrite"},
	"onnxgraph/weights":              {"onnxgraph"},
	"onnxgraph/finetune":             {"onnxgraph", "onnxgraph/op", "onnxgraph/infer", "onnxgraph/rewrite", "onnxgraph/weights"},
	// The harness that checks operator rules runs them, so it sits above the engines.
	"onnxgraph/optest":               {"onnxgraph/...", "training/autodiff", "runtime"},
	"onnxgraph/conformance":          {"onnxgraph", "onnxgraph/op", "onnxgraph/infer", "onnxgraph/rewrite", "runtime"},
	"onnxgraph/conformance/inferred": {"onnxgraph", "onnxgraph/infer", "onnxgraph/ops", "onnxgraph/rewrite"},
	"neuralgraph":                    {"onnxgraph", "onnxgraph/op", "onnxgraph/infer", "onnxgraph/rewrite"},
	"neuralgraph/view":               {"neuralgraph", "onnxgraph", "onnxgraph/op", "onnxgraph/infer"},
	"neuralgraph/certify":            {"neuralgraph", "onnxgraph/...", "runtime"},
	"neuralgraph/graphtest":          {"neuralgraph", "onnxgraph"},
	"runtime":                        {"onnxgraph", "runtime/internal/..."},
	"runtime/internal/...":           {"runtime/internal/...", "internal/fetch"},
	"runtime/reference":              {"onnxgraph"},
	"runtime/runtimetest":            {"runtime", "internal/testenv"},
	"training":                       {"onnxgraph/...", "runtime", "training/autodiff", "training/data", "training/plot", "internal/memory"},
	"training/autodiff":              {"onnxgraph", "onnxgraph/op", "onnxgraph/infer", "onnxgraph/rewrite"},
	"training/data":                  {"onnxgraph", "onnxgraph/weights"},
	"training/plot":                  {},
	"training/bench":                 {"onnxgraph", "training", "training/plot"},
	"training/data/internal/...":     {"training/data"},
	"nino":                           {"neuralgraph", "runtime", "onnxgraph", "onnxgraph/weights"},
	"nino/analysis":                  {"neuralgraph", "onnxgraph/weights"},
	"nino/meta":                      {"nino", "neuralgraph", "onnxgraph/...", "runtime", "training", "training/data", "models"},
	"models":                         {"onnxgraph", "onnxgraph/weights", "training/data"},
	"bench/...":                      {"models", "neuralgraph/graphtest", "onnxgraph", "onnxgraph/weights"},
	"cmd/ninox":                      {"cmd/internal/..."},
	"cmd/internal/...":               {"..."},
	"internal/testenv":               {},
	"internal/fetch":                 {},
	"internal/memory":                {},
	"internal":                       {},
}

// testHelpers may be imported by the tests of any package, and so may the
// engines a test needs to run what its package builds.
var testHelpers = []string{"internal/testenv", "runtime", "runtime/runtimetest", "runtime/reference", "onnxgraph/ops", "onnxgraph/infer", "onnxgraph/optest", "onnxgraph/rewrite", "onnxgraph/text", "onnxgraph/weights", "neuralgraph", "neuralgraph/graphtest", "models", "training/autodiff"}

func match(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "..."); ok {
		base = strings.TrimSuffix(base, "/")
		return base == "" || pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

// edgesOf is the list of packages that pkg may import: the exact entry, or
// that of the longest covering pattern.
func edgesOf(pkg string) ([]string, bool) {
	if e, ok := allowed[pkg]; ok {
		return e, true
	}
	best := ""
	for p := range allowed {
		if match(p, pkg) && strings.HasSuffix(p, "...") && len(p) > len(best) {
			best = p
		}
	}
	return allowed[best], best != ""
}

func permitted(edges []string, imp, pkg string) bool {
	if imp == pkg { // external tests import their own package
		return true
	}
	for _, e := range edges {
		if match(e, imp) {
			return true
		}
	}
	return false
}

func TestImportPolicy(t *testing.T) {
	root := ".."
	fset := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && strings.HasPrefix(d.Name(), ".") || d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, _ := filepath.Rel(root, p)
		pkg := path.Dir(filepath.ToSlash(rel))
		edges, known := edgesOf(pkg)
		if !known {
			t.Errorf("%s: package %q is not in the policy table", rel, pkg)
			return nil
		}
		if strings.HasSuffix(p, "_test.go") {
			edges = append(append([]string{}, edges...), testHelpers...)
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if ours, ok := strings.CutPrefix(imp, "ninox/"); ok {
				seen++
				if !permitted(edges, ours, pkg) {
					t.Errorf("%s: %q may not import %q", rel, pkg, ours)
				}
				if ours == "runtime" && (spec.Name == nil || spec.Name.Name != "ort") {
					t.Errorf("%s: import ninox/runtime as ort, it shadows the standard library", rel)
				}
			}
			if imp == "github.com/yalue/onnxruntime_go" && pkg != "runtime" {
				t.Errorf("%s: only runtime may touch the ONNX Runtime binding", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no imports of ours found: the walk is broken")
	}
}
