// Package finetune rewrites models for fine-tuning, graph to graph: LoRA
// adapters beside layers (Hu et al., 2021), their merging into the weights, the
// files of adapters that PEFT reads and writes, and new classifiers.
//
//	m, adapters, err := finetune.AddLoRA(m, ops.Registry(), finetune.LoRA{Rank: 8})
//	… // train adapters.Trained()
//	m, err = finetune.Merge(m)
//
// An adapter of a layer y = x·W computes y + scale·(x·Aᵀ)·Bᵀ, with A [rank, in]
// and B [out, rank] whatever the layout of W. Beside a convolution, A is one of
// the same kernel and strides, and B one of kernel 1. The property ninox.lora of
// a model lists its adapters.
package finetune
