package neuralgraph

import (
	"cmp"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// symmetric is a sparse symmetric matrix with eigenvalues in [-1, 1].
type symmetric struct {
	rows [][]entry
}

type entry struct {
	col   int
	value float64
}

func newSymmetric(n int) *symmetric { return &symmetric{make([][]entry, n)} }

// add adds to an element; the caller adds as much to its mirror image.
func (m *symmetric) add(row, col int, value float64) {
	m.rows[row] = append(m.rows[row], entry{col, value})
}

func (m *symmetric) multiply(y, x []float64) {
	for i, row := range m.rows {
		y[i] = 0
		for _, e := range row {
			y[i] += e.value * x[e.col]
		}
	}
}

// Sizes up to which a direct method is used.
const (
	denseLimit = 100
	bandLimit  = 2e9 // multiplications of a factorization
)

// largest finds the pairs of the count largest eigenvalues, descending.
func (m *symmetric) largest(count int) []eigenpair {
	n := len(m.rows)
	count = min(n, count)
	if n <= denseLimit {
		return densePairs(m.dense(), n, count)
	}
	order := m.narrow()
	band := m.bandwidth(order)
	if float64(n)*float64(band)*float64(band) > bandLimit {
		return lanczos(n, count, krylovSteps, m.multiply)
	}
	return m.inverted(count, order, band)
}

func (m *symmetric) dense() *mat.SymDense {
	out := mat.NewSymDense(len(m.rows), nil)
	for i, row := range m.rows {
		for _, e := range row {
			if e.col >= i {
				out.SetSym(i, e.col, out.At(i, e.col)+e.value)
			}
		}
	}
	return out
}

// Sizes of the inverse method.
const (
	shift         = 1e-3 // how far beyond the spectrum the inverse is taken
	invertedSteps = 5    // multiplications of a block between restarts
)

// inverted finds the pairs as those of the inverse of (1 + shift)·I - m, where
// the wanted eigenvalues lie far apart: few steps of Lanczos' method do.
func (m *symmetric) inverted(count int, order []int, band int) []eigenpair {
	n := len(m.rows)
	at := make([]int, n)
	for i, k := range order {
		at[k] = i
	}
	a := mat.NewSymBandDense(n, band, nil)
	for i := range n {
		a.SetSymBand(i, i, 1+shift)
	}
	for k, row := range m.rows {
		for _, e := range row {
			if i, j := at[k], at[e.col]; i <= j {
				a.SetSymBand(i, j, a.At(i, j)-e.value)
			}
		}
	}
	var f mat.BandCholesky
	if !f.Factorize(a) {
		return lanczos(n, count, krylovSteps, m.multiply) // the spectrum lies outside [-1, 1] by a rounding error of more than the shift
	}
	v := mat.NewVecDense(n, nil)
	pairs := lanczos(n, count, invertedSteps, func(y, x []float64) {
		for i, k := range order {
			v.SetVec(i, x[k])
		}
		// The factor is well conditioned, and its size that of v.
		_ = f.SolveVecTo(v, v)
		for i, k := range order {
			y[k] = v.AtVec(i)
		}
	})
	for i := range pairs {
		pairs[i].value = 1 + shift - 1/pairs[i].value
	}
	return pairs
}

// narrow orders the rows so that elements lie near the diagonal: by their
// distance from a row with few of them (Cuthill and McKee's method).
func (m *symmetric) narrow() []int {
	n := len(m.rows)
	starts := make([]int, n)
	for i := range starts {
		starts[i] = i
	}
	byDegree := func(i, j int) int {
		return cmp.Or(cmp.Compare(len(m.rows[i]), len(m.rows[j])), cmp.Compare(i, j))
	}
	slices.SortFunc(starts, byDegree)
	seen := make([]bool, n)
	order := make([]int, 0, n)
	for _, s := range starts {
		if seen[s] {
			continue
		}
		seen[s] = true
		order = append(order, s)
		for head := len(order) - 1; head < len(order); head++ {
			first := len(order)
			for _, e := range m.rows[order[head]] {
				if !seen[e.col] {
					seen[e.col] = true
					order = append(order, e.col)
				}
			}
			slices.SortFunc(order[first:], byDegree)
		}
	}
	return order
}

// bandwidth is the largest distance of an element from the diagonal.
func (m *symmetric) bandwidth(order []int) int {
	at := make([]int, len(order))
	for i, k := range order {
		at[k] = i
	}
	most := 0
	for k, row := range m.rows {
		for _, e := range row {
			most = max(most, at[e.col]-at[k])
		}
	}
	return most
}
