package training

import (
	"fmt"
	"math"
	"strings"

	"ninox/onnxgraph/weights"
)

// What becomes of the optimizer's moments after a nowcast.
const (
	MomentsKeep  = "keep"  // nothing, as in the paper
	MomentsReset = "reset" // they start from zero, and so does the count of updates
	// MomentsRescale makes them what they would be had the gradients before been as
	// large as those after the jump: where the loss rises by a factor f, the squared
	// gradients do so, too, about as they do around a minimum.
	MomentsRescale = "rescale"
)

// MomentPolicies lists what Config.Moments can be.
func MomentPolicies() []string { return []string{MomentsKeep, MomentsReset, MomentsRescale} }

// adjustMoments does so after a nowcast that changed the loss of its batch.
func (l *loop) adjustMoments(before, after float64) error {
	var change func(order int, v []float32)
	switch l.Moments {
	case MomentsReset:
		l.Trainer.SetStepCount(0)
		change = func(_ int, v []float32) { clear(v) }
	case MomentsRescale:
		if !(before > 0 && after > before) {
			return nil
		}
		root := math.Sqrt(after / before)
		change = func(order int, v []float32) {
			f := math.Pow(root, float64(order))
			for i := range v {
				v[i] = float32(float64(v[i]) * f)
			}
		}
	default:
		return nil
	}
	old, err := l.Trainer.Moments()
	if err != nil {
		return err
	}
	moments := &weights.Set{}
	for _, name := range old.Names() {
		v, err := old.Floats(name)
		if err != nil {
			return fmt.Errorf("moment %q: %w", name, err)
		}
		v = append([]float32{}, v...)
		change(momentOrder(name), v)
		moments.AddFloats(name, weights.Dims(old.Get(name)), v)
	}
	return l.Trainer.SetMoments(moments)
}

// momentOrder is the power of the gradient that a moment is a mean of: 2 for the
// second moment of a parameter, else 1.
func momentOrder(name string) int {
	if strings.HasSuffix(name, fmt.Sprintf(momentumSuffix, 1)) {
		return 2
	}
	return 1
}
