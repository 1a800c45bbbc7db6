package job

import (
	"fmt"
	"os"
	"path/filepath"

	"ninox/training"
)

// FreshDir is a run folder that does not exist yet: run-NAME, run-NAME-2 …
func FreshDir(name string) string {
	dir := "run-" + name
	for n := 2; ; n++ {
		if _, err := os.Lstat(dir); err != nil {
			return dir
		}
		dir = fmt.Sprintf("run-%s-%d", name, n)
	}
}

// HasRun says whether a folder holds a run, finished or not.
func HasRun(dir string) bool { return exists(filepath.Join(dir, "config.json")) }

// CheckOut reports an output folder that a new run would spoil.
func (o *Options) CheckOut(dirs ...string) error {
	for _, dir := range dirs {
		if st, err := os.Stat(dir); err == nil && !st.IsDir() {
			return fmt.Errorf("--out %s: is a file, expected a folder", dir)
		}
		if !o.Resume && !o.Overwrite && HasRun(dir) {
			return o.explain(fmt.Errorf("run folder %s %w", dir, training.ErrRunExists), dir)
		}
	}
	return nil
}
