package meta

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/runtime/runtimetest"
)

// A store in a bucket holds what a folder would; runs that were made but not sent
// before a kill are sent; and a second Fetch brings nothing.
func TestBucketHoldsWhatAFolderHolds(t *testing.T) {
	engine, p, folder := runtimetest.Engine(t), plan(t, smallPlan), store(t)
	if err := Collect(t.Context(), engine, p, folder, CollectOptions{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	url, cache := "file://"+t.TempDir(), t.TempDir()
	sent := p.Tasks()[0].ID()
	for _, suffix := range []string{modelSuffix, trajectorySuffix} {
		b, err := os.ReadFile(folder.path(sent, suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cache, sent+suffix), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := openBucket(t, url, cache)
	made := 0
	err := Collect(t.Context(), engine, p, s, CollectOptions{Workers: 2, Progress: func(p Progress) {
		if p.Accuracy > 0 {
			made++
		}
	}})
	if err != nil || made != len(p.Tasks())-1 {
		t.Fatalf("%d runs made, %v, expected all but the one that was there", made, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) > 0 {
		t.Errorf("%q are left after they were sent", left)
	}
	reader := openBucket(t, url, t.TempDir())
	if n, err := reader.Fetch(t.Context()); err != nil || n != len(p.Tasks()) {
		t.Fatalf("%d runs fetched, %v", n, err)
	}
	if n, err := reader.Fetch(t.Context()); err != nil || n != 0 {
		t.Errorf("%d runs fetched again, %v", n, err)
	}
	got, want := files(t, reader), files(t, folder)
	if len(got) != len(want) {
		t.Errorf("%d files, expected %d", len(got), len(want))
	}
	for name, b := range want {
		if string(got[name]) != string(b) {
			t.Errorf("%s differs", name)
		}
	}
	if e, err := p.Estimate(t.Context(), reader, CollectOptions{}); err != nil || e.Present != e.Runs {
		t.Errorf("estimate %+v, %v, expected nothing to do", e, err)
	}
}

func openBucket(t *testing.T, url, cache string) *Store {
	t.Helper()
	s, err := OpenBucket(t.Context(), url, cache)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestBucketRefusals(t *testing.T) {
	for url, want := range map[string]string{
		"nowhere://bucket":               "this build stores in",
		"file://" + t.TempDir() + "/no/": "no such file",
	} {
		if _, err := OpenBucket(t.Context(), url, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), url) {
			t.Errorf("%s: error %v, expected %q", url, err, want)
		}
	}
}
