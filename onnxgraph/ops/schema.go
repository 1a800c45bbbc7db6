package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// Attribute schemas by type; need marks one that every version requires.

func aInt(name string) op.AttrSpec    { return op.AttrSpec{Name: name, Type: onnxgraph.AttrInt} }
func aInts(name string) op.AttrSpec   { return op.AttrSpec{Name: name, Type: onnxgraph.AttrInts} }
func aFloat(name string) op.AttrSpec  { return op.AttrSpec{Name: name, Type: onnxgraph.AttrFloat} }
func aFloats(name string) op.AttrSpec { return op.AttrSpec{Name: name, Type: onnxgraph.AttrFloats} }
func aStr(name string) op.AttrSpec    { return op.AttrSpec{Name: name, Type: onnxgraph.AttrString} }
func aStrs(name string) op.AttrSpec   { return op.AttrSpec{Name: name, Type: onnxgraph.AttrStrings} }
func aTensor(name string) op.AttrSpec { return op.AttrSpec{Name: name, Type: onnxgraph.AttrTensor} }
func aSparse(name string) op.AttrSpec { return op.AttrSpec{Name: name, Type: onnxgraph.AttrSparse} }
func aGraph(name string) op.AttrSpec  { return op.AttrSpec{Name: name, Type: onnxgraph.AttrGraph} }

func need(a op.AttrSpec) op.AttrSpec {
	a.Required = true
	return a
}

func attrs(a ...op.AttrSpec) []op.AttrSpec { return a }

// consumed is an attribute that many operators had before opset 6, a hint
// about memory reuse.
var consumed = aInts("consumed_inputs")

// since lists the versions of an operator.
func since(v ...int64) []int64 { return v }

// joined concatenates lists of definitions.
func joined(lists ...[]*op.Def) []*op.Def { return slices.Concat(lists...) }
