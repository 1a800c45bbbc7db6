package data

import (
	"fmt"
	"math/rand/v2"
)

// Spread is the data set of n samples of d, one from each of n equal stretches of
// it, in their order; d itself where it has no more. Where in its stretch a sample
// lies is random but always the same: at even distances, a set whose classes take
// turns would show one of them.
func Spread(d Dataset, n int) Dataset {
	if n >= d.Len() {
		return d
	}
	s := &spread{Dataset: d, at: make([]int, n)}
	rng := rand.New(rand.NewPCG(0, 0))
	for i := range s.at {
		from, to := i*d.Len()/n, (i+1)*d.Len()/n
		s.at[i] = from + rng.IntN(to-from)
	}
	return s
}

type spread struct {
	Dataset
	at []int // of the samples in d
}

func (s *spread) Len() int { return len(s.at) }
func (s *spread) Hash() string {
	return fmt.Sprintf("%s[%d of stretches]", s.Dataset.Hash(), len(s.at))
}

func (s *spread) Batch(indices []int, into []Buffer) error {
	at := make([]int, len(indices))
	for i, j := range indices {
		if j < 0 || j >= len(s.at) {
			return fmt.Errorf("data %s: sample %d of %d", s.Name(), j, len(s.at))
		}
		at[i] = s.at[j]
	}
	return s.Dataset.Batch(at, into)
}
