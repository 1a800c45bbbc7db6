package meta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"ninox/nino"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// outlier is how many deviations a target may lie from 0; further ones are of
// runs that diverge and are left out.
const outlier = 50

// windows makes examples of the runs of a store.
type windows struct {
	config nino.Config
	runs   []*run
}

// run is a trajectory with the examples that it can make.
type run struct {
	*Trajectory
	examples *nino.Examples
}

// openWindows opens the runs of a store that are held out, or those that are
// not, with naive graphs if asked.
func openWindows(s *Store, c nino.Config, naive, heldOut bool) (*windows, error) {
	ids, err := s.IDs()
	if err != nil {
		return nil, err
	}
	w := &windows{config: c}
	for _, id := range ids {
		t, err := s.Open(id)
		if err != nil {
			w.close()
			return nil, err
		}
		if t.Task.HeldOut != heldOut {
			t.Close()
			continue
		}
		if naive {
			t.Graph = t.Graph.Naive()
		}
		x, err := nino.NewExamples(c, t.Graph)
		if err != nil {
			t.Close()
			w.close()
			return nil, fmt.Errorf("store: run %s: %w", id, err)
		}
		w.runs = append(w.runs, &run{t, x})
	}
	if len(w.runs) == 0 {
		kind := "for training"
		if heldOut {
			kind = "held out"
		}
		return nil, fmt.Errorf("store %s: no complete run %s", s.Dir(), kind)
	}
	return w, nil
}

func (w *windows) close() {
	for _, r := range w.runs {
		r.Close()
	}
}

// fitting are those of the spacings that the run has states for; where it has
// for none, all, of which stride says why.
func (r *run) fitting(spacing []int) []int {
	var out []int
	for _, n := range spacing {
		if _, err := r.stride(n); err == nil {
			out = append(out, n)
		}
	}
	if out == nil {
		return spacing
	}
	return out
}

// stride is the number of stored states between two states of a window.
func (r *run) stride(spacing int) (int, error) {
	if spacing < r.Every() || spacing%r.Every() != 0 {
		return 0, fmt.Errorf("run %s: states every %d steps cannot be %d steps apart", r.ID, r.Every(), spacing)
	}
	return spacing / r.Every(), nil
}

// window is an example of a run: it starts at state first, its states are stride
// apart, and it has targets at the given horizons.
func (w *windows) window(r *run, x *nino.Examples, first, stride, taps int, horizons []int) (*nino.Example, error) {
	states := make([]*weights.Set, w.config.Context)
	var err error
	for i := range states {
		if states[i], err = r.State(first + i*stride); err != nil {
			return nil, err
		}
	}
	future := make([]*weights.Set, len(horizons))
	for n, k := range horizons {
		if i := first + (w.config.Context-1+k)*stride; i < r.States() {
			if future[n], err = r.State(i); err != nil {
				return nil, err
			}
		}
	}
	return x.Example(states, future, taps, outlier)
}

// starts is the number of places where a window with at least one state to come
// can begin.
func (w *windows) starts(r *run, stride int) int { return r.States() - w.config.Context*stride }

// sampling says what a batch of windows is made of.
type sampling struct {
	seed     uint64
	runs     int   // runs of a batch
	windows  int   // windows of each
	spacing  []int // steps between the states of a window, one that fits is drawn for each
	horizons int   // that a batch is trained on
	slice    int   // most nodes of a layer
	values   int   // a batch is full with so many values on edges, whatever it still lacks
}

// spread draws n of the horizons 1 to last, one of each n-th part, so that every
// batch sees near and far ones and all are drawn equally often in the long run.
func spread(rng *rand.Rand, n, last int) []int {
	shift := rng.Float64()
	out := make([]int, n)
	for i := range out {
		out[i] = 1 + int((float64(i)+shift)*float64(last)/float64(n))
	}
	return out
}

// draws is a batch of examples and the horizons of their targets.
type draws struct {
	examples []*nino.Example
	horizons []int
}

// sample draws the examples of one iteration. Runs of a batch have kernels of
// one kind: edges of one tap beside edges of nine would waste most of the work.
func (w *windows) sample(s sampling, iteration int) (draws, error) {
	rng := rand.New(rand.NewPCG(s.seed, uint64(iteration)))
	out := draws{horizons: spread(rand.New(rand.NewPCG(^s.seed, uint64(iteration))), s.horizons, w.config.Horizons)}
	first := w.runs[rng.IntN(len(w.runs))]
	var alike []*run
	for _, r := range w.runs {
		if r.examples.Taps() == first.examples.Taps() {
			alike = append(alike, r)
		}
	}
	values := 0
	for i := range s.runs {
		r := first
		if i > 0 {
			r = alike[rng.IntN(len(alike))]
		}
		sliced, spacing := r.examples.Slice(rng, s.slice), r.fitting(s.spacing)
		for range s.windows {
			stride, err := r.stride(draw(rng, spacing))
			if err != nil {
				return out, err
			}
			starts := w.starts(r, stride)
			if starts < 1 {
				return out, fmt.Errorf("run %s: %d states are too few for windows of %d, %d apart", r.ID, r.States(), w.config.Context, stride)
			}
			ex, err := w.window(r, sliced, rng.IntN(starts), stride, r.examples.Taps(), out.horizons)
			if err != nil {
				return out, err
			}
			flip(rng, ex, w.config.Positions)
			out.examples = append(out.examples, ex)
			if values += ex.Edges * ex.Taps; values >= s.values {
				return out, nil
			}
		}
	}
	return out, nil
}

