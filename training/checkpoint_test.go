package training

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
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

// Every checkpoint that upstream wrote is read, and written so that reading
// it again gives the same.
func TestCheckpointOfficialFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testenv.Shared(t, "fixtures/ort-training"), "*", "checkpoint*"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d checkpoints found (%v)", len(files), err)
	}
	for _, f := range files {
		c, err := ReadCheckpoint(f)
		if err != nil {
			t.Error(err)
			continue
		}
		path := filepath.Join(t.TempDir(), "copy")
		if err := c.Write(path); err != nil {
			t.Fatal(err)
		}
		back, err := ReadCheckpoint(path)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, c) {
			t.Errorf("%s: written and read, it differs", f)
		}
	}
}

// Tensors that go to the data file come back from it; a data file that is
// missing or short is an error.
func TestCheckpointDataFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	want := sampleCheckpoint()
	buf, external, err := encodeCheckpoint(want, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, buf, 0o644), os.WriteFile(path+externalSuffix, external, 0o644)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadCheckpoint(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, %v", got, err)
	}
	if err := os.Truncate(path+externalSuffix, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCheckpoint(path); err == nil || !strings.Contains(err.Error(), `tensor "w"`) || !strings.Contains(err.Error(), "exceed the data file") {
		t.Errorf("a short data file: %v", err)
	}
	if err := os.Remove(path + externalSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCheckpoint(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing data file: %v", err)
	}
}

// Damaged files give an error or a checkpoint, never a panic or much memory.
func TestCheckpointDamaged(t *testing.T) {
	b, _, err := encodeCheckpoint(sampleCheckpoint(), maxInline)
	if err != nil {
		t.Fatal(err)
	}
	missing := func() ([]byte, error) { return nil, os.ErrNotExist }
	refused := 0
	for n := range b {
		if _, err := decodeCheckpoint(b[:n], missing); err != nil {
			refused++
		}
	}
	if refused < len(b)-8 { // the last bytes may be padding
		t.Errorf("%d of %d truncations are refused", refused, len(b))
	}
	var before, after runtime.MemStats
	for at := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[at] ^= 1 << bit
			runtime.ReadMemStats(&before)
			_, _ = decodeCheckpoint(c, missing)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Fatalf("byte %d bit %d: %d bytes of memory for a file of %d", at, bit, used, len(b))
			}
		}
	}
	for want, file := range map[string]string{"not a training checkpoint": "hello", "version 7 is unknown": string(bytes.Replace(b, le32(2), le32(7), 1))} {
		if _, err := decodeCheckpoint([]byte(file), missing); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

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
