// Package memory tells how much memory the process takes.
package memory

import (
	"bytes"
	"os"
	"strconv"
)

// Anonymous is the resident memory without mapped files, in bytes: what Linux says
// of this process in /proc (RssAnon), 0 elsewhere.
func Anonymous() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "RssAnon:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err == nil {
				return kib * 1024
			}
		}
	}
	return 0
}
