package onnxgraph

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve makes a file so many bytes long, with room for them on the disk where
// the file system can tell.
func reserve(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(size)
	}
	return err
}
