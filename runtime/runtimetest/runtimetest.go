// Package runtimetest gives tests an engine.
package runtimetest

import (
	"context"
	"os"
	"sync"
	"testing"

	"ninox/internal/testenv"
	ort "ninox/runtime"
)

var open = sync.OnceValues(func() (*ort.Engine, error) {
	return ort.Open(context.Background(), ort.Options{Progress: os.Stderr})
})

// Engine is the CPU engine of this test binary, opened at the first call. Where
// the library is missing and cannot be installed the test is skipped, or fails
// if NINOX_REQUIRE lists "ort".
func Engine(t testing.TB) *ort.Engine {
	t.Helper()
	e, err := open()
	if err != nil {
		testenv.Missing(t, "ort", "ONNX Runtime: "+err.Error())
	}
	return e
}
