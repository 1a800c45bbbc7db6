package nino

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// zipMagic starts the zip file that torch.save writes.
var zipMagic = []byte("PK\x03\x04")

// Import reads the reference's weights: a .pt file that torch.save wrote, or
// safetensors. Nothing of a .pt file is executed; it may hold only tensors,
// numbers, strings and dicts.
func Import(path string) (*Weights, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, len(zipMagic))
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, fmt.Errorf("%s: too short for weights", path)
	}
	if !bytes.Equal(head, zipMagic) {
		return ReadWeights(path)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	set, args, err := readTorch(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w, err := NewWeights(set, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}
