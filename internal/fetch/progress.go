package fetch

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Times between two looks at a download.
const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
)

// report shows how a download grows until stop is called: a bar on a terminal,
// else a line at once and one from time to time. size is read from another
// goroutine.
func report(w io.Writer, title string, total int64, size func() int64) (stop func(done bool)) {
	fmt.Fprintln(w, title)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return reportBar(f, total, size)
	}
	return every(lineEvery, func() {
		fmt.Fprintf(w, "%d of %d MB\n", min(size(), total)/1_000_000, total/1_000_000)
	}, func(bool) {})
}

func reportBar(f *os.File, total int64, size func() int64) (stop func(done bool)) {
	pool := mpb.New(mpb.WithOutput(f), mpb.WithRefreshRate(barEvery))
	bar := pool.New(total, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"), mpb.BarWidth(30),
		mpb.PrependDecorators(decor.CountersKiloByte("% .1f of % .1f ")),
		mpb.AppendDecorators(decor.Percentage()))
	// The client may copy the finished file, so the size may pass the total:
	// the bar is full only when the client is done.
	return every(barEvery, func() { bar.SetCurrent(min(size(), total-1)) }, func(done bool) {
		if done {
			bar.SetCurrent(total)
		} else {
			bar.Abort(false)
		}
		pool.Wait()
	})
}

// every calls tick again and again until the returned function is called,
// which waits for it and then calls end.
func every(d time.Duration, tick func(), end func(done bool)) (stop func(done bool)) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				tick()
			case <-quit:
				return
			}
		}
	}()
	return func(done bool) {
		close(quit)
		<-ended
		end(done)
	}
}
