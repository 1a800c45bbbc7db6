//go:build !windows

package library

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const platform = "test-x64"

// fakes is a folder of package clients that are shell scripts, and of what
// they serve.
type fakes struct {
	t    *testing.T
	dir  string
	root string // of the cache
}

// newFakes makes the packages of the platform the given ones, whose archives
// are made here.
func newFakes(t *testing.T, packages ...pkg) *fakes {
	t.Helper()
	f := &fakes{t: t, dir: t.TempDir(), root: isolate(t)}
	t.Setenv("PATH", f.dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	old := pins
	t.Cleanup(func() { pins = old })
	for i := range packages {
		f.serve(&packages[i])
	}
	pins = packages
	return f
}

func zipped(members ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range append([]string{"other.txt"}, members...) {
		w, err := z.Create(m)
		if err == nil {
			_, err = w.Write([]byte("contents of " + m))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func tarred(members ...string) []byte {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	for _, m := range append([]string{"other.txt"}, members...) {
		data := []byte("contents of " + m)
		err := w.WriteHeader(&tar.Header{Name: m, Typeflag: tar.TypeReg, Size: int64(len(data)), Mode: 0o644})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := errors.Join(w.Close(), g.Close()); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// serve makes the archive of a package and pins it.
func (f *fakes) serve(p *pkg) {
	data := zipped(p.members...)
	if p.client == "npm" {
		data = tarred(p.members...)
	}
	sum := sha256.Sum256(data)
	p.sha256, p.size = hex.EncodeToString(sum[:]), int64(len(data))
	if err := os.WriteFile(filepath.Join(f.dir, p.archive), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// client makes a script that notes its arguments in calls and then does as
// told; $dest is the folder for the archive and $fakes that of the archives.
func (f *fakes) client(kind, name, script string) client {
	f.t.Helper()
	text := `#!/bin/sh
fakes='` + f.dir + `'
echo "` + name + ` $*" >> "$fakes/calls"
dest=
while [ $# -gt 0 ]; do
  case "$1" in --dest|--pack-destination) dest="$2"; shift;; esac
  shift
done
` + script
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o700); err != nil {
		f.t.Fatal(err)
	}
	return client{Kind: kind, Command: []string{name}}
}

// calls are the command lines that ran.
func (f *fakes) calls() []string {
	b, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// clean checks that nothing but the named folders is in the cache.
func (f *fakes) clean(want ...string) {
	f.t.Helper()
	entries, err := os.ReadDir(f.root)
	if err != nil {
		f.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != ".lock" {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		f.t.Errorf("the cache holds %q, want %q", got, want)
	}
}

func pipPackage() pkg {
	return pkg{client: "pip", name: "runtime", version: "9.8.7", platform: platform, tag: "tag", archive: "runtime-9.8.7.whl",
		members: []string{"capi/libruntime.so", "capi/libhelper.so"}}
}

func npmPackage() pkg {
	return pkg{client: "npm", name: "runtime-node", version: "9.8.0", platform: platform, archive: "runtime-node-9.8.0.tgz",
		members: []string{"package/bin/libruntime.so.1"}}
}

const saves = `cp "$fakes/runtime-9.8.7.whl" "$dest/"`

func TestInstall(t *testing.T) {
	f := newFakes(t, pipPackage())
	pip := f.client("pip", "fake-pip", saves)
	leftover := filepath.Join(f.root, ".install-killed")
	if err := os.MkdirAll(leftover, 0o755); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	got, err := install(context.Background(), InstallOptions{Progress: &progress}, platform, []client{pip})
	if err != nil {
		t.Fatal(err)
	}
	lib := filepath.Join(f.root, "9.8.7-test-x64", "libruntime.so")
	if want := (Installation{"9.8.7", "pip", lib}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, want := range map[string]string{"libruntime.so": "contents of capi/libruntime.so", "libhelper.so": "contents of capi/libhelper.so"} {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(lib), name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, error %v", name, b, err)
		}
	}
	f.clean("9.8.7-test-x64")
	if want := "downloading ONNX Runtime 9.8.7 (0 MB) with fake-pip\ninstalled ONNX Runtime 9.8.7: " + lib + "\n"; progress.String() != want {
		t.Errorf("progress %q, want %q", progress.String(), want)
	}
	calls := f.calls()
	if len(calls) != 1 || !strings.HasPrefix(calls[0], "fake-pip download --no-deps --only-binary :all: --platform tag --python-version 312 --implementation cp --abi cp312 --dest ") ||
		!strings.HasSuffix(calls[0], " runtime==9.8.7") {
		t.Errorf("calls %q", calls)
	}

	// Once more: it is there. With Force it is fetched and replaced.
	if err := os.WriteFile(lib, []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = install(context.Background(), InstallOptions{}, platform, []client{pip}); err != nil || got.Source != FromCache || got.Path != lib {
		t.Errorf("second time: %+v, error %v", got, err)
	}
	if got, err = install(context.Background(), InstallOptions{Force: true}, platform, []client{pip}); err != nil || got.Source != "pip" {
		t.Errorf("with Force: %+v, error %v", got, err)
	}
	if b, err := os.ReadFile(lib); err != nil || string(b) != "contents of capi/libruntime.so" {
		t.Errorf("after Force: %q, error %v", b, err)
	}
	if n := len(f.calls()); n != 2 {
		t.Errorf("%d downloads, want 2", n)
	}
	f.clean("9.8.7-test-x64")
}

func TestInstallThroughNPM(t *testing.T) {
	f := newFakes(t, pipPackage(), npmPackage())
	npm := f.client("npm", "fake-npm", `[ -n "$npm_config_cache" ] && cp "$fakes/runtime-node-9.8.0.tgz" "$dest/"`)
	broken := f.client("pip", "broken-pip", `echo "No module named pip" >&2; exit 1`)
	got, err := install(context.Background(), InstallOptions{}, platform, []client{{Kind: "pip", Command: []string{"no-such-pip"}}, broken, npm})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Installation{"9.8.0", "npm", filepath.Join(f.root, "9.8.0-test-x64", "libruntime.so.1")}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	calls := f.calls()
	if len(calls) != 2 || !strings.HasPrefix(calls[1], "fake-npm pack --silent --pack-destination ") || !strings.HasSuffix(calls[1], " runtime-node@9.8.0") {
		t.Errorf("calls %q", calls)
	}
	f.clean("9.8.0-test-x64")
}

func TestChecksum(t *testing.T) {
	f := newFakes(t, pipPackage())
	want := pins[0].sha256
	forged := zipped("capi/libruntime.so", "capi/libhelper.so", "more")
	if err := os.WriteFile(filepath.Join(f.dir, "runtime-9.8.7.whl"), forged, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(forged)
	_, err := install(context.Background(), InstallOptions{}, platform, []client{f.client("pip", "fake-pip", saves), f.client("pip", "other-pip", saves)})
	var got *ChecksumError
	if !errors.As(err, &got) || *got != (ChecksumError{File: "runtime-9.8.7.whl", Want: want, Got: hex.EncodeToString(sum[:])}) {
		t.Fatalf("error %v", err)
	}
	if s := err.Error(); !strings.Contains(s, got.Want) || !strings.Contains(s, got.Got) || !strings.Contains(s, got.File) {
		t.Errorf("the error does not name file and both sums: %s", s)
	}
	if n := len(f.calls()); n != 1 {
		t.Errorf("%d clients were asked after a wrong checksum", n)
	}
	f.clean()
}

func TestDownloadFails(t *testing.T) {
	f := newFakes(t, pipPackage(), npmPackage())
	_, err := install(context.Background(), InstallOptions{}, platform, []client{
		f.client("pip", "offline-pip", `for i in 1 2 3 4 5 6; do echo "line $i"; done; exit 3`),
		f.client("pip", "other-pip", `: > "$dest/another.whl"`),
		f.client("npm", "empty-npm", `:`),
	})
	var got *DownloadError
	if !errors.As(err, &got) || len(got.Attempts) != 3 {
		t.Fatalf("error %v", err)
	}
	for _, want := range []string{
		"offline-pip: exit status 3: line 2", "line 6", "other-pip: it did not save runtime-9.8.7.whl, but another.whl",
		"empty-npm: it did not save runtime-node-9.8.0.tgz, but nothing",
		"python3 -m pip download --no-deps --only-binary :all: --platform tag --python-version 312 --implementation cp --abi cp312 --dest . runtime==9.8.7",
		"NINOX_ORT_LIB to its capi/libruntime.so",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 1") {
		t.Errorf("the error holds all of the output:\n%v", err)
	}
	f.clean()

	_, err = install(context.Background(), InstallOptions{}, platform, nil)
	if !errors.As(err, &got) || len(got.Attempts) != 0 || !strings.Contains(err.Error(), "neither pip nor npm is on PATH") {
		t.Errorf("without clients: %v", err)
	}
}

func TestArchiveLacksLibrary(t *testing.T) {
	for _, p := range []pkg{pipPackage(), npmPackage()} {
		f := newFakes(t, p)
		pins[0].members = append(pins[0].members, "capi/libmissing.so")
		_, err := install(context.Background(), InstallOptions{}, platform, []client{f.client(p.client, "fake", `cp "$fakes/`+p.archive+`" "$dest/"`)})
		if err == nil || !strings.Contains(err.Error(), p.archive+": lacks capi/libmissing.so") {
			t.Errorf("error %v", err)
		}
		f.clean()
	}
}

func TestNoPackageForPlatform(t *testing.T) {
	isolate(t)
	_, err := install(context.Background(), InstallOptions{GPU: true}, "linux-arm64", clients)
	var got *PlatformError
	want := "no package of ONNX Runtime with CUDA for linux-arm64, only for linux-x64, windows-x64; set NINOX_ORT_LIB to a library of your own"
	if !errors.As(err, &got) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestConcurrentInstalls has many ask at once: one downloads, the others wait
// and find it.
func TestConcurrentInstalls(t *testing.T) {
	f := newFakes(t, pipPackage())
	pip := f.client("pip", "slow-pip", "sleep 0.3\n"+saves)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := install(context.Background(), InstallOptions{}, platform, []client{pip})
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(got.Path); err != nil || string(b) != "contents of capi/libruntime.so" {
				t.Errorf("%q, error %v", b, err)
			}
		})
	}
	wg.Wait()
	if calls := f.calls(); len(calls) != 1 {
		t.Errorf("%d downloads, want 1", len(calls))
	}
	f.clean("9.8.7-test-x64")
}

func TestCancelledDownload(t *testing.T) {
	f := newFakes(t, pipPackage())
	hanging := f.client("pip", "hanging-pip", `: > "$fakes/started"; exec sleep 60`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(f.dir, "started")); err == nil {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	start := time.Now()
	_, err := install(ctx, InstallOptions{}, platform, []client{hanging, f.client("pip", "fake-pip", saves)})
	if !errors.Is(err, context.Canceled) || time.Since(start) > 20*time.Second {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	if n := len(f.calls()); n != 1 {
		t.Errorf("%d clients were asked, want no other after the cancellation", n)
	}
	f.clean()
}

func TestCancelledWait(t *testing.T) {
	f := newFakes(t, pipPackage())
	if err := os.MkdirAll(f.root, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(context.Background(), filepath.Join(f.root, ".lock"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var progress bytes.Buffer
	_, err = install(ctx, InstallOptions{Progress: &progress}, platform, nil)
	if !errors.Is(err, context.DeadlineExceeded) || progress.String() != "waiting for another process that installs ONNX Runtime\n" {
		t.Errorf("error %v, progress %q", err, progress.String())
	}
	unlock()
	again, err := lock(context.Background(), filepath.Join(f.root, ".lock"), new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestLockOfDeadProcess checks that the lock of a process goes with it.
func TestLockOfDeadProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if os.Getenv("NINOX_TEST_LOCK") != "" {
		if _, err := lock(context.Background(), os.Getenv("NINOX_TEST_LOCK"), os.Stdout); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		time.Sleep(time.Minute)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockOfDeadProcess$")
	cmd.Env = append(os.Environ(), "NINOX_TEST_LOCK="+path, "TMPDIR="+t.TempDir()) // a killed test leaves its folders
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("locked\n"))
	if _, err := out.Read(line); err != nil || string(line) != "locked\n" {
		t.Fatalf("read %q, error %v", line, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tryLock(f); !errors.Is(err, errLocked) {
		t.Errorf("error %v while the other process lives, want errLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // reports the signal
	if err := tryLock(f); err != nil {
		t.Errorf("error %v after the other process died", err)
	}
}
