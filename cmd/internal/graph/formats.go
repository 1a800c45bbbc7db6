package graph

import (
	"io"

	"ninox/neuralgraph"
)

// formats write a neuron graph in the forms of --format.
var formats = map[string]func(io.Writer, *view) error{
	"text": func(w io.Writer, v *view) error { return v.graph.Text(w, v.verdict()) },
	"json": func(w io.Writer, v *view) error { return v.graph.JSON(w, v.verdict()) },
	"dot":  func(w io.Writer, v *view) error { return v.graph.DOT(w) },
	"svg":  func(w io.Writer, v *view) error { return v.graph.SVG(w) },
	"html": func(w io.Writer, v *view) error { return v.graph.HTML(w, v.verdict()) },
}

// verdict is the certificate as a document holds it, nil where none was run.
func (v *view) verdict() *neuralgraph.Verdict {
	if v.cert == nil {
		return nil
	}
	return &neuralgraph.Verdict{Certificate: v.cert, Failed: v.cert.Failed}
}
