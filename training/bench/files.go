package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"ninox/onnxgraph"
)

// ReadProtocol reads protocol.json.
func ReadProtocol(path string) (*Protocol, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p Protocol
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &p, nil
}

// WriteJSON replaces a file by v, or leaves it as it was.
func WriteJSON(path string, v any) error {
	return onnxgraph.WriteAtomic(path, true, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}
