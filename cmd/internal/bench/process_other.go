//go:build !unix

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"ninox/cmd/internal/app"
)

// lockDir makes the folder. There is no lock that processes inherit here.
func lockDir(_ context.Context, _ *app.App, dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
}

func bindToParent(*exec.Cmd, *os.File) {}

func peakBytes(*os.ProcessState) int64 { return 0 }
