package training

import "time"

// overhead adds up how long ordinary steps take, and how much of that is the
// runtime's. The zero value is ready to use.
type overhead struct {
	began        time.Time     // the step that goes on
	before       time.Duration // the runtime's time until then
	steps        int
	all, runtime time.Duration
}

func (o *overhead) begin(s Stepper) {
	o.began, o.before = time.Now(), computeTime(s)
}

// end counts the step, but for the first, which makes sessions.
func (o *overhead) end(s Stepper) {
	if o.steps++; o.steps > 1 {
		o.all += time.Since(o.began)
		o.runtime += computeTime(s) - o.before
	}
}

// share is the part of the steps that is not the runtime's, 0 where the trainer
// does not tell.
func (o *overhead) share() float64 {
	if o.runtime == 0 {
		return 0
	}
	return 1 - float64(o.runtime)/float64(o.all)
}

func computeTime(s Stepper) time.Duration {
	if t, ok := s.(Timed); ok {
		return t.ComputeTime()
	}
	return 0
}
