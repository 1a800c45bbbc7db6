package job

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/finetune"
	"ninox/onnxgraph/ops"
)

// FineTuning are the flags that change a pretrained model before it is trained.
type FineTuning struct {
	LoRA             string // RANK or RANK:ALPHA, "" for none
	LoRATargets      []string
	NewHead          int // classes, 0 keeps the head
	FreezeStatistics bool
}

// fineTuningFlags are their names.
var fineTuningFlags = []string{"lora", "lora-target", "new-head", "freeze-statistics"}

func (o *FineTuning) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.LoRA, "lora", "", "train LoRA adapters of this RANK or RANK:ALPHA (default alpha: the rank) instead of the weights; with --train, these as well")
	f.StringSliceVar(&o.LoRATargets, "lora-target", nil, "globs over the weights or modules that get an adapter (default: every MatMul, Gemm and Conv)")
	f.IntVar(&o.NewHead, "new-head", 0, "replace the last layer by a new one for this many classes")
	f.BoolVar(&o.FreezeStatistics, "freeze-statistics", false, "batch normalization uses its running statistics and keeps them; so it does with --lora")
}

func (o *FineTuning) check(f *app.Faults) {
	if _, _, err := o.rank(); err != nil {
		f.Addf("--lora %q: expected RANK or RANK:ALPHA, a number from 1 and one above 0", o.LoRA)
	}
	if o.LoRA == "" && len(o.LoRATargets) > 0 {
		f.Addf("--lora-target goes with --lora RANK")
	}
	for _, glob := range o.LoRATargets {
		if _, err := path.Match(glob, ""); err != nil {
			f.Addf("--lora-target %q: %w", glob, err)
		}
	}
	if o.NewHead < 0 {
		f.Addf("--new-head %d: expected at least 1 class", o.NewHead)
	}
}

// rank reads --lora; the rank is 0 where it was not given, alpha 0 the default.
func (o *FineTuning) rank() (rank int, alpha float64, err error) {
	if o.LoRA == "" {
		return 0, 0, nil
	}
	number, factor, scaled := strings.Cut(o.LoRA, ":")
	if rank, err = strconv.Atoi(number); err != nil {
		return 0, 0, err
	}
	if scaled {
		if alpha, err = strconv.ParseFloat(factor, 64); err != nil {
			return 0, 0, err
		}
	}
	if rank < 1 || scaled && !(alpha > 0 && !math.IsInf(alpha, 0)) {
		return 0, 0, errors.New("out of range")
	}
	return rank, alpha, nil
}

// apply rewrites the model and returns the parameters to train, nil where the
// flags leave that open.
func (o *FineTuning) apply(m *onnxgraph.Model, output string, seed uint64) (*onnxgraph.Model, []string, error) {
	rank, alpha, err := o.rank()
	if err != nil {
		return nil, nil, fmt.Errorf("--lora %q: %w", o.LoRA, err)
	}
	var head []string
	if o.NewHead > 0 {
		if m, head, err = finetune.NewHead(m, ops.Registry(), finetune.Head{Classes: o.NewHead, Output: output, Seed: seed}); err != nil {
			return nil, nil, err
		}
	}
	if rank == 0 {
		return m, nil, nil
	}
	m, adapters, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{
		Rank: rank, Alpha: alpha, Targets: o.LoRATargets, Except: head, Output: output, Seed: seed,
	})
	if err != nil {
		return nil, nil, err
	}
	adapters.Saved = head
	adapters.Record(m)
	return m, adapters.Trained(), nil
}
