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
	"path/filepath"
	"slices"
	"strings"
	"sync"

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

// TextOptions say how text becomes samples.
type TextOptions struct {
	Tokenizer string // file or folder, see ReadTokenizer; empty: each byte is a token
	Length    int    // tokens of a sequence; default 128
}

const (
	defaultLength = 128
	testShare     = 20      // 1/testShare of a text, its end, is for testing,
	testMost      = 1 << 16 // but not more tokens than these
)

// OpenText reads text files (gzip-compressed ones too), one after the other,
// and keeps the end for testing:
// a twentieth, at most 65,536 tokens.
func OpenText(ctx context.Context, files []string, o TextOptions) (*Split, error) {
	length := cmp.Or(o.Length, defaultLength)
	var text bytes.Buffer
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := appendText(&text, f); err != nil {
			return nil, fmt.Errorf("data text: %w", err)
		}
	}
	stream, vocabulary, err := tokenize(text.String(), o.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("data text: %w", err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(filepath.Base(f), ".gz")
	}
	name := "text:" + strings.Join(names, ",")
	cut := len(stream) - min(len(stream)/testShare, testMost)
	train, err := NewTokens(name, stream[:cut], length)
	if err != nil {
		return nil, err
	}
	test, err := NewTokens(name, stream[cut:], length)
	if err != nil {
		return nil, err
	}
	return &Split{Name: "text", Train: train, Test: test, Vocabulary: vocabulary}, nil
}

func appendText(to *bytes.Buffer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		r = z
	}
	if _, err := to.ReadFrom(r); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// tokenize is the text as tokens and the size of the vocabulary.
func tokenize(text, tokenizer string) ([]int32, int, error) {
	if tokenizer == "" {
		out := make([]int32, len(text))
		for i := range len(text) {
			out[i] = int32(text[i])
		}
		return out, 256, nil
	}
	t, err := ReadTokenizer(tokenizer)
	if err != nil {
		return nil, 0, err
	}
	tokens := t.Encode(text)
	out := make([]int32, len(tokens))
	for i, id := range tokens {
		out[i] = int32(id)
	}
	return out, t.Size(), nil
}

// textFiles are the files of a "text:FILES" spec, separated by commas; patterns
// are expanded.
func textFiles(spec string) ([]string, error) {
	var out []string
	for _, pattern := range strings.Split(spec, ",") {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: no such file", pattern)
		}
		slices.Sort(found)
		out = append(out, found...)
	}
	if len(out) == 0 {
		return nil, errors.New("expected text:FILES")
	}
	return out, nil
}
