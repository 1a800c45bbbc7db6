package training

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// ReadWeights reads a training state from a file of any of the formats that
// WriteWeights writes, told apart by the name: .safetensors, .npz, .onnx (its
// initializers), and checkpoints under any other name. Files of others have
// trainable parameters only, besides arrays "<parameter>.momentum0" ….
func ReadWeights(path string) (*Checkpoint, error) {
	switch filepath.Ext(path) {
	case ".safetensors":
		tensors, meta, err := weights.ReadSafetensorsExact(path)
		if err != nil {
			return nil, err
		}
		return assemble(tensors, meta[stateKey])
	case ".npz":
		tensors, err := weights.ReadNPZExact(path)
		if err != nil {
			return nil, err
		}
		state := ""
		tensors = slices.DeleteFunc(tensors, func(t *onnxgraph.Tensor) bool {
			if t.Name == stateKey {
				state = string(t.Data)
			}
			return t.Name == stateKey
		})
		return assemble(tensors, state)
	case ".onnx":
		m, err := onnxgraph.ReadFile(path)
		if err != nil {
			return nil, err
		}
		state, _ := m.Meta(stateKey)
		return assemble(m.Graph.Initializers, state)
	}
	return ReadCheckpoint(path)
}

// WriteWeights writes a training state without loss, in the format that the
// name tells. A file .onnx is a copy of the model with its initializers
// replaced, which holds no optimizer state; without a model it is a graph of
// initializers alone, which does. An existing file is an fs.ErrExist unless
// overwrite is set.
func WriteWeights(path string, c *Checkpoint, model *onnxgraph.Model, overwrite bool) error {
	switch filepath.Ext(path) {
	case ".safetensors":
		return weights.WriteSafetensorsExact(path, c.tensors(), map[string]string{"format": "pt", stateKey: c.describe()}, overwrite)
	case ".npz":
		text := c.describe()
		state := &onnxgraph.Tensor{Name: stateKey, DType: onnxgraph.Uint8, Dims: []int64{int64(len(text))}, Data: []byte(text)}
		return weights.WriteNPZExact(path, append(c.tensors(), state), overwrite)
	case ".onnx":
		m, err := c.model(model)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return m.WriteFile(path, onnxgraph.WriteOptions{Overwrite: overwrite})
	}
	if _, err := os.Stat(path); err == nil && !overwrite {
		return &os.PathError{Op: "write", Path: path, Err: os.ErrExist}
	}
	return c.Write(path)
}

// stateKey names what a checkpoint holds besides tensors, as JSON, in the other
// formats.
const stateKey = "ninox.state"

// savedState is that JSON.
type savedState struct {
	Version    int32           `json:"version"`
	Frozen     []string        `json:"frozen,omitempty"`
	Groups     []savedGroup    `json:"groups,omitempty"`
	Properties []savedProperty `json:"properties,omitempty"`
}

type savedGroup struct {
	Name         string     `json:"name"`
	Step         int64      `json:"step"`
	LearningRate float32    `json:"initial_learning_rate"`
	States       []savedFor `json:"states,omitempty"`
}

// savedFor lists the moments of a parameter; the arrays are
// "<parameter>.<moment>".
type savedFor struct {
	Param   string   `json:"parameter"`
	Moments []string `json:"moments"`
}

type savedProperty struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // int, float or string
	Value string `json:"value"`
}

// describe is what a checkpoint holds besides tensors.
func (c *Checkpoint) describe() string {
	s := savedState{Version: c.Version}
	for _, t := range c.Frozen {
		s.Frozen = append(s.Frozen, t.Name)
	}
	for _, g := range c.Groups {
		saved := savedGroup{Name: g.Name, Step: g.Step, LearningRate: g.InitialLearningRate}
		for _, st := range g.States {
			of := savedFor{Param: st.Param}
			for _, m := range st.Moments {
				of.Moments = append(of.Moments, m.Name)
			}
			saved.States = append(saved.States, of)
		}
		s.Groups = append(s.Groups, saved)
	}
	for _, p := range byType(c.Properties) {
		saved := savedProperty{Name: p.Name, Value: fmt.Sprint(p.Value)}
		switch v := p.Value.(type) {
		case int64:
			saved.Type = "int"
		case float32:
			saved.Type, saved.Value = "float", strconv.FormatFloat(float64(v), 'g', -1, 32)
		default:
			saved.Type = "string"
		}
		s.Properties = append(s.Properties, saved)
	}
	text, _ := json.Marshal(s) // strings and finite numbers
	return string(text)
}

// tensors lists parameters and moments, the latter as "<parameter>.<moment>".
func (c *Checkpoint) tensors() []*onnxgraph.Tensor {
	out := slices.Concat(c.Trainable, c.Frozen)
	for _, g := range c.Groups {
		for _, s := range g.States {
			for _, m := range s.Moments {
				t := *m
				t.Name = s.Param + "." + m.Name
				out = append(out, &t)
			}
		}
	}
	return out
}

