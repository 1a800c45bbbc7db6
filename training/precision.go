package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// Precisions of the products in forward and backward; parameters, moments and
// everything else stay float32.
const (
	FP32 = "fp32"
	FP16 = "fp16"
	BF16 = "bf16" // not on ONNX Runtime's CPU provider, which has no kernels for it
)

// Precisions lists the precisions by name.
func Precisions() []string { return []string{FP32, FP16, BF16} }

// half is the element type of a precision below FP32.
var half = map[string]onnxgraph.DType{FP16: onnxgraph.Float16, BF16: onnxgraph.BFloat16}

// products are the operators that are computed in half precision: those that
// PyTorch's autocast chooses too. Normalisations, exponentials and sums stay
// float32, where half precision would lose too much.
var products = []string{"MatMul", "Gemm", "Conv", "ConvTranspose"}

// lowerPrecision casts what products read to half precision and their results
// back, so that gradients flow the same way.
func lowerPrecision(m *onnxgraph.Model, dtype onnxgraph.DType, typeOf func(value string) onnxgraph.DType) {
	g := m.Graph
	all := g.Nodes
	g.Nodes = nil
	w := newGrower(&onnxgraph.Graph{Inputs: g.Inputs, Initializers: g.Initializers, Nodes: all}, "precision/")
	w.g = g
	to := func(d onnxgraph.DType) *onnxgraph.Attribute { return onnxgraph.IntAttr("to", int64(d)) }
	lowered := map[string]string{}
	for _, n := range all {
		if n.Domain != "" || !slices.Contains(products, n.OpType) || typeOf(n.Output(0)) != onnxgraph.Float {
			g.Nodes = append(g.Nodes, n)
			continue
		}
		c := *n
		c.Inputs = slices.Clone(n.Inputs)
		for i, in := range n.Inputs {
			if in == "" {
				continue
			}
			if lowered[in] == "" {
				lowered[in] = w.op("Cast", []string{in}, to(dtype))
			}
			c.Inputs[i] = lowered[in]
		}
		c.Outputs = []string{w.fresh(n.Label())}
		g.Nodes = append(g.Nodes, &c)
		g.Nodes = append(g.Nodes, &onnxgraph.Node{
			Name: w.fresh("Cast"), OpType: "Cast", Inputs: c.Outputs, Outputs: n.Outputs[:1], Attrs: []*onnxgraph.Attribute{to(onnxgraph.Float)},
		})
	}
}

// explainPrecision says what to do where a runtime has no kernels for the
// artifacts' precision.
func (a *Artifacts) explainPrecision(err error) error {
	if a.Precision != BF16 || !strings.Contains(err.Error(), "Could not find an implementation") && !strings.Contains(err.Error(), "bfloat16") {
		return err
	}
	return fmt.Errorf("this ONNX Runtime provider does not compute in %s, in which the artifacts are to be trained; derive them with precision %s or %s: %w", BF16, FP16, FP32, err)
}
