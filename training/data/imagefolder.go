package data

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// picture is one image file of a folder or archive.
type picture struct {
	part, class, name string // part is "train", "test", or "" where the source has no parts
	path              string // of the file, or of the entry
	content           []byte // where the archive can't be read from the middle
	offset, size      int64  // in a plain tar
}

func isPicture(name string) bool {
	return slices.Contains([]string{".jpg", ".jpeg", ".png"}, strings.ToLower(path.Ext(name)))
}

// place finds part, class and name in the path of a picture below the root of a
// data set: [train/]CLASS/…/NAME. Archives often hold one more folder above.
func place(rel string) (picture, error) {
	dirs := strings.Split(path.Clean(filepath.ToSlash(rel)), "/")
	for i, d := range dirs[:max(0, len(dirs)-2)] {
		if part := partOf(d); part != "" {
			return picture{part: part, class: dirs[i+1], name: strings.Join(dirs[i+2:], "/"), path: rel}, nil
		}
	}
	if len(dirs) < 2 {
		return picture{}, errors.New("expected CLASS/NAME, or train/CLASS/NAME and test/CLASS/NAME")
	}
	return picture{class: dirs[len(dirs)-2], name: dirs[len(dirs)-1], path: rel}, nil
}

// openImages reads a folder or a tar, compressed or not, with one folder per
// class, whose names in alphabetical order are the labels 0, 1, ….
func openImages(ctx context.Context, from string, o Options) (*Split, error) {
	list, err := listPictures(ctx, from)
	if err != nil {
		return nil, err
	}
	var classes []string
	for _, p := range list {
		classes = append(classes, p.class)
	}
	slices.Sort(classes)
	return splitPictures(from, list, slices.Compact(classes), o)
}

func listPictures(ctx context.Context, from string) ([]picture, error) {
	if isDir(from) {
		return listFolder(ctx, from)
	}
	return listTar(ctx, from)
}

func splitPictures(from string, list []picture, classes []string, o Options) (*Split, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no JPEG or PNG files in it", from)
	}
	// By file name, then class: then every stretch of the data holds all classes.
	slices.SortFunc(list, func(a, b picture) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.class, b.class), cmp.Compare(a.path, b.path))
	})
	parts := map[string][]picture{}
	for _, p := range list {
		if len(parts[p.part]) == 0 && p.part == "" && len(parts) > 0 || p.part != "" && len(parts[""]) > 0 {
			return nil, fmt.Errorf("%s: %s lies in no train or test folder, but others do", from, parts[""][0].path)
		}
		parts[p.part] = append(parts[p.part], p)
	}
	train := "train"
	if len(parts[""]) > 0 {
		train = ""
	}
	name := "images:" + filepath.Base(from)
	s := &Split{Name: "images", Classes: len(classes)}
	first, err := newGallery(name+"/train", picturesOf(from, parts[train], classes), o.ImageSize)
	if err != nil {
		return nil, err
	}
	s.Train = first
	if test := testPart(parts); len(test) > 0 {
		if s.Test, err = first.sibling(name+"/test", picturesOf(from, test, classes)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// testPart prefers the test part to the one for validation.
func testPart[T any](parts map[string][]T) []T {
	if len(parts["test"]) > 0 {
		return parts["test"]
	}
	return parts["validation"]
}

func picturesOf(from string, list []picture, classes []string) pictures {
	labels := make([]int64, len(list))
	for i, p := range list {
		labels[i] = int64(slices.Index(classes, p.class))
	}
	folder := isDir(from)
	return pictures{
		labels: labels,
		where: func(i int) string {
			if folder {
				return filepath.Join(from, list[i].path)
			}
			return from + ": entry " + list[i].path
		},
		read: func(i int, buf []byte) ([]byte, error) {
			switch p := list[i]; {
			case p.content != nil:
				return append(buf, p.content...), nil
			case folder:
				return readInto(buf, filepath.Join(from, p.path), 0, -1)
			default:
				return readInto(buf, from, p.offset, p.size)
			}
		},
		sum:     func() string { return sumPictures(list) },
		content: contentOf(list),
	}
}

// readInto reads a file, or size bytes of it.
func readInto(buf []byte, file string, offset, size int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &FileError{file, -1, -1, err}
	}
	defer f.Close()
	if size < 0 {
		info, err := f.Stat()
		if err != nil {
			return nil, &FileError{file, -1, -1, err}
		}
		size = info.Size()
	}
	buf = slices.Grow(buf, int(size))[:size]
	if n, err := f.ReadAt(buf, offset); err != nil && int64(n) < size {
		return nil, &FileError{file, -1, offset + int64(n), truncation(err)}
	}
	return buf, nil
}

// sumPictures hashes names, and contents as far as they are in memory. Files that
// are read later are left out, so that a run can go on once a damaged one is
// mended; ContentHash covers them.
func sumPictures(list []picture) string {
	h := sha256.New()
	for _, p := range list {
		fmt.Fprintln(h, p.part, p.class, p.name, len(p.content))
		h.Write(p.content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// contentOf chooses the files whose bytes make up the content hash: all, or where
// they are more than contentLimit together, so many of them, evenly spread. nil
// where sumPictures has the content already.
func contentOf(list []picture) []int {
	total := int64(0)
	for _, p := range list {
		if p.content != nil {
			return nil
		}
		total += p.size
	}
	every := int(max(1, (total+contentLimit-1)/contentLimit))
	var out []int
	for i := 0; i < len(list); i += every {
		out = append(out, i)
	}
	return out
}

func listFolder(ctx context.Context, dir string) ([]picture, error) {
	var out []picture
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if d.IsDir() || !isPicture(file) {
			return nil
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		p, err := place(rel)
		if err != nil {
			return &FileError{file, -1, -1, err}
		}
		info, err := d.Info()
		if err != nil {
			return &FileError{file, -1, -1, err}
		}
		p.size = info.Size()
		out = append(out, p)
		return nil
	})
	return out, err
}

// listTar lists the pictures of a tar. Those of a compressed one are read into
// memory, as they are.
func listTar(ctx context.Context, file string) ([]picture, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buffered := bufio.NewReaderSize(f, 1<<20)
	var r io.Reader = f
	plain := true
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, &FileError{file, -1, 0, fmt.Errorf("not a gzip file: %w", err)}
		}
		r, plain = z, false
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var out []picture
	at := func(err error) error {
		offset, e := f.Seek(0, io.SeekCurrent)
		if e != nil {
			offset = -1
		}
		return &FileError{file, int64(len(out)), offset - int64(buffered.Buffered()), fmt.Errorf("tar: %w", truncation(err))}
	}
	for t := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, at(err)
		}
		if h.Typeflag != tar.TypeReg || !isPicture(h.Name) {
			continue
		}
		p, err := place(h.Name)
		if err != nil {
			return nil, &FileError{file + ": entry " + h.Name, -1, -1, err}
		}
		p.size = h.Size
		if plain {
			if p.offset, err = f.Seek(0, io.SeekCurrent); err != nil {
				return nil, err
			}
		} else if p.content, err = io.ReadAll(t); err != nil {
			return nil, at(err)
		}
		out = append(out, p)
	}
}
