//go:build !linux

package bench

// availableBytes is the memory that new processes can have; 0: not known.
func availableBytes() int64 { return 0 }
