package memory

import (
	"runtime"
	"testing"
)

func TestAnonymous(t *testing.T) {
	before := Anonymous()
	if runtime.GOOS != "linux" {
		if before != 0 {
			t.Errorf("%d bytes on %s", before, runtime.GOOS)
		}
		return
	}
	const size = 64 << 20
	block := make([]byte, size)
	for i := range block {
		block[i] = 1
	}
	after := Anonymous()
	if runtime.KeepAlive(block); before <= 0 || after-before < size*3/4 {
		t.Errorf("%d bytes, with %d more %d", before, size, after)
	}
}
