package finetune

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Files of an adapter as PEFT keeps it.
const (
	PEFTConfig  = "adapter_config.json"
	PEFTWeights = "adapter_model.safetensors"
)

const (
	peftPrefix = "base_model.model."
	suffixA    = ".lora_A.weight"
	suffixB    = ".lora_B.weight"
)

// peftConfig is the part of adapter_config.json that matters here.
type peftConfig struct {
	Type        string             `json:"peft_type"`
	Rank        int64              `json:"r"`
	Alpha       float64            `json:"lora_alpha"`
	Dropout     float64            `json:"lora_dropout"`
	Targets     any                `json:"target_modules"` // a list, or a regular expression
	Saved       []string           `json:"modules_to_save"`
	Bias        string             `json:"bias"`
	FanInFanOut bool               `json:"fan_in_fan_out"`
	Inference   bool               `json:"inference_mode"`
	RSLoRA      bool               `json:"use_rslora"`
	DoRA        bool               `json:"use_dora"`
	Ranks       map[string]int64   `json:"rank_pattern"`
	Alphas      map[string]float64 `json:"alpha_pattern"`
}

// WritePEFT writes the model's adapters into a folder as PEFT keeps them; strip
// is cut off the front of module names ("model." of a wrapper around the
// network). Existing files are an fs.ErrExist unless overwrite is set.
func WritePEFT(dir string, m *onnxgraph.Model, strip string, overwrite bool) error {
	adapters, err := AdaptersOf(m)
	if err != nil {
		return err
	}
	if adapters == nil {
		return ErrNoAdapters
	}
	layers := layersOf(m.Graph)
	c := peftConfig{Type: "LORA", Bias: "none", Inference: true, Ranks: map[string]int64{}, Alphas: map[string]float64{}}
	var tensors []*onnxgraph.Tensor
	var modules []string
	for i, ad := range adapters.Adapters {
		l, a, b := find(layers, ad.Weight), m.Graph.Initializer(ad.A), m.Graph.Initializer(ad.B)
		if l == nil || len(l.uses) == 0 || a == nil || b == nil {
			return fmt.Errorf("lora: module %q: the model has no layer %q or no initializers %q, %q", ad.Module, ad.Weight, ad.A, ad.B)
		}
		if why := l.folded(); why != "" {
			return fmt.Errorf("lora: module %q: its adapter does not fit the layer in PyTorch: %s", ad.Module, why)
		}
		if a, err = l.peftA(a); err != nil {
			return fmt.Errorf("lora: module %q: %w", ad.Module, err)
		}
		module := strings.TrimPrefix(ad.Module, strip)
		rank := a.Dims[0]
		if alpha := ad.Scale * float64(rank); i == 0 {
			c.Rank, c.Alpha = rank, alpha
		} else if rank != c.Rank || alpha != c.Alpha {
			c.Ranks[module], c.Alphas[module] = rank, alpha
		}
		modules = append(modules, module)
		tensors = append(tensors, renamed(a, peftPrefix+module+suffixA), renamed(b, peftPrefix+module+suffixB))
	}
	for _, name := range adapters.Saved {
		t := m.Graph.Initializer(name)
		if t == nil {
			return fmt.Errorf("lora: the model has no initializer %q", name)
		}
		if l := find(layers, name); l != nil && len(l.uses) > 0 && !l.uses[0].outIn() {
			if t, err = t.Transposed(name, []int64{1, 0}); err != nil {
				return err
			}
		}
		name = strings.TrimPrefix(name, strip)
		tensors = append(tensors, renamed(t, peftPrefix+name))
		if module, _, ok := cutLast(name, "."); ok && !slices.Contains(c.Saved, module) {
			c.Saved = append(c.Saved, module)
		}
	}
	c.Targets = targetModules(modules, layers, strip)
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, PEFTConfig)
	if _, err := os.Lstat(file); err == nil && !overwrite {
		return &fs.PathError{Op: "write", Path: file, Err: fs.ErrExist}
	}
	if err := weights.WriteSafetensorsExact(filepath.Join(dir, PEFTWeights), tensors, map[string]string{"format": "pt"}, overwrite); err != nil {
		return err
	}
	return onnxgraph.WriteAtomic(file, overwrite, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(append(text, '\n')))
		return err
	})
}

func renamed(t *onnxgraph.Tensor, name string) *onnxgraph.Tensor {
	c := *t
	c.Name = name
	return &c
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// targetModules names the adapted modules: as a list, or, since PEFT takes each
// for a suffix of names, as a regular expression where that would mean others.
func targetModules(modules []string, layers []*layer, strip string) any {
	for _, l := range layers {
		other := strings.TrimPrefix(l.module, strip)
		if len(l.uses) > 0 && !slices.Contains(modules, other) && slices.ContainsFunc(modules, func(m string) bool { return strings.HasSuffix(other, "."+m) }) {
			quoted := make([]string, len(modules))
			for i, m := range modules {
				quoted[i] = regexp.QuoteMeta(m)
			}
			return "(" + strings.Join(quoted, "|") + ")"
		}
	}
	return modules
}

// peftA is A as PEFT has it: beside a grouped convolution over all channels at
// once, with zeros where a rank does not see a channel.
func (l *layer) peftA(a *onnxgraph.Tensor) (*onnxgraph.Tensor, error) {
	u := l.uses[0]
	if l.dilated() {
		return nil, fmt.Errorf("node %q is a dilated convolution, whose adapters PEFT does not dilate", u.node.Label())
	}
	groups := u.groups()
	if groups == 1 || a.Dims[1] != l.weight.Dims[1] {
		return a, nil
	}
	v, err := a.AsFloats()
	if err != nil {
		return nil, err
	}
	dims := slices.Clone(a.Dims)
	dims[1] *= groups
	width := int(size(a.Dims[1:]))
	wide := make([]float32, len(v)*int(groups))
	perGroup := int(a.Dims[0] / groups)
	for r := range int(a.Dims[0]) {
		copy(wide[(r*int(groups)+r/perGroup)*width:], v[r*width:(r+1)*width])
	}
	return onnxgraph.Floats(a.Name, dims, wide), nil
}
