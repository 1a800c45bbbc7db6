package neuralgraph

import (
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/mat"
)

// positionWidth is the number of Laplacian features of a node.
const positionWidth = 8

// Positions gives every node 8 features, row-major [Nodes, 8]: those columns of
// Eigenvectors that are equal for all neurons that no connection tells apart. The
// others are zero: they would number the neurons of a layer, and what is predicted
// would depend on their order.
func (n *NiNo) Positions() []float32 {
	out := make([]float32, n.Nodes*positionWidth)
	if n.Nodes == 0 {
		return out
	}
	c := n.cellsOf()
	class, count := n.classes(c)
	constant := c.constantPairs(class, count, positionWidth+1)
	for j, p := range c.spectrum(positionWidth + 1) {
		// All eigenvalues of the smaller matrix are among those of the graph.
		if len(constant) == 0 || p.value-constant[0].value > sameEigenvalue {
			continue
		}
		if j > 0 {
			setColumn(out, j-1, constant[0])
		}
		constant = constant[1:]
	}
	return out
}

// sameEigenvalue is how far apart two ways to compute one may be.
const sameEigenvalue = 1e-9

// Eigenvectors are those of the symmetric normalized Laplacian of the undirected,
// unweighted simple graph without self-loops, row-major [Nodes, 8], for its
// smallest eigenvalues, ascending, the very first dropped. Columns have unit norm
// and the sign that makes the sum of the entries positive, or where it vanishes
// the sum of their cubes. Where an eigenvalue is repeated any orthonormal basis of
// its space would do; the one returned depends on the graph alone. Graphs of fewer
// than 9 nodes leave the last columns zero.
//
// The eigenvectors are found without ever writing the matrix down. Nodes that
// no block tells apart form cells, and cells of equal degree an equitable
// partition, so the space splits in two invariant parts. Vectors that are
// constant on every cell obey a matrix of the size of the number of cells.
// Vectors that sum to zero on every cell see no dense block at all, only the
// one-to-one links; there the matrix is a small one, of the cells that links
// chain together, times the identity.
func (n *NiNo) Eigenvectors() []float32 {
	out := make([]float32, n.Nodes*positionWidth)
	if n.Nodes == 0 {
		return out
	}
	pairs := n.cellsOf().spectrum(positionWidth + 1)
	for j := 1; j < len(pairs) && j <= positionWidth; j++ {
		setColumn(out, j-1, pairs[j])
	}
	return out
}

// setColumn writes an eigenvector to a column of features.
func setColumn(features []float32, column int, p eigenpair) {
	v := make([]float64, len(features)/positionWidth)
	p.lift(p.vector, v)
	s := signOf(v)
	for u, x := range v {
		features[u*positionWidth+column] = float32(s * x)
	}
}

// eigenpair belongs to D^(-1/2) A D^(-1/2), whose largest eigenvalues are 1
// minus the smallest ones of the Laplacian. The vector may be that of a smaller
// matrix; lift writes the one of the graph that it stands for into zeros.
type eigenpair struct {
	value  float64
	vector []float64
	lift   func(vector, nodes []float64)
}

// spectrum finds the pairs of the largest eigenvalues, descending.
func (c *cellGraph) spectrum(count int) []eigenpair {
	chains, ok := c.chains()
	if !ok {
		// Links close to cycles that permute the nodes: no short cut.
		pairs := lanczos(c.nodes, min(count, c.nodes), krylovSteps, c.multiply)
		for i := range pairs {
			pairs[i].lift = func(vector, nodes []float64) { copy(nodes, vector) }
		}
		return pairs
	}
	class, classes := c.apart()
	pairs := c.constantPairs(class, classes, count)
	for _, ch := range chains {
		pairs = append(pairs, c.chainPairs(ch, count)...)
	}
	// Cell-constant vectors come first among equals.
	rank := func(p eigenpair) float64 { return math.Round(p.value * 1e11) }
	sort.SliceStable(pairs, func(i, j int) bool { return rank(pairs[i]) > rank(pairs[j]) })
	return pairs[:min(count, len(pairs))]
}

// constantPairs are the pairs whose vectors are constant on the classes of an
// equitable partition of the cells.
func (c *cellGraph) constantPairs(class []int32, classes, count int) []eigenpair {
	root := make([]float64, classes)
	for k, nodes := range c.cells {
		root[class[k]] += float64(len(nodes))
	}
	for i, nodes := range root {
		root[i] = math.Sqrt(nodes)
	}
	m := newSymmetric(classes)
	for k, nodes := range c.cells {
		own, size := class[k], float64(len(nodes))
		add := func(q int, neighbours float64) {
			m.add(int(own), int(class[q]), c.weight(k)*c.weight(q)*size*neighbours/(root[own]*root[class[q]]))
		}
		for _, q := range c.dense[k] {
			neighbours := float64(len(c.cells[q]))
			if int(q) == k {
				neighbours--
			}
			add(int(q), neighbours)
		}
		for _, l := range c.linked[k] {
			add(l.to, 1)
		}
	}
	pairs := m.largest(count)
	for i := range pairs {
		pairs[i].lift = func(vector, nodes []float64) {
			for k, members := range c.cells {
				for _, u := range members {
					nodes[u] = vector[class[k]] / root[class[k]]
				}
			}
		}
	}
	return pairs
}

