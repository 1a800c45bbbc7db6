package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sort"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// spm is a tokenizer of the SentencePiece kind: normalize, cut into words where
// that changes nothing, encode.
type spm struct {
	*pieces
	encoder
	normalize  normalizer
	whole      bool // words cannot be encoded apart
	everySpace bool // every space begins a word
}

// spmChunk is how much text is encoded at a time, where it can be cut.
const spmChunk = 1 << 16

func (s *spm) split(text string, begin bool) []string {
	if s.normalize != nil {
		text = s.normalize(text, begin)
	}
	if s.whole {
		return []string{text}
	}
	var out []string
	from, to := 0, 0
	s.sections(text, func(part string, own bool) {
		if own {
			to += len(part)
			return
		}
		words(part, s.everySpace, func(w string) {
			to += len(w)
			if to-from >= spmChunk {
				out = append(out, text[from:to])
				from = to
			}
		})
	})
	return append(out, text[from:to])
}

// sections takes a text apart into pieces that are found first and what lies
// between them.
func (s *spm) sections(text string, use func(part string, own bool)) {
	for s.own != nil {
		at := s.own.FindStringIndex(text)
		if at == nil {
			break
		}
		if at[0] > 0 {
			use(text[:at[0]], false)
		}
		use(text[at[0]:at[1]], true)
		text = text[at[1]:]
	}
	if text != "" {
		use(text, false)
	}
}

func (s *spm) tokens(chunk string) []int64 {
	var out []token
	known := map[string][]token{}
	word := func(w string) {
		t, ok := known[w]
		if !ok {
			t = s.encode(w)
			known[w] = t
		}
		out = append(out, t...)
	}
	s.sections(chunk, func(part string, own bool) {
		switch {
		case own:
			out = append(out, token{s.ids[part], part})
		case s.whole:
			word(part)
		default:
			words(part, s.everySpace, word)
		}
	})
	return s.spell(nil, out)
}

// newSPM finishes a tokenizer of pieces.
func newSPM(name string, p *pieces, e encoder, normalize normalizer, everySpace bool, size int) (*Tokenizer, error) {
	if len(p.ids) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	return &Tokenizer{name: name, size: size, how: &spm{pieces: p, encoder: e, normalize: normalize, everySpace: everySpace, whole: p.spansWords()}}, nil
}

// findBytes looks for the tokens of bytes.
func (p *pieces) findBytes(vocabulary map[string]int32) error {
	p.bytes = new([256]int32)
	for b := range p.bytes {
		id, ok := vocabulary[byteToken(b)]
		if !ok {
			return fmt.Errorf("it falls back to bytes, but has no token %q", byteToken(b))
		}
		p.bytes[b] = id
	}
	return nil
}

// spmJSON makes a tokenizer of a tokenizer.json whose model has pieces of
// characters: a BPE that is not of bytes, or a Unigram.
func (j *tokenizerJSON) spm(name string) (*Tokenizer, error) {
	normalize, err := parseNormalizer(j.Normalizer)
	if err != nil {
		return nil, err
	}
	everySpace, err := j.PreTokenizer.spaces(&normalize)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, a := range j.Added {
		size = max(size, a.ID+1)
	}
	p := &pieces{ids: map[string]int32{}, unknown: -1}
	if j.Model.Type == "Unigram" {
		var vocabulary [][2]json.RawMessage
		if err := json.Unmarshal(j.Model.Vocab, &vocabulary); err != nil {
			return nil, fmt.Errorf("vocabulary: expected pieces with scores: %w", err)
		}
		scores := make([]float32, len(vocabulary))
		for i, v := range vocabulary {
			var text string
			if err := errors.Join(json.Unmarshal(v[0], &text), json.Unmarshal(v[1], &scores[i])); err != nil {
				return nil, fmt.Errorf("vocabulary: piece %d: %w", i, err)
			}
			p.ids[text] = int32(i)
		}
		if u := j.Model.UnknownID; u != nil {
			p.unknown = int32(*u)
		}
		if j.Model.ByteFallback {
			if err := p.findBytes(p.ids); err != nil {
				return nil, err
			}
		}
		p.fuse = true
		return newSPM(name, p, newUnigram(p, scores), normalize, everySpace, max(size, len(scores)))
	}
	vocabulary, err := j.vocabulary()
	if err != nil {
		return nil, err
	}
	if j.Model.Prefix != "" || j.Model.Suffix != "" {
		return nil, errors.New("continuing_subword_prefix and end_of_word_suffix are not supported")
	}
	for text, id := range vocabulary {
		p.ids[text] = int32(id)
		size = max(size, id+1)
	}
	if id, ok := p.ids[j.Model.Unknown]; ok {
		p.unknown = id
	}
	p.fuse = j.Model.FuseUnknown
	if j.Model.ByteFallback {
		if err := p.findBytes(p.ids); err != nil {
			return nil, err
		}
	}
	merges, err := j.merges()
	if err != nil {
		return nil, err
	}
	b := &bpe{pieces: p, pairs: make(map[[2]int32]merge, len(merges))}
	for rank, m := range merges {
		left, okL := p.ids[m[0]]
		right, okR := p.ids[m[1]]
		id, ok := p.ids[m[0]+m[1]]
		if !okL || !okR || !ok {
			return nil, fmt.Errorf("merge %d of %q and %q: not in the vocabulary", rank, m[0], m[1])
		}
		if _, twice := b.pairs[[2]int32{left, right}]; !twice {
			b.pairs[[2]int32{left, right}] = merge{int32(rank), id}
		}
	}
	return newSPM(name, p, b, normalize, everySpace, size)
}

