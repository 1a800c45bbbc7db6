package nino

import (
	"bytes"
	_ "embed"
	"fmt"

	"ninox/onnxgraph/weights"
)

//go:embed embedded/nino.safetensors
var embeddedWeights []byte

//go:embed embedded/CARD.md
var embeddedCard string

// Embedded is the network that is part of the program. Its card is EmbeddedCard.
func Embedded() (*Weights, error) {
	set, meta, err := weights.ReadSafetensorsFrom(bytes.NewReader(embeddedWeights), int64(len(embeddedWeights)))
	if err != nil {
		return nil, fmt.Errorf("weights of the program: %w", err)
	}
	return fromFile("weights of the program", set, meta)
}

// EmbeddedCard says in Markdown what the network that is part of the program was
// trained on and what it reaches.
func EmbeddedCard() string { return embeddedCard }

// ImportOrEmbedded is Import, and Embedded where the path is empty. Messages
// call the weights origin.
func ImportOrEmbedded(path string) (w *Weights, origin string, err error) {
	if path == "" {
		w, err = Embedded()
		return w, "the program", err
	}
	w, err = Import(path)
	return w, path, err
}
