package models

import (
	"context"
	"fmt"
	"math"
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
	Data      string // kind of data, a spec without a path; of language tasks, the text that the paper trains on
	Length    int    // tokens of a sequence; 0: no language task
	HoldOut   int    // 1/HoldOut of the training samples is kept out, as in the reference code
	Network   Network
	Loss      string  // "cross-entropy"
	Optimizer string  // "adam"
	Decay     float64 // weight decay
	LR        float64 // constant
	Batch     int
	Steps     int
	Metric    string  // what the target is about, on the test data: "accuracy", in percent, or "loss"
	Target    float64 // reached by Adam in PaperAdam steps; 0: none

	PaperAdam, PaperNiNo int // steps to the target in Table 1 of the paper; 0: not in it
}

// Model builds the task's network with weights initialised from seed.
func (t Task) Model(seed uint64) (*onnxgraph.Model, error) { return t.Network.Model(seed) }

// Open reads data for the task; an empty spec means the task's own data in the
// usual places. From the task's own data the held-out part is removed.
// The samples of language tasks are those of o, with the task's length where
// that is 0.
func (t Task) Open(ctx context.Context, spec string, o data.Options) (*data.Split, error) {
	if t.Length > 0 {
		return t.openText(ctx, spec, o)
	}
	if spec == "" {
		spec = t.Data
	}
	parsed, err := data.ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	s, err := data.OpenWith(ctx, spec, o)
	if err != nil {
		return nil, err
	}
	if strings.TrimSuffix(parsed.Kind, "-jpeg") == t.Data {
		s = s.HoldOut(t.HoldOut)
	}
	return s, nil
}

// openText reads the text of a language task and checks that the network knows
// its tokens.
func (t Task) openText(ctx context.Context, spec string, o data.Options) (*data.Split, error) {
	network := t.Network.(Transformer)
	if spec == "" {
		return nil, fmt.Errorf("task %s: expected text to train on, %s: --data text:FILES, or --data sotu, which 'ninox data fetch sotu' brings; %s", t.Name, t.Data, t.tokenizerHint())
	}
	if o.Length == 0 {
		o.Length = t.Length
	}
	if o.Length > network.Positions {
		return nil, fmt.Errorf("task %s: sequences of %d tokens, the network has %d positions", t.Name, o.Length, network.Positions)
	}
	s, err := data.OpenWith(ctx, spec, o)
	if err != nil {
		return nil, err
	}
	if network.Vocab > 0 && s.Vocabulary != network.Vocab {
		return nil, fmt.Errorf("task %s: the data has %d different tokens, the network %d; %s", t.Name, s.Vocabulary, network.Vocab, t.tokenizerHint())
	}
	return s, nil
}

func (t Task) tokenizerHint() string {
	switch t.Network.(Transformer).Vocab {
	case 0:
		return "--tokenizer names a tokenizer, without it bytes are the tokens"
	case gpt2Vocabulary:
		return "--tokenizer FOLDER names GPT-2's tokenizer, --tokenizer gpt2-bpe the one that 'ninox data fetch gpt2-bpe' brings"
	case llama3Vocabulary:
		return "--tokenizer FILE names Llama 3's tokenizer.json"
	}
	return "its tokens are bytes, without --tokenizer"
}

// Tasks lists the tasks of the paper (section 5.1, and 5.4 for the larger
// ones), and smaller language tasks for a single machine.
func Tasks() []Task { return append(imageTasks(), languageTasks()...) }

// Tokens of GPT-2's and of Llama 3's tokenizer.
const (
	gpt2Vocabulary   = 50257
	llama3Vocabulary = 128256
)

func languageTasks() []Task {
	gpt2 := func(vocabulary, positions, layers, width, heads int) Transformer {
		return Transformer{Family: GPT2, Vocab: vocabulary, Positions: positions, Layers: layers, Width: width, Heads: heads}
	}
	paper := func(name, title, source string, layers, width, heads, steps int, perplexity float64, adam, nino int) Task {
		t := languageTask(name, title, source, gpt2(gpt2Vocabulary, 1024, layers, width, heads))
		t.Batch, t.LR, t.Steps, t.PaperAdam, t.PaperNiNo = 32, 2e-4, steps, adam, nino
		if perplexity > 0 {
			t.Target = math.Log(perplexity)
		}
		return t
	}
	small := func(name, title string, network Transformer) Task {
		t := languageTask(name, title, "any prose", network)
		t.onOne()
		return t
	}
	const lm1b, wiki = "LM1B", "WikiText-103"
	// The sizes are derived, see docs/TASKS.md.
	large := languageTask("wiki-llama-6-384", "Wiki/Llama 6-384", wiki, Transformer{
		Family: Llama, Vocab: llama3Vocabulary, Positions: 1024, Layers: 6, Width: 384, Heads: 6, KVHeads: 2, Hidden: 1536, Untied: true,
	})
	large.Batch, large.LR, large.Steps = 32, 2e-4, 14000
	llama := Transformer{Family: Llama, Vocab: 256, Positions: 1024, Layers: 3, Width: 64, Heads: 4, KVHeads: 2}
	return []Task{
		paper("lm1b-3-24", "LM1B/3-24", lm1b, 3, 24, 3, 24000, 352, 23000, 11500),
		paper("lm1b-2-32", "LM1B/2-32", lm1b, 2, 32, 2, 24000, 319, 23500, 12000),
		paper("lm1b-3-64", "LM1B/3-64", lm1b, 3, 64, 4, 24000, 181, 23500, 12000),
		paper("wiki-3-64", "Wiki/3-64", wiki, 3, 64, 4, 14000, 147, 13500, 7000),
		paper("wiki-4-128", "Wiki/4-128", wiki, 4, 128, 4, 14000, 0, 0, 0),
		paper("wiki-6-384", "Wiki/6-384", wiki, 6, 384, 6, 14000, 0, 0, 0),
		large,
		small("prose-3-24", "prose, GPT-2 3-24", gpt2(gpt2Vocabulary, 1024, 3, 24, 3)),
		small("bytes-3-64", "bytes of prose, GPT-2 3-64", gpt2(256, 1024, 3, 64, 4)),
		small("bytes-llama-3-64", "bytes of prose, Llama 3-64", llama),
	}
}

// onOne gives a language task settings for a single machine.
func (t *Task) onOne() { t.Batch, t.LR, t.Steps, t.Length = 8, 1e-3, 5000, 128 }

func languageTask(name, title, source string, network Transformer) Task {
	network.Name = name
	return Task{
		Name: name, Title: title, Data: source, Length: network.Positions, Network: network,
		Loss: "cross-entropy", Optimizer: "adamw", Decay: 1e-2, Metric: "loss",
	}
}

func imageTasks() []Task {
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

// Lookup finds a task by name; "FM/16", "fm16" and "fm_16" mean "fm-16". A
// language task of any size is named by it: "gpt2:3,64,4" has 3 layers of width 64
// and 4 heads.
func Lookup(name string) (Task, error) {
	if IsSized(name) {
		return sized(name)
	}
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
