package data

import (
	"container/heap"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tokenizers of the SentencePiece kind: pieces are strings of characters, in which
// a space is written ▁, and which may not be found by a regular expression
// beforehand. The Go libraries that there are for them will not do: one takes
// only byte-pair models without a prefix and indexes beyond its buffer, another
// misses the fall-back to bytes.

// space is how pieces write a space.
const space = "▁"

// pieces is a vocabulary with what falls outside of it.
type pieces struct {
	ids     map[string]int32
	unknown int32          // -1: characters outside the vocabulary are left out
	bytes   *[256]int32    // tokens of single bytes, nil where there are none
	own     *regexp.Regexp // pieces that are found first, whatever surrounds them; nil: none
	fuse    bool           // a run of unknown characters is one unknown token
}

// encoder turns normalized text, without pieces of its own, into tokens. Those of
// characters that it does not know come as outside.
type encoder interface {
	encode(text string) []token
}

// token is a token, or what is outside the vocabulary.
type token struct {
	id   int32 // -1: outside
	text string
}

// findOwn makes the pattern of pieces that are found first, the longest of several.
func (p *pieces) findOwn(own []string) {
	if len(own) == 0 {
		return
	}
	quoted := make([]string, len(own))
	for i, text := range own {
		quoted[i] = regexp.QuoteMeta(text)
	}
	p.own = regexp.MustCompile(strings.Join(quoted, "|")) // of literals: cannot fail
	p.own.Longest()
}

// spell appends tokens, with bytes or the unknown token in place of
// what is outside the vocabulary.
func (p *pieces) spell(out []int64, tokens []token) []int64 {
	outside := false
	for _, t := range tokens {
		switch {
		case t.id >= 0:
			out = append(out, int64(t.id))
		case p.bytes != nil:
			for _, b := range []byte(t.text) {
				out = append(out, int64(p.bytes[b]))
			}
		case p.unknown >= 0 && !(outside && p.fuse):
			out = append(out, int64(p.unknown))
		}
		outside = t.id < 0
	}
	return out
}

// bpe merges neighbours, the pair of the lowest rank first, of equal ranks the
// first one.
type bpe struct {
	*pieces
	pairs map[[2]int32]merge
}

type merge struct{ rank, id int32 }

// symbol is a link of the list of symbols that a text consists of.
type symbol struct {
	id         int32 // -1: outside the vocabulary
	from, to   int   // its place in the text; equal where it was merged into another
	prev, next int   // -1 at the ends
}

func (s *symbol) size() int { return s.to - s.from }

// candidate is a pair of symbols that can be merged, unless one of them was merged
// before.
type candidate struct {
	merge
	left, right int
	size        int // of both, in bytes, when the pair was found
}

type candidates []candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].left < c[j].left
}
func (c *candidates) Push(x any) { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := len(*c) - 1
	x := (*c)[last]
	*c = (*c)[:last]
	return x
}

func (b *bpe) encode(text string) []token {
	var list []symbol
	for at := 0; at < len(text); {
		_, n := utf8.DecodeRuneInString(text[at:])
		id, known := b.ids[text[at:at+n]]
		if !known {
			id = -1
		}
		list = append(list, symbol{id, at, at + n, len(list) - 1, len(list) + 1})
		at += n
	}
	if len(list) == 0 {
		return nil
	}
	list[len(list)-1].next = -1
	var open candidates
	offer := func(left, right int) {
		if left < 0 || right < 0 {
			return
		}
		l, r := &list[left], &list[right]
		if m, ok := b.pairs[[2]int32{l.id, r.id}]; ok {
			heap.Push(&open, candidate{m, left, right, l.size() + r.size()})
		}
	}
	for i := 1; i < len(list); i++ {
		offer(i-1, i)
	}
	for len(open) > 0 {
		c := heap.Pop(&open).(candidate)
		l, r := &list[c.left], &list[c.right]
		if l.size() == 0 || r.size() == 0 || l.size()+r.size() != c.size {
			continue // merged with another neighbour meanwhile
		}
		l.id, l.to, l.next = c.id, r.to, r.next
		r.from = r.to
		if r.next >= 0 {
			list[r.next].prev = c.left
		}
		offer(l.prev, c.left)
		offer(c.left, l.next)
	}
	out := make([]token, 0, len(list))
	for i := 0; i >= 0; i = list[i].next {
		out = append(out, token{list[i].id, text[list[i].from:list[i].to]})
	}
	return out
}

// unigram chooses the pieces whose scores sum to the most, as Viterbi's algorithm
// finds them from left to right.
type unigram struct {
	*pieces
	scores  []float32 // by token
	longest int       // bytes of the longest piece
	outside float32   // score of a character outside the vocabulary
}

// unknownPenalty is by how much a character outside the vocabulary scores below
// the least probable piece.
const unknownPenalty = 10

func newUnigram(p *pieces, scores []float32) *unigram {
	u := &unigram{pieces: p, scores: scores}
	least := float32(math.Inf(1))
	for text, id := range p.ids {
		u.longest = max(u.longest, len(text))
		least = min(least, scores[id])
	}
	u.outside = least - unknownPenalty
	return u
}

func (u *unigram) encode(text string) []token {
	type node struct {
		from  int // where the best last piece begins; -1: none found
		id    int32
		score float32
	}
	best := make([]node, len(text)+1)
	for i := range best {
		best[i].from = -1
	}
	offer := func(from, to int, id int32, score float32) {
		if n := &best[to]; n.from < 0 || score > n.score {
			*n = node{from, id, score}
		}
	}
	for at := 0; at < len(text); {
		_, n := utf8.DecodeRuneInString(text[at:])
		single := false
		for to := at + 1; to <= min(at+u.longest, len(text)); to++ {
			if id, ok := u.ids[text[at:to]]; ok {
				offer(at, to, id, best[at].score+u.scores[id])
				single = single || to == at+n
			}
		}
		if !single {
			offer(at, at+n, -1, best[at].score+u.outside)
		}
		at += n
	}
	var out []token
	for end := len(text); end > 0; end = best[end].from {
		out = append(out, token{best[end].id, text[best[end].from:end]})
	}
	slices.Reverse(out)
	return out
}

// words cuts normalized text where no piece reaches across: in front of a space
// behind something else, or of every space.
func words(text string, everySpace bool, use func(string)) {
	begin := 0
	for at := 0; at < len(text); {
		i := strings.Index(text[at:], space)
		if i < 0 {
			break
		}
		at += i
		if at > begin && (everySpace || !strings.HasSuffix(text[:at], space)) {
			use(text[begin:at])
			begin = at
		}
		at += len(space)
	}
	if begin < len(text) {
		use(text[begin:])
	}
}

// spansWords says whether a piece has a space behind another character, so that
// words are not encoded apart.
func (p *pieces) spansWords() bool {
	for text := range p.ids {
		if strings.Contains(strings.TrimLeft(text, space), space) {
			return true
		}
	}
	return false
}

// byteToken is how vocabularies write the token of a byte.
func byteToken(b int) string { return fmt.Sprintf("<0x%02X>", b) }
