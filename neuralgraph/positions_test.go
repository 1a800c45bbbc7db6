package neuralgraph

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// denseLaplacian expands a small graph by the definition.
func denseLaplacian(n *NiNo) *mat.SymDense {
	adj := mat.NewSymDense(n.Nodes, nil)
	for i := range n.Blocks {
		for e := range n.Blocks[i].All() {
			if e.Source != e.Target {
				adj.SetSym(e.Source, e.Target, 1)
			}
		}
	}
	lap := mat.NewSymDense(n.Nodes, nil)
	degree := make([]float64, n.Nodes)
	for i := range degree {
		for j := range degree {
			degree[i] += adj.At(i, j)
		}
	}
	for i := range degree {
		lap.SetSym(i, i, 1)
		for j := range i {
			if adj.At(i, j) != 0 {
				lap.SetSym(i, j, -1/math.Sqrt(degree[i]*degree[j]))
			}
		}
	}
	return lap
}

// checkPositions compares with the dense eigensolver: every column is a unit
// eigenvector of the right eigenvalue, and columns are orthogonal to each
// other and to the first eigenvector. Positions are those that are constant on
// the classes of the graph.
func checkPositions(t *testing.T, n *NiNo) {
	t.Helper()
	lap := denseLaplacian(n)
	var e mat.EigenSym
	if !e.Factorize(lap, true) {
		t.Fatal("no eigenvalues")
	}
	want := e.Values(nil)
	pos := n.Eigenvectors()
	checkConstant(t, n, pos, want)
	if len(pos) != n.Nodes*positionWidth {
		t.Fatalf("%d numbers for %d nodes", len(pos), n.Nodes)
	}
	cols := make([]*mat.VecDense, positionWidth)
	for j := range cols {
		cols[j] = mat.NewVecDense(n.Nodes, nil)
		for u := range n.Nodes {
			cols[j].SetVec(u, float64(pos[u*positionWidth+j]))
		}
		if j+1 >= n.Nodes {
			if mat.Norm(cols[j], 2) != 0 {
				t.Errorf("column %d of a graph of %d nodes is not zero", j, n.Nodes)
			}
			continue
		}
		var r mat.VecDense
		r.MulVec(lap, cols[j])
		r.AddScaledVec(&r, -want[j+1], cols[j])
		if d := mat.Norm(&r, 2); d > 2e-6 {
			t.Errorf("column %d: |Lv - %.6fv| = %.2e", j, want[j+1], d)
		}
		if sum := mat.Sum(cols[j]); sum < -1e-5 {
			t.Errorf("column %d has the wrong sign: sum %g", j, sum)
		}
		for i := range j + 1 {
			dot, expect := mat.Dot(cols[i], cols[j]), 0.0
			if i == j {
				expect = 1
			}
			if math.Abs(dot-expect) > 2e-6 {
				t.Errorf("columns %d and %d: product %g", i, j, dot)
			}
		}
	}
}

// checkConstant holds the positions against all eigenvectors: they are constant on
// every class, and a column is zero only where nothing else of its eigenvalue is.
func checkConstant(t *testing.T, n *NiNo, all []float32, values []float64) {
	t.Helper()
	pos, sets := n.Positions(), classesOf(n)
	for _, nodes := range sets {
		for _, u := range nodes[1:] {
			for j := range positionWidth {
				if a, b := pos[int(u)*positionWidth+j], pos[int(nodes[0])*positionWidth+j]; math.Abs(float64(a-b)) > 1e-6 {
					t.Errorf("column %d: nodes %d and %d of a class have %v and %v", j, nodes[0], u, b, a)
				}
			}
		}
	}
	// The columns of an eigenvalue span its space; what they hold of vectors that
	// are constant on classes has the dimension of the columns that are not zero.
	for first := 0; first < positionWidth && first+1 < len(values); {
		last := first
		for last+1 < positionWidth && last+2 < len(values) && values[last+2]-values[first+1] < 1e-8 {
			last++
		}
		constant, kept := 0.0, 0.0
		for j := first; j <= last; j++ {
			kept += constantPart(sets, pos, j)
			constant += constantPart(sets, all, j)
		}
		whole := last+2 >= len(values) || values[last+2]-values[first+1] > 1e-8 // no more of this eigenvalue than there are columns
		if whole && math.Abs(constant-kept) > 1e-4 {
			t.Errorf("columns %d to %d: %.5f dimensions are constant on classes, positions keep %.5f", first, last, constant, kept)
		}
		first = last + 1
	}
}

