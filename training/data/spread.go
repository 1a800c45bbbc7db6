package data

import "fmt"

// Spread is the data set of n samples of d, evenly spread over it, in their
// order; d itself where it has no more.
func Spread(d Dataset, n int) Dataset {
	if n >= d.Len() {
		return d
	}
	return &spread{d, n}
}

type spread struct {
	Dataset
	n int
}

func (s *spread) Len() int     { return s.n }
func (s *spread) Hash() string { return fmt.Sprintf("%s[%d spread]", s.Dataset.Hash(), s.n) }

func (s *spread) Batch(indices []int, into []Buffer) error {
	at := make([]int, len(indices))
	for i, j := range indices {
		if j < 0 || j >= s.n {
			return fmt.Errorf("data %s: sample %d of %d", s.Name(), j, s.n)
		}
		at[i] = j * s.Dataset.Len() / s.n
	}
	return s.Dataset.Batch(at, into)
}
