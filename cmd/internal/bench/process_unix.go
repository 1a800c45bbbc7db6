//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"time"

	"ninox/cmd/internal/app"
)

// lockPatience is how long a bench waits for what an earlier one left running.
const lockPatience = time.Minute

// lockDir makes the folder and locks it for this bench, until the file is
// closed. The runs of a bench hold the lock as well, so that no run is begun
// anew while it still goes on.
func lockDir(ctx context.Context, a *app.App, dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockPatience); ; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("--out %s: in use by another bench, or by runs that it left behind: %w", dir, err)
		}
		a.Notef("%s is in use by another bench or its runs; waiting", dir)
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// bindToParent gives the process a group of its own, so that Ctrl-C reaches it
// through this program only, and a share in the lock.
func bindToParent(cmd *exec.Cmd, lock *os.File) {
	cmd.SysProcAttr = processAttributes()
	cmd.ExtraFiles = []*os.File{lock}
}

// peakBytes is the most memory that a finished process had.
func peakBytes(s *os.ProcessState) int64 {
	u, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if goruntime.GOOS == "darwin" {
		return u.Maxrss
	}
	return u.Maxrss * 1024
}
