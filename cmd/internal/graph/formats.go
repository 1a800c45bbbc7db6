package graph

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"ninox/cmd/internal/job"
)

// formats write a neuron graph in the forms of --format.
var formats = map[string]func(io.Writer, *view) error{
	"text": writeText,
	"json": writeJSON,
}

func writeJSON(w io.Writer, v *view) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v.graph)
}

// writeText prints groups, blocks and what could not be placed, and the
// certificate where there is one.
func writeText(w io.Writer, v *view) error {
	rows := [][]string{{"group", "role", "size", "name", "permutable"}}
	for _, g := range v.graph.Groups {
		perm := "yes"
		if !g.Permutable {
			perm = "no: " + g.Reason
		}
		rows = append(rows, []string{g.ID, string(g.Role), fmt.Sprint(g.Size), g.Name, perm})
	}
	rows = append(rows, nil, []string{"source", "target", "edges", "parameter"})
	for _, b := range v.graph.Blocks {
		name := b.Parameter
		if b.Slice != "" {
			name += "[" + b.Slice + "]"
		}
		rows = append(rows, []string{strings.Join(b.Source, "·"), strings.Join(b.Target, "·"), fmt.Sprint(b.Edges), name})
	}
	return job.WriteColumns(w, rows)
}
