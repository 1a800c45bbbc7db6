package training

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// lockFile is locked while a process writes into the run directory, and says which.
// The system drops the lock when the process ends, however it ends. The file
// stays: one that were removed could be locked by a process that had opened it
// before, beside one that locks its successor.
const lockFile = ".lock"

// RunBusyError reports a run directory that a process is writing to.
type RunBusyError struct {
	Dir    string
	Holder string // "process 1234 on HOST", or "another process" where it cannot be read
}

func (e *RunBusyError) Error() string {
	return fmt.Sprintf("run directory %s: in use by %s", e.Dir, e.Holder)
}

// lockRunDir makes this run the only one that writes into an existing directory,
// until unlock is called or the process ends. A RunBusyError reports that another
// has it. Where the filesystem knows no locks, the run goes on without one and
// log says so.
func lockRunDir(dir string, log *slog.Logger) (unlock func(), err error) {
	path := filepath.Join(dir, lockFile)
	l := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	got, err := l.TryLock()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		log.Warn("the filesystem knows no locks: nothing keeps a second run out of the folder", "dir", dir)
		return func() {}, nil
	case err != nil:
		return nil, errors.Join(fmt.Errorf("run directory %s: lock: %w", dir, err), l.Close())
	case !got:
		return nil, errors.Join(&RunBusyError{Dir: dir, Holder: lockHolder(path)}, l.Close())
	}
	if err := os.WriteFile(path, []byte(thisProcess()+"\n"), 0o644); err != nil {
		// Windows lets nobody write to a locked file: there the holder is unnamed.
		log.Debug("the lock does not name its process", "error", err)
	}
	return func() {
		if err := l.Close(); err != nil {
			log.Warn("unlocking the run", "dir", dir, "error", err)
		}
	}, nil
}

// thisProcess names this process to others, who may be on another machine.
func thisProcess() string {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Sprintf("process %d", os.Getpid())
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

// lockHolder reads who has a lock.
func lockHolder(path string) string {
	raw, err := os.ReadFile(path)
	if text := strings.TrimSpace(string(raw)); err == nil && text != "" {
		return text
	}
	return "another process"
}
