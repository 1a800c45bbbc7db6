package fetch

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal of 80 columns.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

func TestBarOnTerminal(t *testing.T) {
	for _, done := range []bool{true, false} {
		screen, tty := terminal(t)
		var shown bytes.Buffer
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(&shown, screen) }) // ends with an error when the last tty closes
		var size atomic.Int64
		stop := report(tty, "downloading", 20_000_000, size.Load)
		size.Store(10_000_000)
		time.Sleep(3 * barEvery)
		size.Store(30_000_000) // more than the total: a client may hold a copy
		time.Sleep(3 * barEvery)
		stop(done)
		tty.Close()
		wg.Wait()
		text := shown.String()
		if !strings.HasPrefix(text, "downloading\r\n") || !strings.Contains(text, "10.0 MB of 20.0 MB") || !strings.Contains(text, "50 %") {
			t.Errorf("the terminal shows %q", text)
		}
		// Only a full bar has no tip, and only a finished download fills it.
		if full := strings.Contains(text, "=] 100 %"); full != done {
			t.Errorf("done %v: the terminal shows %q", done, text)
		}
	}
}
