package data

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Stream is a Dataset whose samples come once, from another process, in the
// order of that process. Len is 0, since nobody knows their number before the
// end, and Batch is an error: a Loader reads it from front to back. Nothing is
// read ahead of what batches need but the record batch under way, so that a
// process which is faster has to wait.
type Stream struct {
	table table
	size  [2]int // of pictures, zero for that of the first one
	cols  []Column
	first int // rows of the first record batch

	piece   Dataset // the record batch under way
	gallery *gallery
	chunk   []series
	at      int // next row of piece
	read    int64
	sums    []uint32 // CRC-32C of what was read, by field of the table
	raw     []byte
}

// standardInput is the path that means a stream on standard input.
const standardInput = "-"

// IsStream says whether a spec names data that comes once, from another process:
// Arrow's IPC stream on standard input ("arrow:-") or in a named pipe.
func IsStream(spec string) bool {
	s, _, err := parse(spec)
	if err != nil || s.Kind != "arrow" {
		return false
	}
	st, err := os.Stat(s.Path)
	return s.Path == standardInput || err == nil && st.Mode()&os.ModeNamedPipe != 0
}

// OpenStream reads schema and first record batch of a stream, which IsStream
// tells; stdin is what "arrow:-" means.
func OpenStream(ctx context.Context, spec string, stdin io.Reader, o Options) (*Split, error) {
	parsed, _, err := parse(spec)
	if err != nil {
		return nil, err
	}
	open := func() (table, error) { return openArrow(parsed.Path) }
	if parsed.Path == standardInput {
		if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return nil, fmt.Errorf("data %s: standard input is a terminal, expected a process that writes an Arrow IPC stream: PROGRAM | ninox …", spec)
		}
		open = func() (table, error) {
			t, err := openArrowStream("standard input", stdin)
			if err != nil {
				return nil, err // not a nil *arrowTable
			}
			return t, nil
		}
	}
	s, err := newStream(ctx, open, o.ImageSize)
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", spec, err)
	}
	split := &Split{Name: "arrow", Train: s}
	if s.gallery != nil {
		if _, label, err := pictureFields(s.table); err == nil {
			split.Classes = namedClasses(s.table, s.table.Fields()[label].Name)
		}
	}
	return split, nil
}

// await runs f, which may wait for another process for ever: where ctx ends
// first, f is left to itself.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func newStream(ctx context.Context, open func() (table, error), size [2]int) (*Stream, error) {
	t, err := await(ctx, open)
	if err != nil {
		return nil, err
	}
	kinds := func(k fieldKind) int {
		return len(fieldNames(t.Fields(), func(f field) bool { return f.Kind == k }))
	}
	if numbers := kinds(fieldFloats) + kinds(fieldInts); numbers == 0 {
		what := "no column of numbers"
		if kinds(fieldText) > 0 {
			what = "text, which the process that writes the stream is to turn into tokens"
		}
		return nil, fmt.Errorf("%s; columns are %s", what, describe(t.Fields()))
	}
	s := &Stream{table: t, size: size, sums: make([]uint32, len(t.Fields()))}
	if err := s.advance(ctx); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the stream has ended without a row")
		}
		return nil, err
	}
	s.cols, s.first = s.piece.Columns(), s.piece.Len()
	return s, nil
}

// advance reads the next record batch that has rows.
func (s *Stream) advance(ctx context.Context) error {
	for {
		chunk, err := await(ctx, func() ([]series, error) { return s.table.Next(context.Background()) })
		if err != nil {
			return err
		}
		rows := 0
		for _, c := range chunk {
			rows = max(rows, c.rows)
		}
		if rows == 0 {
			continue
		}
		s.chunk, s.at = chunk, 0
		s.piece, err = s.pieceOf(chunk)
		return err
	}
}

// pieceOf makes a data set of a record batch, pictures or numbers.
func (s *Stream) pieceOf(chunk []series) (Dataset, error) {
	fields := s.table.Fields()
	if len(fieldNames(fields, func(f field) bool { return f.Kind == fieldPicture })) == 0 {
		return arraysOf(s.Name(), fields, chunk)
	}
	at, label, err := pictureFields(s.table)
	if err != nil {
		return nil, err
	}
	from := filesInMemory(s.Name(), nil, chunk[at].blobs, chunk[label].ints)
	if s.gallery == nil {
		s.gallery, err = newGallery(s.Name(), from, s.size)
		return s.gallery, err
	}
	return s.gallery.sibling(s.Name(), from)
}

