package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const tokenizersDir = "testdata/tokenizers"

// Tokens are those of SentencePiece and of Hugging Face's tokenizers, on strings
// that tokenizers stumble over (testdata/tokenizers/make.py).
func TestSentencePiece(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(tokenizersDir, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var texts struct{ Texts []string }
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &texts); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"bpe.model": 450, "unigram.model": 260, "llama.json": 450, "t5.json": 260, "steps.json": 330, "prefix.json": 330} {
		tok, err := ReadTokenizer(filepath.Join(tokenizersDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if tok.Size() != size {
			t.Errorf("%s: %d tokens, expected %d", name, tok.Size(), size)
		}
		var want [][]int64
		if err := json.Unmarshal(all[name], &want); err != nil {
			t.Fatal(err)
		}
		for i, text := range texts.Texts {
			if got := tok.Encode(text); !slices.Equal(got, want[i]) {
				t.Errorf("%s: %q: %v, the reference has %v", name, text, got, want[i])
			}
		}
	}
}

// A long text is encoded in chunks, and in parts, as it is in one piece.
func TestSentencePieceParts(t *testing.T) {
	line := "Some years ago—never mind how long precisely—having  little or no money in my purse, café\n"
	text := strings.Repeat(line, 3*spmChunk/len(line))
	for _, name := range []string{"bpe.model", "unigram.model", "llama.json", "t5.json"} {
		tok, err := ReadTokenizer(filepath.Join(tokenizersDir, name))
		if err != nil {
			t.Fatal(err)
		}
		s := tok.how.(*spm)
		if chunks := s.split(text, true); len(chunks) < 2 {
			t.Errorf("%s: %d chunks", name, len(chunks))
		}
		whole := s.spell(nil, s.encode(s.normalize(text, true)))
		if !slices.Equal(tok.Encode(text), whole) {
			t.Errorf("%s: chunks change the tokens", name)
		}
		cut := lastCut([]byte(text))
		if parts := slices.Concat(tok.encode(text[:cut], true), tok.encode(text[cut:], false)); !slices.Equal(parts, whole) {
			t.Errorf("%s: parts change the tokens", name)
		}
	}
}

func TestSentencePieceRefuses(t *testing.T) {
	model, err := os.ReadFile(filepath.Join(tokenizersDir, "unigram.model"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokenizer.model")
	for want, raw := range map[string][]byte{
		"it has no pieces":       {},
		"no SentencePiece model": []byte("this is text and no model"),
		"unexpected EOF":         model[:len(model)/2],
		"of type 3, expected 1":  {0x0A, 3, 0x0A, 1, 'a', 0x12, 2, 0x18, 3},
		"marked as unused":       {0x0A, 5, 0x0A, 1, 'a', 0x18, 5},
		"piece 0 is empty":       {0x0A, 2, 0x18, 4},
		"no token \"<0x00>\"":    {0x0A, 3, 0x0A, 1, 'a', 0x12, 3, 0x98, 0x02, 1},
		"the table of char":      {0x0A, 3, 0x0A, 1, 'a', 0x1A, 4, 0x12, 2, 1, 1},
	} {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTokenizer(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
}

// Damaged models are errors, and no reason to stop the program.
func FuzzSentencePiece(f *testing.F) {
	for _, name := range []string{"bpe.model", "unigram.model"} {
		raw, err := os.ReadFile(filepath.Join(tokenizersDir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "Call me Ishmael ﬁ")
	}
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		m := spmModel{kind: modelUnigram, prefix: true, single: true, escape: true}
		if m.parse(raw) != nil {
			return
		}
		if tok, err := m.tokenizer("fuzz"); err == nil {
			for _, id := range tok.Encode(text) {
				if id < 0 || int(id) >= tok.Size() {
					t.Fatalf("token %d of %d", id, tok.Size())
				}
			}
		}
	})
}
