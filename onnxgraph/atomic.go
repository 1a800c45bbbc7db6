package onnxgraph

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// WriteAtomic writes a file so that readers see the old one or the whole new
// one: write fills a temporary file beside it, which is synced and renamed.
// An existing file is an fs.ErrExist unless overwrite is set, even where
// another process creates it meanwhile. A symbolic link to a file is
// replaced, never followed; folders, pipes, devices and links to them are left
// alone.
func WriteAtomic(path string, overwrite bool, write func(io.Writer) error) error {
	s, err := stage(path, overwrite, write)
	if err != nil {
		return err
	}
	defer s.close()
	return s.commit()
}

// WriteMapped is WriteAtomic for a file whose size is known and whose bytes are
// set in any order: fill gets its memory, zeroed, which the system writes out as
// it sees fit. Where it cannot map files the memory is the process's own.
func WriteMapped(path string, size int64, overwrite bool, fill func([]byte) error) error {
	s, err := stageFile(path, overwrite, func(f *os.File) error {
		if size < 0 || size > math.MaxInt {
			return fmt.Errorf("%d bytes are more than this system can address", size)
		}
		b, err := mapShared(f, int(size))
		switch {
		case err != nil:
			return err
		case b != nil:
			return errors.Join(fill(b), unmapFile(b))
		}
		b = make([]byte, size)
		if err := fill(b); err != nil {
			return err
		}
		_, err = f.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	defer s.close()
	return s.commit()
}

// staged is a file that is on the disk under a temporary name.
type staged struct {
	root      *os.Root // its folder, whatever its name comes to mean
	temporary string   // empty once it has its own name
	path      string
	overwrite bool
}

func (s *staged) name() string { return filepath.Base(s.path) }

func (s *staged) exists() error { return &fs.PathError{Op: "write", Path: s.path, Err: fs.ErrExist} }

// stage writes the temporary file of path.
func stage(path string, overwrite bool, write func(io.Writer) error) (*staged, error) {
	return stageFile(path, overwrite, func(f *os.File) error { return write(f) })
}

func stageFile(path string, overwrite bool, write func(*os.File) error) (_ *staged, err error) {
	s := &staged{path: path, overwrite: overwrite}
	if s.root, err = os.OpenRoot(filepath.Dir(path)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	switch st, err := s.root.Lstat(s.name()); {
	case err != nil:
	case !overwrite:
		return nil, s.exists()
	case !st.Mode().IsRegular() && !leadsToFile(path, st):
		return nil, fmt.Errorf("write %s: it exists and is not a plain file", path)
	}
	f, err := s.create()
	if err != nil {
		return nil, err
	}
	if err = Guarded(func() error { return write(f) }); err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return s, errors.Join(f.Sync(), f.Close())
}

// leadsToFile says whether st is a symbolic link that may be replaced: one to a
// plain file, or to nothing. A link to a device or pipe, such as /dev/stdout, is
// as little to be replaced as these are.
func leadsToFile(path string, st fs.FileInfo) bool {
	if st.Mode().Type() != fs.ModeSymlink {
		return false
	}
	target, err := os.Stat(path)
	return err != nil || target.Mode().IsRegular()
}

// create opens a new file under a name that nobody has.
func (s *staged) create() (*os.File, error) {
	for range 100 {
		name := fmt.Sprintf(".%s.%08x", s.name(), rand.Uint32())
		f, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			s.temporary = name
		}
		return f, err
	}
	return nil, fmt.Errorf("write %s: no temporary name is free", s.path)
}

// commit gives the file its name.
func (s *staged) commit() error {
	if !s.overwrite {
		// A hard link fails where the name is taken; a rename would replace.
		switch err := s.root.Link(s.temporary, s.name()); {
		case err == nil:
			err = s.root.Remove(s.temporary)
			s.temporary = ""
			return errors.Join(err, s.sync())
		case errors.Is(err, fs.ErrExist):
			return s.exists()
		} // file systems without hard links: rename
	}
	if err := s.root.Rename(s.temporary, s.name()); err != nil {
		return err
	}
	s.temporary = ""
	return s.sync()
}

// withdraw removes a file that was committed and did not exist before.
func (s *staged) withdraw() {
	if !s.overwrite {
		_ = s.root.Remove(s.name())
	}
}

// close removes the temporary file where it was not committed.
func (s *staged) close() {
	if s.temporary != "" {
		_ = s.root.Remove(s.temporary)
	}
	s.root.Close()
}

// sync brings a new name in a folder to the disk, as far as the system lets
// folders be synced.
func (s *staged) sync() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	_ = d.Sync() // an error where folders cannot be synced; the file itself is on the disk
	return d.Close()
}
