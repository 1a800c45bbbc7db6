// Package library finds the ONNX Runtime library on this machine, or installs
// it through the package clients that are there. It loads nothing itself.
package library

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Version is the release that is installed.
const Version = "1.31.1"

// API is the oldest minor version of ONNX Runtime that can be used: that of
// the C API that the Go binding was written against.
const API = 29

// ErrNotFound says that there is no library on this machine.
var ErrNotFound = errors.New("ONNX Runtime is not installed; run `ninox runtime install`")

// Sources of a library.
const (
	FromEnvironment = "NINOX_ORT_LIB"
	FromCache       = "cache"
	FromSystem      = "system"
)

// Installation says where a library is and how it came there.
type Installation struct {
	Version string `json:"version"`
	Source  string `json:"source"`
	Path    string `json:"path"`
}

// Probe loads a library and returns its version.
type Probe func(path string) (version string, err error)

// Find looks for a library: the one that $NINOX_ORT_LIB names, else one in the
// cache, else one of the system. In the cache the build with CUDA is preferred
// if gpu is set, else the other; with gpu the system is not searched, and nor
// is a build without CUDA taken from the cache. A library too old to be used
// is an error where the user named it, else it is passed over.
func Find(gpu bool, probe Probe) (Installation, error) {
	if p := os.Getenv("NINOX_ORT_LIB"); p != "" {
		return named(p, probe)
	}
	root, err := cacheRoot()
	if err != nil {
		return Installation{}, err
	}
	builds := []bool{false, true}
	if gpu {
		builds = []bool{true}
	}
	for _, gpu := range builds {
		if inst, ok := cached(root, hostPlatform(), gpu); ok {
			return inst, nil
		}
	}
	if gpu {
		return Installation{}, ErrNotFound
	}
	for _, p := range systemLibraries(systemFolders()) {
		if v, err := probe(p); err == nil && usable(v) {
			return Installation{Version: v, Source: FromSystem, Path: p}, nil
		}
	}
	return Installation{}, ErrNotFound
}

// named checks the library that the user chose.
func named(path string, probe Probe) (Installation, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Installation{}, fmt.Errorf("$NINOX_ORT_LIB: %w", err)
	}
	if st.IsDir() {
		return Installation{}, fmt.Errorf("$NINOX_ORT_LIB: %s is a folder, expected the library file", path)
	}
	if path, err = filepath.Abs(path); err != nil {
		return Installation{}, fmt.Errorf("$NINOX_ORT_LIB: %w", err)
	}
	v, err := probe(path)
	if err != nil {
		return Installation{}, fmt.Errorf("$NINOX_ORT_LIB: %w", err)
	}
	if !usable(v) {
		return Installation{}, fmt.Errorf("$NINOX_ORT_LIB: %s is ONNX Runtime %s, expected 1.%d or newer", path, v, API)
	}
	return Installation{Version: v, Source: FromEnvironment, Path: path}, nil
}

// usable says whether a version has the C API that is needed.
func usable(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	return major == "1" && err == nil && n >= API
}

// cacheRoot is the folder that holds all installations.
func cacheRoot() (string, error) {
	dir := os.Getenv("NINOX_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder for the cache, set NINOX_CACHE: %w", err)
		}
		dir = filepath.Join(base, "ninox")
	}
	root, err := filepath.Abs(filepath.Join(dir, "onnxruntime"))
	if err != nil {
		return "", fmt.Errorf("folder of the cache: %w", err)
	}
	return root, nil
}

// cached is an installation that ninox made earlier, from whichever client.
func cached(root, platform string, gpu bool) (Installation, bool) {
	for _, p := range packages(platform, gpu) {
		path := filepath.Join(root, p.folder(), p.library())
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return Installation{Version: p.version, Source: FromCache, Path: path}, true
		}
	}
	return Installation{}, false
}

// systemFolders are the folders in which a system keeps its libraries.
func systemFolders() []string {
	var dirs []string
	for _, v := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		for _, d := range filepath.SplitList(os.Getenv(v)) {
			if d != "" {
				dirs = append(dirs, d)
			}
		}
	}
	switch runtime.GOOS {
	case "windows": // folders on PATH may hold anything of the name; the variable is the way there
		return nil
	case "darwin":
		return append(dirs, "/opt/homebrew/lib", "/usr/local/lib")
	}
	return append(dirs, "/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64",
		"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/onnxruntime/lib")
}

// systemLibraries lists the library files in dirs, newest versions first
// within a folder.
func systemLibraries(dirs []string) []string {
	var out []string
	for _, d := range dirs {
		for _, pattern := range []string{"libonnxruntime.so", "libonnxruntime.dylib", "libonnxruntime.so.*", "libonnxruntime.*.dylib"} {
			found, _ := filepath.Glob(filepath.Join(globQuote(d), pattern)) // the pattern is sound
			for i := len(found) - 1; i >= 0; i-- {
				out = append(out, found[i])
			}
		}
	}
	return out
}

// globQuote makes a path a pattern that matches it alone.
func globQuote(path string) string {
	if runtime.GOOS == "windows" { // Glob knows no quoting there
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
