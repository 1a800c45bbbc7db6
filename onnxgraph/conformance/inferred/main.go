// Command inferred prints, for every model file that it reads the path of on
// its input, a line of JSON with the types that inference finds for the values
// of the main graph, what the file declares for results of it withheld.
// bench/infer_parity.py compares them with those of the onnx package.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// report is one line of output.
type report struct {
	File  string           `json:"file"`
	Error string           `json:"error,omitempty"`
	Types map[string]value `json:"types,omitempty"`
}

// value is the type of a value; Dims are numbers, symbols, or null where an
// extent is unknown, and are missing where the rank is.
type value struct {
	Kind   string `json:"kind"`
	DType  string `json:"dtype,omitempty"`
	Dims   []any  `json:"dims"`
	Ranked bool   `json:"ranked"`
	Elem   *value `json:"elem,omitempty"`
}

var kinds = map[onnxgraph.TypeKind]string{
	onnxgraph.TensorKind: "tensor", onnxgraph.SequenceKind: "sequence", onnxgraph.OptionalKind: "optional",
	onnxgraph.MapKind: "map", onnxgraph.SparseTensorKind: "sparse",
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "inferred:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	lines, encode := bufio.NewScanner(in), json.NewEncoder(out)
	for lines.Scan() {
		r := report{File: lines.Text()}
		types, err := typesOf(r.File)
		if r.Types = types; err != nil {
			r.Error = err.Error()
		}
		if err := encode.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err()
}

func typesOf(path string) (map[string]value, error) {
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(m.Functions) > 0 {
		if m, err = rewrite.Standard(m, ops.Registry()); err != nil {
			return nil, err
		}
	}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) { g.ValueInfo = nil })
	for _, v := range m.Graph.Outputs {
		v.Type = onnxgraph.Type{}
	}
	facts, err := infer.Run(m, ops.Registry(), infer.Options{})
	if err != nil {
		return nil, err
	}
	out := map[string]value{}
	for _, n := range m.Graph.Nodes {
		for _, name := range n.Outputs {
			if f := facts.Fact(name); f != nil {
				out[name] = typed(f.Type)
			}
		}
	}
	return out, nil
}

func typed(t onnxgraph.Type) value {
	v := value{Kind: kinds[t.Kind], Dims: []any{}, Ranked: t.Shape != nil}
	if t.DType != onnxgraph.Undefined {
		v.DType = t.DType.String()
	}
	for _, d := range t.Shape {
		switch {
		case d.IsKnown():
			v.Dims = append(v.Dims, d.Value)
		case d.Symbol != "":
			v.Dims = append(v.Dims, d.Symbol)
		default:
			v.Dims = append(v.Dims, nil)
		}
	}
	if t.Elem != nil {
		e := typed(*t.Elem)
		v.Elem = &e
	}
	return v
}
