package neuralgraph

import (
	"bytes"
	"slices"

	"ninox/onnxgraph"
)

// Copy is a parameter with the values of another one: exporters that fold
// constants write a tied weight once for every use.
type Copy struct {
	Parameter  string `json:"parameter"`
	Of         string `json:"of"`
	Transposed bool   `json:"transposed"`
}

// copies finds the matrices that hold the values of an earlier one, as they are
// or transposed. Matrices of one value throughout are not taken for copies.
func (a *analysis) copies(params []Parameter) []Copy {
	type key struct {
		dtype onnxgraph.DType
		low   int64
		high  int64
	}
	var out []Copy
	earlier := map[key][]*onnxgraph.Tensor{}
	byName := map[string]*onnxgraph.Tensor{}
	for _, t := range a.model.Graph.Initializers {
		byName[t.Name] = t
	}
	for _, p := range params {
		t := byName[p.Name]
		if t == nil || len(t.Dims) != 2 || t.DType.Bits()%8 != 0 || len(t.Data) == 0 || plain(t) {
			continue
		}
		k := key{t.DType, min(t.Dims[0], t.Dims[1]), max(t.Dims[0], t.Dims[1])}
		at := slices.IndexFunc(earlier[k], func(o *onnxgraph.Tensor) bool { return equal(o, t) || transposed(o, t) })
		if at < 0 {
			earlier[k] = append(earlier[k], t)
			continue
		}
		o := earlier[k][at]
		out = append(out, Copy{Parameter: t.Name, Of: o.Name, Transposed: !equal(o, t)})
	}
	return out
}

// plain says whether a few elements of the tensor, spread over it, are all the
// same.
func plain(t *onnxgraph.Tensor) bool {
	const samples = 64
	w := t.DType.Bits() / 8
	n := len(t.Data) / w
	for i := range min(samples, n) {
		at := i * (n - 1) / samples * w
		if !bytes.Equal(t.Data[at:at+w], t.Data[:w]) {
			return false
		}
	}
	return true
}

func equal(x, y *onnxgraph.Tensor) bool {
	return slices.Equal(x.Dims, y.Dims) && bytes.Equal(x.Data, y.Data)
}

// transposed says whether y is the transposition of x. It looks at a diagonal
// first: what differs mostly differs there.
func transposed(x, y *onnxgraph.Tensor) bool {
	rows, cols := int(x.Dims[0]), int(x.Dims[1])
	if int(y.Dims[0]) != cols || int(y.Dims[1]) != rows || len(x.Data) != len(y.Data) {
		return false
	}
	w := x.DType.Bits() / 8
	same := func(i, j int) bool {
		p, q := (i*cols+j)*w, (j*rows+i)*w
		return bytes.Equal(x.Data[p:p+w], y.Data[q:q+w])
	}
	for i := range min(rows, cols) {
		if !same(i, i) {
			return false
		}
	}
	const tile = 64 // of elements, so that both sides stay in the cache
	for top := 0; top < rows; top += tile {
		for left := 0; left < cols; left += tile {
			for i := top; i < min(top+tile, rows); i++ {
				for j := left; j < min(left+tile, cols); j++ {
					if !same(i, j) {
						return false
					}
				}
			}
		}
	}
	return true
}