// model is the given model with the parameters as initializers, or a graph of
// nothing else.
func (c *Checkpoint) model(base *onnxgraph.Model) (*onnxgraph.Model, error) {
	if base == nil {
		m, err := onnxgraph.NewBuilder("weights", 17).Model()
		if err != nil {
			return nil, err
		}
		m.ProducerName = "ninox"
		m.Graph.Initializers = c.tensors()
		m.SetMeta(stateKey, c.describe())
		return m, nil
	}
	m := copyModel(base)
	for _, t := range slices.Concat(c.Trainable, c.Frozen) {
		i := slices.IndexFunc(m.Graph.Initializers, func(have *onnxgraph.Tensor) bool { return have.Name == t.Name })
		if i < 0 {
			return nil, fmt.Errorf("the model has no initializer %q", t.Name)
		}
		if have := m.Graph.Initializers[i]; have.DType != t.DType || !slices.Equal(have.Dims, t.Dims) {
			return nil, fmt.Errorf("initializer %q is %s%v, the parameter %s%v", t.Name, have.DType, have.Dims, t.DType, t.Dims)
		}
		m.Graph.Initializers[i] = t
	}
	return m, nil
}

// momentName is how other tools' files may call optimizer state, too.
var momentName = regexp.MustCompile(`^(.+)\.(momentum[0-9]+)$`)

// assemble makes a checkpoint of named tensors and what describe wrote.
func assemble(tensors []*onnxgraph.Tensor, state string) (*Checkpoint, error) {
	if state == "" {
		return assembleForeign(tensors), nil
	}
	var s savedState
	if err := json.Unmarshal([]byte(state), &s); err != nil {
		return nil, fmt.Errorf("%s: %w", stateKey, err)
	}
	byName := map[string]*onnxgraph.Tensor{}
	for _, t := range tensors {
		byName[t.Name] = t
	}
	c := &Checkpoint{Version: s.Version}
	moment := map[string]bool{}
	for _, g := range s.Groups {
		group := OptimizerGroup{Name: g.Name, Step: g.Step, InitialLearningRate: g.LearningRate}
		for _, of := range g.States {
			st := ParameterState{Param: of.Param}
			for _, name := range of.Moments {
				t := byName[of.Param+"."+name]
				if t == nil {
					return nil, fmt.Errorf("%s names %q, which is not in the file", stateKey, of.Param+"."+name)
				}
				moment[t.Name] = true
				copied := *t
				copied.Name = name
				st.Moments = append(st.Moments, &copied)
			}
			group.States = append(group.States, st)
		}
		c.Groups = append(c.Groups, group)
	}
	for _, t := range tensors {
		switch {
		case moment[t.Name]:
		case slices.Contains(s.Frozen, t.Name):
			c.Frozen = append(c.Frozen, t)
		default:
			c.Trainable = append(c.Trainable, t)
		}
	}
	for _, p := range s.Properties {
		v, err := p.value()
		if err != nil {
			return nil, fmt.Errorf("%s: property %q: %w", stateKey, p.Name, err)
		}
		c.Properties = append(c.Properties, Property{p.Name, v})
	}
	return c, nil
}

func (p savedProperty) value() (any, error) {
	switch p.Type {
	case "int":
		return strconv.ParseInt(p.Value, 10, 64)
	case "float":
		v, err := strconv.ParseFloat(p.Value, 32)
		return float32(v), err
	case "string":
		return p.Value, nil
	}
	return nil, fmt.Errorf("type %q, expected int, float or string", p.Type)
}

// assembleForeign takes the tensors of a file that others wrote: optimizer state
// by its names, everything else as parameters, of which floats are trainable.
func assembleForeign(tensors []*onnxgraph.Tensor) *Checkpoint {
	c := &Checkpoint{Version: 2}
	moments := map[string][]*onnxgraph.Tensor{}
	for _, t := range tensors {
		if m := momentName.FindStringSubmatch(t.Name); m != nil && slices.ContainsFunc(tensors, func(p *onnxgraph.Tensor) bool { return p.Name == m[1] }) {
			copied := *t
			copied.Name = m[2]
			moments[m[1]] = append(moments[m[1]], &copied)
			continue
		}
		if t.DType.IsFloat() {
			c.Trainable = append(c.Trainable, t)
		} else {
			c.Frozen = append(c.Frozen, t)
		}
	}
	if len(moments) == 0 {
		return c
	}
	group := OptimizerGroup{Name: "group0"}
	for _, t := range c.Trainable {
		if list := moments[t.Name]; list != nil {
			slices.SortFunc(list, func(a, b *onnxgraph.Tensor) int { return strings.Compare(a.Name, b.Name) })
			group.States = append(group.States, ParameterState{t.Name, list})
		}
	}
	c.Groups = []OptimizerGroup{group}
	return c
}
