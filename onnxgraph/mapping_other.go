//go:build !linux && !darwin

package onnxgraph

import (
	"errors"
	"os"
)

const openFlags = os.O_RDONLY

// mapFile is not there on this system: files are read.
func mapFile(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func mapShared(*os.File, int) ([]byte, error) { return nil, nil }

func unmapFile([]byte) error { return nil }
