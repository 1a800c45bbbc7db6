package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// lockEvery is the time between two tries to get the lock.
const lockEvery = 100 * time.Millisecond

// errLocked says that another process holds the lock.
var errLocked = errors.New("locked by another process")

// lock waits until this process alone holds the lock file. The system drops
// the lock when the process ends, however it ends; the file stays.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		err := tryLock(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if first {
			fmt.Fprintln(progress, "waiting for another process that installs ONNX Runtime")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(lockEvery):
		}
	}
}
