package rewrite

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

// dumpedElements is how much of a tensor is shown: enough for shapes, axes and
// scalars.
const dumpedElements = 16

var dumps atomic.Int64

// dump writes the model to the folder that NINOX_DUMP names, if it does: as a
// text for reading, and as a model file for tools. The files of a process are
// numbered, so that two neighbours show what a pass did.
func dump(m *onnxgraph.Model, pass string) error {
	dir := os.Getenv("NINOX_DUMP")
	if dir == "" {
		return nil
	}
	if err := writeDump(m, dir, pass); err != nil {
		return fmt.Errorf("rewrite: NINOX_DUMP: %w", err)
	}
	return nil
}

func writeDump(m *onnxgraph.Model, dir, pass string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	base := filepath.Join(dir, fmt.Sprintf("%03d-%s", dumps.Add(1), pass))
	err := onnxgraph.WriteAtomic(base+".onnxtxt", true, func(w io.Writer) error {
		return text.Print(w, m, text.Options{Elide: dumpedElements})
	})
	if err != nil {
		return err
	}
	return m.WriteFile(base+".onnx", onnxgraph.WriteOptions{Overwrite: true})
}
