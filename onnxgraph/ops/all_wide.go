package ops

import "ninox/onnxgraph/op"

// wideOps lists the operators beyond the core.
var wideOps = joined(
	moreActivations,
	trigonometry,
	bitOps,
	geluOps,
	layerNormOps,
	groupNorms,
	otherNorms,
	skipNorms,
	depthSpace,
	crossEntropyOps,
	fusedMatMuls,
	rnnOps,
	controlFlow,
	choosers,
	triangles,
	sequenceOps,
	quantization,
	[]*op.Def{castLike},
	pointwise,
	selections,
	randoms,
	[]*op.Def{mod, tensorScatter},
	resizes,
	attentions,
	rotaries,
	spatials,
	signals,
	texts,
	contribOps,
	classicalOps,
	trainingOps,
)
