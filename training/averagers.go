package training

import (
	"fmt"
	"strconv"
	"strings"

	"ninox/onnxgraph/weights"
)

// combine is a set with f applied to the numbers of equal places of several
// sets, which have the names and shapes of the first.
func combine(f func(v []float64) float64, sets ...*weights.Set) (*weights.Set, error) {
	out := &weights.Set{}
	v := make([]float64, len(sets))
	for _, name := range sets[0].Names() {
		columns := make([][]float32, len(sets))
		for i, s := range sets {
			var err error
			if columns[i], err = s.Floats(name); err != nil {
				return nil, err
			}
			if len(columns[i]) != len(columns[0]) {
				return nil, fmt.Errorf("array %q has %d elements, expected %d", name, len(columns[i]), len(columns[0]))
			}
		}
		to := make([]float32, len(columns[0]))
		for at := range to {
			for i, c := range columns {
				v[i] = float64(c[at])
			}
			to[at] = float32(f(v))
		}
		out.AddFloats(name, weights.Dims(sets[0].Get(name)), to)
	}
	return out, nil
}

// toward is a + share·(b−a).
func toward(a, b *weights.Set, share float64) (*weights.Set, error) {
	return combine(func(v []float64) float64 { return v[0] + share*(v[1]-v[0]) }, a, b)
}

// meanOf is the mean of several sets.
func meanOf(sets []*weights.Set) (*weights.Set, error) { return combine(mean, sets...) }

// kept is a list of sets that an averager carries from step to step, all of the
// same names. In checkpoints the i-th is under "i/".
type kept []*weights.Set

func (k kept) State() *weights.Set {
	out := &weights.Set{}
	for i, s := range k {
		for _, name := range s.Names() {
			out.Add(strconv.Itoa(i)+"/"+name, s.Get(name))
		}
	}
	return out
}

func (k *kept) SetState(s *weights.Set) error {
	var sets kept
	for _, name := range s.Names() {
		number, rest, _ := strings.Cut(name, "/")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i > len(sets) {
			return fmt.Errorf("average: array %q: expected 0/, 1/ … in order", name)
		}
		if i == len(sets) {
			sets = append(sets, &weights.Set{})
		}
		sets[i].Add(rest, s.Get(name))
	}
	*k = sets
	return nil
}

// ema keeps an exponential mean of the parameters.
type ema struct {
	kept
	decay float64
}

// EMA tests and keeps the exponential moving average of the parameters. The
// decay rises to the given one as (1+t)/(10+t), so that the start is forgotten
// soon.
func EMA(decay float64) Averager { return &ema{decay: decay} }

func (*ema) Name() string     { return "ema" }
func (e *ema) String() string { return fmt.Sprintf("ema decay=%g", e.decay) }
func (*ema) Every() int       { return 1 }

func (e *ema) After(step int, params *weights.Set) (*weights.Set, error) {
	if len(e.kept) == 0 {
		e.kept = kept{params}
		return nil, nil
	}
	decay := min(e.decay, float64(1+step)/float64(10+step))
	next, err := toward(e.kept[0], params, 1-decay)
	if err == nil {
		e.kept[0] = next
	}
	return nil, err
}

func (e *ema) Result() *weights.Set {
	if len(e.kept) == 0 {
		return nil
	}
	return e.kept[0]
}

// lawa keeps the latest states; the last of the sets is their mean.
type lawa struct {
	kept
	every, states int
}

// LAWA (latest weight averaging, Kaddour 2022) tests and keeps the mean of the
// latest states, which are every steps apart.
func LAWA(every, states int) Averager { return &lawa{every: every, states: states} }

func (*lawa) Name() string     { return "lawa" }
func (l *lawa) String() string { return fmt.Sprintf("lawa every=%d states=%d", l.every, l.states) }
func (l *lawa) Every() int     { return l.every }

func (l *lawa) After(_ int, params *weights.Set) (*weights.Set, error) {
	latest := append(kept{}, l.kept[:max(0, len(l.kept)-1)]...)
	if latest = append(latest, params); len(latest) > l.states {
		latest = latest[1:]
	}
	m, err := meanOf(latest)
	if err == nil {
		l.kept = append(latest, m)
	}
	return nil, err
}

func (l *lawa) Result() *weights.Set {
	if len(l.kept) == 0 {
		return nil
	}
	return l.kept[len(l.kept)-1]
}

// lookahead keeps the slow parameters.
type lookahead struct {
	kept
	every int
	pull  float64
}

// Lookahead (Zhang et al. 2019) moves slow parameters towards those that were
// trained for some steps, by the share pull, and goes on from there. The slow
// ones are tested and kept. They start as the parameters that start gives.
func Lookahead(every int, pull float64, start *weights.Set) Averager {
	return &lookahead{kept: kept{start}, every: every, pull: pull}
}

func (*lookahead) Name() string { return "lookahead" }
func (l *lookahead) String() string {
	return fmt.Sprintf("lookahead every=%d pull=%g", l.every, l.pull)
}
func (l *lookahead) Every() int           { return l.every }
func (l *lookahead) Result() *weights.Set { return l.kept[0] }

func (l *lookahead) After(_ int, params *weights.Set) (*weights.Set, error) {
	slow, err := toward(l.kept[0], params, l.pull)
	if err != nil {
		return nil, err
	}
	l.kept[0] = slow
	return slow, nil
}

// emaNesterov keeps the parameters and the mean of their increments.
type emaNesterov struct {
	kept
	decay, ahead float64
}

// EMANesterov (Yau et al. 2026) takes each step of the optimizer from a point
// ahead of the parameters: θ + ahead·m, where m is the exponential mean of the
// parameters' increments. θ is tested and kept; it starts as start.
func EMANesterov(decay, ahead float64, start *weights.Set) Averager {
	zero, _ := combine(func([]float64) float64 { return 0 }, start) // one set agrees with itself
	return &emaNesterov{kept: kept{start, zero}, decay: decay, ahead: ahead}
}

func (*emaNesterov) Name() string { return "ema-nesterov" }
func (n *emaNesterov) String() string {
	return fmt.Sprintf("ema-nesterov decay=%g ahead=%g", n.decay, n.ahead)
}
func (*emaNesterov) Every() int             { return 1 }
func (n *emaNesterov) Result() *weights.Set { return n.kept[0] }

func (n *emaNesterov) After(_ int, params *weights.Set) (*weights.Set, error) {
	m, err := combine(func(v []float64) float64 { return n.decay*v[0] + (1-n.decay)*(v[2]-v[1]) }, n.kept[1], n.kept[0], params)
	if err != nil {
		return nil, err
	}
	n.kept = kept{params, m}
	return combine(func(v []float64) float64 { return v[0] + n.ahead*v[1] }, params, m)
}
