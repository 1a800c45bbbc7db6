package data

import (
	"cmp"
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

	"github.com/dlclark/regexp2"
	"github.com/pkoukk/tiktoken-go"
)

// Tokenizer turns text into token numbers: by byte-level byte-pair encoding, as
// GPT-2, Llama 3 and most models since do, or by pieces of characters as
// SentencePiece's models (Llama 2, T5) do.
type Tokenizer struct {
	name string
	size int
	how  interface {
		// split cuts text into chunks that can be encoded apart; begin says that no
		// text comes before it.
		split(text string, begin bool) []string
		tokens(chunk string) []int64
	}
}

// byteLevel is byte-level byte-pair encoding.
type byteLevel struct {
	normalize normalizer        // nil: none
	cuts      []*regexp2.Regexp // that cut text one after the other; none: the pattern of bpe does
	bpe       *tiktoken.Tiktoken
	ids       []int64 // number of the token of each rank
}

func (b *byteLevel) split(text string, begin bool) []string {
	if b.normalize != nil {
		text = b.normalize(text, begin)
	}
	return chunksOf(text, encodeChunk)
}

func (b *byteLevel) tokens(chunk string) []int64 {
	parts := []string{chunk}
	for _, cut := range b.cuts {
		var finer []string
		for _, part := range parts {
			finer = isolate(finer, part, cut)
		}
		parts = finer
	}
	var out []int64
	for _, part := range parts {
		for _, rank := range b.bpe.EncodeOrdinary(part) {
			out = append(out, b.ids[rank])
		}
	}
	return out
}

// isolate appends the matches of a pattern in a text, and what lies between them.
func isolate(out []string, text string, pattern *regexp2.Regexp) []string {
	runes := []rune(text)
	at := 0
	// Errors are time-outs, and no time is set.
	for m, _ := pattern.FindRunesMatch(runes); m != nil; m, _ = pattern.FindNextMatch(m) {
		if m.Index > at {
			out = append(out, string(runes[at:m.Index]))
		}
		if m.Length > 0 {
			out = append(out, m.String())
		}
		at = m.Index + m.Length
	}
	if at < len(runes) {
		out = append(out, string(runes[at:]))
	}
	return out
}

// gpt2Pattern cuts text into the pieces inside which pairs are merged; it is
// GPT-2's, which tokenizer files without a pattern of their own mean.
const gpt2Pattern = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// ReadTokenizer reads a tokenizer.json of Hugging Face's tokenizers (BPE of bytes
// or of characters, or Unigram), a model of SentencePiece's (tokenizer.model, or
// any name that ends in .model), or a folder with such a file or with vocabulary
// and merges: vocab.json and merges.txt, or encoder.json and vocab.bpe as GPT-2
// names them.
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
		return readTokenizerFile(path)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer.model", "spiece.model"} {
		if file := filepath.Join(path, name); exists(file) {
			return readTokenizerFile(file)
		}
	}
	for _, names := range [][2]string{{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}} {
		vocab, merges := filepath.Join(path, names[0]), filepath.Join(path, names[1])
		if exists(vocab) && exists(merges) {
			return readVocabulary(path, vocab, merges)
		}
	}
	return nil, errors.New("expected tokenizer.json, tokenizer.model, vocab.json with merges.txt, or encoder.json with vocab.bpe")
}

