// https://onnx.ai/onnx/operators/index.html#ai-onnx-ml

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

const classical = "ai.onnx.ml"

// classicalOps are models of the domain ai.onnx.ml: inferred, but opaque,
// since their weights are attributes.
var classicalOps = []*op.Def{
	classic("ArrayFeatureExtractor", since(1), nil, op.Exactly(2), op.Exactly(1), func(c *op.InferCtx) error {
		s := c.I(0).Shape().Clone()
		if len(s) > 0 {
			s[len(s)-1] = product(c.I(1).Shape())
		}
		c.Set(0, c.I(0).DType(), s)
		return nil
	}),
	classic("Binarizer", since(1), attrs(aFloat("threshold")), op.Exactly(1), op.Exactly(1), inferLike),
	classic("CastMap", since(1), attrs(aStr("cast_to"), aStr("map_form"), aInt("max_map")), op.Exactly(1), op.Exactly(1), inferCastMap),
	classic("CategoryMapper", since(1), attrs(aInts("cats_int64s"), aStrs("cats_strings"), aInt("default_int64"), aStr("default_string")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		d := onnxgraph.String
		if c.I(0).DType() == onnxgraph.String {
			d = onnxgraph.Int64
		}
		c.Set(0, d, c.I(0).Shape().Clone())
		return nil
	}),
	classic("DictVectorizer", since(1), attrs(aInts("int64_vocabulary"), aStrs("string_vocabulary")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		words := max(listed(c.Node, "int64_vocabulary"), listed(c.Node, "string_vocabulary"))
		c.Set(0, elemOf(c.I(0).Type).DType, onnxgraph.StaticShape(1, words))
		return nil
	}),
	classic("FeatureVectorizer", since(1), attrs(aInts("inputdimensions")), op.AtLeast(1), op.Exactly(1), func(c *op.InferCtx) error {
		width := int64(0)
		for _, n := range c.Node.Ints("inputdimensions") {
			width += n
		}
		c.Set(0, onnxgraph.Float, onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(width)})
		return nil
	}),
	classic("Imputer", since(1), attrs(aFloats("imputed_value_floats"), aInts("imputed_value_int64s"), aFloat("replaced_value_float"), aInt("replaced_value_int64")), op.Exactly(1), op.Exactly(1), inferLike),
	classic("LabelEncoder", since(1, 2, 4), labelEncoderAttrs, op.Exactly(1), op.Exactly(1), inferLabelEncoder),
	classic("LinearClassifier", since(1), attrs(aInts("classlabels_ints"), aStrs("classlabels_strings"), need(aFloats("coefficients")), aFloats("intercepts"), aInt("multi_class"), aStr("post_transform")),
		op.Exactly(1), op.Exactly(2), func(c *op.InferCtx) error {
			return inferClassifier(c, "classlabels_ints", "classlabels_strings")
		}),
	classic("LinearRegressor", since(1), attrs(aFloats("coefficients"), aFloats("intercepts"), aStr("post_transform"), aInt("targets")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Float, onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(c.Node.Int("targets", 1))})
		return nil
	}),
	classic("Normalizer", since(1), attrs(aStr("norm")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Float, c.I(0).Shape().Clone())
		return nil
	}),
	classic("OneHotEncoder", since(1), attrs(aInts("cats_int64s"), aStrs("cats_strings"), aInt("zeros")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		s := c.I(0).Shape()
		if s != nil {
			s = append(s.Clone(), onnxgraph.Known(max(listed(c.Node, "cats_int64s"), listed(c.Node, "cats_strings"))))
		}
		c.Set(0, onnxgraph.Float, s)
		return nil
	}),
	classic("Scaler", since(1), attrs(aFloats("offset"), aFloats("scale")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Float, c.I(0).Shape().Clone())
		return nil
	}),
	classic("SVMClassifier", since(1), append(attrs(aInts("classlabels_ints"), aStrs("classlabels_strings"), aFloats("prob_a"), aFloats("prob_b"), aInts("vectors_per_class")), svmAttrs...), op.Exactly(1), op.Exactly(2), func(c *op.InferCtx) error {
		return inferClassifier(c, "classlabels_ints", "classlabels_strings")
	}),
	classic("SVMRegressor", since(1), append(attrs(aInt("n_supports"), aInt("one_class")), svmAttrs...), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Float, onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(1)})
		return nil
	}),
	classic("TreeEnsemble", since(5), forestAttrs, op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, c.I(0).DType(), onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(c.Node.Int("n_targets", 1))})
		return nil
	}),
	classic("TreeEnsembleClassifier", since(1, 3, 5), treeClassAttrs, op.Exactly(1), op.Exactly(2), func(c *op.InferCtx) error {
		return inferClassifier(c, "classlabels_int64s", "classlabels_strings")
	}),
	classic("TreeEnsembleRegressor", since(1, 3, 5), treeTargetAttrs, op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Float, onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(c.Node.Int("n_targets", 1))})
		return nil
	}),
	classic("ZipMap", since(1), attrs(aInts("classlabels_int64s"), aStrs("classlabels_strings")), op.Exactly(1), op.Exactly(1), func(c *op.InferCtx) error {
		key := onnxgraph.Int64
		if c.Node.Attr("classlabels_strings") != nil {
			key = onnxgraph.String
		}
		value := onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{})
		setType(c, sequenceOf(onnxgraph.Type{Kind: onnxgraph.MapKind, DType: key, Elem: &value}))
		return nil
	}),
}