// flip draws the signs of the positions: those of eigenvectors mean nothing.
func flip(rng *rand.Rand, ex *nino.Example, positions int) {
	if ex.Positions == nil {
		return
	}
	signs := make([]float32, positions)
	for i := range signs {
		signs[i] = float32(2*rng.IntN(2) - 1)
	}
	flipped := make([]float32, len(ex.Positions))
	for i, x := range ex.Positions {
		flipped[i] = x * signs[i%positions]
	}
	ex.Positions = flipped
}

// batch is the disjoint union of the examples as inputs of the training model.
// Every example counts alike, whatever its number of parameters: the mean of
// the weighted errors is the mean over examples of their mean error.
func (w *windows) batch(d draws) (map[string]*ort.Value, error) {
	c, examples, taps := w.config, d.examples, d.examples[0].Taps
	nodes, edges, counted := 0, 0, 0
	for _, ex := range examples {
		if ex.Taps != taps {
			return nil, fmt.Errorf("batch: edges of %d and of %d taps", taps, ex.Taps)
		}
		nodes, edges = nodes+ex.Nodes, edges+ex.Edges
		if ex.ValidCount > 0 {
			counted++
		}
	}
	if counted == 0 {
		return nil, errNoTargets
	}
	outputs := taps * len(d.horizons)
	index, types := make([]int64, 2*edges), make([]int64, 0, edges)
	features, positions := make([]float32, 0, edges*taps*c.Context), make([]float32, 0, nodes*c.Positions)
	target, weight := make([]float32, 0, edges*outputs), make([]float32, edges*outputs)
	node, edge := 0, 0
	for _, ex := range examples {
		for i := range ex.Edges {
			index[edge+i], index[edges+edge+i] = ex.Index[i]+int64(node), ex.Index[ex.Edges+i]+int64(node)
		}
		share := float32(float64(edges*outputs) / float64(max(1, ex.ValidCount)*counted))
		for i, valid := range ex.Valid {
			if valid {
				weight[edge*outputs+i] = share
			}
		}
		types, features, positions, target = append(types, ex.Types...), append(features, ex.Features...), append(positions, ex.Positions...), append(target, ex.Target...)
		node, edge = node+ex.Nodes, edge+ex.Edges
	}
	for i, x := range weight {
		target[i] *= x
	}
	b := batchValues{}
	horizons := make([]int64, len(d.horizons))
	for i, k := range d.horizons {
		horizons[i] = int64(k)
	}
	b.ints("horizons", horizons, len(horizons))
	b.floats("edge_attr", features, edges, taps*c.Context)
	b.ints("edge_type", types, edges)
	b.floats("weight", weight, edges, outputs)
	b.floats("target", target, edges, outputs)
	if c.Variant == nino.VariantGNN {
		b.ints("edge_index", index, 2, edges)
		b.floats("pos", positions, nodes, c.Positions)
	}
	return b.values, b.err
}

var errNoTargets = errors.New("batch: no example has a target")

// batchValues collects runtime values; the first error stays.
type batchValues struct {
	values map[string]*ort.Value
	err    error
}

func (b *batchValues) add(name string, v *ort.Value, err error) {
	if b.values == nil {
		b.values = map[string]*ort.Value{}
	}
	if b.err = errors.Join(b.err, err); err == nil {
		b.values[name] = v
	}
}

func (b *batchValues) floats(name string, data []float32, dims ...int) {
	v, err := ort.FloatValue(sizes(dims), data)
	b.add(name, v, err)
}

func (b *batchValues) ints(name string, data []int64, dims ...int) {
	v, err := ort.Int64Value(sizes(dims), data)
	b.add(name, v, err)
}

func sizes(dims []int) []int64 {
	out := make([]int64, len(dims))
	for i, d := range dims {
		out[i] = int64(d)
	}
	return out
}

func closeAll(values map[string]*ort.Value) {
	for _, v := range values {
		v.Close()
	}
}

// drawn is a batch that was made ahead, or why there is none.
type drawn struct {
	iteration int
	values    map[string]*ort.Value
	err       error
}

// ahead draws batches in the background, in order, from iteration first on.
func (w *windows) ahead(ctx context.Context, s sampling, first, end int) <-chan drawn {
	out := make(chan drawn)
	go func() {
		defer close(out)
		for i := first; i < end; i++ {
			d := drawn{iteration: i}
			drew, err := w.sample(s, i)
			if err == nil {
				d.values, err = w.batch(drew)
			}
			d.err = err
			select {
			case out <- d:
			case <-ctx.Done():
				closeAll(d.values)
				return
			}
		}
	}()
	return out
}
