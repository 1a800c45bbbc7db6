package library

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// unpack writes the named members of a wheel or tarball into dir, under the
// last part of their names, and syncs them. The archive has been verified.
func unpack(archive string, members []string, dir string) error {
	left := slices.Clone(members)
	take := func(name string, r io.Reader) error {
		i := slices.Index(left, name)
		if i < 0 {
			return nil
		}
		left = slices.Delete(left, i, i+1)
		return writeSynced(filepath.Join(dir, path.Base(name)), r)
	}
	walk := eachZipped
	if strings.HasSuffix(archive, ".tgz") {
		walk = eachTarred
	}
	if err := walk(archive, members, take); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("lacks %s", strings.Join(left, ", "))
	}
	return syncFolder(dir)
}

func eachZipped(archive string, members []string, take func(string, io.Reader) error) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if !slices.Contains(members, f.Name) {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		err = take(f.Name, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

func eachTarred(archive string, _ []string, take func(string, io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := take(h.Name, r); err != nil {
			return err
		}
	}
}

// writeSynced writes a new file and waits until it is on the disk.
func writeSynced(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder makes the names in a folder last.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
