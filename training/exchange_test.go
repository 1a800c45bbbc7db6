package training

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Official checkpoints and ours go through every format and come back as they
// were: parameters, optimizer state, steps, learning rates and properties.
func TestExchangeIsLossless(t *testing.T) {
	sources := map[string]*Checkpoint{"own": normArtifacts(t).Checkpoint}
	for _, name := range []string{"resnet_bn_ce_adamw", "gpt2_erf_untied_frozen_op17_sgd", "lstm_ce_adamw"} {
		c, err := ReadCheckpoint(filepath.Join(testenv.Shared(t, "fixtures/ort-training/"+name), CheckpointFile))
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = c
	}
	for name, want := range sources {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := want
			for _, file := range []string{"a.safetensors", "b.npz", "c.onnx", "checkpoint"} {
				path := filepath.Join(dir, file)
				if err := WriteWeights(path, c, nil, false); err != nil {
					t.Fatal(err)
				}
				if err := WriteWeights(path, c, nil, false); !errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: error %v, expected one of an existing file", file, err)
				}
				back, err := ReadWeights(path)
				if err != nil {
					t.Fatal(err)
				}
				if !sameCheckpoint(back, want) {
					t.Fatalf("%s: differs after reading it back", file)
				}
				c = back
			}
		})
	}
}

func normArtifacts(t *testing.T) *Artifacts {
	t.Helper()
	return mustArtifacts(t, normModel(t), ArtifactOptions{Freeze: []string{"conv.*"}})
}

// sameCheckpoint compares all that checkpoints hold; empty lists are equal to
// absent ones.
func sameCheckpoint(a, b *Checkpoint) bool {
	if a.describe() != b.describe() {
		return false
	}
	x, y := a.tensors(), b.tensors()
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i].Name != y[i].Name || x[i].DType != y[i].DType || len(x[i].Dims)+len(y[i].Dims) > 0 && !reflect.DeepEqual(x[i].Dims, y[i].Dims) || string(x[i].Data) != string(y[i].Data) {
			return false
		}
	}
	return true
}

// With a model, the parameters take their places in it.
func TestExchangeIntoModel(t *testing.T) {
	m := normModel(t)
	c := mustArtifacts(t, m, ArtifactOptions{}).Checkpoint
	before := m.Graph.Initializer("fc.bias").Data
	changed := *c.Tensor("fc.bias")
	changed.Data = []byte(strings.Repeat("\x00\x00\x80\x3f", len(before)/4))
	for i, p := range c.Trainable {
		if p.Name == changed.Name {
			c.Trainable[i] = &changed
		}
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := WriteWeights(path, c, m, false); err != nil {
		t.Fatal(err)
	}
	back, err := onnxgraph.ReadFile(path)
	if err != nil || string(back.Graph.Initializer("fc.bias").Data) != string(changed.Data) || len(back.Graph.Nodes) != len(m.Graph.Nodes) {
		t.Errorf("%v", err)
	}
	if string(m.Graph.Initializer("fc.bias").Data) != string(before) {
		t.Error("the model that was given changed")
	}
	for want, tensor := range map[string]*onnxgraph.Tensor{
		`no initializer "other"`:                           onnxgraph.Floats("other", []int64{1}, []float32{1}),
		`initializer "fc.bias" is float[3], the parameter`: onnxgraph.Floats("fc.bias", []int64{1}, []float32{1}),
	} {
		if err := WriteWeights(path, &Checkpoint{Trainable: []*onnxgraph.Tensor{tensor}}, m, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

// Files of others: floats are parameters, and names tell optimizer state.
func TestExchangeForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	tensors := []*onnxgraph.Tensor{
		onnxgraph.Floats("w", []int64{2}, []float32{1, 2}), onnxgraph.Floats("w.momentum1", []int64{2}, []float32{5, 6}),
		onnxgraph.Floats("w.momentum0", []int64{2}, []float32{3, 4}), onnxgraph.Floats("x.momentum0", []int64{1}, []float32{7}), onnxgraph.Vector("steps", 3),
	}
	if err := weights.WriteSafetensorsExact(path, tensors, nil, false); err != nil {
		t.Fatal(err)
	}
	c, err := ReadWeights(path)
	if err != nil || len(c.Trainable) != 2 || len(c.Frozen) != 1 || len(c.Groups) != 1 || len(c.Groups[0].States) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	if m := c.Groups[0].States[0].Moments; len(m) != 2 || m[0].Name != "momentum0" || m[0].Data[3] != 0x40 {
		t.Errorf("moments %+v", m)
	}
}

func TestExchangeErrors(t *testing.T) {
	dir := t.TempDir()
	w := []*onnxgraph.Tensor{onnxgraph.Floats("w", []int64{1}, []float32{1})}
	for state, want := range map[string]string{
		"{": "ninox.state",
		`{"groups":[{"states":[{"parameter":"w","moments":["momentum0"]}]}]}`: `"w.momentum0", which is not in the file`,
		`{"properties":[{"name":"p","type":"list"}]}`:                         `property "p": type "list"`,
		`{"properties":[{"name":"p","type":"int","value":"x"}]}`:              `property "p"`,
	} {
		path := filepath.Join(dir, "w.safetensors")
		if err := weights.WriteSafetensorsExact(path, w, map[string]string{stateKey: state}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadWeights(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", state, err, want)
		}
	}
	for _, file := range []string{"none.safetensors", "none.npz", "none.onnx", "none"} {
		if _, err := ReadWeights(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: error %v", file, err)
		}
	}
}
