package nino

// tiling is a plan as tiles of equal size, and a list of the edges that are in
// none. Edges are numbered as plan.each visits them.
type tiling struct {
	side             int     // sources and targets of a tile
	kinds            []int64 // by tile
	sources, targets []int64 // nodes of each tile, -1 where it is not full
	cells            []int   // edges of each tile, by source and target, -1 where there is none
	list             []int   // the other edges
}

// leastDense is the number of nodes at both ends from which a block of edges is
// tiled: thinner blocks would leave most of a tile empty.
const leastDense = 8

// newTiling cuts the dense pieces of a plan into tiles.
func newTiling(p *plan, side int) *tiling {
	t := &tiling{side: side}
	first := 0
	for i := range p.pieces {
		x := &p.pieces[i]
		if isDense(x) {
			for s := 0; s < x.source.Count; s += side {
				for j := 0; j < x.target.Count; j += side {
					t.add(x, first, s, j)
				}
			}
		} else {
			for e := range x.edges() {
				t.list = append(t.list, first+e)
			}
		}
		first += x.edges()
	}
	return t
}

func isDense(x *piece) bool {
	return !x.diagonal && x.source.Count >= leastDense && x.target.Count >= leastDense
}

// add appends the tile of a piece that starts at source s and target j; the
// piece's edges are numbered from first on.
func (t *tiling) add(x *piece, first, s, j int) {
	t.kinds = append(t.kinds, int64(x.kind))
	for i := range t.side {
		source, target := int64(-1), int64(-1)
		if s+i < x.source.Count {
			source = int64(x.source.Node(s + i))
		}
		if j+i < x.target.Count {
			target = int64(x.target.Node(j + i))
		}
		t.sources, t.targets = append(t.sources, source), append(t.targets, target)
	}
	for a := s; a < s+t.side; a++ {
		for b := j; b < j+t.side; b++ {
			e := -1
			if a < x.source.Count && b < x.target.Count {
				e = first + a*x.target.Count + b
			}
			t.cells = append(t.cells, e)
		}
	}
}

// tileOverhead is what a tile costs beside its cells, in cells.
const tileOverhead = 256

// bestSide is the size of tiles that makes the least work of a plan.
func bestSide(p *plan) int {
	best, least := 0, 0
	for _, side := range []int{16, 32, 64} {
		work := 0
		for i := range p.pieces {
			x := &p.pieces[i]
			if isDense(x) {
				tiles := ((x.source.Count + side - 1) / side) * ((x.target.Count + side - 1) / side)
				work += tiles * (side*side + tileOverhead)
			}
		}
		if best == 0 || work < least {
			best, least = side, work
		}
	}
	return best
}
