package analysis

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Projection is the first two principal components of some rows.
type Projection struct {
	Points    [][2]float64 // one for each row
	Explained [2]float64   // share of the variance
}

// Project finds the principal components of rows of equal length. The sign of a
// component is such that the last row lies at or above the first.
func Project(rows [][]float32) (*Projection, error) {
	if len(rows) < 2 {
		return nil, fmt.Errorf("projection: %d rows, expected at least 2", len(rows))
	}
	n, d := len(rows), len(rows[0])
	mean := make([]float64, d)
	for _, r := range rows {
		if len(r) != d {
			return nil, fmt.Errorf("projection: rows of %d and %d numbers", d, len(r))
		}
		for i, v := range r {
			mean[i] += float64(v) / float64(n)
		}
	}
	// The components follow from the smaller of the two products of the centred
	// rows: between rows, or between columns.
	var eigen mat.EigenSym
	byRows := n <= d
	product := mat.NewSymDense(min(n, d), nil)
	if byRows {
		for i := range n {
			for j := range i + 1 {
				sum := 0.0
				for k, v := range rows[i] {
					sum += (float64(v) - mean[k]) * (float64(rows[j][k]) - mean[k])
				}
				product.SetSym(i, j, sum)
			}
		}
	} else {
		centred := make([]float64, d)
		for _, r := range rows {
			for k, v := range r {
				centred[k] = float64(v) - mean[k]
			}
			product.SymRankOne(product, 1, mat.NewVecDense(d, centred))
		}
	}
	if !eigen.Factorize(product, true) {
		return nil, errors.New("projection: the eigenvalues do not converge; a number that is not finite?")
	}
	p := &Projection{Points: make([][2]float64, n)}
	values := eigen.Values(nil) // ascending
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	total := 0.0
	for _, v := range values {
		total += max(0, v)
	}
	for c := range min(2, len(values)) {
		at := len(values) - 1 - c
		value := max(0, values[at])
		if total > 0 {
			p.Explained[c] = value / total
		}
		for i, r := range rows {
			if byRows {
				p.Points[i][c] = math.Sqrt(value) * vectors.At(i, at)
				continue
			}
			for k, v := range r {
				p.Points[i][c] += (float64(v) - mean[k]) * vectors.At(k, at)
			}
		}
		if p.Points[n-1][c] < p.Points[0][c] {
			for i := range p.Points {
				p.Points[i][c] = -p.Points[i][c]
			}
		}
	}
	return p, nil
}
