// Package training trains ONNX models on ONNX Runtime.
//
// BuildArtifacts derives from a forward model what training needs: a training
// model (forward and backward), an eval model, an optimizer model and a
// checkpoint, all of standard operators. LoadArtifacts reads them back, or those
// that upstream's own offline tool wrote. An Executor runs them step by step; Run
// drives it over data, with schedule, evaluation, nowcasts, checkpoints and
// resume, and leaves a run directory.
//
//	a, err := training.BuildArtifacts(model, ops.Registry(), training.ArtifactOptions{Loss: training.CrossEntropy})
//	e, err := training.NewExecutor(engine, a, training.ExecutorOptions{})
//	defer e.Close()
//	split, err := data.Open(ctx, "fashion-mnist:DIR")
//	summary, err := training.Run(ctx, training.Config{
//		Dir: "run", Trainer: e, Artifacts: a, Train: split.Train, Test: split.Test, Steps: 1000, LR: 1e-3,
//	})
//
// # Exactness
//
// A run that was interrupted or killed and is resumed ends with the same bits as
// one that went through: the order of the samples depends on the seed and the
// number of the batch alone, what Dropout and its like draw on the seed, the step
// and the batch (see random.go), and a checkpoint holds everything else. That
// holds on one machine with one version of ONNX Runtime and one number of threads.
//
// # How a step runs
//
// Small parameters share one vector, which the step model cuts up, so that the
// optimizer is a few large operators. Every array of state has two buffers; a
// step reads one and writes the other. Where the samples of a batch do not meet
// (found by comparing gradients at the first batch), it is split over workers,
// one thread each, whose gradients a small second model adds up.
package training
