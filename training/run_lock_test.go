package training

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// While a run goes on, a second one in its folder is refused, whatever it asks
// for, and the first ends as if nothing had happened.
func TestSecondRunRefused(t *testing.T) {
	alone, _ := fakeConfig(t)
	mustRun(t, alone)
	c, f := fakeConfig(t)
	tried := 0
	f.before = func(_ *fakeTrainer, call int) {
		if call != 20 {
			return
		}
		for _, change := range []func(*Config){
			func(*Config) {},
			func(c *Config) { c.Resume = true },
			func(c *Config) { c.Overwrite = true },
		} {
			second, _ := fakeConfig(t)
			second.Dir = c.Dir
			change(&second)
			_, err := Run(context.Background(), second)
			var busy *RunBusyError
			if !errors.As(err, &busy) {
				t.Fatalf("error %v, expected a RunBusyError", err)
			}
			if want := fmt.Sprintf("process %d on ", os.Getpid()); busy.Dir != c.Dir || !strings.HasPrefix(busy.Holder, want) {
				t.Errorf("%+v, expected directory %s and %s", busy, c.Dir, want)
			}
			tried++
		}
	}
	mustRun(t, c)
	if tried != 3 {
		t.Errorf("%d runs were tried beside the first, expected 3", tried)
	}
	if comparable(t, c.Dir) != comparable(t, alone.Dir) {
		t.Error("a run beside which others were refused ends differently")
	}
}

// A folder is free after its run, however that ended, and a lock file that a
// killed process left behind keeps nobody out.
func TestLockReleased(t *testing.T) {
	c, f := fakeConfig(t)
	stale := filepath.Join(c.Dir, lockFile)
	if err := errors.Join(os.MkdirAll(c.Dir, 0o755), os.WriteFile(stale, []byte("process 1 on elsewhere, which was killed\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	free := func(after string) {
		t.Helper()
		unlock, err := lockRunDir(c.Dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("after %s: %v", after, err)
		}
		unlock()
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.before = func(_ *fakeTrainer, call int) {
		if call == 20 {
			cancel()
		}
	}
	if _, err := Run(ctx, c); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("error %v, expected ErrInterrupted", err)
	}
	free("an interrupt")
	f.before = nil
	if _, err := Run(context.Background(), c); !errors.Is(err, ErrRunExists) {
		t.Fatalf("error %v, expected ErrRunExists", err)
	}
	free("a refusal")
	foreign, _ := fakeConfig(t)
	foreign.Dir, foreign.Resume, foreign.Seed = c.Dir, true, c.Seed+1
	if _, err := Run(context.Background(), foreign); err == nil || !strings.Contains(err.Error(), "seed") {
		t.Fatalf("error %v, expected that the seed differs", err)
	}
	free("a refused resumption")
	again, _ := fakeConfig(t)
	again.Dir, again.Resume = c.Dir, true
	mustRun(t, again)
	free("the end")
}

// A directory that did not exist stays away where there is nothing to resume.
func TestNothingToResumeMakesNoFolder(t *testing.T) {
	c, _ := fakeConfig(t)
	c.Dir, c.Resume = filepath.Join(c.Dir, "not there"), true
	if _, err := Run(context.Background(), c); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, expected os.ErrNotExist", err)
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}
