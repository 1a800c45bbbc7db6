package data

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"ninox/onnxgraph"
)

// Tokens is a data set of token sequences for language models: sample i is
// tokens i·length to (i+1)·length of a stream ("input_ids", int64 [length]),
// and the tokens that follow each of them ("labels").
type Tokens struct {
	name   string
	stream []int32
	length int
	hash   func() string
}

// NewTokens cuts a stream of tokens into sequences. The stream is kept.
func NewTokens(name string, stream []int32, length int) (*Tokens, error) {
	if length < 1 || len(stream) <= length {
		return nil, fmt.Errorf("data %s: %d tokens are too few for sequences of %d", name, len(stream), length)
	}
	d := &Tokens{name: name, stream: stream, length: length}
	d.hash = sync.OnceValue(func() string {
		h := sha256.New()
		binary.Write(h, binary.LittleEndian, int64(length))
		binary.Write(h, binary.LittleEndian, stream)
		return hex.EncodeToString(h.Sum(nil))
	})
	return d, nil
}

// Name implements Dataset.
func (d *Tokens) Name() string { return d.name }

// Len implements Dataset.
func (d *Tokens) Len() int { return (len(d.stream) - 1) / d.length }

// Columns implements Dataset.
func (d *Tokens) Columns() []Column {
	shape := []int64{int64(d.length)}
	return []Column{{Name: "input_ids", DType: onnxgraph.Int64, Shape: shape}, {Name: "labels", DType: onnxgraph.Int64, Shape: shape}}
}

// Hash implements Dataset: the SHA-256 of length and tokens.
func (d *Tokens) Hash() string { return d.hash() }

// Batch implements Dataset.
func (d *Tokens) Batch(indices []int, into []Buffer) error {
	if err := checkBuffers(d, indices, into); err != nil {
		return err
	}
	for column := range into {
		out := into[column].Int64s
		if out == nil {
			continue
		}
		for n, i := range indices {
			first := i*d.length + column // labels are one token later
			for j, token := range d.stream[first : first+d.length] {
				out[n*d.length+j] = int64(token)
			}
		}
	}
	return nil
}

// Options say how files become samples.
type Options struct {
	Tokenizer string // of text: file or folder, see ReadTokenizer; empty: each byte is a token
	Length    int    // tokens of a sequence; default 128
	ImageSize [2]int // height and width to which pictures are brought; zero: they have one size already
}

// length is the number of tokens in a sequence.
func (o Options) length() int { return cmp.Or(o.Length, defaultLength) }

const (
	defaultLength = 128
	testShare     = 20      // 1/testShare of a text, its end, is for testing,
	testMost      = 1 << 16 // but not more tokens than these
)

// OpenText reads text files (gzip-compressed ones too), one after the other.
// Where their names or folders speak of training and test or validation files,
// these are the parts; else the end is kept for testing: a twentieth, at most
// 65,536 tokens.
func OpenText(ctx context.Context, files []string, o Options) (*Split, error) {
	s, err := openText(ctx, files, "", o)
	if err != nil {
		return nil, fmt.Errorf("data text: %w", err)
	}
	return s, nil
}

// openText reads text; prefer is the part to test on where there are two.
func openText(ctx context.Context, files []string, prefer string, o Options) (*Split, error) {
	train, test := partition(files, prefer)
	p, err := newTextParts("text:"+baseNames(train), o)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name  string
		files []string
	}{{"train", train}, {"test", test}} {
		for _, f := range part.files {
			if err := readText(ctx, f, func(text []byte, begin bool) error { return p.add(part.name, text, begin) }); err != nil {
				return nil, err
			}
		}
	}
	s := &Split{Name: "text"}
	return s, p.split(s)
}

// textParts collects the tokens of a training and a test part.
type textParts struct {
	name      string
	tokenizer *Tokenizer // nil: bytes are the tokens
	length    int
	streams   map[string][]int32
}

func newTextParts(name string, o Options) (*textParts, error) {
	p := &textParts{name: name, length: o.length(), streams: map[string][]int32{}}
	var err error
	if o.Tokenizer != "" {
		p.tokenizer, err = ReadTokenizer(o.Tokenizer)
	}
	return p, err
}

// add adds text to a part: the begin of a text, or what follows.
func (p *textParts) add(part string, text []byte, begin bool) error {
	if p.tokenizer != nil {
		p.streams[part] = appendAs(p.streams[part], p.tokenizer.encode(string(text), begin))
	} else {
		p.streams[part] = appendAs(p.streams[part], text)
	}
	return nil
}

// split makes data sets of the parts.
func (p *textParts) split(s *Split) error {
	train, test := p.streams["train"], p.streams["test"]
	if test == nil {
		cut := len(train) - min(len(train)/testShare, testMost)
		train, test = train[:cut], train[cut:]
	}
	var err error
	if s.Train, err = NewTokens(p.name, train, p.length); err != nil {
		return err
	}
	if s.Test, err = NewTokens(p.name, test, p.length); err != nil {
		return err
	}
	s.Vocabulary = 256
	if p.tokenizer != nil {
		s.Vocabulary = p.tokenizer.Size()
	}
	return nil
}

// textChunk is about how much text is turned into tokens at a time.
const textChunk = 16 << 20

// readText reads a text, gzip-compressed or not, in pieces that end where tokens
// do, behind a letter that a line break follows.
func readText(ctx context.Context, path string, use func(text []byte, begin bool) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return &FileError{path, -1, 0, fmt.Errorf("not a gzip file: %w", truncation(err))}
		}
	}
	var text bytes.Buffer
	begin := true
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(&text, r, textChunk)
		at += n
		if errors.Is(err, io.EOF) {
			return use(text.Bytes(), begin)
		}
		if err != nil {
			return &FileError{path, -1, at, truncation(err)}
		}
		cut := lastCut(text.Bytes())
		if cut == 0 {
			continue
		}
		if err := use(text.Next(cut), begin); err != nil {
			return err
		}
		begin = false
	}
}

// lastCut is the last place at which chunksOf would cut a text, too; 0 where there
// is none.
func lastCut(text []byte) int {
	for i := len(text) - 1; i > 0; i-- {
		if text[i] != '\n' {
			continue
		}
		if r, _ := utf8.DecodeLastRune(text[:i]); unicode.IsLetter(r) {
			return i
		}
	}
	return 0
}
