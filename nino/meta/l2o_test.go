package meta

import (
	"context"
	"slices"
	"testing"

	"ninox/nino"
	"ninox/runtime/runtimetest"
)

// A learned optimizer that is interrupted and resumed in its training is that of
// one that is not; and it has learned something other than Adam.
func TestTrainL2O(t *testing.T) {
	engine, s := runtimetest.Engine(t), store(t)
	p := plan(t, `{"schema": "ninox.meta.plan/1", "seed": 3, "sets": [
		{"name": "train", "count": 2, "data": ["embedded"], "samples": [600], "kernel": [3], "hidden": [[4, 4]], "strides": [[2, 2]],
		 "optimizer": ["adam"], "lr": [0.003], "batch": [16], "steps": 8, "every": 2}]}`)
	if err := Collect(t.Context(), engine, p, s, CollectOptions{Workers: 1}); err != nil {
		t.Fatal(err)
	}
	o := L2OOptions{Dir: t.TempDir(), L2OConfig: nino.L2OConfig{Width: 4, Rounds: 1}, Iterations: 4, Pairs: 1, Unroll: 3, ValidateEvery: 2, Seed: 5}
	want, err := TrainL2O(t.Context(), engine, s, o)
	if err != nil {
		t.Fatal(err)
	}
	start, err := nino.InitialL2O(o.L2OConfig, o.Seed)
	if err != nil || slices.Equal(start.Vector, want.Vector) {
		t.Errorf("the weights have not moved, %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	o.Dir, o.Progress = t.TempDir(), writerFunc(stop)
	if _, err := TrainL2O(ctx, engine, s, o); err == nil {
		t.Error("is not interrupted")
	}
	o.Progress = nil
	if _, err := TrainL2O(t.Context(), engine, s, o); err == nil {
		t.Error("a folder that holds a training is taken")
	}
	o.Resume = true
	got, err := TrainL2O(t.Context(), engine, s, o)
	if err != nil || !slices.Equal(got.Vector, want.Vector) {
		t.Errorf("resumed, the weights are others, %v", err)
	}
	o.LR = 0.5
	if _, err := TrainL2O(t.Context(), engine, s, o); err == nil {
		t.Error("goes on with another learning rate")
	}
}
