package onnxgraph_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
)

// Elements of a transposed tensor are counted out by hand, and the inverse
// permutation gives the tensor back.
func TestTransposed(t *testing.T) {
	for _, c := range []struct {
		dims, perm, want []int64
	}{
		{[]int64{}, []int64{}, []int64{0}},
		{[]int64{3}, []int64{0}, []int64{0, 1, 2}},
		{[]int64{2, 3}, []int64{0, 1}, []int64{0, 1, 2, 3, 4, 5}},
		{[]int64{2, 3}, []int64{1, 0}, []int64{0, 3, 1, 4, 2, 5}},
		{[]int64{2, 0, 3}, []int64{2, 0, 1}, []int64{}},
		{[]int64{2, 3, 2}, []int64{2, 0, 1}, []int64{0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11}},
		{[]int64{2, 3, 2}, []int64{1, 2, 0}, []int64{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}},
	} {
		numbers := make([]int64, len(c.want))
		for i := range numbers {
			numbers[i] = int64(i)
		}
		x := onnxgraph.Int64s("x", c.dims, numbers)
		y, err := x.Transposed("y", c.perm)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := y.AsInts(); err != nil || y.Name != "y" || !slices.Equal(got, c.want) {
			t.Errorf("%v by %v is %q %v (%v), expected %v", c.dims, c.perm, y.Name, got, err, c.want)
		}
		inverse := make([]int64, len(c.perm))
		for i, p := range c.perm {
			inverse[p] = int64(i)
			if y.Dims[i] != c.dims[p] {
				t.Errorf("%v by %v has extents %v", c.dims, c.perm, y.Dims)
			}
		}
		back, err := y.Transposed("x", inverse)
		if err != nil || !slices.Equal(back.Dims, x.Dims) || !bytes.Equal(back.Data, x.Data) {
			t.Errorf("%v by %v does not come back: %v (%v)", c.dims, c.perm, back, err)
		}
	}
}

func TestTransposedRefuses(t *testing.T) {
	square := func(d onnxgraph.DType, bytes int) *onnxgraph.Tensor {
		return &onnxgraph.Tensor{Name: "w", DType: d, Dims: []int64{2, 2}, Data: make([]byte, bytes)}
	}
	for _, c := range []struct {
		x    *onnxgraph.Tensor
		perm []int64
		want string
	}{
		{square(onnxgraph.Float, 16), []int64{0}, "no permutation of 2 axes"},
		{square(onnxgraph.Float, 16), []int64{1, 1}, "no permutation"},
		{square(onnxgraph.Float, 16), []int64{0, -1}, "no permutation"},
		{square(onnxgraph.Float, 16), []int64{0, 2}, "no permutation"},
		{square(onnxgraph.Float, 12), []int64{1, 0}, "12 bytes of data do not fit"},
		{square(onnxgraph.Int4, 2), []int64{1, 0}, "elements of int4 cannot be moved"},
		{square(onnxgraph.String, 0), []int64{1, 0}, "elements of string cannot be moved"},
	} {
		if _, err := c.x.Transposed("y", c.perm); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s by %v: error is %v, expected one that says %q", c.x.DType, c.perm, err, c.want)
		}
	}
}
