package training

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	ort "ninox/runtime"
	"ninox/training/data"
)

// mustValues is a whole data set as one batch.
func mustValues(t testing.TB, d data.Dataset) map[string]*ort.Value {
	t.Helper()
	return sliceValues(t, d, 0, d.Len())
}

// sliceValues is a batch of n samples from at on.
func sliceValues(t testing.TB, d data.Dataset, at, n int) map[string]*ort.Value {
	t.Helper()
	b := data.NewBatch(d.Columns(), n)
	indices := make([]int, n)
	for i := range indices {
		indices[i] = at + i
	}
	if err := d.Batch(indices, b.Buffers); err != nil {
		t.Fatal(err)
	}
	v, err := valuesOf(b, n)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func writeMetric(t testing.TB, b *bytes.Buffer, v any) {
	t.Helper()
	if err := json.NewEncoder(b).Encode(v); err != nil {
		t.Fatal(err)
	}
}

// idleTrainer makes steps that do nothing.
type idleTrainer struct{ *fakeTrainer }

func (idleTrainer) Step(context.Context, map[string]*ort.Value, float64) (float64, error) {
	return 1, nil
}
