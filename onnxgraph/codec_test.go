package onnxgraph

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"ninox/internal/testenv"
)

// sharedModels lists every ONNX file of the shared folder.
func sharedModels(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"models", "fixtures"} {
		root := testenv.Shared(t, dir)
		err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(p, ".onnx") {
				out = append(out, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 50 {
		t.Fatalf("%d ONNX files found, expected at least 50: the walk is broken", len(out))
	}
	return out
}

// Reading and writing loses nothing: the rewritten file is the original
// message, and the same bytes where the original has its fields in order.
func TestRoundTripShared(t *testing.T) {
	for _, path := range sharedModels(t) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Unmarshal(raw)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		out, err := m.Marshal()
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		p := parsed(t, raw)
		if !proto.Equal(p, parsed(t, out)) {
			t.Errorf("%s: rewritten as another message", path)
		}
		if inOrder := canonical(t, p); !bytes.Equal(raw, out) && bytes.Equal(raw, inOrder) {
			t.Errorf("%s: rewritten as %d other bytes, first at %d of %d", path, len(out), firstDifference(raw, out), len(raw))
		}
	}
}
