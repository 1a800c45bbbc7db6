package library

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// touch writes a file and the folders above it.
func touch(t *testing.T, parts ...string) string {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte("library"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// isolate gives the test an empty cache, no system libraries of its own and no
// named library. It returns the folder that holds all installations.
func isolate(t *testing.T) string {
	t.Helper()
	cache := t.TempDir()
	t.Setenv("NINOX_CACHE", cache)
	t.Setenv("NINOX_ORT_LIB", "")
	t.Setenv("LD_LIBRARY_PATH", "")
	t.Setenv("DYLD_LIBRARY_PATH", "")
	return filepath.Join(cache, "onnxruntime")
}

// versions is a probe that knows some libraries and fails on all others.
func versions(known map[string]string) Probe {
	return func(path string) (string, error) {
		if v, ok := known[path]; ok {
			return v, nil
		}
		return "", errors.New(path + " is not a library")
	}
}

// place makes what looks like an installation of the i-th package.
func place(t *testing.T, root string, gpu bool, i int) Installation {
	t.Helper()
	all := packages(hostPlatform(), gpu)
	if len(all) <= i {
		t.Fatalf("no package %d for %s", i, hostPlatform())
	}
	p := all[i]
	return Installation{p.version, FromCache, touch(t, root, p.folder(), p.library())}
}

func TestFindNamed(t *testing.T) {
	isolate(t)
	dir := t.TempDir()
	lib, old := touch(t, dir, "mine.so"), touch(t, dir, "old.so")
	probe := versions(map[string]string{lib: "1.40.2", old: "1.22.0"})
	t.Setenv("NINOX_ORT_LIB", lib)
	for _, gpu := range []bool{false, true} {
		got, err := Find(gpu, probe)
		if want := (Installation{"1.40.2", FromEnvironment, lib}); err != nil || got != want {
			t.Errorf("%+v, error %v, want %+v", got, err, want)
		}
	}
	for path, want := range map[string]string{
		dir:                         "is a folder",
		filepath.Join(dir, "no.so"): "no.so",
		old:                         "is ONNX Runtime 1.22.0, expected 1.29 or newer",
		touch(t, dir, "text.so"):    "text.so is not a library",
	} {
		t.Setenv("NINOX_ORT_LIB", path)
		_, err := Find(false, probe)
		if err == nil || !strings.HasPrefix(err.Error(), "$NINOX_ORT_LIB: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}

func TestFindInCache(t *testing.T) {
	root := isolate(t)
	none := versions(nil)
	if _, err := Find(true, none); !errors.Is(err, ErrNotFound) {
		t.Errorf("empty cache: error %v", err)
	}
	find := func(gpu bool, want Installation) {
		t.Helper()
		if got, err := Find(gpu, none); err != nil || got != want {
			t.Errorf("%+v, error %v, want %+v", got, err, want)
		}
	}
	second := place(t, root, false, 1)
	find(false, second)
	first := place(t, root, false, 0)
	find(false, first)
	if _, err := Find(true, none); !errors.Is(err, ErrNotFound) {
		t.Errorf("only builds without CUDA: error %v", err)
	}
}

func TestFindPrefersBuild(t *testing.T) {
	if packages(hostPlatform(), true) == nil {
		return // no build with CUDA to choose
	}
	root := isolate(t)
	gpu := place(t, root, true, 0)
	for _, want := range []bool{true, false} {
		if got, err := Find(want, versions(nil)); err != nil || got != gpu {
			t.Errorf("gpu %v: %+v, error %v, want %+v", want, got, err, gpu)
		}
	}
	cpu := place(t, root, false, 0)
	if got, err := Find(false, versions(nil)); err != nil || got != cpu {
		t.Errorf("%+v, error %v, want %+v", got, err, cpu)
	}
	if got, err := Find(true, versions(nil)); err != nil || got != gpu {
		t.Errorf("%+v, error %v, want %+v", got, err, gpu)
	}
}

func TestFindOnSystem(t *testing.T) {
	if systemFolders() == nil {
		return // the system is not searched
	}
	root := isolate(t)
	old, first, second := t.TempDir(), filepath.Join(t.TempDir(), "a [b] *"), t.TempDir()
	t.Setenv("LD_LIBRARY_PATH", strings.Join([]string{old, "", first, second}, string(filepath.ListSeparator)))
	touch(t, old, "libonnxruntime_providers_shared.so")
	lib := touch(t, first, "libonnxruntime.so.1.31.0")
	probe := versions(map[string]string{
		touch(t, old, "libonnxruntime.so"):        "1.19.2",
		touch(t, first, "libonnxruntime.so.1.28"): "1.28.0",
		lib:                                   "1.31.0",
		touch(t, second, "libonnxruntime.so"): "1.33.0",
	})
	got, err := Find(false, probe)
	if want := (Installation{"1.31.0", FromSystem, lib}); err != nil || got != want {
		t.Errorf("%+v, error %v, want %+v", got, err, want)
	}
	if _, err := Find(true, probe); !errors.Is(err, ErrNotFound) {
		t.Errorf("with CUDA: error %v", err)
	}
	cached := place(t, root, false, 0)
	if got, err := Find(false, probe); err != nil || got != cached {
		t.Errorf("%+v, error %v, want the cache before the system", got, err)
	}
}

func TestUsable(t *testing.T) {
	for v, want := range map[string]bool{
		"1.29.0": true, "1.31.1": true, "1.100.0": true, "1.28.9": false, "1.3.1": false, "2.31.0": false, "": false, "1": false, "1.x": false,
		"1.31": true, "1.31.0-rc1": true,
	} {
		if usable(v) != want {
			t.Errorf("%q: usable %v", v, !want)
		}
	}
}

func TestCacheRoot(t *testing.T) {
	t.Setenv("NINOX_CACHE", "")
	base := t.TempDir()
	for _, v := range []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"} {
		t.Setenv(v, base)
	}
	root, err := cacheRoot()
	if err != nil || !strings.HasPrefix(root, base) || !strings.HasSuffix(root, filepath.Join("ninox", "onnxruntime")) {
		t.Errorf("%s, error %v", root, err)
	}
}

func TestPins(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range pins {
		if b, err := hex.DecodeString(p.sha256); err != nil || len(b) != 32 || p.size < 1<<20 || len(p.members) == 0 {
			t.Errorf("%s for %s: incomplete", p.archive, p.platform)
		}
		if !usable(p.version) {
			t.Errorf("%s: version %s cannot be used", p.archive, p.version)
		}
		key := p.client + " " + p.folder()
		if seen[key] {
			t.Errorf("two packages %s", key)
		}
		seen[key] = true
	}
	for _, want := range []string{
		"pip 1.31.1-linux-x64", "pip 1.31.1-linux-arm64", "pip 1.31.1-macos-arm64", "pip 1.31.1-windows-x64", "pip 1.31.1-windows-arm64",
		"pip 1.31.1-linux-x64-gpu", "pip 1.31.1-windows-x64-gpu", "npm 1.30.0-linux-x64",
	} {
		if !seen[want] {
			t.Errorf("no package %s", want)
		}
	}
	if got := platforms(true); !slices.Equal(got, []string{"linux-x64", "windows-x64"}) {
		t.Errorf("platforms with CUDA: %v", got)
	}
}