// spaces adds to normalize what a pre-tokenizer does about spaces, and says
// whether every space begins a word.
func (p *preTokenizer) spaces(normalize *normalizer) (everySpace bool, err error) {
	before := *normalize
	if before == nil {
		before = func(text string, _ bool) string { return text }
	}
	switch {
	case p.Type == "":
		return false, nil
	case p.Type == "Sequence" && len(p.PreTokenizers) == 2 && p.PreTokenizers[0].Type == "WhitespaceSplit" && p.PreTokenizers[1].Type == "Metaspace":
		*normalize = func(text string, begin bool) string {
			var out strings.Builder
			for _, f := range strings.Fields(before(text, begin)) {
				out.WriteString(space + strings.TrimPrefix(f, space))
			}
			return out.String()
		}
		return true, nil
	case p.Type == "Metaspace" && (p.Replacement == "" || p.Replacement == space):
		prefix := p.PrependScheme != "never" && (p.PrependScheme != "" || p.AddPrefixSpace == nil || *p.AddPrefixSpace)
		*normalize = func(text string, begin bool) string {
			text = strings.ReplaceAll(before(text, begin), " ", space)
			if prefix && begin && text != "" && !strings.HasPrefix(text, space) {
				text = space + text
			}
			return text
		}
		return p.Split == nil || *p.Split, nil
	}
	return false, fmt.Errorf("pre-tokenizer %q, expected none or Metaspace for pieces of characters", p.Type)
}

// Kinds of pieces in a SentencePiece model, and kinds of models.
const (
	pieceNormal  = 1
	pieceUnknown = 2
	pieceOwn     = 4 // "user defined"
	pieceUnused  = 5
	pieceByte    = 6

	modelUnigram = 1
	modelBPE     = 2
)

// spmModel is what matters of a file of SentencePiece's, a protocol buffer
// (sentencepiece_model.proto).
type spmModel struct {
	pieces  []spmPiece
	kind    uint64
	bytes   bool
	suffix  bool
	charmap []byte
	prefix  bool
	single  bool
	escape  bool
}

type spmPiece struct {
	text  string
	score float32
	kind  uint64
}

// readSentencePiece reads tokenizer.model, as SentencePiece writes it.
func readSentencePiece(path string) (*Tokenizer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := spmModel{kind: modelUnigram, prefix: true, single: true, escape: true}
	if err := m.parse(raw); err != nil {
		return nil, fmt.Errorf("no SentencePiece model: %w", err)
	}
	return m.tokenizer(path)
}

// each calls use with every field of a message.
func each(raw []byte, use func(field protowire.Number, number uint64, bytes []byte) error) error {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return protowire.ParseError(n)
		}
		raw = raw[n:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(raw)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(raw)
			number = uint64(v)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(raw)
		default:
			n = protowire.ConsumeFieldValue(field, kind, raw)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		raw = raw[n:]
		if err := use(field, number, bytes); err != nil {
			return err
		}
	}
	return nil
}

