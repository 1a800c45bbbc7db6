package training

import (
	"testing"
	"time"
)

// timedStepper has spent so much time in the runtime.
type timedStepper struct {
	Stepper
	spent time.Duration
}

func (s *timedStepper) ComputeTime() time.Duration { return s.spent }

// Steps count what the runtime took of them, the first one does not.
func TestOverhead(t *testing.T) {
	var o overhead
	s := &timedStepper{}
	for range 4 {
		o.begin(s)
		o.began = o.began.Add(-10 * time.Hour)
		s.spent += 9 * time.Hour
		o.end(s)
	}
	if share := o.share(); o.all < 30*time.Hour || o.all > 31*time.Hour || share < 0.1 || share > 0.11 {
		t.Errorf("%v, of which %v are not the runtime's", o.all, share)
	}
	if share := (&overhead{}).share(); share != 0 {
		t.Errorf("without steps: %v", share)
	}
}
