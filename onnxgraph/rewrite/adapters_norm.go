package rewrite

import (
	"fmt"

	"ninox/onnxgraph"
)

// adaptMask converts the mask back to the type of the data.
func adaptMask(c *adapting) error {
	if c.Output(1) == "" {
		return nil
	}
	d := c.fact(0).DType()
	if d == onnxgraph.Undefined {
		return fmt.Errorf("the mask is used, and the element type of input 0 (%q) is not known", c.Input(0))
	}
	c.behind(1, "Cast", onnxgraph.IntAttr("to", int64(d)))
	return nil
}

func adaptRatio(c *adapting) error {
	if a := c.take("ratio"); a != nil {
		c.setInput(1, c.constant("ratio", onnxgraph.Scalar("", a.F)))
	}
	return nil
}

// adaptSpatial writes the normalization of each place out: scale, bias, mean
// and variance have the shape of a sample.
func adaptSpatial(c *adapting) error {
	if a := c.take("spatial"); a == nil || a.I != 0 {
		return nil
	}
	if len(c.Outputs) > 1 {
		return fmt.Errorf("spatial is 0, and statistics of the batch are used")
	}
	if shape := c.fact(1).Shape(); len(shape) == 1 && c.fact(0).Rank() == 2 {
		return nil // a place is a channel
	}
	epsilon, err := c.scalarLike("epsilon", float64(c.Float("epsilon", 1e-5)))
	if err != nil {
		return err
	}
	x, scale, bias, mean, variance := c.Input(0), c.Input(1), c.Input(2), c.Input(3), c.Input(4)
	deviation := c.emit("Sqrt", []string{c.emit("Add", []string{variance, epsilon})})
	normal := c.emit("Div", []string{c.emit("Sub", []string{x, mean}), deviation})
	c.emit("Add", []string{c.emit("Mul", []string{normal, scale}), bias})
	c.finish()
	return nil
}

// adaptTraining: more than one output meant training. The running statistics
// stay outputs 1 and 2; 3 and 4 gave mean and variance of the batch.
func adaptTraining(c *adapting) error {
	used := 0
	for i, out := range c.Outputs {
		if out != "" {
			used = i
		}
	}
	if used > 2 {
		return fmt.Errorf("output %d, a statistic of the batch, is used", used)
	}
	c.Outputs = c.Outputs[:used+1]
	if used > 0 {
		c.set(onnxgraph.IntAttr("training_mode", 1))
	}
	return nil
}

// adaptGroups repeats scale and bias for the channels of each group.
func adaptGroups(c *adapting) error {
	groups := c.Int("num_groups", 0)
	s := c.fact(0).Shape()
	if len(s) < 2 || !s[1].IsKnown() || groups < 1 || s[1].Value%groups != 0 {
		return fmt.Errorf("input of shape %s and %d groups: the number of channels in a group is not known", s, groups)
	}
	column := c.vector("column", groups, 1)
	wide := c.vector("wide", groups, s[1].Value/groups)
	all := c.vector("channels", -1)
	for i := 1; i <= 2; i++ {
		x := c.emit("Expand", []string{c.emit("Reshape", []string{c.Input(i), column}), wide})
		c.setInput(i, c.emit("Reshape", []string{x, all}))
	}
	return nil
}

// adaptSoftmax: the same over the last axis; over several axes, or where it is
// not known whether the axis is the last, the input is flattened to a matrix.
func adaptSoftmax(c *adapting) error {
	axis := c.Int("axis", 1)
	r := int64(c.fact(0).Rank())
	if r >= 0 && axis < 0 {
		axis += r
	}
	c.set(onnxgraph.IntAttr("axis", -1))
	if axis == -1 || r >= 0 && axis == r-1 || c.oneBehind(axis) {
		if r >= 0 {
			c.set(onnxgraph.IntAttr("axis", axis))
		}
		return nil
	}
	shape := c.emit("Shape", []string{c.Input(0)})
	c.setInput(0, c.emit("Flatten", []string{c.Input(0)}, onnxgraph.IntAttr("axis", axis)))
	n := c.behind(0, "Reshape")
	n.Inputs = append(n.Inputs, shape)
	return nil
}

// oneBehind says whether every axis of input 0 behind the given one has
// extent 1.
func (c *adapting) oneBehind(axis int64) bool {
	s := c.fact(0).Shape()
	if axis < 0 || axis >= int64(len(s)) {
		return false
	}
	for _, d := range s[axis+1:] {
		if d != onnxgraph.Known(1) {
			return false
		}
	}
	return true
}
