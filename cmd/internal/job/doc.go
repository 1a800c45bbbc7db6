// Package job is what `ninox train` and `ninox accelerate` share: it turns a
// source (a task, an ONNX model or a folder of training artifacts), data and
// flags into training runs.
//
//	src, err := job.ParseSource("fm-16")
//	j, err := job.Prepare(ctx, a, src, options)
//	summary, err := j.Run(ctx, engine, job.RunOptions{Dir: "run"})
package job
