package nino

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"ninox/cmd/internal/app"
	"ninox/internal/memory"
)

// progressEvery is the time between two lines of progress.
const progressEvery = 5 * time.Second

// progress shows how far the network is: a bar on a terminal, a line now and
// then elsewhere.
func progress(a *app.App) func(done, total int) {
	if a.IsTerminal() {
		return progressBar(a)
	}
	start := time.Now()
	last := start
	return func(done, total int) {
		now := time.Now()
		if now.Sub(last) < progressEvery {
			return
		}
		last = now
		left := time.Duration(float64(now.Sub(start)) * float64(total-done) / float64(done))
		a.Notef("%3d %%, %v left", int(100*int64(done)/int64(total)), left.Round(time.Second))
	}
}

func progressBar(a *app.App) func(done, total int) {
	p := mpb.New(mpb.WithOutput(a.Progress()), mpb.WithWidth(40))
	bar := p.AddBar(0, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("nowcast "), decor.Percentage()),
		mpb.AppendDecorators(decor.Name("left "), decor.AverageETA(decor.ET_STYLE_GO)))
	return func(done, total int) {
		bar.SetTotal(int64(total), false)
		bar.SetCurrent(int64(done))
		if done == total {
			bar.SetTotal(int64(total), true)
			p.Wait()
		}
	}
}

// scratchFolder is where values go that memory has no room for: beside the
// result, where there has to be room anyway.
func scratchFolder(out string) string { return filepath.Dir(out) }

// memoryWatch samples the memory that the process takes, without mapped files.
type memoryWatch struct {
	done chan struct{}
	wg   sync.WaitGroup
	most int64
}

// memoryEvery is the time between two samples.
const memoryEvery = 50 * time.Millisecond

func watchMemory() *memoryWatch {
	m := &memoryWatch{done: make(chan struct{})}
	m.wg.Go(func() {
		for {
			m.most = max(m.most, memory.Anonymous())
			select {
			case <-m.done:
				return
			case <-time.After(memoryEvery):
			}
		}
	})
	return m
}

// stop returns the most that was seen, 0 where the system does not tell.
func (m *memoryWatch) stop() int64 {
	close(m.done)
	m.wg.Wait()
	return max(m.most, memory.Anonymous())
}
