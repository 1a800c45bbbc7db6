package nino

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ninox/nino"
	"ninox/onnxgraph/weights"
)

// torchFiles end the names of what torch.save wrote.
var torchFiles = []string{".pt", ".pth", ".bin", ".ckpt"}

const safetensorsIndex = ".safetensors.index.json"

// ofTorch says whether a checkpoint is torch.save's, in one file or in several
// with an index, and so has to be read into memory.
func ofTorch(path string) bool {
	return slices.Contains(torchFiles, filepath.Ext(path)) || strings.HasSuffix(path, ".index.json") && !strings.HasSuffix(path, safetensorsIndex)
}

// openStates maps the states; nil where one is of a kind that cannot be mapped.
// After an error the result holds those to close.
func openStates(paths []string) (states []*weights.File, err error) {
	if slices.ContainsFunc(paths, ofTorch) {
		return nil, nil
	}
	for _, path := range paths {
		f, err := weights.Open(path)
		if err != nil {
			return states, err
		}
		states = append(states, f)
	}
	return states, nil
}

func closeAll(files []*weights.File) {
	for _, f := range files {
		f.Close() // of files that were only read
	}
}

// readStates reads the states into memory, and the metadata of the newest.
func readStates(paths []string) (states []*weights.Set, meta map[string]string, err error) {
	for _, path := range paths {
		s, m, err := readState(path)
		if err != nil {
			return nil, nil, err
		}
		states, meta = append(states, s), m
	}
	return states, meta, nil
}

func readState(path string) (*weights.Set, map[string]string, error) {
	switch {
	case strings.HasSuffix(path, ".json") && ofTorch(path):
		s, err := readTorchShards(path)
		return s, nil, err
	case ofTorch(path):
		s, err := nino.ReadTorch(path)
		return s, nil, err
	}
	f, err := weights.Open(path)
	if err != nil {
		return nil, nil, err
	}
	s, err := f.Set()
	return s, f.Meta, errors.Join(err, f.Close())
}

// readTorchShards reads the files of torch.save that an index names, which lie
// beside it.
func readTorchShards(path string) (*weights.Set, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("%s: no \"weight_map\": expected the index of a checkpoint in several files", path)
	}
	out := &weights.Set{}
	for _, file := range slices.Compact(slices.Sorted(maps.Values(index.WeightMap))) {
		if !filepath.IsLocal(file) {
			return nil, fmt.Errorf("%s: file %q lies outside the folder", path, file)
		}
		shard, err := nino.ReadTorch(filepath.Join(filepath.Dir(path), file))
		if err != nil {
			return nil, err
		}
		for _, name := range shard.Names() {
			if index.WeightMap[name] == file {
				out.Add(name, shard.Get(name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(index.WeightMap)) {
		if out.Get(name) == nil {
			return nil, fmt.Errorf("%s: array %q is not in %s", path, name, index.WeightMap[name])
		}
	}
	return out, nil
}
