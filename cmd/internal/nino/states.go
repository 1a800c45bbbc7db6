package nino

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ninox/nino"
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// state is a set of arrays with the metadata of their file.
type state struct {
	set  *weights.Set
	meta map[string]string
}

// torchFiles end the names of what torch.save wrote.
var torchFiles = []string{".pt", ".pth", ".bin", ".ckpt"}

// readState reads a state of any kind, by the end of its file's name.
func readState(path string) (state, error) {
	name := filepath.Base(path)
	switch ext := filepath.Ext(name); {
	case strings.HasSuffix(name, ".index.json"):
		return readShards(path)
	case ext == ".npz":
		s, err := weights.ReadNPZ(path)
		return state{set: s}, err
	case ext == ".onnx":
		return readInitializers(path)
	case slices.Contains(torchFiles, ext):
		s, err := nino.ReadTorch(path)
		return state{set: s}, err
	}
	s, meta, err := weights.ReadSafetensors(path)
	return state{s, meta}, err
}

// readStates reads the states and the metadata of the newest.
func readStates(paths []string) (states []*weights.Set, meta map[string]string, err error) {
	for _, path := range paths {
		s, err := readState(path)
		if err != nil {
			return nil, nil, err
		}
		states, meta = append(states, s.set), s.meta
	}
	return states, meta, nil
}

// readInitializers reads the float initializers of a model.
func readInitializers(path string) (state, error) {
	m, err := onnxgraph.ReadFile(path)
	if err != nil {
		return state{}, err
	}
	s := &weights.Set{}
	for _, t := range m.Graph.Initializers {
		if !t.DType.IsFloat() {
			continue
		}
		d, err := weights.FromTensor(t)
		if err != nil {
			return state{}, fmt.Errorf("%s: %w", path, err)
		}
		s.Add(t.Name, d)
	}
	return state{set: s}, nil
}

// readShards reads the files that an index names, which lie beside it.
func readShards(path string) (state, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return state{}, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return state{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(index.WeightMap) == 0 {
		return state{}, fmt.Errorf("%s: no \"weight_map\": expected the index of a checkpoint in several files", path)
	}
	out := state{set: &weights.Set{}}
	for _, file := range slices.Compact(slices.Sorted(maps.Values(index.WeightMap))) {
		if !filepath.IsLocal(file) {
			return state{}, fmt.Errorf("%s: file %q lies outside the folder", path, file)
		}
		shard, err := readState(filepath.Join(filepath.Dir(path), file))
		if err != nil {
			return state{}, err
		}
		out.meta = shard.meta
		for _, name := range shard.set.Names() {
			if index.WeightMap[name] == file {
				out.set.Add(name, shard.set.Get(name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index.WeightMap)) {
		if out.set.Get(name) == nil {
			return state{}, fmt.Errorf("%s: array %q is not in %s", path, name, index.WeightMap[name])
		}
	}
	return out, nil
}