func (m *spmModel) parse(raw []byte) error {
	return each(raw, func(field protowire.Number, _ uint64, part []byte) error {
		switch field {
		case 1: // pieces
			p := spmPiece{kind: pieceNormal}
			err := each(part, func(field protowire.Number, number uint64, bytes []byte) error {
				switch field {
				case 1:
					p.text = string(bytes)
				case 2:
					p.score = math.Float32frombits(uint32(number))
				case 3:
					p.kind = number
				}
				return nil
			})
			m.pieces = append(m.pieces, p)
			return err
		case 2: // trainer_spec
			return each(part, func(field protowire.Number, number uint64, _ []byte) error {
				switch field {
				case 3:
					m.kind = number
				case 24:
					m.suffix = number != 0
				case 35:
					m.bytes = number != 0
				}
				return nil
			})
		case 3: // normalizer_spec
			return each(part, func(field protowire.Number, number uint64, bytes []byte) error {
				switch field {
				case 2:
					m.charmap = bytes
				case 3:
					m.prefix = number != 0
				case 4:
					m.single = number != 0
				case 5:
					m.escape = number != 0
				}
				return nil
			})
		}
		return nil
	})
}

func (m *spmModel) tokenizer(path string) (*Tokenizer, error) {
	switch {
	case len(m.pieces) == 0:
		return nil, errors.New("no SentencePiece model: it has no pieces")
	case m.kind != modelUnigram && m.kind != modelBPE:
		return nil, fmt.Errorf("a SentencePiece model of type %d, expected %d (unigram) or %d (BPE)", m.kind, modelUnigram, modelBPE)
	case m.suffix || !m.escape:
		return nil, errors.New("spaces behind words (treat_whitespace_as_suffix), or left as they are, are not supported")
	}
	p := &pieces{ids: map[string]int32{}, unknown: -1, fuse: true}
	var own []string
	scores, all := make([]float32, len(m.pieces)), map[string]int32{}
	for i, piece := range m.pieces {
		if piece.text == "" {
			return nil, fmt.Errorf("no SentencePiece model: piece %d is empty", i)
		}
		scores[i], all[piece.text] = piece.score, int32(i)
		switch piece.kind {
		case pieceNormal:
			p.ids[piece.text] = int32(i)
		case pieceOwn:
			p.ids[piece.text] = int32(i)
			own = append(own, piece.text)
		case pieceUnknown:
			p.unknown = int32(i)
		case pieceUnused:
			return nil, fmt.Errorf("piece %q is marked as unused, which is not supported", piece.text)
		}
	}
	if m.bytes {
		if err := p.findBytes(all); err != nil {
			return nil, err
		}
	}
	chars, err := newCharsmap(m.charmap)
	if err != nil {
		return nil, err
	}
	p.findOwn(own)
	n := &spmNormalizer{charsmap: chars, prefix: m.prefix, single: m.single, own: p.own}
	var e encoder = newUnigram(p, scores)
	if m.kind == modelBPE {
		e = newScoredBPE(p, scores, own)
	}
	return newSPM(path, p, e, n.normalize, false, len(m.pieces))
}

// newScoredBPE makes pairs of all ways to put a piece together of two others; the
// piece of the highest score is merged first.
func newScoredBPE(p *pieces, scores []float32, own []string) *bpe {
	b := &bpe{pieces: p, pairs: map[[2]int32]merge{}}
	byScore := make([]string, 0, len(p.ids))
	for text := range p.ids {
		byScore = append(byScore, text)
	}
	sort.Slice(byScore, func(i, j int) bool {
		a, b := p.ids[byScore[i]], p.ids[byScore[j]]
		return scores[a] > scores[b] || scores[a] == scores[b] && a < b
	})
	rank := int32(-1)
	last := float32(math.Inf(1))
	for _, text := range byScore {
		id := p.ids[text]
		if scores[id] < last { // equal scores have one rank: the first pair is merged first
			rank, last = rank+1, scores[id]
		}
		if slices.Contains(own, text) {
			continue
		}
		for cut := range text {
			left, okL := p.ids[text[:cut]]
			right, okR := p.ids[text[cut:]]
			if okL && okR {
				b.pairs[[2]int32{left, right}] = merge{rank, id}
			}
		}
	}
	return b
}
