package view

import (
	"cmp"
	"container/heap"
	"slices"
)

// sequence is a list of things in the order of the flow: what each is, and
// which others it reads.
type sequence struct {
	labels []int   // equal where two things are alike
	reads  [][]int // indices of the things read, in a fixed order
}

// repeat says that the things first … first+period-1 occur copies times, one
// copy after the other, each joined to the one before in the same way. inner
// are repeats within the first copy, which all copies have.
type repeat struct {
	first, period, copies int
	inner                 []repeat
}

// minSaving is how many things a repeat must hide to be worth a box.
const minSaving = 3

func (r *repeat) end() int    { return r.first + r.period*r.copies }
func (r *repeat) saving() int { return r.period * (r.copies - 1) }

// fold finds repeats that do not overlap, those that hide most first.
func (s *sequence) fold() []repeat { return s.within(0, len(s.labels)) }

func (s *sequence) within(lo, hi int) []repeat {
	found := s.runs(lo, hi)
	heap.Init(&found)
	taken := make([]bool, hi-lo)
	var out []repeat
	for found.Len() > 0 {
		run := heap.Pop(&found).(stretch)
		free := run.outside(taken, lo)
		if len(free) != 1 || free[0] != run {
			for _, f := range free {
				found.add(f)
			}
			continue
		}
		r, ok := s.settle(run)
		if !ok {
			found.add(stretch{r.first + r.period, run.to, run.period})
			continue
		}
		for i := r.first; i < r.end(); i++ {
			taken[i-lo] = true
		}
		for _, rest := range []stretch{{run.from, r.first, run.period}, {r.end(), run.to, run.period}} {
			found.add(rest)
		}
		if r.period > 1 {
			r.inner = s.within(r.first, r.first+r.period)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b repeat) int { return cmp.Compare(a.first, b.first) })
	return out
}

// stretch is a range in which everything has the label of what stands a period
// before it.
type stretch struct{ from, to, period int }

func (t stretch) copies() int { return (t.to - t.from) / t.period }
func (t stretch) saving() int { return t.period * (t.copies() - 1) }

// outside lists the parts of the stretch that nothing else has taken.
func (t stretch) outside(taken []bool, lo int) []stretch {
	var out []stretch
	for i := t.from; i < t.to; i++ {
		if taken[i-lo] {
			continue
		}
		j := i
		for j < t.to && !taken[j-lo] {
			j++
		}
		out = append(out, stretch{i, j, t.period})
		i = j
	}
	return out
}

// stretches is a heap, the one that hides most on top; of two that hide equally
// much the one of shorter period.
type stretches []stretch

func (h stretches) Len() int      { return len(h) }
func (h stretches) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h stretches) Less(i, j int) bool {
	if a, b := h[i].saving(), h[j].saving(); a != b {
		return a > b
	}
	if h[i].period != h[j].period {
		return h[i].period < h[j].period
	}
	return h[i].from < h[j].from
}
func (h *stretches) Push(x any) { *h = append(*h, x.(stretch)) }
func (h *stretches) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

func (h *stretches) add(t stretch) {
	if t.saving() >= minSaving {
		heap.Push(h, t)
	}
}

// runs lists all maximal stretches.
func (s *sequence) runs(lo, hi int) stretches {
	var out stretches
	for p := 1; p <= (hi-lo)/2; p++ {
		for i := lo; i+p < hi; i++ {
			from := i
			for i+p < hi && s.labels[i] == s.labels[i+p] {
				i++
			}
			if t := (stretch{from, i + p, p}); i > from && t.saving() >= minSaving {
				out = append(out, t)
			}
		}
	}
	return out
}

// settle decides where in a stretch the copies begin, namely where the fewest
// values pass from one to the next, and how many of them are joined alike.
func (s *sequence) settle(t stretch) (repeat, bool) {
	best, least := -1, 0
	for shift := 0; shift <= (t.to-t.from)-t.copies()*t.period; shift++ {
		if n := s.crossing(t.from+shift+t.period, t); best < 0 || n < least {
			best, least = shift, n
		}
	}
	r := repeat{first: t.from + best, period: t.period, copies: 1}
	for r.copies < t.copies() && s.joined(&r, r.copies) {
		r.copies++
	}
	return r, r.saving() >= minSaving
}

// crossing counts the things of the copy before a cut that the one behind it
// reads.
func (s *sequence) crossing(cut int, t stretch) int {
	seen := map[int]bool{}
	for i := cut; i < min(cut+t.period, t.to); i++ {
		for _, r := range s.reads[i] {
			if r < cut && r >= cut-t.period {
				seen[r] = true
			}
		}
	}
	return len(seen)
}

// joined says whether a copy reads what the second one reads: the same places
// in itself and in the copy before. The first copy must agree within itself;
// what it reads from outside is its own business.
func (s *sequence) joined(r *repeat, copy int) bool {
	for j := range r.period {
		here := s.places(r, copy, j)
		if !slices.Equal(here, s.places(r, 1, j)) {
			return false
		}
		within := func(p int) bool { return p < r.period }
		if !slices.Equal(slices.DeleteFunc(here, within), slices.DeleteFunc(s.places(r, 0, j), within)) {
			return false
		}
	}
	return true
}

// places says where the things lie that the j-th of a copy reads: period+k for
// the k-th of the same copy, k for that of the copy before, -1 for others.
func (s *sequence) places(r *repeat, copy, j int) []int {
	start := r.first + r.period*copy
	var out []int
	for _, thing := range s.reads[start+j] {
		p := thing - start + r.period
		if thing < r.first || p < 0 || p >= 2*r.period {
			p = -1
		}
		out = append(out, p)
	}
	return out
}
