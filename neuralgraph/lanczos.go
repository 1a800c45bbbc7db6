package neuralgraph

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Sizes of the block Krylov method. The block is wider than the number of
// wanted pairs, so that an eigenvalue repeated as often is found as often.
const (
	krylovBlock    = 16
	krylovSteps    = 8 // multiplications of a block between restarts
	krylovRestarts = 300
	krylovTol      = 1e-9 // on the residual norm, relative to eigenvalues beyond 1
)

// lanczos is a block Krylov method with full orthogonalization and restarts
// from the best vectors found. Start vectors are fixed random numbers, so
// equal matrices give equal results.
func lanczos(n, count, steps int, multiply func(y, x []float64)) []eigenpair {
	rng := rand.New(rand.NewPCG(8, 9))
	block := make([][]float64, min(krylovBlock, n))
	for i := range block {
		block[i] = make([]float64, n)
		for j := range block[i] {
			block[i][j] = rng.NormFloat64()
		}
	}
	var pairs []eigenpair
	for range krylovRestarts {
		basis, images := krylov(n, steps, block, multiply)
		var worst float64
		pairs, worst = ritz(basis, images, len(block), count)
		if worst < krylovTol || len(basis) == n {
			break
		}
		for i := range min(len(block), len(pairs)) {
			block[i] = pairs[i].vector
		}
	}
	return pairs[:min(count, len(pairs))]
}

// krylov builds an orthonormal basis of the block, its image, the image of
// that and so on, together with the images of the basis.
func krylov(n, steps int, block [][]float64, multiply func(y, x []float64)) (basis, images [][]float64) {
	next := block
	for range steps {
		first := len(basis)
		for _, v := range next {
			w := append([]float64{}, v...)
			if orthonormalize(w, basis) {
				basis = append(basis, w)
			}
		}
		next = nil
		for _, v := range basis[first:] {
			y := make([]float64, n)
			multiply(y, v)
			images = append(images, y)
			next = append(next, y)
		}
		if len(basis) == first || len(basis) == n {
			break
		}
	}
	return basis, images
}

// orthonormalize makes w orthogonal to the basis and of unit norm; false where
// nothing is left of it.
func orthonormalize(w []float64, basis [][]float64) bool {
	norm := floats.Norm(w, 2)
	if norm == 0 {
		return false
	}
	floats.Scale(1/norm, w)
	for range 2 {
		for _, b := range basis {
			floats.AddScaled(w, -floats.Dot(w, b), b)
		}
	}
	norm = floats.Norm(w, 2)
	if norm < 1e-10 {
		return false
	}
	floats.Scale(1/norm, w)
	// Once more: the first pass may have left little but rounding.
	for _, b := range basis {
		floats.AddScaled(w, -floats.Dot(w, b), b)
	}
	floats.Scale(1/floats.Norm(w, 2), w)
	return true
}

// ritz finds the best approximations to the largest eigenvalues within a
// basis: keep of them, and the worst residual norm of the first count.
func ritz(basis, images [][]float64, keep, count int) ([]eigenpair, float64) {
	m := len(basis)
	s := mat.NewSymDense(m, nil)
	for i := range m {
		for j := i; j < m; j++ {
			s.SetSym(i, j, (floats.Dot(basis[i], images[j])+floats.Dot(basis[j], images[i]))/2)
		}
	}
	small := densePairs(s, m, min(keep, m))
	worst := 0.0
	out := make([]eigenpair, len(small))
	n := len(basis[0])
	for k, p := range small {
		v, r := make([]float64, n), make([]float64, n)
		for i, c := range p.vector {
			floats.AddScaled(v, c, basis[i])
			floats.AddScaled(r, c, images[i])
		}
		floats.AddScaled(r, -p.value, v)
		if k < count {
			worst = math.Max(worst, floats.Norm(r, 2)/math.Max(1, p.value))
		}
		out[k] = eigenpair{value: p.value, vector: v}
	}
	return out, worst
}
