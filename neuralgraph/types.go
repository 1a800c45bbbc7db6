package neuralgraph

import "fmt"

// EdgeType is the kind of a NiNo edge. The numbers are those of the reference
// weights' embedding table.
type EdgeType int

// Edge types of the NiNo network.
const (
	EdgePadding   EdgeType = 0
	EdgeLinear    EdgeType = 1
	EdgeBias      EdgeType = 2 // biases and anything without a type of its own
	EdgeConv      EdgeType = 3
	EdgeNorm      EdgeType = 4
	EdgeEmbedding EdgeType = 5
	EdgePosition  EdgeType = 6
	EdgeQuery     EdgeType = 7
	EdgeKey       EdgeType = 8
	EdgeValue     EdgeType = 9
	EdgeResidual  EdgeType = 10
	EdgeHead      EdgeType = 11
	EdgeSelfLoop  EdgeType = 13
)

// Name is the type in words.
func (t EdgeType) Name() string {
	names := map[EdgeType]string{
		EdgePadding: "padding", EdgeLinear: "linear", EdgeBias: "bias", EdgeConv: "convolution", EdgeNorm: "norm",
		EdgeEmbedding: "embedding", EdgePosition: "position", EdgeQuery: "query", EdgeKey: "key", EdgeValue: "value",
		EdgeResidual: "residual", EdgeHead: "head", EdgeSelfLoop: "self-loop",
	}
	if s := names[t]; s != "" {
		return s
	}
	return fmt.Sprintf("type %d", int(t))
}

// NiNo is the graph that the NiNo network reads (paper, section 4.1): layers
// of neurons as nodes, and dense blocks of edges between them. Self-loops are
// implied: one of type EdgeSelfLoop on every node.
type NiNo struct {
	Layers []Layer
	Blocks []Block
	Nodes  int
}

// Layer is a run of consecutive nodes.
type Layer struct {
	Name  string
	First int
	Size  int
}

// Span is a set of nodes: First, First+1, … or, where Index is given, those.
type Span struct {
	First int
	Count int
	Index []int32
}

// Node is the number of the i-th node of the span.
func (s Span) Node(i int) int {
	if s.Index != nil {
		return int(s.Index[i])
	}
	return s.First + i
}

// Block is a dense set of directed edges, one from every node of Source to
// every node of Target, or, where Diagonal, from the i-th to the i-th.
// The edge from source i to target j carries Taps numbers of the parameter:
// its row-major element Offset + i·SourceStride + j·TargetStride + TapOffsets[t]
// (t·1 where TapOffsets is nil). Auxiliary blocks (residual, heads) have no
// parameter and no taps.
type Block struct {
	Parameter    string
	Type         EdgeType
	Source       Span
	Target       Span
	Diagonal     bool
	Taps         int
	Offset       int64
	SourceStride int64
	TargetStride int64
	TapOffsets   []int64
}

// Edges is the number of edges of the block.
func (b *Block) Edges() int {
	if b.Diagonal {
		return b.Source.Count
	}
	return b.Source.Count * b.Target.Count
}
