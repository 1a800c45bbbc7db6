package nino

import (
	"slices"
	"testing"
)

func TestHorizons(t *testing.T) {
	cases := []struct {
		max, steps, period int
		p                  float64
		want               []int
	}{
		{40, 10000, 1000, 2, []int{40, 33, 26, 21, 16, 11, 8, 5, 3, 1}},
		{40, 5000, 1000, 2, []int{40, 25, 13, 5, 1}},
		{40, 3999, 1000, 2, []int{40, 13, 1}},
		{40, 1000, 1000, 2, []int{40}},
		{40, 10, 1000, 2, []int{40}},
		{9, 3000, 1000, 1, []int{9, 5, 1}},
		{40, 100, 0, 2, []int{40}},
	}
	for _, c := range cases {
		if got := Horizons(c.max, c.steps, c.period, c.p); !slices.Equal(got, c.want) {
			t.Errorf("Horizons(%d, %d, %d, %v) = %v, expected %v", c.max, c.steps, c.period, c.p, got, c.want)
		}
	}
}
