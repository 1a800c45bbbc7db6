package ort_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

func TestOpen(t *testing.T) {
	e := runtimetest.Engine(t)
	if e.Device() != "cpu" || e.Threads() != runtime.GOMAXPROCS(0) {
		t.Errorf("device %s, %d threads", e.Device(), e.Threads())
	}
	if n := newEngine(t, 3).Threads(); n != 3 {
		t.Errorf("%d threads, want 3", n)
	}
	if _, err := ort.Open(context.Background(), ort.Options{Threads: -1}); err == nil || !strings.Contains(err.Error(), "-1 threads") {
		t.Errorf("error %v for -1 threads", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ort.Open(ctx, ort.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v under a cancelled context", err)
	}
}

func TestBadDevices(t *testing.T) {
	for _, d := range []string{"gpu", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CUDA"} {
		_, err := ort.Open(context.Background(), ort.Options{Device: d})
		var got *ort.DeviceError
		if !errors.As(err, &got) || got.Device != d || !strings.Contains(err.Error(), "expected cpu, cuda or cuda:N") {
			t.Errorf("device %q: error %v", d, err)
		}
	}
}

func TestInfo(t *testing.T) {
	runtimetest.Engine(t)
	info, err := ort.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(info.Path); err != nil || !st.Mode().IsRegular() {
		t.Errorf("path %q: %v", info.Path, err)
	}
	if !slices.Contains(info.Providers, "CPUExecutionProvider") || !strings.HasPrefix(info.Version, "1.") || info.Source == "" {
		t.Errorf("%+v", info)
	}
}

// TestFreshProcess opens engines in processes that have no library loaded yet.
func TestFreshProcess(t *testing.T) {
	runtimetest.Engine(t)
	info, err := ort.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	noLibrary := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(noLibrary, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	cudaBuild := slices.Contains(info.Providers, "CUDAExecutionProvider")
	for _, c := range []struct {
		name, device string
		env          []string
		want         string
		absent       bool // the case does not exist on this machine
	}{
		{"named library", "cpu", []string{"NINOX_ORT_LIB=" + info.Path}, "ok cpu NINOX_ORT_LIB " + info.Path, false},
		{"no library", "cpu", []string{"NINOX_ORT_LIB=" + noLibrary}, "error $NINOX_ORT_LIB: ", false},
		{"no file", "cpu", []string{"NINOX_ORT_LIB=" + noLibrary + "x"}, "error $NINOX_ORT_LIB: stat ", false},
		{"no CUDA in the library", "cuda:1", []string{"NINOX_ORT_LIB=" + info.Path},
			"device \"cuda:1\": " + info.Path + " is built without CUDA; run `ninox runtime install --gpu`", cudaBuild},
		{"no CUDA installed", "cuda", []string{"NINOX_ORT_LIB=", "NINOX_CACHE=" + t.TempDir()},
			"device \"cuda:0\": ONNX Runtime with CUDA is not installed; run `ninox runtime install --gpu`", false},
		{"no client", "cpu", []string{"NINOX_ORT_LIB=", "LD_LIBRARY_PATH=", "PATH=", "NINOX_CACHE=" + t.TempDir()}, "neither pip nor npm is on PATH", hasSystemLibrary()},
	} {
		if c.absent {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
			cmd.Env = append(os.Environ(), append(c.env, "NINOX_TEST_OPEN="+c.device)...)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("error %v, output:\n%s\nwant %q", err, out, c.want)
			}
		})
	}
}

// hasSystemLibrary says whether Find would take a library that the system has.
func hasSystemLibrary() bool {
	for _, pattern := range []string{"/usr/lib*/libonnxruntime*", "/usr/lib/*/libonnxruntime*", "/usr/local/lib*/libonnxruntime*", "/opt/onnxruntime/lib/*"} {
		if found, _ := filepath.Glob(pattern); found != nil {
			return true
		}
	}
	return false
}

// TestHelperProcess is the process that TestFreshProcess starts.
func TestHelperProcess(t *testing.T) {
	device := os.Getenv("NINOX_TEST_OPEN")
	if device == "" {
		return
	}
	e, err := ort.Open(context.Background(), ort.Options{Device: device, Progress: io.Discard})
	if err != nil {
		os.Stdout.WriteString("error " + err.Error() + "\n")
		return
	}
	info, err := ort.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("ok " + e.Device() + " " + info.Source + " " + info.Path + "\n")
}
