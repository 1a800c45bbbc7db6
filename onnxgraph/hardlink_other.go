//go:build !unix

package onnxgraph

import "io/fs"

// hardLinked cannot be told without opening the file here.
func hardLinked(fs.FileInfo) bool { return false }
