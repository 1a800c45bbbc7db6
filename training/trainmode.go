package training

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
)

// trainingMode switches the operators that behave differently in training:
// Dropout drops, BatchNormalization uses the statistics of the batch unless
// they are to be kept. It returns the running statistics that the model now updates, each with the
// name of its new value.
func trainingMode(m *onnxgraph.Model, keepStatistics bool) map[string]string {
	buffers := map[string]string{}
	w := newGrower(m.Graph, "training/")
	inits := map[string]onnxgraph.DType{}
	for _, t := range m.Graph.Initializers {
		inits[t.Name] = t.DType
	}
	on := ""
	for i, n := range m.Graph.Nodes {
		if n.Domain != "" {
			continue
		}
		c := *n
		switch n.OpType {
		case "Dropout":
			if on == "" {
				on = w.constant(&onnxgraph.Tensor{Name: "on", DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{1}})
			}
			c.Inputs = []string{n.Input(0), n.Input(1), on}
		case "BatchNormalization":
			mean, variance := n.Input(3), n.Input(4)
			if keepStatistics || inits[mean] == 0 || inits[variance] == 0 || buffers[mean] != "" || buffers[variance] != "" {
				continue // statistics that are computed or shared stay as the model gives them
			}
			raiseOpset(m)
			c.Attrs = nil
			for _, a := range n.Attrs {
				if a.Name != "training_mode" && a.Name != "momentum" {
					c.Attrs = append(c.Attrs, a)
				}
			}
			// Without momentum the node gives the statistics of the batch itself, which
			// its gradient needs.
			c.Attrs = append(c.Attrs, onnxgraph.IntAttr("training_mode", 1), onnxgraph.FloatAttr("momentum", 0))
			buffers[mean], buffers[variance] = mean+updatedSuffix, variance+updatedSuffix
			c.Outputs = []string{n.Output(0), w.fresh("mean"), w.fresh("variance")}
			for k, old := range []string{mean, variance} {
				w.average(buffers[old], inits[old], old, c.Outputs[k+1], n.Float("momentum", 0.9))
			}
		default:
			continue
		}
		m.Graph.Nodes[i] = &c
	}
	return buffers
}

// average appends momentum·old + (1 − momentum)·fresh.
func (w *grower) average(output string, d onnxgraph.DType, old, fresh string, momentum float32) {
	scalar := func(v float32) string { return w.constant(rewrite.ScalarTensor(d, float64(v))) }
	w.named(output, "Add", []string{w.op("Mul", []string{old, scalar(momentum)}), w.op("Mul", []string{fresh, scalar(1 - momentum)})})
}

// raiseOpset brings opset 13 to 14, the first in which BatchNormalization has a
// training mode. What 14 changes in other operators only adds to them.
func raiseOpset(m *onnxgraph.Model) {
	for i, o := range m.Opsets {
		if o.Domain == "" && o.Version == 13 {
			m.Opsets[i].Version = 14
		}
	}
}

// evalMode takes models that were exported while training back to inference:
// Dropout passes everything, BatchNormalization uses the running statistics.
func evalMode(m *onnxgraph.Model) {
	for i, n := range m.Graph.Nodes {
		c := *n
		switch {
		case n.Domain != "":
			continue
		case n.OpType == "Dropout" && n.Input(2) != "":
			c.Inputs = n.Inputs[:2]
		case n.OpType == "BatchNormalization" && n.Int("training_mode", 0) != 0:
			c.Outputs = n.Outputs[:1]
			c.Attrs = slices.DeleteFunc(slices.Clone(n.Attrs), func(a *onnxgraph.Attribute) bool { return a.Name == "training_mode" })
		default:
			continue
		}
		m.Graph.Nodes[i] = &c
	}
}
