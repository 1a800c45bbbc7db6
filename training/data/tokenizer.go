package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/pkoukk/tiktoken-go"
)

// Tokenizer turns text into token numbers by byte-level byte-pair encoding, as
// GPT-2 and most models since do.
type Tokenizer struct {
	name string
	bpe  *tiktoken.Tiktoken
	ids  []int64 // number of the token of each rank
	size int
}

// gpt2Pattern cuts text into the pieces inside which pairs are merged; it is
// GPT-2's, which tokenizer files without a pattern of their own mean.
const gpt2Pattern = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// ReadTokenizer reads a tokenizer.json of Hugging Face's tokenizers (a
// byte-level BPE), or a folder with such a file or with vocabulary and merges:
// vocab.json and merges.txt, or encoder.json and vocab.bpe as GPT-2 names them.
// The name of one of Tokenizers means the place where that is.
func ReadTokenizer(path string) (*Tokenizer, error) {
	for _, known := range Tokenizers() {
		if path != known.Kind || exists(path) {
			continue
		}
		if path = known.Find(); path == "" {
			return nil, fmt.Errorf("tokenizer %s: not found in %s; 'ninox data fetch %s' fetches it", known.Kind, strings.Join(known.Places(), ", "), known.Kind)
		}
	}
	t, err := readTokenizer(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

func readTokenizer(path string) (*Tokenizer, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return readTokenizerJSON(path)
	}
	if file := filepath.Join(path, "tokenizer.json"); exists(file) {
		return readTokenizerJSON(file)
	}
	for _, names := range [][2]string{{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}} {
		vocab, merges := filepath.Join(path, names[0]), filepath.Join(path, names[1])
		if exists(vocab) && exists(merges) {
			return readVocabulary(path, vocab, merges)
		}
	}
	return nil, errors.New("expected tokenizer.json, vocab.json with merges.txt, or encoder.json with vocab.bpe")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readVocabulary(name, vocabFile, mergesFile string) (*Tokenizer, error) {
	vocab := map[string]int{}
	b, err := os.ReadFile(vocabFile)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", vocabFile, err)
	}
	if b, err = os.ReadFile(mergesFile); err != nil {
		return nil, err
	}
	var merges [][2]string
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || i == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		pair := strings.Split(line, " ")
		if len(pair) != 2 {
			return nil, fmt.Errorf("%s: line %d is no pair", mergesFile, i+1)
		}
		merges = append(merges, [2]string{pair[0], pair[1]})
	}
	return newTokenizer(name, vocab, merges, gpt2Pattern)
}

// tokenizerJSON is the part of a tokenizer.json that matters here.
type tokenizerJSON struct {
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer preTokenizer    `json:"pre_tokenizer"`
	Added        []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
	} `json:"added_tokens"`
	Model struct {
		Type         string            `json:"type"`
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"` // "a b" or ["a", "b"]
		ByteFallback bool              `json:"byte_fallback"`
	} `json:"model"`
}

type preTokenizer struct {
	Type           string         `json:"type"`
	AddPrefixSpace bool           `json:"add_prefix_space"`
	UseRegex       *bool          `json:"use_regex"`
	PreTokenizers  []preTokenizer `json:"pretokenizers"`
	Pattern        struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
}

// pattern is the regular expression of a byte-level pre-tokenizer.
func (p *preTokenizer) pattern() (string, error) {
	switch {
	case p.Type == "ByteLevel" && p.AddPrefixSpace:
		return "", errors.New("add_prefix_space is not supported")
	case p.Type == "ByteLevel" && (p.UseRegex == nil || *p.UseRegex):
		return gpt2Pattern, nil
	case p.Type == "Sequence" && len(p.PreTokenizers) == 2:
		split, bytes := &p.PreTokenizers[0], &p.PreTokenizers[1]
		if split.Type == "Split" && split.Behavior == "Isolated" && split.Pattern.Regex != "" && bytes.Type == "ByteLevel" && !bytes.AddPrefixSpace {
			return split.Pattern.Regex, nil
		}
	}
	return "", fmt.Errorf("pre-tokenizer %q, expected ByteLevel, or Split by a pattern and ByteLevel", p.Type)
}