// classesOf are the nodes of each class.
func classesOf(n *NiNo) [][]int32 {
	c := n.cellsOf()
	class, count := n.classes(c)
	sets := make([][]int32, count)
	for k, nodes := range c.cells {
		sets[class[k]] = append(sets[class[k]], nodes...)
	}
	return sets
}

// constantPart is the square of what is constant on the sets in a column.
func constantPart(sets [][]int32, features []float32, column int) (squares float64) {
	for _, nodes := range sets {
		sum := 0.0
		for _, u := range nodes {
			sum += float64(features[int(u)*positionWidth+column])
		}
		squares += sum * sum / float64(len(nodes))
	}
	return squares
}

// randomGraph has layers joined by dense blocks, some twice or backwards, some
// one to one, straight or shuffled, and isolated nodes.
func randomGraph(rng *rand.Rand, layers int, shuffled bool) *NiNo {
	n := &NiNo{}
	var spans []Span
	for range layers {
		size := 1 + rng.IntN(7)
		spans = append(spans, Span{First: n.Nodes, Count: size})
		n.Layers = append(n.Layers, Layer{First: n.Nodes, Size: size})
		n.Nodes += size
	}
	n.Nodes += rng.IntN(2)
	for i := 1; i < layers; i++ {
		from, to := spans[rng.IntN(i)], spans[i]
		if rng.IntN(4) == 0 {
			from, to = to, from
		}
		b := Block{Source: from, Target: to}
		if from.Count == to.Count && rng.IntN(2) == 0 {
			b.Diagonal = true
			if shuffled {
				b.Target = Span{Count: to.Count}
				for _, j := range rng.Perm(to.Count) {
					b.Target.Index = append(b.Target.Index, int32(to.First+j))
				}
			}
		}
		n.Blocks = append(n.Blocks, b)
		if rng.IntN(3) == 0 {
			n.Blocks = append(n.Blocks, b)
		}
		if rng.IntN(5) == 0 { // a recurrent layer
			n.Blocks = append(n.Blocks, Block{Source: to, Target: to})
		}
		if rng.IntN(4) == 0 { // part of a layer only
			n.Blocks = append(n.Blocks, Block{Source: Span{First: from.First, Count: (from.Count + 1) / 2}, Target: spans[0]})
		}
	}
	return n
}

func TestPositionsAgainstDense(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := randomGraph(rng, 2+rng.IntN(9), seed%3 == 0)
		checkPositions(t, n)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, n)
		}
	}
}

// TestPositionsManyNodes makes both parts of the spectrum large enough for the
// iterative solver: a residual stream of two hundred layers, and one cell a node.
func TestPositionsManyNodes(t *testing.T) {
	n := &NiNo{}
	prev := Span{}
	for i := range 30 {
		stream := Span{First: n.Nodes, Count: 8}
		inner := Span{First: n.Nodes + 8, Count: 12}
		n.Nodes += 20
		if i > 0 {
			n.Blocks = append(n.Blocks, Block{Source: prev, Target: stream, Diagonal: true})
		}
		n.Blocks = append(n.Blocks, Block{Source: stream, Target: inner}, Block{Source: inner, Target: Span{First: inner.First + inner.Count, Count: 8}})
		prev = stream
	}
	n.Nodes += 8
	checkPositions(t, n)
	rng := rand.New(rand.NewPCG(3, 3))
	for u := 1; u < n.Nodes; u++ { // a random tree: every node its own cell
		n.Blocks = append(n.Blocks, Block{Source: Span{First: rng.IntN(u), Count: 1}, Target: Span{First: u, Count: 1}})
	}
	checkPositions(t, n)
}

// TestPositionsOverlap: two one-to-one blocks agree on some nodes only, so
// nodes that no block tells apart have different degrees.
func TestPositionsOverlap(t *testing.T) {
	from := Span{First: 0, Count: 6}
	n := &NiNo{Nodes: 14, Blocks: []Block{
		{Source: from, Target: Span{First: 6, Count: 6}, Diagonal: true},
		{Source: from, Target: Span{Count: 6, Index: []int32{6, 7, 9, 10, 8, 11}}, Diagonal: true},
		{Source: Span{First: 12, Count: 2}, Target: from},
	}}
	checkPositions(t, n)
}
