// Package testenv finds what tests need outside the repository, and turns its
// absence into a skip with the reason, or into a failure where the variable
// NINOX_REQUIRE (a comma-separated list of "ort", "shared", "testdata", "cases",
// "chromium", and of packages of other runtimes: "onnxruntime", "openvino", "torch",
// "onnxruntime-web") asks for it.
package testenv

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Required says whether NINOX_REQUIRE lists what.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("NINOX_REQUIRE"), ","), what)
}

// Missing skips the test with the reason, or fails it where what is required.
func Missing(t testing.TB, what, reason string) {
	t.Helper()
	if Required(what) {
		t.Fatalf("%s (NINOX_REQUIRE=%s)", reason, os.Getenv("NINOX_REQUIRE"))
	}
	t.Skip(reason)
}

// Shared is the path of a file or folder of the shared fixtures, which lie in
// a folder "shared" inside or beside the repository.
func Shared(t testing.TB, rel string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		p := filepath.Join(dir, "shared", filepath.FromSlash(rel))
		if _, err := os.Stat(p); err == nil {
			return p
		}
		up := filepath.Dir(dir)
		if up == dir {
			Missing(t, "shared", "shared/"+rel+" not found in any parent folder")
			return ""
		}
		dir = up
	}
}

// ONNXTestData is the folder of ONNX's backend tests: that which
// NINOX_ONNX_TESTDATA names, else where Debian's libonnx-testdata installs them.
func ONNXTestData(t testing.TB) string {
	t.Helper()
	root := os.Getenv("NINOX_ONNX_TESTDATA")
	if root == "" {
		root = "/usr/share/libonnx-testdata/data"
	}
	if _, err := os.Stat(root); err != nil {
		Missing(t, "testdata", "backend tests of ONNX: "+err.Error()+" (Debian's package libonnx-testdata holds them)")
	}
	return root
}
