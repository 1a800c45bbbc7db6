package fetch

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestEvery(t *testing.T) {
	var ticks atomic.Int64
	ended := make(chan bool, 1)
	stop := every(time.Millisecond, func() { ticks.Add(1) }, func(done bool) { ended <- done })
	for ticks.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	stop(true)
	if !<-ended {
		t.Error("end is not told that it is done")
	}
	n := ticks.Load()
	time.Sleep(10 * time.Millisecond)
	if ticks.Load() != n {
		t.Error("ticks go on after the end")
	}
}