func readTokenizerJSON(path string) (*Tokenizer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var j tokenizerJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	if j.Model.Type != "" && j.Model.Type != "BPE" || j.Model.ByteFallback {
		return nil, fmt.Errorf("model %q, expected a byte-level BPE", j.Model.Type)
	}
	if n := string(j.Normalizer); n != "" && n != "null" {
		return nil, errors.New("it normalizes text, which is not supported")
	}
	pattern, err := j.PreTokenizer.pattern()
	if err != nil {
		return nil, err
	}
	var merges [][2]string
	for i, raw := range j.Model.Merges {
		var pair [2]string
		var text string
		if json.Unmarshal(raw, &text) == nil {
			first, second, ok := strings.Cut(text, " ")
			if pair = [2]string{first, second}; !ok {
				return nil, fmt.Errorf("merge %d is no pair", i)
			}
		} else if err := json.Unmarshal(raw, &pair); err != nil {
			return nil, fmt.Errorf("merge %d is no pair", i)
		}
		merges = append(merges, pair)
	}
	t, err := newTokenizer(path, j.Model.Vocab, merges, pattern)
	if err != nil {
		return nil, err
	}
	for _, a := range j.Added {
		t.size = max(t.size, a.ID+1)
	}
	return t, nil
}

// newTokenizer makes a tokenizer whose merges have their place in the list as
// rank, behind the single bytes.
func newTokenizer(name string, vocab map[string]int, merges [][2]string, pattern string) (*Tokenizer, error) {
	t := &Tokenizer{name: name}
	bytesOf := byteAlphabet()
	ranks := map[string]int{}
	add := func(written string) error {
		id, ok := vocab[written]
		if !ok {
			return fmt.Errorf("token %q is not in the vocabulary", written)
		}
		var plain []byte
		for _, r := range written {
			b, ok := bytesOf[r]
			if !ok {
				return fmt.Errorf("token %q is not of a byte-level vocabulary", written)
			}
			plain = append(plain, b)
		}
		if _, twice := ranks[string(plain)]; !twice {
			ranks[string(plain)] = len(t.ids)
			t.ids = append(t.ids, int64(id))
		}
		return nil
	}
	for _, r := range slices.SortedFunc(maps.Keys(bytesOf), func(a, b rune) int { return int(bytesOf[a]) - int(bytesOf[b]) }) {
		if err := add(string(r)); err != nil {
			return nil, err
		}
	}
	for _, m := range merges {
		if err := add(m[0] + m[1]); err != nil {
			return nil, err
		}
	}
	for _, id := range vocab {
		t.size = max(t.size, id+1)
	}
	// No special tokens: text is data, whatever it spells. The library needs one
	// that never matches.
	never := map[string]int{"\x00\xff": -1}
	core, err := tiktoken.NewCoreBPE(ranks, never, pattern)
	if err != nil {
		return nil, err
	}
	t.bpe = tiktoken.NewTiktoken(core, &tiktoken.Encoding{Name: name, PatStr: pattern, MergeableRanks: ranks, SpecialTokens: never}, map[string]any{})
	return t, nil
}

// byteAlphabet is how vocabularies write bytes: printable Latin-1 characters
// stand for themselves, the other bytes for characters from U+0100 on.
func byteAlphabet() map[rune]byte {
	out := map[rune]byte{}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r = next
			next++
		}
		out[r] = byte(b)
	}
	return out
}

// Size is the number of tokens, special ones included.
func (t *Tokenizer) Size() int { return t.size }

// encodeChunk is how much text is encoded at a time; time grows faster than the
// length.
const encodeChunk = 1 << 14

// Encode turns text into tokens, on all processors.
func (t *Tokenizer) Encode(text string) []int64 {
	chunks := chunksOf(text, encodeChunk)
	results := make([][]int64, len(chunks))
	var next sync.Mutex
	at := 0
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				next.Lock()
				i := at
				at++
				next.Unlock()
				if i >= len(chunks) {
					return
				}
				for _, rank := range t.bpe.EncodeOrdinary(chunks[i]) {
					results[i] = append(results[i], t.ids[rank])
				}
			}
		})
	}
	workers.Wait()
	return slices.Concat(results...)
}

// chunksOf cuts text where every pattern cuts it, too: between a letter and a
// line break.
func chunksOf(text string, size int) []string {
	var out []string
	for len(text) > size {
		cut := -1
		for i := size; i < len(text)-1; i++ {
			if text[i] != '\n' {
				continue
			}
			if r, _ := utf8.DecodeLastRuneInString(text[:i]); unicode.IsLetter(r) {
				cut = i
				break
			}
		}
		if cut < 0 {
			break
		}
		out = append(out, text[:cut])
		text = text[cut:]
	}
	if text != "" {
		out = append(out, text)
	}
	return out
}
