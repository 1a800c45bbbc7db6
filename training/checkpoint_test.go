package training

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
)

func TestCheckpointReadsOfficialFile(t *testing.T) {
	dir := testenv.Shared(t, "fixtures/ort-training/convnet_ce_adamw")
	c, err := ReadCheckpoint(filepath.Join(dir, "checkpoint_step20_with_opt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Trainable) != 8 || len(c.Frozen) != 0 || len(c.Groups) != 1 {
		t.Fatalf("%d trainable, %d frozen, %d groups; expected 8, 0, 1", len(c.Trainable), len(c.Frozen), len(c.Groups))
	}
	g := c.Groups[0]
	if g.Name != "group0" || g.Step != 20 || len(g.States) != 8 {
		t.Errorf("group %q at step %d with %d states, expected group0, 20, 8", g.Name, g.Step, len(g.States))
	}
	for _, s := range g.States {
		p := c.Tensor(s.Param)
		if p == nil || len(s.Moments) != 2 || !reflect.DeepEqual(p.Dims, s.Moments[0].Dims) {
			t.Errorf("state of %q does not fit its parameter", s.Param)
		}
	}
}

func sampleCheckpoint() *Checkpoint {
	f := func(name string, v ...float32) *onnxgraph.Tensor {
		return onnxgraph.Floats(name, []int64{int64(len(v))}, v)
	}
	long := make([]float32, 40)
	for i := range long {
		long[i] = float32(i) / 3
	}
	return &Checkpoint{
		Version:   2,
		Trainable: []*onnxgraph.Tensor{f("w", long...), f("b", 1, 2)},
		Frozen:    []*onnxgraph.Tensor{onnxgraph.Scalar("s", 7)},
		Groups: []OptimizerGroup{{Name: "group0", Step: 12, InitialLearningRate: 0.5, States: []ParameterState{
			{"w", []*onnxgraph.Tensor{f("momentum0", long...), f("momentum1", long...)}},
			{"b", []*onnxgraph.Tensor{f("momentum0", 3, 4), f("momentum1", 5, 6)}},
		}}},
		Properties: []Property{{"step", int64(12)}, {"learning_rate", float32(0.25)}, {"note", "half way"}},
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	for _, limit := range []int64{maxInline, 0} { // 0 forces the data file
		want := sampleCheckpoint()
		buf, external, err := encodeCheckpoint(want, limit)
		if err != nil {
			t.Fatal(err)
		}
		if (external != nil) != (limit == 0) {
			t.Fatalf("limit %d: external data %d bytes", limit, len(external))
		}
		got, err := decodeCheckpoint(buf, func() ([]byte, error) { return external, nil })
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("limit %d: read back\n%+v\nexpected\n%+v", limit, got, want)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	buf, _, err := encodeCheckpoint(sampleCheckpoint(), maxInline)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(buf)
	f.Add(buf[:len(buf)/2])
	f.Add([]byte("\x04\x00\x00\x00ODTC"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCheckpoint(b, func() ([]byte, error) { return nil, os.ErrNotExist })
		if err != nil {
			return
		}
		if _, _, err := encodeCheckpoint(c, maxInline); err != nil {
			t.Errorf("a checkpoint that was read cannot be written: %v", err)
		}
	})
}
