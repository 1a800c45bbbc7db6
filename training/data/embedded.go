package data

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the subset is part of the program
	"fmt"
	"io"
)

// embeddedFile holds four IDX arrays in one gzip stream: training images and
// labels, test images and labels. internal/embedgen writes it.
//
//go:embed embedded/fashion-mnist-14k.idx.gz
var embeddedFile []byte

// EmbeddedLicense is the licence of the embedded images.
//
//go:embed embedded/LICENSE
var EmbeddedLicense string

// openEmbedded is the subset of FashionMNIST that comes with the program.
func openEmbedded() (*Split, error) {
	z, err := gzip.NewReader(bytes.NewReader(embeddedFile))
	if err != nil {
		return nil, fmt.Errorf("embedded data: %w", err)
	}
	return ReadIDXStream("embedded", z)
}

// ReadIDXStream reads a data set of ten classes from a stream of four IDX
// arrays: training images, training labels, test images, test labels.
func ReadIDXStream(name string, r io.Reader) (*Split, error) {
	var at int64
	var arrays [4]*idxArray
	for i := range arrays {
		rank := 3
		if i%2 == 1 {
			rank = 1
		}
		var err error
		if arrays[i], at, err = readIDX(r, rank, at); err != nil {
			return nil, fmt.Errorf("data %s: %w", name, err)
		}
	}
	train, err := idxImages(name+"/train", arrays[0], arrays[1], 10)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", name, err)
	}
	test, err := idxImages(name+"/test", arrays[2], arrays[3], 10)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", name, err)
	}
	return &Split{
		Name: name, Train: train, Test: test, Classes: 10,
		Note: fmt.Sprintf("a subset of FashionMNIST, %d training and %d test images", train.Len(), test.Len()),
	}, nil
}
