package ops

import (
	"sync"

	"ninox/onnxgraph/op"
)

// Registry holds every operator that ninox knows. It is built once.
func Registry() *op.Registry { return registry() }

var registry = sync.OnceValue(func() *op.Registry {
	return op.NewRegistry(joined(
		activations,
		unaryMath,
		arithmetic,
		variadics,
		comparisons,
		[]*op.Def{
			batchNormalization,
			cast, clip, concat, constantNode, constantOfShape, conv, convTranspose, cumSum,
			dropout, einsum, expand, flatten,
			gather, gatherElements, gemm, identity, matMul, nonZero, oneHot,
			pad, rangeOp, reshape, scatterElements, shapeOp, sizeOp, slice, split, squeeze,
			tile, transpose, unsqueeze, where,
		},
		pools,
		reductions,
		softmaxes,
		wideOps,
	)...)
})
