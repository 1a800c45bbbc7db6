package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ninox/cmd/internal/app"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// run executes `ninox runtime` with arguments and injected streams.
func run(t *testing.T, jsonOutput bool, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app.App{Out: &out, Err: &errs, JSON: jsonOutput, LogLevel: "warn"}
	cmd := NewCommand(a)
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	err = cmd.ExecuteContext(context.Background())
	return out.String(), errs.String(), err
}

// installed puts what looks like an installation into an empty cache, and
// leaves no package client to make another. It returns the library's path,
// or "" on platforms that have no build.
func installed(t *testing.T, gpu bool) string {
	t.Helper()
	names := map[string]string{
		"linux/amd64": "linux-x64 libonnxruntime.so.1.31.1", "linux/arm64": "linux-arm64 libonnxruntime.so.1.31.1",
		"darwin/arm64": "macos-arm64 libonnxruntime.1.31.1.dylib", "windows/amd64": "windows-x64 onnxruntime.dll",
	}
	platform, file, known := strings.Cut(names[runtime.GOOS+"/"+runtime.GOARCH], " ")
	if gpu {
		known = known && strings.HasSuffix(platform, "-x64")
		platform += "-gpu"
	}
	cache := t.TempDir()
	t.Setenv("NINOX_CACHE", cache)
	t.Setenv("PATH", "")
	if !known {
		return ""
	}
	path := filepath.Join(cache, "onnxruntime", ort.Version+"-"+platform, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("library"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInstallFindsCache(t *testing.T) {
	for _, gpu := range []bool{false, true} {
		path := installed(t, gpu)
		if path == "" {
			continue
		}
		args := []string{"install"}
		if gpu {
			args = append(args, "--gpu")
		}
		out, progress, err := run(t, false, args...)
		if want := "ONNX Runtime 1.31.1 (cache): " + path + "\n"; err != nil || out != want || progress != "" {
			t.Errorf("stdout %q, stderr %q, error %v, want %q", out, progress, err, want)
		}
		out, _, err = run(t, true, args...)
		var got ort.Installation
		if e := json.Unmarshal([]byte(out), &got); err != nil || e != nil || got != (ort.Installation{Version: "1.31.1", Source: "cache", Path: path}) {
			t.Errorf("stdout %q, error %v", out, errors.Join(err, e))
		}
	}
}

// TestInstallFails asks for what is not there, without a client to fetch it.
func TestInstallFails(t *testing.T) {
	for name, args := range map[string][]string{"other build": {"install", "--gpu"}, "again": {"install", "--force"}} {
		t.Run(name, func(t *testing.T) {
			installed(t, false)
			out, _, err := run(t, false, args...)
			var failed *ort.DownloadError
			var platform *ort.PlatformError
			if !errors.As(err, &failed) && !errors.As(err, &platform) || out != "" {
				t.Errorf("stdout %q, error %v, want a failed download", out, err)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"install", "more"}, {"info", "more"}, {"install", "--cpu"}} {
		if out, _, err := run(t, false, args...); err == nil || out != "" {
			t.Errorf("%q: stdout %q, error %v", args, out, err)
		}
	}
}

func TestInfo(t *testing.T) {
	runtimetest.Engine(t)
	want, err := ort.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out, progress, err := run(t, false, "info")
	if err != nil || progress != "" {
		t.Fatalf("stderr %q, error %v", progress, err)
	}
	text := "version    " + want.Version + "\nlibrary    " + want.Path + "\nsource     " + want.Source + "\nproviders  " + strings.Join(want.Providers, ", ") + "\n"
	if out != text {
		t.Errorf("stdout %q, want %q", out, text)
	}
	out, _, err = run(t, true, "info")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version, Path, Source string
		Providers             []string
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != want.Version || got.Path != want.Path || got.Source != want.Source || !slices.Equal(got.Providers, want.Providers) {
		t.Errorf("stdout %q, want the values of %+v", out, want)
	}
	if !strings.Contains(out, `"version"`) || !strings.Contains(out, `"providers"`) {
		t.Errorf("keys in %s", out)
	}
}
