// Package models builds the networks that ninox is measured on as ONNX models,
// and lists the tasks of the paper: which network, on which data, how it is
// trained and what counts as done.
//
//	task, err := models.Lookup("fm-16")
//	m, err := task.Model(1) // weights initialised with seed 1
//	split, err := task.Open(ctx, "fashion-mnist:DIR")
package models
