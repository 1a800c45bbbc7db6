// https://onnx.ai/onnx/operators/onnx__StringNormalizer.html, StringConcat,
// StringSplit, RegexFullMatch, TfIdfVectorizer, ImageDecoder

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// texts work on strings or encoded images; they carry no gradient.
var texts = []*op.Def{
	text("StringNormalizer", since(10), attrs(aStr("case_change_action"), aInt("is_case_sensitive"), aStr("locale"), aStrs("stopwords")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		s := c.I(0).Shape().Clone()
		if a := c.Node.Attr("stopwords"); a != nil && len(a.Strings) > 0 && len(s) > 0 {
			s[len(s)-1] = onnxgraph.UnknownDim()
		}
		c.Set(0, onnxgraph.String, s)
		return nil
	}),
	text("StringConcat", since(20), nil, op.Exactly(2), op.Exactly(1), func(c *op.InferCtx) error {
		s, err := broadcast(c, c.I(0).Shape(), c.I(1).Shape())
		c.Set(0, onnxgraph.String, s)
		return err
	}),
	text("StringSplit", since(20), attrs(aStr("delimiter"), aInt("maxsplit")), op.Exactly(1), op.Exactly(2), func(c *op.InferCtx) error {
		s := c.I(0).Shape()
		parts := onnxgraph.Shape(nil)
		if s != nil {
			parts = append(s.Clone(), onnxgraph.UnknownDim())
		}
		c.Set(0, onnxgraph.String, parts)
		c.Set(1, onnxgraph.Int64, s.Clone())
		return nil
	}),
	text("RegexFullMatch", since(20), attrs(aStr("pattern")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Bool, c.I(0).Shape().Clone())
		return nil
	}),
	text("TfIdfVectorizer", since(9), attrs(need(aInt("max_gram_length")), need(aInt("max_skip_count")), need(aInt("min_gram_length")), need(aStr("mode")), need(aInts("ngram_counts")), need(aInts("ngram_indexes")),
		aInts("pool_int64s"), aStrs("pool_strings"), aFloats("weights")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		places := c.Node.Ints("ngram_indexes")
		if len(places) == 0 {
			return c.Errorf("ngram_indexes", "is empty")
		}
		s := c.I(0).Shape().Clone()
		if len(s) > 0 {
			s[len(s)-1] = onnxgraph.Known(slices.Max(places) + 1)
		}
		c.Set(0, onnxgraph.Float, s)
		return nil
	}),
	text("ImageDecoder", since(20), attrs(aStr("pixel_format")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		channels := onnxgraph.Known(3)
		if c.Node.Str("pixel_format", "RGB") == "Grayscale" {
			channels = onnxgraph.Known(1)
		}
		c.Set(0, onnxgraph.Uint8, onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.UnknownDim(), channels})
		return nil
	}),
}

func text(name string, versions []int64, a []op.AttrSpec, in, out op.Arity, infer op.InferFunc) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: a, In: in, Out: out, Infer: infer,
		Flow: op.Opaque("works on strings or encoded data"), Grad: op.ZeroGrad, Lower: op.Primitive,
	}
}