// Name implements Dataset.
func (s *Stream) Name() string { return "arrow stream" }

// Len implements Dataset: 0, for unknown.
func (s *Stream) Len() int { return 0 }

// Columns implements Dataset.
func (s *Stream) Columns() []Column { return s.cols }

// Hash implements Dataset: that of the columns. Loaders tell whether the samples
// are the same, see Batch.Digest.
func (s *Stream) Hash() string {
	sum := sha256.Sum256([]byte(columnList(s.cols)))
	return hex.EncodeToString(sum[:])
}

// Batch implements Dataset: samples of a stream cannot be chosen.
func (s *Stream) Batch([]int, []Buffer) error {
	return fmt.Errorf("data %s: samples come once, in their own order", s.Name())
}

// FirstRows is the number of rows of the first record batch.
func (s *Stream) FirstRows() int { return s.first }

// streamOf is the stream behind a data set, nil where it is none.
func streamOf(d Dataset) *Stream {
	if b, ok := d.(*bound); ok {
		d = b.Dataset
	}
	s, _ := d.(*Stream)
	return s
}

// IsOnce says whether the samples of a data set come once, as those of a Stream.
func IsOnce(d Dataset) bool { return streamOf(d) != nil }

// next copies the next n samples into one buffer per column; without buffers it
// passes over them. Fewer left than n are io.EOF.
func (s *Stream) next(ctx context.Context, n int, into []Buffer) error {
	for done := 0; done < n; {
		if s.at == s.piece.Len() {
			if err := s.advance(ctx); err != nil {
				return err
			}
			if got := columnList(s.piece.Columns()); got != columnList(s.cols) {
				return &FileError{s.Name(), s.read, -1, fmt.Errorf("columns %s, but %s before", got, columnList(s.cols))}
			}
		}
		take := min(n-done, s.piece.Len()-s.at)
		if into != nil {
			if err := s.piece.Batch(span(s.at, take), s.part(into, done, take)); err != nil {
				return err
			}
		}
		s.count(take)
		done += take
	}
	return nil
}

func span(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = from + i
	}
	return out
}

// part are the buffers from a sample on, for n samples.
func (s *Stream) part(into []Buffer, from, n int) []Buffer {
	out := make([]Buffer, len(into))
	for i, b := range into {
		size := s.cols[i].Elements()
		if b.Floats != nil {
			out[i].Floats = b.Floats[from*size : (from+n)*size]
		}
		if b.Int64s != nil {
			out[i].Int64s = b.Int64s[from*size : (from+n)*size]
		}
	}
	return out
}

// count moves on by n rows of the record batch and adds them to the checksums.
func (s *Stream) count(n int) {
	for i := range s.chunk {
		c := &s.chunk[i]
		width := int(elements(c.dims))
		from, to := s.at*width, (s.at+n)*width
		switch {
		case c.rows == 0:
			continue
		case len(c.floats) > 0:
			s.raw, _ = binary.Append(s.raw[:0], binary.LittleEndian, c.floats[from:to])
		case len(c.ints) > 0:
			s.raw, _ = binary.Append(s.raw[:0], binary.LittleEndian, c.ints[from:to])
		default:
			s.raw = s.raw[:0]
			for _, b := range c.blobs[s.at : s.at+n] {
				s.raw = append(s.raw, b...)
			}
		}
		s.sums[i] = crc32.Update(s.sums[i], castagnoli, s.raw)
	}
	s.at += n
	s.read += int64(n)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// digest sums up all that was read. It does not depend on how the rows were
// divided into record batches.
func (s *Stream) digest() string {
	parts := make([]string, len(s.sums))
	for i, sum := range s.sums {
		parts[i] = fmt.Sprintf("%08x", sum)
	}
	return strings.Join(parts, ".")
}

// skip passes over the samples before those of a resumed run, whose digest they
// must have; an empty one is not checked.
func (s *Stream) skip(ctx context.Context, n int64, digest string) error {
	for left := n; left > 0; {
		take := min(left, int64(max(1, s.piece.Len()-s.at)))
		err := s.next(ctx, int(take), nil)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("data %s: it ends after %d samples, but the run to be resumed has used %d", s.Name(), s.read, n)
		}
		if err != nil {
			return err
		}
		left -= take
	}
	if digest != "" && s.digest() != digest {
		return fmt.Errorf("data %s: its first %d samples are not those that the run was trained on; a run is resumed with the same stream from its beginning (is the order in which it is written random, without a seed?)", s.Name(), n)
	}
	return nil
}
