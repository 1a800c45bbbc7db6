package main

import (
	"os"
	"testing"

	"ninox/onnxgraph/ops"
)

func TestTableIsCurrent(t *testing.T) {
	have, err := os.ReadFile("../../../../docs/OPERATORS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != table(ops.Registry()) {
		t.Error("docs/OPERATORS.md is not what the registry says: run go generate ./onnxgraph/ops")
	}
}
