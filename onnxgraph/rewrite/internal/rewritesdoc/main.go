// Command rewritesdoc writes the tables of passes and adapters,
// docs/REWRITES.md.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"ninox/onnxgraph/rewrite"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: rewritesdoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(tables()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const head = `# Rewrites

Written by ` + "`go generate ./onnxgraph/rewrite`" + ` from the tables in the code; do not edit.

## Passes

Every analysis begins with these, in this order. The graph is checked after each; with NINOX_DUMP set to a folder, each
leaves its result there.

| pass | pattern | reason |
|---|---|---|
`

const optional = `
These change names and layouts of parameters, by which checkpoints are matched, so only ` + "`ninox convert --transpose-weights`" + `
applies them. The metadata property ninox.transposed_weights of the result, JSON, lists for each such weight its name, the
original's name, and the permutation by which Transpose makes it of the original.

| pass | pattern | reason |
|---|---|---|
`

const adapters = `
## Conversion to newer opsets

` + "`ninox convert`" + ` takes a model of any opset of the default domain to a later one, up to %d. What is trained is converted to %d
where its opset is too old for gradients. These are the changes of meaning on the way, each with what the specification
changed; every other new version of an operator only adds to the one before. A node whose meaning depends on what is not
known before the model runs is an error.

| from opset | operators | change |
|---|---|---|
`

func tables() string {
	var b strings.Builder
	b.WriteString(head)
	for _, p := range rewrite.Passes() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, p.Pattern, p.Reason)
	}
	b.WriteString(optional)
	for _, p := range rewrite.Optional() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, p.Pattern, p.Reason)
	}
	fmt.Fprintf(&b, adapters, rewrite.Newest, rewrite.Trainable)
	list := rewrite.Adapters()
	slices.SortStableFunc(list, func(x, y rewrite.Adapter) int { return int(x.Version - y.Version) })
	for _, a := range list {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", a.Version, strings.Join(a.Ops, ", "), a.Reason)
	}
	return b.String()
}
