package data

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"os"
	"path"
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

// openCIFARJPEG reads a tar.gz of train/<class>/<name>.jpg and test/…; file may
// also be the folder that holds cifar10-jpeg.tar.gz. Samples are ordered by file
// name, then class, so that every stretch of them holds all classes.
func openCIFARJPEG(ctx context.Context, file string) (*Split, error) {
	if isDir(file) {
		file = filepath.Join(file, "cifar10-jpeg.tar.gz")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: not a gzip file: %w", file, err)
	}
	parts := map[string][]jpegSample{"train": nil, "test": nil}
	for t := tar.NewReader(z); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if h.Typeflag != tar.TypeReg || !strings.HasSuffix(h.Name, ".jpg") {
			continue
		}
		part, s, err := readJPEGEntry(h.Name, t)
		if err != nil {
			return nil, fmt.Errorf("%s: entry %q: %w", file, h.Name, err)
		}
		parts[part] = append(parts[part], s)
	}
	s := &Split{Name: "cifar10-jpeg", Classes: 10, Note: jpegNote}
	if s.Train, err = jpegImages("cifar10-jpeg/train", parts["train"]); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if s.Test, err = jpegImages("cifar10-jpeg/test", parts["test"]); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

type jpegSample struct {
	name   string
	label  byte
	pixels []byte // red, green and blue plane
}

// readJPEGEntry decodes one file of the archive; part is "train" or "test".
func readJPEGEntry(name string, r io.Reader) (part string, s jpegSample, err error) {
	dirs := strings.Split(path.Clean(name), "/")
	if len(dirs) < 3 {
		return "", s, errors.New("expected train/CLASS/NAME.jpg or test/CLASS/NAME.jpg")
	}
	part = dirs[len(dirs)-3]
	class := slices.Index(cifar10Classes, dirs[len(dirs)-2])
	if part != "train" && part != "test" || class < 0 {
		return "", s, fmt.Errorf("expected train or test and a class out of %s", strings.Join(cifar10Classes, ", "))
	}
	img, err := jpeg.Decode(r)
	if err != nil {
		return "", s, err
	}
	b := img.Bounds()
	if b.Dx() != cifarSide || b.Dy() != cifarSide {
		return "", s, fmt.Errorf("%dx%d pixels, expected 32x32", b.Dx(), b.Dy())
	}
	s = jpegSample{name: path.Base(name), label: byte(class), pixels: make([]byte, cifarPixels)}
	for y := range cifarSide {
		for x := range cifarSide {
			red, green, blue, _ := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
			p := y*cifarSide + x
			s.pixels[p], s.pixels[cifarPlane+p], s.pixels[2*cifarPlane+p] = byte(red>>8), byte(green>>8), byte(blue>>8)
		}
	}
	return part, s, nil
}

func jpegImages(name string, samples []jpegSample) (*Images, error) {
	if len(samples) == 0 {
		return nil, fmt.Errorf("no images for %s", name)
	}
	slices.SortFunc(samples, func(a, b jpegSample) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.label, b.label))
	})
	pixels := make([]byte, 0, len(samples)*cifarPixels)
	labels := make([]byte, 0, len(samples))
	for _, s := range samples {
		pixels = append(pixels, s.pixels...)
		labels = append(labels, s.label)
	}
	return NewImages(name, 3, cifarSide, cifarSide, pixels, labels, NormCIFAR)
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}
