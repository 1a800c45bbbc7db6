package nino

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
)

// Ablation leaves out or changes parts of the network, as the paper's tables do.
// The zero value changes nothing. What is left out here was there when the weights
// were trained, unless they were trained without it.
type Ablation struct {
	Scaling         Scaling // another scaling of the parameters; "" keeps that of the weights
	NoPositions     bool    // nodes do not see their Laplacian features
	NoWordPositions bool    // nor their place in the vocabulary
	NoEdgeTypes     bool    // all edges are of one type
	// Context, Layers and Width are what the weights must have; 0 is anything.
	Context, Layers, Width int
}

// Apply is the network with the ablation. The weights stay as they are.
func (a Ablation) Apply(w *Weights) (*Weights, error) {
	if err := a.check(w); err != nil {
		return nil, err
	}
	edits := map[string]func([]float32){}
	if a.NoPositions {
		edits["node_proj.fc.0.weight"] = func(v []float32) { copy(v, make([]float32, len(v))) }
	}
	if a.NoEdgeTypes {
		edits["layer_embed.weight"] = func(v []float32) {
			one := slices.Clone(v[int(neuralgraph.EdgeLinear)*w.Width:][:w.Width])
			copy(v, slices.Repeat(one, w.EdgeTypes))
		}
	}
	set := &weights.Set{}
	for _, name := range w.Tensors.Names() {
		t := w.Tensors.Get(name)
		if a.NoWordPositions && name == wordTable {
			continue
		}
		if edit := edits[name]; edit != nil {
			v, err := w.Tensors.Floats(name)
			if err != nil {
				return nil, err
			}
			v = slices.Clone(v)
			edit(v)
			t = weights.DenseFloats(weights.Dims(t), v)
		}
		set.Add(name, t)
	}
	args := map[string]string{}
	maps.Copy(args, w.Args)
	if a.NoWordPositions {
		delete(args, "vocab_size")
		delete(args, "wte_pos_enc")
	}
	if a.Scaling != "" {
		delete(args, "scale_method")
		maps.Copy(args, Settings(a.Scaling, false))
	}
	return NewWeights(set, args)
}

// check names every part of the ablation that the weights do not allow.
func (a Ablation) check(w *Weights) error {
	var errs []error
	for _, n := range []struct {
		what      string
		want, has int
	}{{"states", a.Context, w.Context}, {"layers", a.Layers, w.Layers}, {"width", a.Width, w.Width}} {
		if n.want != 0 && n.want != n.has {
			errs = append(errs, fmt.Errorf("the weights have %s %d, not %d; 'ninox meta train' makes others", n.what, n.has, n.want))
		}
	}
	if a.Scaling != "" && !slices.Contains(Scalings(), a.Scaling) {
		errs = append(errs, fmt.Errorf("scaling %q, expected one of %q", a.Scaling, Scalings()))
	}
	if w.Variant == VariantMLP && (a.NoPositions || a.NoWordPositions) {
		errs = append(errs, errors.New("the weights are of a network without a graph: they know no positions"))
	}
	if a.NoWordPositions && w.Variant == VariantGNN && w.Words == 0 {
		errs = append(errs, errors.New("the weights have no word positions to leave out"))
	}
	return errors.Join(errs...)
}

// Scalings lists the scalings.
func Scalings() []Scaling {
	return []Scaling{ScaleLayerwise, ScaleParameter, ScaleMinMax, ScaleMinMaxParameter, ScaleNone}
}
