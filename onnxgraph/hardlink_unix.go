//go:build unix

package onnxgraph

import (
	"io/fs"
	"syscall"
)

// hardLinked says whether the file has a second name, which could lie outside
// the model's folder.
func hardLinked(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && s.Nlink > 1
}
