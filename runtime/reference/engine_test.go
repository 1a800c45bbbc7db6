package reference

import (
	"strings"
	"testing"

	"gorgonia.org/tensor"
)

func TestPanicIsAnError(t *testing.T) {
	_, err := compute("Relu", []*tensor.Dense{nil})
	if err == nil || !strings.Contains(err.Error(), "the engine panics") {
		t.Errorf("error %v, want one that reports the panic", err)
	}
}
