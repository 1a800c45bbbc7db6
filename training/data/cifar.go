package data

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	cifarSide   = 32
	cifarPlane  = cifarSide * cifarSide
	cifarPixels = 3 * cifarPlane
)

// cifarLayout is how the binary version of a CIFAR set lies on disk
// (https://www.cs.toronto.edu/~kriz/cifar.html): records of label bytes, the
// last of which counts, and 3072 bytes of red, green and blue planes.
type cifarLayout struct {
	name       string
	folder     string // the folder inside the official archive
	train      []string
	test       []string
	labelBytes int
	classes    int
}

var (
	cifar10 = cifarLayout{
		name: "cifar10", folder: "cifar-10-batches-bin",
		train: []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
		test:  []string{"test_batch.bin"}, labelBytes: 1, classes: 10,
	}
	cifar100 = cifarLayout{
		name: "cifar100", folder: "cifar-100-binary",
		train: []string{"train.bin"}, test: []string{"test.bin"}, labelBytes: 2, classes: 100,
	}
)

func (l cifarLayout) files() []string { return append(slices.Clone(l.train), l.test...) }

func (l cifarLayout) open(dir string) (*Split, error) {
	if sub := filepath.Join(dir, l.folder); isDir(sub) {
		dir = sub
	}
	train, err := l.part(dir, l.name+"/train", l.train)
	if err != nil {
		return nil, err
	}
	test, err := l.part(dir, l.name+"/test", l.test)
	if err != nil {
		return nil, err
	}
	return &Split{Name: l.name, Train: train, Test: test, Classes: l.classes}, nil
}

func (l cifarLayout) part(dir, name string, files []string) (*Images, error) {
	var pixels, labels []byte
	record := l.labelBytes + cifarPixels
	for _, f := range files {
		p := filepath.Join(dir, f)
		raw, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		if len(raw) == 0 || len(raw)%record != 0 {
			return nil, fmt.Errorf("%s: %d bytes, expected a multiple of %d (%d label bytes and 3x32x32 pixels a record); the file breaks off at byte %d",
				p, len(raw), record, l.labelBytes, len(raw)/record*record)
		}
		for at := 0; at < len(raw); at += record {
			label := raw[at+l.labelBytes-1]
			if int(label) >= l.classes {
				return nil, fmt.Errorf("%s: at byte %d: label %d is outside 0..%d", p, at+l.labelBytes-1, label, l.classes-1)
			}
			labels = append(labels, label)
			pixels = append(pixels, raw[at+l.labelBytes:at+record]...)
		}
	}
	return NewImages(name, 3, cifarSide, cifarSide, pixels, labels, NormCIFAR)
}

// cifar10Classes in the order of the official labels, which is alphabetical.
var cifar10Classes = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// jpegNote goes with every result measured on the JPEG copy.
const jpegNote = "a lossy JPEG copy of CIFAR-10: accuracies differ from those on the original"

// openCIFARJPEG reads a tar.gz of train/<class>/<name>.jpg and test/…; from may
// also be the folder that holds cifar10-jpeg.tar.gz, or the unpacked files.
func openCIFARJPEG(ctx context.Context, from string) (*Split, error) {
	if archive := filepath.Join(from, "cifar10-jpeg.tar.gz"); exists(archive) {
		from = archive
	}
	list, err := listPictures(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		if p.part != "train" && p.part != "test" || !slices.Contains(cifar10Classes, p.class) {
			return nil, fmt.Errorf("%s: entry %q: expected train or test and a class out of %s", from, p.path, strings.Join(cifar10Classes, ", "))
		}
	}
	s, err := splitPictures(from, list, cifar10Classes, Options{})
	if err != nil {
		return nil, err
	}
	out := &Split{Name: "cifar10-jpeg", Classes: len(cifar10Classes), Note: jpegNote}
	for _, part := range []struct {
		name string
		from Dataset
		to   *Dataset
	}{{"train", s.Train, &out.Train}, {"test", s.Test, &out.Test}} {
		g, ok := part.from.(*gallery)
		if !ok {
			return nil, fmt.Errorf("%s: no images in %s", from, part.name)
		}
		if g.frame != (frame{3, cifarSide, cifarSide}) {
			return nil, fmt.Errorf("%s: %dx%d pixels, expected 32x32", g.from.where(0), g.frame.width, g.frame.height)
		}
		g.name = out.Name + "/" + part.name
		if *part.to, err = g.images(NormCIFAR); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}
