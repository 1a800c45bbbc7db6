package data

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalizer is a step that text goes through before it is cut into pieces. begin
// says that the text is the begin of a whole and no later part of it.
type normalizer func(text string, begin bool) string

// normalizerJSON is a normalizer of a tokenizer.json.
type normalizerJSON struct {
	Type    string `json:"type"`
	Prepend string `json:"prepend"`
	Content string `json:"content"`
	Pattern struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Left        bool             `json:"strip_left"`
	Right       bool             `json:"strip_right"`
	Charsmap    string           `json:"precompiled_charsmap"`
	Normalizers []normalizerJSON `json:"normalizers"`
}

func parseNormalizer(raw json.RawMessage) (normalizer, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var j normalizerJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, err
	}
	return j.normalizer()
}

func (j *normalizerJSON) normalizer() (normalizer, error) {
	always := func(f func(string) string) (normalizer, error) {
		return func(text string, _ bool) string { return f(text) }, nil
	}
	switch j.Type {
	case "NFC":
		return always(norm.NFC.String)
	case "NFD":
		return always(norm.NFD.String)
	case "NFKC":
		return always(norm.NFKC.String)
	case "NFKD":
		return always(norm.NFKD.String)
	case "Lowercase":
		return always(strings.ToLower)
	case "Prepend":
		return func(text string, begin bool) string {
			if begin && text != "" {
				return j.Prepend + text
			}
			return text
		}, nil
	case "Replace":
		if j.Pattern.Regex == "" {
			return always(func(text string) string { return strings.ReplaceAll(text, j.Pattern.String, j.Content) })
		}
		re, err := regexp.Compile(j.Pattern.Regex)
		if err != nil {
			return nil, fmt.Errorf("normalizer Replace: %w", err)
		}
		return always(func(text string) string { return re.ReplaceAllLiteralString(text, j.Content) })
	case "Strip":
		return always(func(text string) string {
			if j.Left {
				text = strings.TrimLeftFunc(text, unicode.IsSpace)
			}
			if j.Right {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			return text
		})
	case "Precompiled":
		raw, err := base64.StdEncoding.DecodeString(j.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("normalizer Precompiled: %w", err)
		}
		c, err := newCharsmap(raw)
		if err != nil {
			return nil, fmt.Errorf("normalizer Precompiled: %w", err)
		}
		return always(c.all)
	case "Sequence":
		var steps []normalizer
		for i := range j.Normalizers {
			step, err := j.Normalizers[i].normalizer()
			if err != nil {
				return nil, err
			}
			steps = append(steps, step)
		}
		return func(text string, begin bool) string {
			for _, step := range steps {
				text = step(text, begin)
			}
			return text
		}, nil
	}
	return nil, fmt.Errorf("normalizer %q is not supported", j.Type)
}

// prefixed puts a space in front of a text that begins with none.
func prefixed(before normalizer) normalizer {
	return func(text string, begin bool) string {
		if before != nil {
			text = before(text, begin)
		}
		if begin && text != "" && !strings.HasPrefix(text, " ") {
			text = " " + text
		}
		return text
	}
}

// charsmap is SentencePiece's table of what strings of characters become: a trie
// as a double array, whose values are places in a list of texts that end with a
// zero byte. A unit of the array is a label (8 bits), whether a value follows (bit
// 8), and an offset (22 bits, times 256 where bit 9 is set).
type charsmap struct {
	units []uint32
	texts string
}

func newCharsmap(raw []byte) (*charsmap, error) {
	if len(raw) == 0 {
		return &charsmap{}, nil
	}
	if len(raw) < 4 {
		return nil, errors.New("the table of characters breaks off")
	}
	size := int(binary.LittleEndian.Uint32(raw))
	if size%4 != 0 || size > len(raw)-4 {
		return nil, fmt.Errorf("the table of characters has a trie of %d bytes in %d", size, len(raw))
	}
	c := &charsmap{units: make([]uint32, size/4), texts: string(raw[4+size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(raw[4+4*i:])
	}
	return c, nil
}

// next is what the longest entry at the begin of a text becomes, and the bytes
// that it takes; without an entry the first character itself.
func (c *charsmap) next(text string) (string, int) {
	value, taken := -1, 0
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := uint32(0)
	if len(c.units) > 0 {
		at = offset(c.units[0])
	}
	for i := range len(text) {
		at ^= uint32(text[i])
		if at >= uint32(len(c.units)) {
			break
		}
		unit := c.units[at]
		if unit&(1<<31|0xFF) != uint32(text[i]) {
			break
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 && at < uint32(len(c.units)) {
			value, taken = int(c.units[at]&(1<<31-1)), i+1
		}
	}
	if value >= 0 && value <= len(c.texts) {
		out, _, _ := strings.Cut(c.texts[value:], "\x00")
		return out, taken
	}
	r, n := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError {
		return string(utf8.RuneError), n
	}
	return text[:n], n
}

// all replaces every entry in a text.
func (c *charsmap) all(text string) string {
	var out strings.Builder
	for text != "" {
		to, n := c.next(text)
		out.WriteString(to)
		text = text[n:]
	}
	return out.String()
}

// spmNormalizer is the normalization of a SentencePiece model.
type spmNormalizer struct {
	*charsmap
	prefix bool           // a space in front
	single bool           // of several spaces one stays, at the ends none
	own    *regexp.Regexp // what is left as it is; nil: nothing
}

// normalize also writes spaces as pieces do.
func (s *spmNormalizer) normalize(text string, begin bool) string {
	var out strings.Builder
	atSpace := s.single && begin // whether further spaces are left out
	started := !begin
	next := s.nextOwn(text, 0)
	for at := 0; at < len(text); {
		var to string
		if at == next[0] {
			to, at = text[at:next[1]], next[1]
			next = s.nextOwn(text, at)
		} else {
			change, n := s.next(text[at:next[0]])
			to, at = change, at+n
		}
		if atSpace {
			to = strings.TrimLeft(to, " ")
		}
		if to == "" {
			continue
		}
		if !started && s.prefix {
			out.WriteString(space)
		}
		started = true
		out.WriteString(strings.ReplaceAll(to, " ", space))
		atSpace = s.single && strings.HasSuffix(to, " ")
	}
	if s.single {
		return strings.TrimRight(out.String(), space)
	}
	return out.String()
}

// nextOwn is the place of the next piece that is left as it is, or the end.
func (s *spmNormalizer) nextOwn(text string, from int) [2]int {
	if s.own != nil {
		if at := s.own.FindStringIndex(text[from:]); at != nil {
			return [2]int{from + at[0], from + at[1]}
		}
	}
	return [2]int{len(text), len(text)}
}
