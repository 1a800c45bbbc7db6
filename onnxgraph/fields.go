package onnxgraph

// Wire types of protobuf (https://protobuf.dev/programming-guides/encoding).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireGroup   = 3
	wireEnd     = 4
	wireFixed32 = 5
)

// Keys of the fields that this package models: the number of the field in
// onnx.proto (onnxgraph/testdata/onnx.proto lists all), and its wire type.
// Repeated numbers come packed or one by one; the key here is the one that is
// written.
const (
	modelIRVersion       = 1<<3 | wireVarint
	modelProducerName    = 2<<3 | wireBytes
	modelProducerVersion = 3<<3 | wireBytes
	modelDomain          = 4<<3 | wireBytes
	modelVersion         = 5<<3 | wireVarint
	modelDoc             = 6<<3 | wireBytes
	modelGraph           = 7<<3 | wireBytes
	modelOpset           = 8<<3 | wireBytes
	modelMetadata        = 14<<3 | wireBytes
	modelFunction        = 25<<3 | wireBytes

	opsetDomain  = 1<<3 | wireBytes
	opsetVersion = 2<<3 | wireVarint

	entryKey   = 1<<3 | wireBytes
	entryValue = 2<<3 | wireBytes

	graphNode        = 1<<3 | wireBytes
	graphName        = 2<<3 | wireBytes
	graphInitializer = 5<<3 | wireBytes
	graphDoc         = 10<<3 | wireBytes
	graphInput       = 11<<3 | wireBytes
	graphOutput      = 12<<3 | wireBytes
	graphValueInfo   = 13<<3 | wireBytes
	graphSparse      = 15<<3 | wireBytes
	graphMetadata    = 16<<3 | wireBytes

	nodeInput     = 1<<3 | wireBytes
	nodeOutput    = 2<<3 | wireBytes
	nodeName      = 3<<3 | wireBytes
	nodeOpType    = 4<<3 | wireBytes
	nodeAttribute = 5<<3 | wireBytes
	nodeDoc       = 6<<3 | wireBytes
	nodeDomain    = 7<<3 | wireBytes
	nodeOverload  = 8<<3 | wireBytes
	nodeMetadata  = 9<<3 | wireBytes

	functionName      = 1<<3 | wireBytes
	functionInput     = 4<<3 | wireBytes
	functionOutput    = 5<<3 | wireBytes
	functionAttribute = 6<<3 | wireBytes
	functionNode      = 7<<3 | wireBytes
	functionDoc       = 8<<3 | wireBytes
	functionOpset     = 9<<3 | wireBytes
	functionDomain    = 10<<3 | wireBytes
	functionDefault   = 11<<3 | wireBytes
	functionValueInfo = 12<<3 | wireBytes
	functionOverload  = 13<<3 | wireBytes
	functionMetadata  = 14<<3 | wireBytes

	attrName    = 1<<3 | wireBytes
	attrFloat   = 2<<3 | wireFixed32
	attrInt     = 3<<3 | wireVarint
	attrString  = 4<<3 | wireBytes
	attrTensor  = 5<<3 | wireBytes
	attrGraph   = 6<<3 | wireBytes
	attrFloats  = 7<<3 | wireFixed32
	attrInts    = 8<<3 | wireVarint
	attrStrings = 9<<3 | wireBytes
	attrTensors = 10<<3 | wireBytes
	attrGraphs  = 11<<3 | wireBytes
	attrDoc     = 13<<3 | wireBytes
	attrTP      = 14<<3 | wireBytes
	attrTypes   = 15<<3 | wireBytes
	attrType    = 20<<3 | wireVarint
	attrRef     = 21<<3 | wireBytes
	attrSparse  = 22<<3 | wireBytes
	attrSparses = 23<<3 | wireBytes

	valueName     = 1<<3 | wireBytes
	valueType     = 2<<3 | wireBytes
	valueDoc      = 3<<3 | wireBytes
	valueMetadata = 4<<3 | wireBytes

	typeTensor     = 1<<3 | wireBytes
	typeSequence   = 4<<3 | wireBytes
	typeMap        = 5<<3 | wireBytes
	typeDenotation = 6<<3 | wireBytes
	typeSparse     = 8<<3 | wireBytes
	typeOptional   = 9<<3 | wireBytes

	tensorTypeElem  = 1<<3 | wireVarint // of TypeProto.Tensor and SparseTensor
	tensorTypeShape = 2<<3 | wireBytes
	listTypeElem    = 1<<3 | wireBytes // of TypeProto.Sequence and Optional
	mapTypeKey      = 1<<3 | wireVarint
	mapTypeValue    = 2<<3 | wireBytes

	shapeDim = 1<<3 | wireBytes
	dimValue = 1<<3 | wireVarint
	dimParam = 2<<3 | wireBytes

	tensorDims         = 1<<3 | wireVarint
	tensorDType        = 2<<3 | wireVarint
	tensorFloatData    = 4<<3 | wireBytes
	tensorInt32Data    = 5<<3 | wireBytes
	tensorStringData   = 6<<3 | wireBytes
	tensorInt64Data    = 7<<3 | wireBytes
	tensorName         = 8<<3 | wireBytes
	tensorRawData      = 9<<3 | wireBytes
	tensorDoubleData   = 10<<3 | wireBytes
	tensorUint64Data   = 11<<3 | wireBytes
	tensorDoc          = 12<<3 | wireBytes
	tensorExternalData = 13<<3 | wireBytes
	tensorLocation     = 14<<3 | wireVarint
	tensorMetadata     = 16<<3 | wireBytes

	sparseValues  = 1<<3 | wireBytes
	sparseIndices = 2<<3 | wireBytes
	sparseDims    = 3<<3 | wireVarint
)

// externalLocation is the value of data_location for external data.
const externalLocation = 1
