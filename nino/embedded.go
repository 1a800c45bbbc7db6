package nino

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"ninox/onnxgraph/weights"
)

// embedded holds CARD.md and, where there are any, nino.safetensors.
//
//go:embed embedded
var embedded embed.FS

const embeddedFile = "embedded/nino.safetensors"

// Embedded is the network that is part of the program, nil where the program was
// built without one. Its card is EmbeddedCard.
func Embedded() (*Weights, error) {
	raw, err := embedded.ReadFile(embeddedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	set, meta, err := weights.ReadSafetensorsFrom(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, fmt.Errorf("weights of the program: %w", err)
	}
	return fromFile("weights of the program", set, meta)
}

// HasEmbedded says whether Embedded has a network.
func HasEmbedded() bool {
	_, err := fs.Stat(embedded, embeddedFile)
	return err == nil
}

// EmbeddedCard says in Markdown what the network that is part of the program was
// trained on and what it reaches.
func EmbeddedCard() string {
	raw, err := embedded.ReadFile("embedded/CARD.md")
	if err != nil {
		return ""
	}
	return string(raw)
}
