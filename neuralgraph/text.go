package neuralgraph

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Name is the type in words.
func (t EdgeType) Name() string {
	names := map[EdgeType]string{
		EdgePadding: "padding", EdgeLinear: "linear", EdgeBias: "bias", EdgeConv: "convolution", EdgeNorm: "norm",
		EdgeEmbedding: "embedding", EdgePosition: "position", EdgeQuery: "query", EdgeKey: "key", EdgeValue: "value",
		EdgeResidual: "residual", EdgeHead: "head", EdgeSelfLoop: "self-loop",
	}
	if s := names[t]; s != "" {
		return s
	}
	return fmt.Sprintf("type %d", int(t))
}

// Text writes the graph as tables for reading.
func (g *Graph) Text(w io.Writer, verdict *Verdict) error {
	d, err := g.Document(verdict)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d parameters in %d tensors, %d operators, opset %d, %d multiplications\n\n", d.Model.Parameters, len(g.Parameters), d.Model.Nodes, d.Model.Opset, d.Model.MACs)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GROUP\tROLE\tSIZE\tNAME\tPERMUTABLE")
	for _, gr := range d.Groups {
		can := "yes"
		if !gr.Permutable {
			can = "no: " + gr.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", gr.ID, gr.Role, gr.Size, gr.Name, can)
	}
	fmt.Fprintln(t, "\t\t\t\t\nBLOCK\tTYPE\tEDGES\tTAPS\tGROUPS")
	for _, bl := range d.Blocks {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", bl.label(), bl.Type.Name(), bl.Edges, bl.Taps, bl.path())
	}
	t.Flush()
	for _, a := range d.Attention {
		fmt.Fprintf(&b, "\nattention %s: %d heads of %d, %d key/value heads%s%s", a.Name, a.Heads, a.HeadDim, a.KVHeads, flag(a.Rope, ", rotary"), flag(a.Packed, ", packed"))
	}
	if len(d.Attention) > 0 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nNiNo graph: %d nodes, %d edges, %d residual connections\n", d.NiNo.Nodes, d.NiNo.Edges, len(d.Residuals))
	fmt.Fprintf(&b, "coverage: %d of %d parameters lie on edges%s\n", d.Coverage.InBlocks, d.Coverage.Parameters,
		flag(verdict != nil, fmt.Sprintf(", %d in certified groups", d.Coverage.Certified)))
	for _, o := range d.Coverage.Opaque {
		fmt.Fprintf(&b, "  opaque: %s: %s\n", o.Parameter, o.Reason)
	}
	if verdict != nil {
		fmt.Fprintf(&b, "certificate: %v\n", verdict.Certificate)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func flag(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func (b *ParameterBlock) label() string {
	if b.Slice == "" {
		return b.Parameter
	}
	return b.Parameter + "[" + b.Slice + "]"
}

func (b *ParameterBlock) path() string {
	to := strings.Join(b.Target, "·")
	if len(b.Source) == 0 {
		return "→ " + to
	}
	return strings.Join(b.Source, "·") + " → " + to
}
