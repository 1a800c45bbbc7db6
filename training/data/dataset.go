package data

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
)

// Column describes one named part of every sample.
type Column struct {
	Name  string
	DType onnxgraph.DType // Float or Int64
	Shape []int64         // of one row; empty for a scalar such as a class label
	// Rows is how many rows along the batch axis one sample takes; 0 means 1.
	// More than one only where the columns of a set differ in it, as token
	// sequences [sequences, T] with labels [sequences·T] do.
	Rows int
}

// RowsOf is the number of rows of n samples: the extent of the batch axis.
func (c Column) RowsOf(n int) int { return n * max(c.Rows, 1) }

// Elements is the number of elements of one sample.
func (c Column) Elements() int {
	n := c.RowsOf(1)
	for _, d := range c.Shape {
		n *= int(d)
	}
	return n
}

// String prints the column as errors name it: "image float[1,28,28]".
func (c Column) String() string {
	text := c.Name + " " + onnxgraph.TensorOf(c.DType, onnxgraph.StaticShape(c.Shape...)).String()
	if c.Rows > 1 {
		text += fmt.Sprintf(" in %d rows", c.Rows)
	}
	return text
}

// Unit is the number of rows that one sample takes in the column that has most:
// a batch size counts those.
func Unit(d Dataset) int {
	n := 1
	for _, c := range d.Columns() {
		n = max(n, c.Rows)
	}
	return n
}

// Buffer receives one column of a batch, samples one after another. The slice
// that belongs to the column's type is filled; a Buffer with neither slice
// skips the column.
type Buffer struct {
	Floats []float32
	Int64s []int64
}

// Dataset is an indexed collection of samples. Implementations are safe for
// concurrent use.
type Dataset interface {
	// Name says what the data is, for messages and records.
	Name() string
	// Len is the number of samples; 0 where nobody knows it yet, of a Stream.
	Len() int
	// Columns lists what a sample consists of. The caller must not change it.
	Columns() []Column
	// Batch copies the samples of the given indices into one buffer per
	// column, in the order of Columns.
	Batch(indices []int, into []Buffer) error
	// Hash is a hexadecimal SHA-256 of the content; of files that are read when they
	// are needed, of their names, see ContentHash.
	Hash() string
}

// ContentHash is a hexadecimal SHA-256 of the bytes of files whose names alone
// are in the Hash of a data set, up to about a gigabyte of them; "" where there
// are none. It reads them.
func ContentHash(d Dataset) string {
	switch d := d.(type) {
	case *head:
		return ContentHash(d.Dataset)
	case *spread:
		return ContentHash(d.Dataset)
	case *bound:
		return ContentHash(d.Dataset)
	case *gallery:
		return d.bytes()
	}
	return ""
}

// Split is a data set as it is used: a part to train on and a part to test on.
type Split struct {
	Name       string
	Train      Dataset
	Test       Dataset // nil where the source has none
	Classes    int     // number of classes; 0 where the data is not for classification
	Vocabulary int     // number of different tokens; 0 where the data is no text
	Note       string  // what a reader of results must know about the data, empty where nothing
}

// HoldOut returns the split without the last len/parts training samples, the
// part that the paper's reference code keeps for validation (parts = 12).
func (s *Split) HoldOut(parts int) *Split {
	if parts <= 0 {
		return s
	}
	c := *s
	n := s.Train.Len()
	c.Train = Head(s.Train, n-n/parts)
	return &c
}

// Head is the data set of the first n samples of d.
func Head(d Dataset, n int) Dataset {
	return &head{d, min(n, d.Len())}
}

type head struct {
	Dataset
	n int
}

func (h *head) Len() int     { return h.n }
func (h *head) Hash() string { return fmt.Sprintf("%s[:%d]", h.Dataset.Hash(), h.n) }

func (h *head) Batch(indices []int, into []Buffer) error {
	for _, i := range indices {
		if i >= h.n {
			return fmt.Errorf("data %s: sample %d of %d", h.Name(), i, h.n)
		}
	}
	return h.Dataset.Batch(indices, into)
}

