package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxIDXBytes caps what an IDX header may announce: FashionMNIST, the largest
// set in this format, has 47 MB.
const maxIDXBytes = 1 << 30

// idxArray is the content of one IDX file of unsigned bytes: dims, then the
// elements, row-major (format: http://yann.lecun.com/exdb/mnist/).
type idxArray struct {
	dims []int
	data []byte
}

// readIDX reads one IDX array of unsigned bytes and the given rank from r. It
// reads no byte further, so that several arrays may follow each other. at is
// the position of r, for messages.
func readIDX(r io.Reader, rank int, at int64) (*idxArray, int64, error) {
	head := make([]byte, 4+4*rank)
	if n, err := io.ReadFull(r, head); err != nil {
		return nil, 0, fmt.Errorf("at byte %d: header of %d bytes expected: %w", at+int64(n), len(head), truncation(err))
	}
	want := uint32(0x0800 + rank)
	if got := binary.BigEndian.Uint32(head); got != want {
		return nil, 0, fmt.Errorf("at byte %d: magic number 0x%08x, expected 0x%08x (IDX, unsigned bytes, %d dimensions)", at, got, want, rank)
	}
	a := &idxArray{}
	size := int64(1)
	for i := range rank {
		d := int64(binary.BigEndian.Uint32(head[4+4*i:]))
		a.dims = append(a.dims, int(d))
		if d == 0 || d > maxIDXBytes/size {
			return nil, 0, fmt.Errorf("at byte %d: dimensions %v are empty or exceed %d bytes", at+4, a.dims, maxIDXBytes)
		}
		size *= d
	}
	at += int64(len(head))
	var buf bytes.Buffer // grows with what arrives, so a false header costs nothing
	n, err := io.CopyN(&buf, r, size)
	if err != nil {
		return nil, 0, fmt.Errorf("at byte %d: dimensions %v need %d bytes of elements, got %d: %w", at+n, a.dims, size, n, truncation(err))
	}
	a.data = buf.Bytes()
	return a, at + size, nil
}

// truncation names the end of a file as such.
func truncation(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends there")
	}
	return err
}

// openMaybeGzip opens DIR/name or DIR/name.gz, decompressing the latter.
// Offsets in the errors of what reads it count decompressed bytes.
func openMaybeGzip(dir, name string) (io.ReadCloser, string, error) {
	path := filepath.Join(dir, name+".gz")
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		plain := filepath.Join(dir, name)
		p, perr := os.Open(plain)
		if perr != nil {
			return nil, "", fmt.Errorf("neither %s nor %s: %w", path, filepath.Base(plain), perr)
		}
		return p, plain, nil
	}
	if err != nil {
		return nil, "", err
	}
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		f.Close()
		return nil, "", fmt.Errorf("%s: not a gzip file: %w", path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, path, nil
}

func readIDXFile(dir, name string, rank int) (*idxArray, string, error) {
	r, path, err := openMaybeGzip(dir, name)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	br := bufio.NewReader(r)
	a, end, err := readIDX(br, rank, 0)
	if err != nil {
		return nil, path, fmt.Errorf("%s: %w", path, err)
	}
	switch _, err := br.ReadByte(); {
	case err == nil:
		return nil, path, fmt.Errorf("%s: at byte %d: data goes on after the %v elements that the header announces", path, end, a.dims)
	case err != io.EOF: // a wrong gzip checksum or a missing trailer shows here
		return nil, path, fmt.Errorf("%s: at byte %d: %w", path, end, truncation(err))
	}
	return a, path, nil
}

// idxImages pairs an array of grey images with its labels.
func idxImages(name string, img, lab *idxArray, classes int) (*Images, error) {
	if img.dims[0] != lab.dims[0] {
		return nil, fmt.Errorf("%d images but %d labels", img.dims[0], lab.dims[0])
	}
	if err := checkLabels(lab.data, classes); err != nil {
		return nil, err
	}
	return NewImages(name, 1, img.dims[1], img.dims[2], img.data, lab.data, NormMNIST)
}

// checkLabels reports the first label outside 0..classes-1.
func checkLabels(labels []byte, classes int) error {
	for i, l := range labels {
		if int(l) >= classes {
			return fmt.Errorf("label %d of sample %d is outside 0..%d", l, i, classes-1)
		}
	}
	return nil
}

// openIDX reads the four files of an MNIST-like set from dir.
func openIDX(name, dir string) (*Split, error) {
	part := func(prefix, suffix string) (*Images, error) {
		img, imgPath, err := readIDXFile(dir, prefix+"-images-idx3-ubyte", 3)
		if err != nil {
			return nil, err
		}
		lab, labPath, err := readIDXFile(dir, prefix+"-labels-idx1-ubyte", 1)
		if err != nil {
			return nil, err
		}
		d, err := idxImages(name+suffix, img, lab, 10)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", imgPath, labPath, err)
		}
		return d, nil
	}
	train, err := part("train", "/train")
	if err != nil {
		return nil, err
	}
	test, err := part("t10k", "/test")
	if err != nil {
		return nil, err
	}
	return &Split{Name: name, Train: train, Test: test, Classes: 10}, nil
}
