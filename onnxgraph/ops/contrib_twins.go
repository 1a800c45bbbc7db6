// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// contribTwins are operators of com.microsoft that the default domain has
// gained since, under the same name and with the same meaning, and one that is
// another on quantized tables.
var contribTwins = []*op.Def{
	contribTwin("Pad", pad), contribTwin("GatherND", pointwise[0]),
	{
		Domain: microsoft, Name: "QEmbedLayerNormalization", Versions: since(1), Attrs: attrs(aFloat("epsilon")), In: op.Between(1, 18), Out: op.Exactly(2),
		Infer: func(c *op.InferCtx) error {
			if err := inferEmbedding(c); err != nil {
				return err
			}
			c.Set(0, onnxgraph.Float, c.Out[0].Shape())
			return nil
		},
		Flow: op.FlowOfLowering, Grad: integerOnly,
		Lower: lowers(func(k lowCalc) error {
			in := []string{k.I(embedTokens), k.I(embedSegments)}
			// Scales stand behind the tables and the mask, zero points behind the scales.
			for i := embedWordTable; i <= embedShift; i++ {
				x := ""
				if k.I(i) != "" {
					x = k.dequantize(k.I(i), k.I(i+6), k.I(i+11), 0)
				}
				in = append(in, x)
			}
			plain := withInputs{k.LowerCtx, append(in, k.I(embedMask))}
			return lowerEmbedding(lowCalc{calc{plain}, plain})
		}),
	},
}

// contribTwin is the operator of the default domain under the other one.
func contribTwin(name string, of *op.Def) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: of.Attrs, In: of.In, Out: of.Out,
		Infer: func(c *op.InferCtx) error {
			plain := *c
			plain.Opset = 13
			return of.Infer(&plain)
		},
		Flow: op.FlowOfLowering, Grad: op.FromLowering,
		Lower: lowers(out0(func(k lowCalc) string {
			return k.Emit(name, k.Node().Inputs, k.Node().Attrs...)
		})),
	}
}

// withInputs shows a node with other inputs.
type withInputs struct {
	op.LowerCtx
	inputs []string
}

func (c withInputs) I(i int) string {
	if i < len(c.inputs) {
		return c.inputs[i]
	}
	return ""
}
