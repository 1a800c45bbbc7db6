package nino

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"ninox/onnxgraph/weights"
)

// widenNoise is the deviation of the noise on widened weights, as a share of the
// root mean square of their tensor: copies of a unit that stay equal would learn
// the same forever.
const widenNoise = 0.05

// Widen is a network of width hidden units, a multiple of the present width, that
// starts from what this one has learned: every hidden unit appears several times,
// and what reads it reads the mean of its copies (Net2WiderNet, Chen et al., 2016,
// arXiv:1511.05641), up to a little noise that lets the copies part. Of the
// present width it is w itself.
func (w *Weights) Widen(width int, seed uint64) (*Weights, error) {
	return w.widen(width, widenNoise, seed)
}

func (w *Weights) widen(width int, noise float64, seed uint64) (*Weights, error) {
	if width == w.Width {
		return w, nil
	}
	if width < w.Width || width%w.Width != 0 || w.Towers > 1 {
		return nil, fmt.Errorf("network of width %d: cannot be widened to %d, expected a multiple and a network of one tower", w.Width, width)
	}
	copies, rng := width/w.Width, rand.New(rand.NewPCG(seed, 1))
	set := &weights.Set{}
	for _, s := range w.expected() {
		v, err := w.Tensors.Floats(s.name)
		if err != nil {
			return nil, err
		}
		rows, cols := s.dims[0], 1
		if len(s.dims) > 1 {
			cols = s.dims[1]
		}
		hidden := w.hiddenAxes(s.name)
		m := matrix{rows, cols, v}
		if hidden.rows {
			m = m.repeatRows(w.Width, copies)
		}
		if hidden.cols {
			m = m.repeatCols(w.Width, copies)
			if !hidden.table {
				m.scale(1 / float32(copies))
			}
		}
		m.disturb(noise, rng)
		dims := []int64{int64(m.rows), int64(m.cols)}[:len(s.dims)]
		set.AddFloats(s.name, dims, m.v)
	}
	return NewWeights(set, w.Args)
}

// axes says which axes of a tensor are hidden units.
type axes struct {
	rows, cols bool
	table      bool // columns are what the tensor yields, not what it reads
}

// hiddenAxes knows the tensors of the network by name: tables have a row for each
// type or word; the projections read features, the last layer yields forecasts,
// everything else leads from hidden units to hidden units.
func (c *Config) hiddenAxes(name string) axes {
	layer, bias := strings.CutSuffix(name, ".bias")
	layer = strings.TrimSuffix(layer, ".weight")
	switch {
	case name == typeTable || name == wordTable:
		return axes{cols: true, table: true}
	case layer == "edge_proj.fc.0" || layer == "node_proj.fc.0":
		return axes{rows: true}
	case layer == "edge_out.fc.2" || layer == fmt.Sprintf("edge_mlp.fc.%d", 2*(c.Layers-1)):
		return axes{cols: !bias}
	}
	return axes{rows: true, cols: !bias}
}

// matrix is row-major.
type matrix struct {
	rows, cols int
	v          []float32
}

// repeatRows repeats each block of so many rows: the parts of a layer that yields
// several vectors of hidden units stay apart.
func (m matrix) repeatRows(block, copies int) matrix {
	out := matrix{m.rows * copies, m.cols, make([]float32, 0, len(m.v)*copies)}
	for at := 0; at < m.rows; at += block {
		for range copies {
			out.v = append(out.v, m.v[at*m.cols:(at+block)*m.cols]...)
		}
	}
	return out
}

// repeatCols repeats each block of so many columns.
func (m matrix) repeatCols(block, copies int) matrix {
	out := matrix{m.rows, m.cols * copies, make([]float32, 0, len(m.v)*copies)}
	for at := 0; at < len(m.v); at += block {
		for range copies {
			out.v = append(out.v, m.v[at:at+block]...)
		}
	}
	return out
}

func (m matrix) scale(by float32) {
	for i := range m.v {
		m.v[i] *= by
	}
}

// disturb adds normal noise, a share of the root mean square.
func (m matrix) disturb(share float64, rng *rand.Rand) {
	squares := 0.0
	for _, x := range m.v {
		squares += float64(x) * float64(x)
	}
	by := share * math.Sqrt(squares/float64(len(m.v)))
	for i := range m.v {
		m.v[i] += float32(by * rng.NormFloat64())
	}
}
