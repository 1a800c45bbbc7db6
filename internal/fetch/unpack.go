package fetch

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Unpack writes the members of a wheel, an npm tarball or a Debian package that
// match patterns (path.Match) into dir, under the last part of their names, and
// syncs them. The archive has been verified.
func Unpack(ctx context.Context, archive string, members []string, dir string) error {
	left := slices.Clone(members)
	take := func(name string, r io.Reader) error {
		i := slices.IndexFunc(members, func(m string) bool { return matches(m, name) })
		if i < 0 {
			return nil
		}
		left = slices.DeleteFunc(left, func(m string) bool { return m == members[i] })
		return writeSynced(filepath.Join(dir, path.Base(name)), r)
	}
	var err error
	switch filepath.Ext(archive) {
	case ".tgz":
		err = eachTarred(archive, take)
	case ".deb":
		err = eachPackaged(ctx, archive, take)
	default:
		err = eachZipped(archive, members, take)
	}
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("lacks %s", strings.Join(left, ", "))
	}
	return SyncFolder(dir)
}

func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

func eachZipped(archive string, members []string, take func(string, io.Reader) error) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if !slices.ContainsFunc(members, func(m string) bool { return matches(m, f.Name) }) {
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

func eachTarred(archive string, take func(string, io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return eachOf(tar.NewReader(z), take)
}

// eachPackaged goes through a Debian package with dpkg-deb, which is wherever
// apt-get is.
func eachPackaged(ctx context.Context, archive string, take func(string, io.Reader) error) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = eachOf(tar.NewReader(out), take)
	io.Copy(io.Discard, out) // padding, or what an error left
	if e := cmd.Wait(); e != nil {
		err = fmt.Errorf("dpkg-deb: %w", e)
	}
	return err
}

func eachOf(r *tar.Reader, take func(string, io.Reader) error) error {
	for {
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
		if err := take(strings.TrimPrefix(h.Name, "./"), r); err != nil {
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

// SyncFolder makes the names in a folder last.
func SyncFolder(dir string) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
