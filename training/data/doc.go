// Package data reads the data sets that ninox trains on and feeds them to the
// loop in batches.
//
// A data set is a Dataset: a number of samples with named columns, each of a
// fixed shape and type per sample. Open turns the text of a --data flag into
// the training and test part of a data set; Bind matches its columns with the
// inputs of a model; a Loader fills batches in the background, in an order
// that depends on nothing but a seed and the number of the batch, so that a
// training run can be resumed at any batch.
//
//	split, err := data.Open(ctx, "fashion-mnist:/usr/share/datasets/fashion-mnist")
//	train, err := data.Bind(split.Train, model.Graph.Inputs)
//	loader, err := data.NewLoader(train, data.LoaderOptions{Batch: 128, Shuffle: true, Seed: 1})
//	defer loader.Close()
//	b, err := loader.Next(ctx) // b.Buffers[0].Floats holds 128 images
package data

//go:generate go run ./internal/embedgen -from $FASHION_MNIST_DIR -o embedded/fashion-mnist-14k.idx.gz
