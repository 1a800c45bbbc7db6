package data

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// arrays is a data set of whole arrays in memory, one column each.
type arrays struct {
	name   string
	n      int
	cols   []Column
	floats [][]float32 // by column; nil for integer columns
	ints   [][]int64
	hash   func() string
}

// openNPZ reads FILE as training data without a test part.
func openNPZ(file string) (*Split, error) {
	set, err := weights.ReadNPZ(file)
	if err != nil {
		return nil, err
	}
	d, err := NewArrays(filepath.Base(file), set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &Split{Name: d.Name(), Train: d}, nil
}

// NewArrays makes a data set of the arrays of a set, which share the length of
// their first axis. Elements are float32 or int64.
func NewArrays(name string, set *weights.Set) (Dataset, error) {
	d := &arrays{name: name}
	if set.Len() == 0 {
		return nil, fmt.Errorf("data %s: no arrays", name)
	}
	for i, col := range set.Names() {
		a := set.Get(col)
		dims := weights.Dims(a)
		if len(dims) == 0 {
			return nil, fmt.Errorf("data %s: array %q is a scalar, expected samples along its first axis", name, col)
		}
		if i == 0 {
			d.n = int(dims[0])
		}
		if int(dims[0]) != d.n {
			return nil, fmt.Errorf("data %s: array %q has %d samples, %q has %d", name, col, dims[0], set.Names()[0], d.n)
		}
		c := Column{Name: col, Shape: dims[1:]}
		var floats []float32
		var ints []int64
		switch v := a.Data().(type) {
		case []float32:
			c.DType, floats = onnxgraph.Float, v
		case []int64:
			c.DType, ints = onnxgraph.Int64, v
		default:
			return nil, fmt.Errorf("data %s: array %q is %s, expected float32 or int64", name, col, a.Dtype())
		}
		d.cols = append(d.cols, c)
		d.floats = append(d.floats, floats)
		d.ints = append(d.ints, ints)
	}
	if d.n == 0 {
		return nil, fmt.Errorf("data %s: the arrays hold no samples", name)
	}
	d.hash = sync.OnceValue(d.sum)
	return d, nil
}

func (d *arrays) Name() string      { return d.name }
func (d *arrays) Len() int          { return d.n }
func (d *arrays) Columns() []Column { return d.cols }
func (d *arrays) Hash() string      { return d.hash() }

// sum hashes names, shapes and elements.
func (d *arrays) sum() string {
	h := sha256.New()
	for i, c := range d.cols {
		fmt.Fprintln(h, d.n, c)
		h.Write(onnxgraph.Floats("", nil, d.floats[i]).Data)
		h.Write(onnxgraph.Int64s("", nil, d.ints[i]).Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (d *arrays) Batch(indices []int, into []Buffer) error {
	if err := checkBuffers(d, indices, into); err != nil {
		return err
	}
	for c, col := range d.cols {
		size := col.Elements()
		for n, i := range indices {
			if into[c].Floats != nil && d.floats[c] != nil {
				copy(into[c].Floats[n*size:(n+1)*size], d.floats[c][i*size:])
			}
			if into[c].Int64s != nil && d.ints[c] != nil {
				copy(into[c].Int64s[n*size:(n+1)*size], d.ints[c][i*size:])
			}
		}
	}
	return nil
}
