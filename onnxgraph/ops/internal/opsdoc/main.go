// Command opsdoc writes the table of all operators, docs/OPERATORS.md.
package main

import (
	"fmt"
	"os"
	"strings"

	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: opsdoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(table(ops.Registry())), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const head = `# Operators

Written by ` + "`go generate ./onnxgraph/ops`" + ` from the registry; do not edit.

Versions are the since-versions of the specification that the rules cover. Types and shapes are inferred for every
operator. Flow says how axes correspond, which decides what the neuron graph may permute. Gradients are emitted as
standard operators of opset 13 or later.

| operator | domain | since | infer | flow | gradient | lowering |
|---|---|---|---|---|---|---|
`

func table(r *op.Registry) string {
	var b strings.Builder
	b.WriteString(head)
	for _, d := range r.All() {
		domain := d.Domain
		if domain == "" {
			domain = "ai.onnx"
		}
		versions := strings.Trim(strings.ReplaceAll(fmt.Sprint(d.Versions), " ", ", "), "[]")
		cells := []string{d.Name, domain, versions, "yes", flow(d.Flow), gradient(d.Grad), lowering(d.Lower)}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintf(&b, "\n%d operators.\n", len(r.All()))
	return b.String()
}

func flow(f op.Flow) string {
	if r := f.OpaqueReason(); r != "" {
		return "none: " + r
	}
	return "yes"
}

func gradient(g op.Grad) string {
	switch {
	case g.Rule() != nil:
		return "yes"
	case g.Zero():
		return "zero"
	case g.Refusal() == op.FromLowering.Refusal():
		return "of the lowering"
	}
	return "none: " + g.Refusal()
}

func lowering(l op.Lower) string {
	if l.Rule() != nil {
		return "yes"
	}
	return "primitive"
}
