//go:build linux || darwin

package onnxgraph

import (
	"os"

	"golang.org/x/sys/unix"
)

// openFlags keep the opening of a pipe, swapped in for a file, from blocking.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK

// mapFile maps the start of a file. Writes to the memory stay private to this
// process, so that a mistake cannot reach the file.
func mapFile(f *os.File, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
}

// mapShared gives a new file its size and maps it; what is written to the memory
// gets to the file. The space is reserved first: where the disk is full the
// first write would otherwise end the program. It is nil where the file system
// cannot.
func mapShared(f *os.File, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	if err := reserve(f, int64(size)); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, f.Truncate(0)
	}
	return b, nil
}

func unmapFile(b []byte) error { return unix.Munmap(b) }
