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

func unmapFile(b []byte) error { return unix.Munmap(b) }
