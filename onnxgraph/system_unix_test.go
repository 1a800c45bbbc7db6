//go:build unix

package onnxgraph

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func makePipe(t *testing.T, dir, _ string) {
	if err := unix.Mkfifo(filepath.Join(dir, "w.bin"), 0o644); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
}

// Nobody waits for a model that is a pipe or comes from a device without end.
func TestReadFileRefusesPipes(t *testing.T) {
	dir := t.TempDir()
	makePipe(t, dir, "")
	for _, path := range []string{filepath.Join(dir, "w.bin"), "/dev/zero"} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "pipe or device") {
			t.Errorf("%s: %v", path, err)
		}
	}
	link := filepath.Join(dir, "link") // as /dev/stdout is one
	if err := os.Symlink("w.bin", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "w.bin"), link} {
		if err := WriteAtomic(path, true, writes("x")); err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("%s was overwritten: %v", path, err)
		}
	}
}

// free is the room on the disk of a folder, in bytes.
func free(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}
