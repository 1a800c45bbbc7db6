package training

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"ninox/onnxgraph"
)

// Checkpoint is the state of a training in ONNX Runtime's on-device training
// format: a little-endian flatbuffer with identifier "ODTC" (schema
// ort_training_checkpoint.fbs of ONNX Runtime 1.19).
type Checkpoint struct {
	Version    int32               // of the format; 1 or 2
	Trainable  []*onnxgraph.Tensor // parameters that get gradients
	Frozen     []*onnxgraph.Tensor // parameters that do not
	Nominal    bool                // the tensors have names and shapes but no data
	Groups     []OptimizerGroup
	Properties []Property
}

// OptimizerGroup is the state of the optimizer for a group of parameters.
// Upstream writes one group, "group0".
type OptimizerGroup struct {
	Name                string
	Step                int64 // updates made so far
	InitialLearningRate float32
	States              []ParameterState
}

// ParameterState holds the optimizer's tensors of one parameter, in upstream's
// order and names: "momentum0" (mean of gradients), "momentum1" (mean of their
// squares).
type ParameterState struct {
	Param   string
	Moments []*onnxgraph.Tensor
}

// Property is a user-defined entry; Value is an int64, float32 or string.
type Property struct {
	Name  string
	Value any
}

// Properties that ninox writes. Upstream's own tool does not save the learning
// rate; its loader keeps unknown properties.
const (
	PropLearningRate = "learning_rate" // float
	PropStep         = "step"          // int
)

// Property returns the value of a property, nil where it is absent.
func (c *Checkpoint) Property(name string) any {
	for _, p := range c.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return nil
}

// SetProperty sets a property to an int64, float32 or string.
func (c *Checkpoint) SetProperty(name string, value any) {
	for i := range c.Properties {
		if c.Properties[i].Name == name {
			c.Properties[i].Value = value
			return
		}
	}
	c.Properties = append(c.Properties, Property{name, value})
}

// byType sorts properties as the format keeps them: ints, floats, strings.
func byType(props []Property) []Property {
	rank := func(p Property) int {
		switch p.Value.(type) {
		case int64:
			return 0
		case float32:
			return 1
		}
		return 2
	}
	return slices.SortedStableFunc(slices.Values(props), func(a, b Property) int { return cmp.Compare(rank(a), rank(b)) })
}

// Tensor finds a parameter, trainable or frozen, nil where there is none.
func (c *Checkpoint) Tensor(name string) *onnxgraph.Tensor {
	for _, list := range [][]*onnxgraph.Tensor{c.Trainable, c.Frozen} {
		for _, t := range list {
			if t.Name == name {
				return t
			}
		}
	}
	return nil
}

// externalSuffix names the file beside a checkpoint that holds the tensors of
// models too large for one flatbuffer.
const externalSuffix = ".data"

// ReadCheckpoint reads a checkpoint file, and the data file beside it where
// the checkpoint refers to one.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	buf, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var external []byte
	c, err := decodeCheckpoint(buf, func() ([]byte, error) {
		if external == nil {
			external, err = os.ReadFile(path + externalSuffix)
		}
		return external, err
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return c, nil
}

// Write writes the checkpoint to a temporary file beside path and renames it
// into place, so that an interrupted write leaves the old file whole.
func (c *Checkpoint) Write(path string) error {
	buf, external, err := encodeCheckpoint(c, maxInline)
	if err != nil {
		return fmt.Errorf("checkpoint %s: %w", path, err)
	}
	if external != nil {
		if err := writeBytes(path+externalSuffix, external); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	if err := writeBytes(path, buf); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}
