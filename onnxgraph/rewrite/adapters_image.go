package rewrite

import (
	"fmt"

	"ninox/onnxgraph"
)

func adaptFactors(c *adapting) error {
	h, w := c.take("height_scale"), c.take("width_scale")
	if h == nil || w == nil {
		return fmt.Errorf("height_scale or width_scale is not set")
	}
	c.set(onnxgraph.FloatsAttr("scales", 1, 1, h.F, w.F))
	if c.Str("mode", "") == "bilinear" {
		c.set(onnxgraph.StringAttr("mode", "linear"))
	}
	return nil
}

func adaptUpsample(c *adapting) error {
	c.OpType = "Resize"
	return nil
}

// adaptResize: without modes, coordinates were divided by the scale, and the
// nearest was the one below for upsampling, the one above for downsampling,
// axis by axis. ONNX Runtime still does so for models of opset 10.
func adaptResize(c *adapting) error {
	x, scales := c.Input(0), c.Input(1)
	c.set(onnxgraph.StringAttr("coordinate_transformation_mode", "asymmetric"))
	c.Inputs = []string{x, "", scales}
	if c.Str("mode", "nearest") != "nearest" {
		return nil
	}
	c.set(onnxgraph.StringAttr("nearest_mode", "floor"))
	up, down := true, true // all scales are at least 1, or at most 1
	v, err := []float32(nil), error(nil)
	if f := c.factOf(scales); f != nil && f.Const != nil {
		v, err = f.Const.AsFloats()
	}
	switch {
	case v == nil || err != nil:
		up, down = false, false
	default:
		for _, s := range v {
			up, down = up && s >= 1, down && s <= 1
		}
	}
	switch {
	case up:
	case down:
		c.set(onnxgraph.StringAttr("nearest_mode", "ceil"))
	default: // first up, then down
		one := c.constant("one", onnxgraph.Scalar("", 1))
		c.Inputs[2] = c.emit("Min", []string{scales, one})
		grown := c.emit("Max", []string{scales, one})
		c.Inputs[0] = c.emit("Resize", []string{x, "", grown}, onnxgraph.StringAttr("mode", "nearest"),
			onnxgraph.StringAttr("coordinate_transformation_mode", "asymmetric"), onnxgraph.StringAttr("nearest_mode", "floor"))
		c.set(onnxgraph.StringAttr("nearest_mode", "ceil"))
	}
	return nil
}

// adaptHalfPixel: what was rounded, (i+½)/scale, is half_pixel's coordinate
// plus ½; so rounding down is rounding that to the nearest, halves up, and
// rounding to the nearest, halves down, is rounding that up.
func adaptHalfPixel(c *adapting) error {
	if c.Str("coordinate_transformation_mode", "") != "tf_half_pixel_for_nn" {
		return nil
	}
	rounding := map[string]string{"floor": "round_prefer_ceil", "round_prefer_floor": "ceil"}[c.Str("nearest_mode", "round_prefer_floor")]
	if c.Str("mode", "nearest") != "nearest" || rounding == "" {
		return fmt.Errorf("coordinate_transformation_mode tf_half_pixel_for_nn with mode %s and nearest_mode %s", c.Str("mode", "nearest"), c.Str("nearest_mode", ""))
	}
	c.set(onnxgraph.StringAttr("coordinate_transformation_mode", "half_pixel"))
	c.set(onnxgraph.StringAttr("nearest_mode", rounding))
	return nil
}

func adaptRoiAlign(c *adapting) error {
	c.set(onnxgraph.StringAttr("coordinate_transformation_mode", "output_half_pixel"))
	return nil
}

func adaptGridSample(c *adapting) error {
	switch mode := c.Str("mode", "bilinear"); mode {
	case "bilinear":
		c.set(onnxgraph.StringAttr("mode", "linear"))
	case "bicubic":
		c.set(onnxgraph.StringAttr("mode", "cubic"))
	}
	return nil
}
