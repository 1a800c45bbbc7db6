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

// openSafetensors reads FILE as training data without a test part.
func openSafetensors(file string) (*Split, error) {
	set, _, err := weights.ReadSafetensors(file)
	if err != nil {
		return nil, err
	}
	d, err := NewArrays(filepath.Base(file), set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &Split{Name: d.Name(), Train: d}, nil
}

// NewArrays makes a data set of the arrays of a set, whose first axes are the
// samples. Where the lengths differ, as those of token sequences [S, T] and labels
// [S·T] do, a sample is the smallest share of every array that comes out whole:
// its rows stay together. Elements are float32 or int64.
func NewArrays(name string, set *weights.Set) (Dataset, error) {
	d := &arrays{name: name}
	if set.Len() == 0 {
		return nil, fmt.Errorf("data %s: no arrays", name)
	}
	var err error
	if d.n, err = commonSamples(name, set); err != nil {
		return nil, err
	}
	for _, col := range set.Names() {
		a := set.Get(col)
		dims := weights.Dims(a)
		c := Column{Name: col, Shape: dims[1:], Rows: int(dims[0]) / d.n}
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
	d.hash = sync.OnceValue(d.sum)
	return d, nil
}

// commonSamples is the number of samples: the greatest common divisor of the
// lengths. Lengths with none but 1 do not belong together.
func commonSamples(name string, set *weights.Set) (int, error) {
	n, first := 0, 0
	for _, col := range set.Names() {
		dims := weights.Dims(set.Get(col))
		if len(dims) == 0 {
			return 0, fmt.Errorf("data %s: array %q is a scalar, expected samples along its first axis", name, col)
		}
		length := int(dims[0])
		if length == 0 {
			return 0, fmt.Errorf("data %s: array %q holds no samples", name, col)
		}
		if first == 0 {
			first = length
		}
		before := n
		if n = gcd(n, length); n == 1 && (before > 1 || length > 1) {
			return 0, fmt.Errorf("data %s: array %q has %d samples, %q has %d", name, col, length, set.Names()[0], first)
		}
	}
	return n, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
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
