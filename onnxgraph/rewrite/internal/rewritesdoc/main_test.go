package main

import (
	"os"
	"testing"
)

func TestTablesAreCurrent(t *testing.T) {
	have, err := os.ReadFile("../../../../docs/REWRITES.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != tables() {
		t.Error("docs/REWRITES.md is not what the tables say: run go generate ./onnxgraph/rewrite")
	}
}
