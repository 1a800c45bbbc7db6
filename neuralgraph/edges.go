package neuralgraph

import "iter"

// Edge is one edge of a block: its ends, and which flat elements of the
// parameter it carries.
type Edge struct {
	Source, Target int
	Elements       []int64 // empty for auxiliary edges; valid until the next edge
}

// All visits the edges of the block, those of each source together.
func (b *Block) All() iter.Seq[Edge] {
	return func(yield func(Edge) bool) {
		e := Edge{Elements: make([]int64, b.Taps)}
		for i := range b.Source.Count {
			first, last, stride := 0, b.Target.Count, b.TargetStride
			if b.Diagonal {
				first, last, stride = i, i+1, 0
			}
			for j := first; j < last; j++ {
				e.Source, e.Target = b.Source.Node(i), b.Target.Node(j)
				at := b.Offset + int64(i)*b.SourceStride + int64(j)*stride
				for t := range e.Elements {
					e.Elements[t] = at + int64(t)
					if b.TapOffsets != nil {
						e.Elements[t] = at + b.TapOffsets[t]
					}
				}
				if !yield(e) {
					return
				}
			}
		}
	}
}
