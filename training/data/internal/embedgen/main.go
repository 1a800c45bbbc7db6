// Command embedgen writes the FashionMNIST subset that is embedded in package
// data: the same number of images of every class, chosen and ordered by a fixed
// seed, as four IDX arrays in one gzip stream.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"

	"ninox/training/data"
)

const (
	seed    = 20260923
	classes = 10
)

func main() {
	from := flag.String("from", "", "folder of the four FashionMNIST files")
	out := flag.String("o", "", "file to write")
	train := flag.Int("train", 12000, "training images")
	test := flag.Int("test", 2000, "test images")
	flag.Parse()
	if err := run(*from, *out, *train, *test); err != nil {
		fmt.Fprintln(os.Stderr, "embedgen:", err)
		os.Exit(1)
	}
}

func run(from, out string, train, test int) error {
	if from == "" && !found("fashion-mnist") {
		fmt.Fprintf(os.Stderr, "embedgen: FashionMNIST is not here; %s stays as it is\n", out)
		return nil
	}
	split, err := data.Open(context.Background(), data.Spec{Kind: "fashion-mnist", Path: from}.String())
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	for i, part := range []struct {
		d data.Dataset
		n int
	}{{split.Train, train}, {split.Test, test}} {
		payload, err := subset(part.d.(*data.Images), part.n, uint64(i))
		if err != nil {
			return err
		}
		if _, err := z.Write(payload); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, buf.Bytes(), 0o644)
}

// found says whether a data set lies in one of the usual places.
func found(kind string) bool {
	for _, s := range data.Sources() {
		if s.Kind == kind {
			return s.Find() != ""
		}
	}
	return false
}

// subset is n images and their labels, n/10 of each class, as two IDX arrays.
func subset(d *data.Images, n int, stream uint64) ([]byte, error) {
	rng := rand.New(rand.NewPCG(seed, stream))
	var left [classes]int
	for c := range left {
		left[c] = n / classes
	}
	var chosen []int
	for _, i := range rng.Perm(d.Len()) {
		if _, label := d.Pixels(i); left[label] > 0 {
			left[label]--
			chosen = append(chosen, i)
		}
	}
	if len(chosen) != n {
		return nil, fmt.Errorf("%s has %d images for a balanced subset of %d", d.Name(), len(chosen), n)
	}
	shape := d.Columns()[0].Shape
	be := binary.BigEndian
	out := be.AppendUint32(nil, 0x0803)
	for _, dim := range []int64{int64(n), shape[1], shape[2]} {
		out = be.AppendUint32(out, uint32(dim))
	}
	for _, i := range chosen {
		pixels, _ := d.Pixels(i)
		out = append(out, pixels...)
	}
	out = be.AppendUint32(out, 0x0801)
	out = be.AppendUint32(out, uint32(n))
	for _, i := range chosen {
		_, label := d.Pixels(i)
		out = append(out, byte(label))
	}
	return out, nil
}
