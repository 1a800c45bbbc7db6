package models

import (
	"context"
	"fmt"
	"strings"

	"ninox/onnxgraph"
	"ninox/training/data"
)

// Network is what the networks of the tasks have in common.
type Network interface {
	// Model builds the network with weights initialised from seed.
	Model(seed uint64) (*onnxgraph.Model, error)
	// Parameters is the number of trainable values.
	Parameters() int
}

// Task is a training task with its settings (section 5.1 of the paper) and its
// results there.
type Task struct {
	Name      string // "fm-16"
	Title     string // as the paper writes it: "FM/16"
	Data      string // kind of data, a spec without a path
	HoldOut   int    // 1/HoldOut of the training samples is kept out, as in the reference code
	Network   Network
	Loss      string  // "cross-entropy"
	Optimizer string  // "adam"
	LR        float64 // constant
	Batch     int
	Steps     int
	Metric    string  // what the target is about: "accuracy", on the test data, in percent
	Target    float64 // reached by Adam in PaperAdam steps

	PaperAdam, PaperNiNo int // steps to the target in Table 1 of the paper
}

// Model builds the task's network with weights initialised from seed.
func (t Task) Model(seed uint64) (*onnxgraph.Model, error) { return t.Network.Model(seed) }

// Open reads data for the task; an empty spec means the task's own data in the
// usual places. From the task's own data the held-out part is removed.
func (t Task) Open(ctx context.Context, spec string) (*data.Split, error) {
	if spec == "" {
		spec = t.Data
	}
	parsed, err := data.ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	s, err := data.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	if strings.TrimSuffix(parsed.Kind, "-jpeg") == t.Data {
		s = s.HoldOut(t.HoldOut)
	}
	return s, nil
}

// Tasks lists the image tasks of the paper.
func Tasks() []Task {
	fashion := func(name, title string, hidden []int, target float64, adam, nino int) Task {
		return visionTask(name, title, "fashion-mnist", ConvNet{Channels: 1, Side: 28, Hidden: hidden, Classes: 10}, 6e-3, target, adam, nino)
	}
	cifar := func(name, title, source string, hidden []int, classes int, target float64, adam, nino int) Task {
		return visionTask(name, title, source, ConvNet{Channels: 3, Side: 32, Hidden: hidden, Classes: classes}, 3e-3, target, adam, nino)
	}
	small, large := []int{16, 32, 32}, []int{32, 64, 64}
	return []Task{
		fashion("fm-16", "FM/16", small, 89.5, 8606, 4582),
		cifar("c10-16", "C10/16", "cifar10", small, 10, 66, 8732, 3775),
		fashion("fm-32", "FM/32", large, 90.5, 8269, 4395),
		cifar("c10-32", "C10/32", "cifar10", large, 10, 72.5, 8607, 4323),
		cifar("c100-32", "C100/32", "cifar100", large, 100, 39, 8341, 4646),
	}
}

func visionTask(name, title, source string, net ConvNet, lr, target float64, adam, nino int) Task {
	net.Name = name
	return Task{
		Name: name, Title: title, Data: source, HoldOut: 12, Network: net,
		Loss: "cross-entropy", Optimizer: "adam", LR: lr, Batch: 128, Steps: 10000,
		Metric: "accuracy", Target: target, PaperAdam: adam, PaperNiNo: nino,
	}
}

// Lookup finds a task by name; "FM/16", "fm16" and "fm_16" mean "fm-16".
func Lookup(name string) (Task, error) {
	key := func(s string) string {
		return strings.NewReplacer("/", "", "-", "", "_", "").Replace(strings.ToLower(s))
	}
	var names []string
	for _, t := range Tasks() {
		if key(t.Name) == key(name) {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Task{}, fmt.Errorf("task %q is unknown, expected one of %s", name, strings.Join(names, ", "))
}