// Bind returns d with one column per model input, named and ordered as the
// inputs are. A column belongs to the input of its own name, or else to the
// only input whose type and shape it fits.
func Bind(d Dataset, inputs []*onnxgraph.Value) (Dataset, error) {
	cols := d.Columns()
	b := &bound{Dataset: d}
	taken := make([]bool, len(cols))
	pick := make([]int, len(inputs))
	for i, in := range inputs {
		pick[i] = slices.IndexFunc(cols, func(c Column) bool { return c.Name == in.Name })
		if j := pick[i]; j >= 0 {
			if why := misfit(cols[j], in); why != "" {
				return nil, fmt.Errorf("data %s: column %s does not fit model input %q %s: %s", d.Name(), cols[j], in.Name, in.Type, why)
			}
			taken[j] = true
		}
	}
	for i, in := range inputs {
		if pick[i] < 0 {
			var fits []int
			for j, c := range cols {
				if !taken[j] && misfit(c, in) == "" {
					fits = append(fits, j)
				}
			}
			if len(fits) != 1 {
				return nil, fmt.Errorf("data %s: %d columns fit model input %q %s, expected one of that name or a single one of that type and shape; columns are %s",
					d.Name(), len(fits), in.Name, in.Type, columnList(cols))
			}
			pick[i] = fits[0]
			taken[fits[0]] = true
		}
		c := cols[pick[i]]
		c.Name = in.Name
		b.cols = append(b.cols, c)
	}
	b.pick = pick
	return b, nil
}

// misfit says why samples of column c cannot feed the input, "" where they can.
func misfit(c Column, in *onnxgraph.Value) string {
	if in.Type.DType != c.DType {
		return fmt.Sprintf("its elements are %s, not %s", c.DType, in.Type.DType)
	}
	s := in.Type.Shape
	if s == nil {
		return ""
	}
	if len(s) != len(c.Shape)+1 {
		return fmt.Sprintf("with the batch it has %d dimensions, not %d", len(c.Shape)+1, len(s))
	}
	for i, n := range c.Shape {
		if d := s[i+1]; d.IsKnown() && d.Value != n {
			return fmt.Sprintf("dimension %d is %d, not %d", i+1, n, d.Value)
		}
	}
	return ""
}

func columnList(cols []Column) string {
	parts := make([]string, len(cols))
	for i, c := range cols {
		parts[i] = c.String()
	}
	return strings.Join(parts, ", ")
}

type bound struct {
	Dataset
	cols []Column
	pick []int // column of the wrapped data set, by own column
}

func (b *bound) Columns() []Column { return b.cols }

func (b *bound) Batch(indices []int, into []Buffer) error {
	if len(into) != len(b.cols) {
		return fmt.Errorf("data %s: %d buffers for %d columns", b.Name(), len(into), len(b.cols))
	}
	return b.Dataset.Batch(indices, b.spread(into))
}

// spread puts buffers in the order of the wrapped data set's columns.
func (b *bound) spread(into []Buffer) []Buffer {
	all := make([]Buffer, len(b.Dataset.Columns()))
	for i, j := range b.pick {
		all[j] = into[i]
	}
	return all
}

// checkBuffers reports a batch request that d cannot serve.
func checkBuffers(d Dataset, indices []int, into []Buffer) error {
	cols := d.Columns()
	if len(into) != len(cols) {
		return fmt.Errorf("data %s: %d buffers for %d columns", d.Name(), len(into), len(cols))
	}
	for _, i := range indices {
		if i < 0 || i >= d.Len() {
			return fmt.Errorf("data %s: sample %d of %d", d.Name(), i, d.Len())
		}
	}
	for i, c := range cols {
		b := into[i]
		if b.Floats == nil && b.Int64s == nil {
			continue
		}
		got := len(b.Floats)
		if c.DType == onnxgraph.Int64 {
			got = len(b.Int64s)
		}
		if want := len(indices) * c.Elements(); got < want {
			return fmt.Errorf("data %s: buffer of column %s holds %d elements, %d samples need %d", d.Name(), c, got, len(indices), want)
		}
	}
	return nil
}
