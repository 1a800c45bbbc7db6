package rewrite

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
)

// adaptScan puts a Scan without samples into another that goes over them: the
// outer one takes initial states and sequences apart by their first axis, and
// stacks what the inner one returns.
func adaptScan(c *adapting) error {
	body, count := c.Attr("body"), c.Attr("num_scan_inputs")
	if body == nil || body.G == nil || count == nil {
		return fmt.Errorf("body or num_scan_inputs is not set")
	}
	if c.Input(0) != "" {
		return fmt.Errorf("input 0, the lengths of the sequences, is given")
	}
	inputs := c.Inputs[min(1, len(c.Inputs)):]
	states := len(inputs) - int(count.I)
	if states < 0 || states > len(c.Outputs) {
		return fmt.Errorf("num_scan_inputs is %d, but there are %d inputs and %d outputs", count.I, len(inputs), len(c.Outputs))
	}
	inner := &onnxgraph.Node{Name: c.names.take(c.Label() + "/sample"), OpType: "Scan", Attrs: []*onnxgraph.Attribute{body, count}}
	if a := c.Attr("directions"); a != nil {
		inner.Attrs = append(inner.Attrs, onnxgraph.IntsAttr("scan_input_directions", a.Ints...))
	}
	sample := &onnxgraph.Graph{Name: c.Label() + "/samples", Nodes: []*onnxgraph.Node{inner}}
	for i, in := range inputs {
		v := &onnxgraph.Value{Name: c.names.take(in + "/sample"), Type: sampleType(body.G.Inputs, i, states)}
		sample.Inputs = append(sample.Inputs, v)
		inner.Inputs = append(inner.Inputs, v.Name)
	}
	for i := range c.Outputs {
		v := &onnxgraph.Value{Name: c.names.take(fmt.Sprintf("%s/sample_%d", c.Label(), i)), Type: sampleType(body.G.Outputs, i, states)}
		sample.Outputs = append(sample.Outputs, v)
		inner.Outputs = append(inner.Outputs, v.Name)
	}
	c.Inputs = slices.Clone(inputs)
	c.Attrs = []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", sample), onnxgraph.IntAttr("num_scan_inputs", int64(len(inputs)))}
	return nil
}

// sampleType is the type that input or output i of the inner Scan has: a state
// as in its body, a sequence with one more axis in front.
func sampleType(body []*onnxgraph.Value, i, states int) onnxgraph.Type {
	if i >= len(body) {
		return onnxgraph.Type{}
	}
	t := body[i].Type
	if i >= states && t.Shape != nil {
		t.Shape = slices.Concat(onnxgraph.Shape{onnxgraph.UnknownDim()}, t.Shape)
	}
	return t
}