// chain is a set of cells that links join, with their nodes aligned: the nodes
// at equal places of order are joined.
type chain struct {
	cells []int
	order [][]int32
}

// chains finds the cells that links join; false where going round a cycle of
// links permutes the nodes.
func (c *cellGraph) chains() ([]chain, bool) {
	place := make([][]int32, len(c.cells)) // by cell: the place in the chain's order of each of its nodes
	var out []chain
	for k := range c.cells {
		if place[k] != nil {
			continue
		}
		place[k] = make([]int32, len(c.cells[k]))
		for i := range place[k] {
			place[k][i] = int32(i)
		}
		ch := chain{cells: []int{k}}
		for head := 0; head < len(ch.cells); head++ {
			p := ch.cells[head]
			for _, l := range c.linked[p] {
				there := make([]int32, len(l.perm))
				for i := range there {
					there[i] = -1
				}
				for i, j := range l.perm {
					if there[j] >= 0 {
						return nil, false
					}
					there[j] = place[p][i]
				}
				if place[l.to] == nil {
					place[l.to] = there
					ch.cells = append(ch.cells, l.to)
					continue
				}
				for i, want := range place[l.to] {
					if there[i] != want {
						return nil, false
					}
				}
			}
		}
		for _, p := range ch.cells {
			order := make([]int32, len(c.cells[p]))
			for i, at := range place[p] {
				order[at] = c.cells[p][i]
			}
			ch.order = append(ch.order, order)
		}
		out = append(out, ch)
	}
	return out, true
}

// chainPairs are the pairs whose vectors sum to zero on every cell and live on
// one chain: each pair of its small matrix, times each of the n-1 vectors of an
// orthonormal basis of the zero-sum vectors (cosines).
func (c *cellGraph) chainPairs(ch chain, count int) []eigenpair {
	n := len(ch.order[0])
	if n < 2 {
		return nil
	}
	at := map[int]int{}
	for i, k := range ch.cells {
		at[k] = i
	}
	m := newSymmetric(len(ch.cells))
	for i, k := range ch.cells {
		if _, own := slices.BinarySearch(c.dense[k], int32(k)); own {
			m.add(i, i, -c.weight(k)*c.weight(k))
		}
		for _, l := range c.linked[k] {
			m.add(i, at[l.to], c.weight(k)*c.weight(l.to))
		}
	}
	small := m.largest(count)
	var out []eigenpair
	for _, p := range small {
		for j := 1; j < n && j <= count; j++ {
			out = append(out, eigenpair{p.value, p.vector, func(vector, nodes []float64) {
				for i := range n {
					z := math.Sqrt(2/float64(n)) * math.Cos(math.Pi*float64(j)*(float64(i)+0.5)/float64(n))
					for m, order := range ch.order {
						nodes[order[i]] = vector[m] * z
					}
				}
			}})
		}
	}
	return out
}

// signOf is the sign that makes the sum of the entries positive, or where it
// vanishes the sum of their cubes, or else the first entry.
func signOf(v []float64) float64 {
	sum, cubes := 0.0, 0.0
	for _, x := range v {
		sum += x
		cubes += x * x * x
	}
	const tiny = 1e-9
	switch {
	case math.Abs(sum) > tiny:
		return math.Copysign(1, sum)
	case math.Abs(cubes) > tiny:
		return math.Copysign(1, cubes)
	}
	for _, x := range v {
		if math.Abs(x) > tiny {
			return math.Copysign(1, x)
		}
	}
	return 1
}

func inverseRoot(d float64) float64 {
	if d == 0 {
		return 0
	}
	return 1 / math.Sqrt(d)
}

// densePairs finds the pairs of the count largest eigenvalues, descending.
func densePairs(m *mat.SymDense, n, count int) []eigenpair {
	var e mat.EigenSym
	if !e.Factorize(m, true) {
		return nil // a symmetric matrix without NaN always factorizes
	}
	values := e.Values(nil)
	var vectors mat.Dense
	e.VectorsTo(&vectors)
	out := make([]eigenpair, count)
	for i := range out {
		col := n - 1 - i
		out[i] = eigenpair{value: values[col], vector: mat.Col(nil, col, &vectors)}
	}
	return out
}
