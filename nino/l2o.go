package nino

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"ninox/onnxgraph/weights"
)

// L2OConfig describes a learned optimizer. Its JSON form is the metadata of
// weight files.
type L2OConfig struct {
	Width  int `json:"width"`  // of the hidden layers
	Rounds int `json:"rounds"` // of message passing
}

// L2OWeights are the weights of a learned optimizer: a small network that sees
// the parameters, gradients and momenta on the edges of the neural graph.
type L2OWeights struct {
	L2OConfig
	Vector []float32 // all weights, in the order of layout
}

// l2oKey is the metadata key of the L2OConfig as JSON.
const l2oKey = "ninox.l2o"

// Bounds on the sizes of files that are read.
const (
	maxL2OWidth  = 1024
	maxL2ORounds = 64
)

func (c L2OConfig) check() error {
	if c.Width < 1 || c.Width > maxL2OWidth || c.Rounds < 0 || c.Rounds > maxL2ORounds {
		return fmt.Errorf("learned optimizer of width %d with %d rounds: expected 1 to %d and 0 to %d", c.Width, c.Rounds, maxL2OWidth, maxL2ORounds)
	}
	return nil
}

// l2oLayer is a linear layer of the network; one without input is a table of
// rows.
type l2oLayer struct {
	name    string
	out, in int
}

// layout lists the layers in the order of the vector, each a weight [out, in]
// followed by a bias [out].
func (c L2OConfig) layout() []l2oLayer {
	w := c.Width
	layers := []l2oLayer{{"values", w, l2oFeatures}, {"types", w, allEdgeTypes}, {"node", w, 1}}
	for i := range c.Rounds {
		name := fmt.Sprintf("rounds.%d.", i)
		for _, part := range []string{"scale", "shift", "source", "target", "update", "from", "to", "merge", "lin"} {
			layers = append(layers, l2oLayer{name + part, w, w})
		}
		layers = append(layers, l2oLayer{name + "post", w, 2 * w})
	}
	return append(layers, l2oLayer{"hidden", w, l2oFeatures}, l2oLayer{"context", w, w}, l2oLayer{"out", 2, w})
}

// size is the length of the vector.
func (c L2OConfig) size() int {
	n := 0
	for _, l := range c.layout() {
		n += l.out * (l.in + 1)
	}
	return n
}

// InitialL2O is an untrained network. Its output layer is zero, so that its steps
// are those of Adam.
func InitialL2O(c L2OConfig, seed uint64) (*L2OWeights, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &L2OWeights{L2OConfig: c}
	for _, l := range c.layout() {
		deviation := 1 / math.Sqrt(float64(l.in))
		if l.name == "out" {
			deviation = 0
		}
		for range l.out * l.in {
			w.Vector = append(w.Vector, float32(deviation*rng.NormFloat64()))
		}
		w.Vector = append(w.Vector, make([]float32, l.out)...)
	}
	return w, nil
}

// linears are the layers by name.
func (w *L2OWeights) linears() map[string]linear {
	out, at := map[string]linear{}, 0
	take := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(w.Vector[at+i])
		}
		at += n
		return v
	}
	for _, l := range w.layout() {
		out[l.name] = linear{out: l.out, in: l.in, w: take(l.out * l.in), b: take(l.out)}
	}
	return out
}

// Write writes the weights as safetensors. An existing file is an fs.ErrExist
// unless overwrite is set.
func (w *L2OWeights) Write(path string, overwrite bool) error {
	c, err := json.Marshal(w.L2OConfig)
	if err != nil {
		return err
	}
	set, at := &weights.Set{}, 0
	for _, l := range w.layout() {
		n := l.out * l.in
		set.AddFloats(l.name+".weight", []int64{int64(l.out), int64(l.in)}, w.Vector[at:at+n])
		set.AddFloats(l.name+".bias", []int64{int64(l.out)}, w.Vector[at+n:at+n+l.out])
		at += n + l.out
	}
	return weights.WriteSafetensors(path, set, map[string]string{l2oKey: string(c)}, overwrite)
}

// ReadL2O reads what Write wrote, or, where path is empty, the program's own.
func ReadL2O(path string) (*L2OWeights, error) {
	if path == "" {
		set, meta, err := embeddedSet(embeddedL2O)
		if err != nil {
			return nil, err
		}
		return l2oFrom(set, meta)
	}
	set, meta, err := weights.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	w, err := l2oFrom(set, meta)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

func l2oFrom(set *weights.Set, meta map[string]string) (*L2OWeights, error) {
	stated, ok := meta[l2oKey]
	if !ok {
		return nil, fmt.Errorf("no weights of a learned optimizer (l2o): the metadata lacks %q; 'ninox meta train --method l2o' makes them", l2oKey)
	}
	w := &L2OWeights{}
	if err := json.Unmarshal([]byte(stated), &w.L2OConfig); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", l2oKey, err)
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	for _, l := range w.layout() {
		for _, part := range []struct {
			name string
			dims []int
		}{{l.name + ".weight", []int{l.out, l.in}}, {l.name + ".bias", []int{l.out}}} {
			v, err := set.Floats(part.name)
			if err != nil {
				return nil, err
			}
			if d := set.Get(part.name).Shape(); !slices.Equal([]int(d), part.dims) {
				return nil, fmt.Errorf("array %q has shape %v, expected %v", part.name, d, part.dims)
			}
			if slices.ContainsFunc(v, func(x float32) bool { return x-x != 0 }) {
				return nil, fmt.Errorf("array %q is not finite", part.name)
			}
			w.Vector = append(w.Vector, v...)
		}
	}
	return w, nil
}
