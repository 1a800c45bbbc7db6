package main

import (
	"os"
	"testing"

	"ninox/cmd/internal/scripttest"
)

func TestMain(m *testing.M) {
	if os.Getenv("NINOX_TEST_AS_PROGRAM") != "" { // see kill_test.go
		main()
	}
	scripttest.Main(m, main)
}

func TestScripts(t *testing.T) { scripttest.Run(t, "testdata/script") }
