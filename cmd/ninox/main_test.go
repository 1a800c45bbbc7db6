package main

import (
	"testing"

	"ninox/cmd/internal/scripttest"
)

func TestMain(m *testing.M) { scripttest.Main(m, main) }

func TestScripts(t *testing.T) { scripttest.Run(t, "testdata/script") }