func classic(name string, versions []int64, a []op.AttrSpec, in, out op.Arity, infer op.InferFunc) *op.Def {
	return &op.Def{
		Domain: classical, Name: name, Versions: versions, Attrs: a, In: in, Out: out, Infer: infer,
		Flow:  op.Opaque("its weights are attributes"),
		Grad:  op.NotDifferentiable("its weights are attributes"),
		Lower: op.Primitive,
	}
}

// listed is the number of entries of an attribute that is a list, 0 where it
// is not set.
func listed(n *onnxgraph.Node, attr string) int64 {
	a := n.Attr(attr)
	if a == nil {
		return 0
	}
	return int64(max(len(a.Ints), len(a.Strings)))
}

// inferCastMap: the values of a map in a row, in the order of their keys; a
// sparse map fills max_map places.
func inferCastMap(c *op.InferCtx) error {
	types := map[string]onnxgraph.DType{"TO_FLOAT": onnxgraph.Float, "TO_STRING": onnxgraph.String, "TO_INT64": onnxgraph.Int64}
	to := c.Node.Str("cast_to", "TO_FLOAT")
	if types[to] == onnxgraph.Undefined {
		return c.Errorf("cast_to", "%q, expected TO_FLOAT, TO_STRING or TO_INT64", to)
	}
	n := onnxgraph.UnknownDim()
	if c.Node.Str("map_form", "DENSE") == "SPARSE" {
		n = onnxgraph.Known(c.Node.Int("max_map", 1))
	}
	c.Set(0, types[to], onnxgraph.Shape{onnxgraph.Known(1), n})
	return nil
}

// batchOf is the extent of axis 0 of a matrix; a vector is one row.
func batchOf(f *op.Fact) onnxgraph.Dim {
	switch s := f.Shape(); len(s) {
	case 1:
		return onnxgraph.Known(1)
	case 0:
		return onnxgraph.UnknownDim()
	default:
		return s[0]
	}
}

// inferClassifier: labels [N], scores [N,classes].
func inferClassifier(c *op.InferCtx, ints, strs string) error {
	label, classes := onnxgraph.Int64, len(c.Node.Ints(ints))
	if a := c.Node.Attr(strs); a != nil && len(a.Strings) > 0 {
		label, classes = onnxgraph.String, len(a.Strings)
	}
	n := onnxgraph.UnknownDim()
	if classes > 0 {
		n = onnxgraph.Known(int64(classes))
	}
	batch := batchOf(c.I(0))
	c.Set(0, label, onnxgraph.Shape{batch})
	c.Set(1, onnxgraph.Float, onnxgraph.Shape{batch, n})
	return nil
}

var labelEncoderAttrs = attrs(aStrs("classes_strings"), aFloat("default_float"), aInt("default_int64"), aStr("default_string"), aTensor("default_tensor"),
	aFloats("keys_floats"), aInts("keys_int64s"), aStrs("keys_strings"), aTensor("keys_tensor"),
	aFloats("values_floats"), aInts("values_int64s"), aStrs("values_strings"), aTensor("values_tensor"))

func inferLabelEncoder(c *op.InferCtx) error {
	d := onnxgraph.Undefined
	switch n := c.Node; {
	case n.Attr("values_floats") != nil:
		d = onnxgraph.Float
	case n.Attr("values_strings") != nil:
		d = onnxgraph.String
	case n.Attr("values_tensor") != nil && n.Attr("values_tensor").T != nil:
		d = n.Attr("values_tensor").T.DType
	case n.Attr("values_int64s") != nil:
		d = onnxgraph.Int64
	case c.I(0).DType() == onnxgraph.String:
		d = onnxgraph.Int64
	case c.I(0).DType() == onnxgraph.Int64:
		d = onnxgraph.String
	}
	c.Set(0, d, c.I(0).Shape().Clone())
	return nil
}

var svmAttrs = attrs(aFloats("coefficients"), aFloats("kernel_params"), aStr("kernel_type"), aStr("post_transform"), aFloats("rho"), aFloats("support_vectors"))

var forestAttrs = attrs(aInt("aggregate_function"), need(aInts("leaf_targetids")), need(aTensor("leaf_weights")), aTensor("membership_values"), aInt("n_targets"), need(aInts("nodes_falseleafs")),
	need(aInts("nodes_falsenodeids")), need(aInts("nodes_featureids")), aTensor("nodes_hitrates"), aInts("nodes_missing_value_tracks_true"), need(aTensor("nodes_modes")), need(aTensor("nodes_splits")),
	need(aInts("nodes_trueleafs")), need(aInts("nodes_truenodeids")), aInt("post_transform"), need(aInts("tree_roots")))

var treeAttrs = attrs(aFloats("base_values"), aTensor("base_values_as_tensor"), aInts("nodes_falsenodeids"), aInts("nodes_featureids"), aFloats("nodes_hitrates"), aTensor("nodes_hitrates_as_tensor"),
	aInts("nodes_missing_value_tracks_true"), aStrs("nodes_modes"), aInts("nodes_nodeids"), aInts("nodes_treeids"), aInts("nodes_truenodeids"), aFloats("nodes_values"), aTensor("nodes_values_as_tensor"), aStr("post_transform"))

var treeClassAttrs = append(attrs(aInts("class_ids"), aInts("class_nodeids"), aInts("class_treeids"), aFloats("class_weights"), aTensor("class_weights_as_tensor"), aInts("classlabels_int64s"), aStrs("classlabels_strings")), treeAttrs...)

var treeTargetAttrs = append(attrs(aStr("aggregate_function"), aInt("n_targets"), aInts("target_ids"), aInts("target_nodeids"), aInts("target_treeids"), aFloats("target_weights"), aTensor("target_weights_as_tensor")), treeAttrs...)
