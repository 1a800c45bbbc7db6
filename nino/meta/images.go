package meta

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"

	"ninox/training/data"
)

// images is the run's variation of its data: classes are chosen and numbered
// anew, labels drawn at random, images moved. The test part keeps its labels
// and places.
func (t Task) images(ctx context.Context, source *dataSource) (*data.Split, error) {
	split, err := source.open(ctx, t.Data, 0)
	if err != nil {
		return nil, err
	}
	if split.Classes < 2 || split.Test == nil || len(split.Train.Columns()) != 2 || len(split.Train.Columns()[0].Shape) != 3 {
		return nil, fmt.Errorf("data %s: expected labelled images with a test part", t.Data)
	}
	out := *split
	rng := rand.New(rand.NewPCG(t.Seed, 1))
	renumbered := rng.Perm(split.Classes) // number of each class in this run
	if out.Classes = split.Classes; t.Classes > 0 {
		out.Classes = min(t.Classes, split.Classes)
	}
	train := split.Train
	if t.Samples > 0 {
		train = data.Head(train, t.Samples)
	}
	v, err := newVariation(train, renumbered, out.Classes)
	if err != nil {
		return nil, err
	}
	for i := range v.labels {
		if rng.Float64() < t.LabelNoise {
			v.labels[i] = int64(rng.IntN(out.Classes))
		}
		if t.Shift > 0 {
			v.moves = append(v.moves, [2]int{rng.IntN(2*t.Shift+1) - t.Shift, rng.IntN(2*t.Shift+1) - t.Shift})
		}
	}
	out.Train = v
	if out.Test, err = newVariation(split.Test, renumbered, out.Classes); err != nil {
		return nil, err
	}
	if n := v.Len(); n < t.Batch {
		return nil, fmt.Errorf("data %s: %d samples of %d classes, batches have %d", t.Data, n, out.Classes, t.Batch)
	}
	return &out, nil
}

// variation is a selection of labelled images, with other labels and places.
type variation struct {
	data.Dataset
	indices []int    // into the whole
	labels  []int64  // by sample
	moves   [][2]int // down and right, pixels; nil: none
}

// newVariation selects the samples whose class has a number below classes.
func newVariation(d data.Dataset, renumbered []int, classes int) (*variation, error) {
	v := &variation{Dataset: d}
	all := make([]int, d.Len())
	for i := range all {
		all[i] = i
	}
	labels := make([]int64, d.Len())
	if err := d.Batch(all, []data.Buffer{{}, {Int64s: labels}}); err != nil {
		return nil, err
	}
	for i, label := range labels {
		if n := renumbered[label]; n < classes {
			v.indices, v.labels = append(v.indices, i), append(v.labels, int64(n))
		}
	}
	return v, nil
}

// Len implements data.Dataset.
func (v *variation) Len() int { return len(v.indices) }

// Hash implements data.Dataset.
func (v *variation) Hash() string {
	h := sha256.New()
	fmt.Fprintln(h, v.Dataset.Hash(), v.indices, v.labels, v.moves)
	return hex.EncodeToString(h.Sum(nil))
}

// Batch implements data.Dataset.
func (v *variation) Batch(indices []int, into []data.Buffer) error {
	whole := make([]int, len(indices))
	for n, i := range indices {
		if i < 0 || i >= len(v.indices) {
			return fmt.Errorf("data %s: sample %d of %d", v.Name(), i, len(v.indices))
		}
		whole[n] = v.indices[i]
	}
	if err := v.Dataset.Batch(whole, into); err != nil {
		return err
	}
	for n, i := range indices {
		if into[1].Int64s != nil {
			into[1].Int64s[n] = v.labels[i]
		}
		if v.moves != nil && into[0].Floats != nil {
			v.move(into[0].Floats, n, v.moves[i])
		}
	}
	return nil
}

// move shifts image n of a batch; what comes in from outside takes the value
// of the image's first pixel, the background.
func (v *variation) move(images []float32, n int, by [2]int) {
	shape := v.Columns()[0].Shape
	height, width := int(shape[1]), int(shape[2])
	plane := height * width
	for c := range int(shape[0]) {
		at := (n*int(shape[0]) + c) * plane
		image := images[at : at+plane]
		old := append([]float32(nil), image...)
		for y := range height {
			for x := range width {
				sy, sx := y-by[0], x-by[1]
				if sy < 0 || sy >= height || sx < 0 || sx >= width {
					image[y*width+x] = old[0]
				} else {
					image[y*width+x] = old[sy*width+sx]
				}
			}
		}
	}
}
