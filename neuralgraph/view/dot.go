package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// DOT writes the scene in Graphviz' language, boxes as clusters.
func (v *View) DOT(w io.Writer, o Options) error {
	s := v.scene(o)
	a := &arranger{s: s, expand: o.Expand}
	root := a.blocks()
	out := bufio.NewWriter(w)
	d := &dotWriter{w: out, s: s}
	fmt.Fprintf(out, "digraph %s {\n  label=%s; labelloc=t; fontname=\"Helvetica\";\n", dotText("ninox"), dotText(strings.Join(v.headline(), "\n")))
	fmt.Fprintf(out, "  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];\n  edge [fontname=\"Helvetica\", fontsize=9];\n")
	d.block(root, "  ")
	seen := map[string]bool{}
	for _, e := range s.edges {
		from, to := a.leaf[e.from], a.leaf[e.to]
		if from == to || carried(a.turns[e.from], a.turns[e.to]) {
			continue
		}
		text := fmt.Sprintf("  n%d -> n%d [label=%s, color=\"%s\"%s%s];\n", from.node, to.node, dotText(e.label), lookOf(e.kind).line,
			when(e.kind == "residual" || e.kind == "head", ", style=dashed"), when(e.reversed, ", dir=back"))
		if !seen[text] {
			out.WriteString(text)
		}
		seen[text] = true
	}
	out.WriteString("}\n")
	return out.Flush()
}

type dotWriter struct {
	w        *bufio.Writer
	s        *scene
	clusters int
}

func (d *dotWriter) block(b *block, indent string) {
	for _, k := range b.children {
		if k.box == nil {
			n := &d.s.nodes[k.node]
			fmt.Fprintf(d.w, "%sn%d [label=%s, tooltip=%s, fillcolor=\"%s\", color=\"%s\"];\n", indent, k.node,
				dotText(strings.Join(append([]string{d.s.nodeTitle(k)}, n.lines...), "\n")), dotText(nodeTip(n)), lookOf(n.kind).fill, lookOf(n.kind).line)
			continue
		}
		fmt.Fprintf(d.w, "%ssubgraph cluster_%d {\n%s  label=%s; labeljust=l; style=rounded;\n", indent, d.clusters, indent, dotText(boxTitle(k)))
		d.clusters++
		d.block(k, indent+"  ")
		fmt.Fprintf(d.w, "%s}\n", indent)
	}
}

// dotText quotes a text for DOT, which knows no escapes but these.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func when(on bool, text string) string {
	if on {
		return text
	}
	return ""
}
