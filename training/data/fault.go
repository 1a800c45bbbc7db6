package data

import (
	"fmt"
	"strings"
)

// FileError reports data that cannot be read: a file that is truncated, damaged
// or gone. A run that meets one ends with a checkpoint, so that it can be resumed
// once the file is mended.
type FileError struct {
	File   string // path, or "stdin"; a member of an archive is "FILE: entry NAME"
	Record int64  // number of the row, image or record in the file, from 0; -1 where unknown
	Offset int64  // byte at which reading failed; -1 where unknown
	Err    error
}

func (e *FileError) Error() string {
	where := []string{e.File}
	if e.Record >= 0 {
		where = append(where, fmt.Sprintf("record %d", e.Record))
	}
	if e.Offset >= 0 {
		where = append(where, fmt.Sprintf("at byte %d", e.Offset))
	}
	return fmt.Sprintf("%s: %v", strings.Join(where, ": "), e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }
