package reference

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// reshape gives the engine a shape without 0 and −1, which it resolves wrongly
// in some cases.
func reshape(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(2, 2, 1), c.only("allowzero")); err != nil {
		return nil, err
	}
	if c.int("allowzero", 0) != 0 || c.in[1].Dtype() != tensor.Int64 {
		return nil, errors.New("expected an int64 shape and no allowzero")
	}
	from := c.in[0].Shape()
	wanted, free := make([]int, 0, len(from)), -1
	for i, d := range c.in[1].Int64s() {
		switch {
		case d == -1 && free < 0:
			free = i
			d = 1
		case d == 0 && i < len(from):
			d = int64(from[i])
		case d < 1:
			return nil, fmt.Errorf("shape %v", c.in[1].Int64s())
		}
		wanted = append(wanted, int(d))
	}
	if free >= 0 {
		wanted[free] = elements(from) / elements(wanted)
	}
	return throughReshape(c.in[0], wanted)
}

// throughReshape lets the engine reshape v.
func throughReshape(v *tensor.Dense, shape []int) (*tensor.Dense, error) {
	if elements(shape) != elements(v.Shape()) {
		return nil, fmt.Errorf("shape %v does not fit the elements of %v", shape, v.Shape())
	}
	if len(shape) == 0 || len(v.Shape()) == 0 { // it has no such arrays
		return reshaped(v, shape)
	}
	to := make([]int64, len(shape))
	for i, d := range shape {
		to[i] = int64(d)
	}
	out, err := compute("Reshape", []*tensor.Dense{v, array([]int{len(to)}, to)})
	if err != nil {
		return nil, err
	}
	return reshaped(out, shape)
}

func flatten(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only("axis")); err != nil {
		return nil, err
	}
	s := c.in[0].Shape()
	a := c.int("axis", 1)
	if a < 0 {
		a += int64(len(s))
	}
	if a < 0 || a > int64(len(s)) {
		return nil, fmt.Errorf("axis %d of rank %d", a, len(s))
	}
	out, err := compute("Flatten", c.in, onnxgraph.IntAttr("axis", a))
	if err != nil {
		return nil, err
	}
	return reshaped(out, []int{elements(s[:a]), elements(s[a:])})
}

// axes are those of Squeeze and Unsqueeze: an attribute, from version 13 on an
// input. They are axes of a shape of the given rank.
func (c *call) axes(rank func(n int) int) ([]int, error) {
	given := c.ints("axes")
	if len(c.in) == 2 {
		if c.in[1].Dtype() != tensor.Int64 {
			return nil, errors.New("expected int64 axes")
		}
		given = c.in[1].Int64s()
	}
	var out []int
	for _, g := range given {
		a, err := axis(g, rank(len(given)))
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func squeeze(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 2, 1), c.only("axes")); err != nil {
		return nil, err
	}
	from := c.in[0].Shape()
	axes, err := c.axes(func(int) int { return len(from) })
	if err != nil {
		return nil, err
	}
	all := axes == nil
	var to []int
	for i, d := range from {
		switch {
		case d == 1 && (all || slices.Contains(axes, i)):
		case slices.Contains(axes, i):
			return nil, fmt.Errorf("axis %d has %d elements", i, d)
		default:
			to = append(to, d)
		}
	}
	return throughReshape(c.in[0], to)
}

func unsqueeze(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 2, 1), c.only("axes")); err != nil {
		return nil, err
	}
	from := c.in[0].Shape()
	axes, err := c.axes(func(n int) int { return len(from) + n })
	if err != nil {
		return nil, err
	}
	to := slices.Clone(from)
	slices.Sort(axes)
	for _, a := range axes {
		to = slices.Insert(to, a, 1)
	}
	return throughReshape(c.in[0], to)
}

func transpose(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 1, 1), c.only("perm")); err != nil {
		return nil, err
	}
	s := c.in[0].Shape()
	perm := c.ints("perm")
	if perm == nil {
		for i := len(s) - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	if slices.IsSorted(perm) { // the engine calls it an error to do nothing
		return c.in[0], nil
	}
	return compute("Transpose", c.in, onnxgraph.IntsAttr("perm", perm...))
}

func concat(c *call) (*tensor.Dense, error) {
	if err := errors.Join(c.arity(1, 64, 64), c.only("axis")); err != nil {
		return nil, err
	}
	a, err := axis(c.int("axis", 0), len(c.in[0].Shape()))
	if err != nil {
		return nil, err
	}
	return compute("Concat", c.in, onnxgraph.IntAttr("axis", int64(a)))
}
