package bench

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

// processAttributes end the process, with a checkpoint, where this program is
// killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// availableBytes is the memory that new processes can have, 0 where it is not
// known.
func availableBytes() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(s.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib * 1024
		}
	}
	return 0
}
