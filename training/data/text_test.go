package data

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
)

// Tokens of GPT-2's own tokenizer (transformers.GPT2Tokenizer).
func TestTokenizerGPT2(t *testing.T) {
	tok, err := ReadTokenizer(testenv.Shared(t, "data/gpt2-bpe"))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Size() != 50257 {
		t.Errorf("vocabulary of %d", tok.Size())
	}
	for _, k := range referenceTokens {
		if got := tok.Encode(k.text); !slices.Equal(got, k.tokens) {
			t.Errorf("%q: %v, GPT-2 has %v", k.text, got, k.tokens)
		}
	}
	// Chunks change nothing.
	var b strings.Builder
	for b.Len() < 5*encodeChunk {
		for _, k := range referenceTokens {
			b.WriteString(k.text)
			b.WriteString("\n \nsome words\n")
		}
	}
	var want []int64
	for _, rank := range tok.how.(*byteLevel).bpe.EncodeOrdinary(b.String()) {
		want = append(want, tok.how.(*byteLevel).ids[rank])
	}
	if n := len(chunksOf(b.String(), encodeChunk)); n < 5 {
		t.Fatalf("%d chunks", n)
	}
	if !slices.Equal(tok.Encode(b.String()), want) {
		t.Error("a text in chunks has other tokens than as a whole")
	}
}

func TestTokenizerJSON(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokenizer.json")
	vocab := map[string]int{"ab": 700, "abc": 500} // numbers need not follow the merges
	for r, b := range byteAlphabet() {
		vocab[string(r)] = int(b) + 100
	}
	model, err := json.Marshal(map[string]any{
		"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{"a b", []string{"ab", "c"}}},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "behavior": "Isolated", "pattern": map[string]any{"Regex": `x|[^x]+`}},
			map[string]any{"type": "ByteLevel", "use_regex": false},
		}},
		"added_tokens": []any{map[string]any{"id": 900, "content": "<end>"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, model, 0o644); err != nil {
		t.Fatal(err)
	}
	tok, err := ReadTokenizer(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Encode("abxabcab c"), []int64{700, 220, 500, 700, 132, 199}; !slices.Equal(got, want) || tok.Size() != 901 {
		t.Errorf("tokens %v of %d, expected %v of 901", got, tok.Size(), want)
	}
	for text, want := range map[string]string{
		`{"model": {"type": "WordPiece"}, "pre_tokenizer": {"type": "ByteLevel"}}`:                                                             `model "WordPiece", expected BPE or Unigram`,
		`{"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Metaspace"}}`:                                                                   "the vocabulary is empty",
		`{"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Whitespace"}}`:                                                                  `pre-tokenizer "Whitespace", expected none or Metaspace`,
		`{"model": {"type": "BPE"}, "normalizer": {"type": "BertNormalizer"}}`:                                                                 `normalizer "BertNormalizer" is not supported`,
		`{"model": {"type": "Unigram", "vocab": [["a", "b"]]}}`:                                                                                "vocabulary: piece 0",
		`{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0}}}`:                                                                 `no token "<0x00>"`,
		`{"model": {"type": "BPE"}, "normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "ByteLevel"}}`:                         `normalizer "BertNormalizer" is not supported`,
		`{"model": {"type": "BPE", "vocab": {}}, "pre_tokenizer": {"type": "ByteLevel"}}`:                                                      "not in the vocabulary",
		`{"model": {"type": "BPE", "merges": ["ab"]}, "pre_tokenizer": {"type": "ByteLevel"}}`:                                                 "merge 0",
		`{"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Punctuation"}, {"type": "ByteLevel"}]}}`: `step 0 (Punctuation): expected steps Split`,
		`{`: "unexpected end",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTokenizer(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q", text, err, want)
		}
	}
	if _, err := ReadTokenizer(t.TempDir()); err == nil || !strings.Contains(err.Error(), "expected tokenizer.json") {
		t.Errorf("empty folder: %v", err)
	}
}

func TestText(t *testing.T) {
	dir := t.TempDir()
	plain, packed := filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.txt.gz")
	if err := os.WriteFile(plain, []byte(strings.Repeat("0123456789", 30)), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	z.Write([]byte(strings.Repeat("abcdefghij", 10)))
	z.Close()
	f.Close()
	s, err := OpenText(context.Background(), []string{plain, packed}, Options{Length: 7})
	if err != nil {
		t.Fatal(err)
	}
	if s.Train.Len() != 54 || s.Test.Len() != 2 || s.Vocabulary != 256 { // 380 and 20 bytes
		t.Errorf("%d and %d sequences, %d tokens", s.Train.Len(), s.Test.Len(), s.Vocabulary)
	}
	b := NewBatch(s.Train.Columns(), 2)
	if err := s.Train.Batch([]int{1, 43}, b.Buffers); err != nil {
		t.Fatal(err)
	}
	text := func(v []int64) string {
		var out []byte
		for _, x := range v {
			out = append(out, byte(x))
		}
		return string(out)
	}
	if x, y := text(b.Buffers[0].Int64s), text(b.Buffers[1].Int64s); x != "7890123bcdefgh" || y != "8901234cdefghi" {
		t.Errorf("samples %q with labels %q", x, y)
	}
	if _, err := OpenText(context.Background(), []string{plain}, Options{Length: 500}); err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("error %v", err)
	}
	if _, err := filesOf(filepath.Join(dir, "none*"), nil); err == nil {
		t.Error("a pattern without files is no error")
	}
}
