package nino

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"ninox/onnxgraph/weights"
)

//go:embed embedded/*.safetensors
var embedded embed.FS

//go:embed embedded/CARD.md
var embeddedCard string

// DefaultEmbedded is the network that serves where none is named.
const DefaultEmbedded = "nino"

var embeddedNames = []string{DefaultEmbedded, "nino-128", "nino-naive", "wnn", "wnn+"}

// EmbeddedNames lists the networks that are part of the program: NiNo of width 32
// and 128, NiNo for naive graphs, WNN and WNN+.
func EmbeddedNames() []string { return slices.Clone(embeddedNames) }

// Embedded is a network that is part of the program. EmbeddedCard says where they
// come from.
func Embedded(name string) (*Weights, error) {
	if !slices.Contains(embeddedNames, name) {
		return nil, fmt.Errorf("weights of the program: there is no %q, expected one of %s", name, strings.Join(embeddedNames, ", "))
	}
	set, meta, err := embeddedSet(name)
	if err != nil {
		return nil, err
	}
	return fromFile("weights of the program, "+name, set, meta)
}

// embeddedL2O is the learned optimizer of the program, which is no nowcaster.
const embeddedL2O = "l2o"

func embeddedSet(name string) (*weights.Set, map[string]string, error) {
	data, err := embedded.ReadFile("embedded/" + strings.ReplaceAll(name, "+", "-plus") + ".safetensors")
	if err != nil {
		return nil, nil, fmt.Errorf("weights of the program: %w", err)
	}
	set, meta, err := weights.ReadSafetensorsFrom(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, fmt.Errorf("weights of the program, %s: %w", name, err)
	}
	return set, meta, nil
}

// EmbeddedCard says in Markdown what the networks that are part of the program
// were trained on and what they reach.
func EmbeddedCard() string { return embeddedCard }

// ImportOrEmbedded is Import, but Embedded where there is no file of that name and
// the program has such a network, or, with standard, where path is empty. Messages
// call the weights origin.
func ImportOrEmbedded(path, standard string) (w *Weights, origin string, err error) {
	if path == "" {
		path = standard
	} else if _, err := os.Stat(path); !slices.Contains(embeddedNames, path) || !errors.Is(err, os.ErrNotExist) {
		w, err := Import(path)
		return w, path, err
	}
	w, err = Embedded(path)
	return w, "the program's " + path, err
}