func readTokenizerFile(path string) (*Tokenizer, error) {
	if filepath.Ext(path) == ".model" {
		return readSentencePiece(path)
	}
	return readTokenizerJSON(path)
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
	return newTokenizer(name, vocab, merges, []string{gpt2Pattern}, nil)
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
		Vocab        json.RawMessage   `json:"vocab"`  // numbers by token, or of a Unigram the tokens with scores
		Merges       []json.RawMessage `json:"merges"` // "a b" or ["a", "b"]
		ByteFallback bool              `json:"byte_fallback"`
		Unknown      string            `json:"unk_token"`
		UnknownID    *int              `json:"unk_id"`
		FuseUnknown  bool              `json:"fuse_unk"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
	} `json:"model"`
}

type preTokenizer struct {
	Type           string         `json:"type"`
	AddPrefixSpace *bool          `json:"add_prefix_space"`
	Replacement    string         `json:"replacement"`
	PrependScheme  string         `json:"prepend_scheme"`
	Split          *bool          `json:"split"`
	UseRegex       *bool          `json:"use_regex"`
	PreTokenizers  []preTokenizer `json:"pretokenizers"`
	Pattern        struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Behavior   string `json:"behavior"`
	Invert     bool   `json:"invert"`
	Individual bool   `json:"individual_digits"`
}

// byteLevel says whether a pre-tokenizer turns text into bytes.
func (p *preTokenizer) byteLevel() bool {
	return p.Type == "ByteLevel" || slices.ContainsFunc(p.PreTokenizers, func(q preTokenizer) bool { return q.byteLevel() })
}

// prefixes says whether a byte-level pre-tokenizer puts a space in front.
func (p *preTokenizer) prefixes() bool { return p.AddPrefixSpace != nil && *p.AddPrefixSpace }

// patterns are the regular expressions by which a byte-level pre-tokenizer cuts
// text, one after the other.
func (p *preTokenizer) patterns() ([]string, error) {
	steps := []preTokenizer{*p}
	if p.Type == "Sequence" {
		steps = p.PreTokenizers
	}
	var out []string
	for i, s := range steps {
		last := i == len(steps)-1
		switch {
		case s.Type == "ByteLevel" && last && (len(steps) == 1 || !s.prefixes()):
			if s.UseRegex == nil || *s.UseRegex {
				out = append(out, gpt2Pattern)
			}
		case s.Type == "Split" && !last && s.Behavior == "Isolated" && !s.Invert && s.Pattern.Regex != "":
			out = append(out, s.Pattern.Regex)
		case s.Type == "Digits" && !last && s.Individual:
			out = append(out, `\p{N}`)
		case s.Type == "Digits" && !last:
			out = append(out, `\p{N}+`)
		default:
			return nil, fmt.Errorf("pre-tokenizer %q, step %d (%s): expected steps Split by a pattern (isolated) and Digits, and ByteLevel at the end", p.Type, i, s.Type)
		}
	}
	if len(out) == 0 {
		out = []string{anything}
	}
	return out, nil
}

// anything is a pattern that matches a whole text.
const anything = `[\s\S]+`

func readTokenizerJSON(path string) (*Tokenizer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var j tokenizerJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	switch {
	case j.Model.Type == "Unigram", (j.Model.Type == "BPE" || j.Model.Type == "") && !j.PreTokenizer.byteLevel():
		return j.spm(path)
	case j.Model.Type != "" && j.Model.Type != "BPE" || j.Model.ByteFallback:
		return nil, fmt.Errorf("model %q, expected BPE or Unigram", j.Model.Type)
	}
	normalize, err := parseNormalizer(j.Normalizer)
	if err != nil {
		return nil, err
	}
	patterns, err := j.PreTokenizer.patterns()
	if err != nil {
		return nil, err
	}
	if j.PreTokenizer.prefixes() {
		normalize = prefixed(normalize)
	}
	vocabulary, err := j.vocabulary()
	if err != nil {
		return nil, err
	}
	merges, err := j.merges()
	if err != nil {
		return nil, err
	}
	t, err := newTokenizer(path, vocabulary, merges, patterns, normalize)
	if err != nil {
		return nil, err
	}
	for _, a := range j.Added {
		t.size = max(t.size, a.ID+1)
	}
	return t, nil
}

// vocabulary reads the numbers of the tokens of a BPE.
func (j *tokenizerJSON) vocabulary() (map[string]int, error) {
	var v map[string]int
	if err := json.Unmarshal([]byte(cmp.Or(string(j.Model.Vocab), "{}")), &v); err != nil {
		return nil, fmt.Errorf("vocabulary: expected the number of each token: %w", err)
	}
	return v, nil
}

// merges reads the pairs of a BPE.
func (j *tokenizerJSON) merges() ([][2]string, error) {
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
	return merges, nil
}

// newTokenizer makes a tokenizer whose merges have their place in the list as
// rank, behind the single bytes.
func newTokenizer(name string, vocab map[string]int, merges [][2]string, patterns []string, normalize normalizer) (*Tokenizer, error) {
	b := &byteLevel{normalize: normalize}
	t := &Tokenizer{name: name, how: b}
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
			ranks[string(plain)] = len(b.ids)
			b.ids = append(b.ids, int64(id))
		}
		return nil
	}
	for _, r := range slices.SortedFunc(maps.Keys(bytesOf), func(x, y rune) int { return int(bytesOf[x]) - int(bytesOf[y]) }) {
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
	pattern := patterns[0]
	if len(patterns) > 1 {
		pattern = anything
		for _, p := range patterns {
			cut, err := regexp2.Compile(p, regexp2.None)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", p, err)
			}
			b.cuts = append(b.cuts, cut)
		}
	}
	// No special tokens: text is data, whatever it spells. The library needs one
	// that never matches.
	never := map[string]int{"\x00\xff": -1}
	core, err := tiktoken.NewCoreBPE(ranks, never, pattern)
	if err != nil {
		return nil, err
	}
	b.bpe = tiktoken.NewTiktoken(core, &tiktoken.Encoding{Name: name, PatStr: pattern, MergeableRanks: ranks, SpecialTokens: never}, map[string]any{})
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
func (t *Tokenizer) Encode(text string) []int64 { return t.encode(text, true) }

// encode is Encode of a text, or of a part of it that is not the first.
func (t *Tokenizer) encode(text string, begin bool) []int64 {
	chunks := t.how.split(text, begin)
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
				results[i] = t.how.tokens(chunks[i])
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
