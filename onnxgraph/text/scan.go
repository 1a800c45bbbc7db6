package text

import (
	"fmt"
	"strings"
)

// SyntaxError is a fault of a text, with its place.
type SyntaxError struct {
	Line, Col int // from 1; columns count bytes
	Msg       string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

type kind int

const (
	end    kind = iota // of the text
	ident              // a name without quotes
	quoted             // a string; its text has the escapes resolved
	integer
	float
	note  // "#@ …"; its text is what follows the mark
	arrow // =>
	punct // one character
)

// token is one word of a text.
type token struct {
	kind kind
	pos  int
	text string
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end of the text"
	case quoted:
		return fmt.Sprintf("string %q", clip(t.text, 40))
	case ident:
		return fmt.Sprintf("name %q", clip(t.text, 40))
	case integer, float:
		return "number " + clip(t.text, 40)
	case note:
		return "a note (#@)"
	}
	return fmt.Sprintf("%q", t.text)
}

// is says whether t is the given character or "=>".
func (t token) is(s string) bool { return (t.kind == punct || t.kind == arrow) && t.text == s }

// clip shortens s to about n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// scanner takes a text apart.
type scanner struct {
	src string
	pos int
}

// errorAt reports a fault at a byte position.
func (s *scanner) errorAt(pos int, format string, args ...any) error {
	before := s.src[:pos]
	return &SyntaxError{Line: 1 + strings.Count(before, "\n"), Col: pos - strings.LastIndexByte(before, '\n'), Msg: fmt.Sprintf(format, args...)}
}

const noteMark = "#@"

// next reads one token, leaving out space and comments.
func (s *scanner) next() (token, error) {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case isSpace(c):
			s.pos++
		case c != '#':
			return s.word(c)
		default:
			start := s.pos
			s.pos = len(s.src)
			if n := strings.IndexByte(s.src[start:], '\n'); n >= 0 {
				s.pos = start + n
			}
			if line := s.src[start:s.pos]; strings.HasPrefix(line, noteMark) {
				return token{note, start + len(noteMark), line[len(noteMark):]}, nil
			}
		}
	}
	return token{kind: end, pos: len(s.src)}, nil
}

func (s *scanner) word(c byte) (token, error) {
	start := s.pos
	switch {
	case isLetter(c):
		s.skip(isIdentByte)
		return token{ident, start, s.src[start:s.pos]}, nil
	case c == '"':
		return s.str()
	case isDigit(c) || c == '-':
		return s.number()
	case strings.HasPrefix(s.src[start:], "=>"):
		s.pos += 2
		return token{arrow, start, "=>"}, nil
	case c < ' ' || c > '~':
		return token{}, s.errorAt(start, "a byte %#02x outside a string; is this a text?", c)
	}
	s.pos++
	return token{punct, start, s.src[start:s.pos]}, nil
}

func (s *scanner) skip(while func(byte) bool) {
	for s.pos < len(s.src) && while(s.src[s.pos]) {
		s.pos++
	}
}

// str reads a string. A backslash makes the next byte stand for itself,
// whatever it is; line breaks are allowed.
func (s *scanner) str() (token, error) {
	start := s.pos
	var unescaped []byte
	from := start + 1
	for i := from; i < len(s.src); i++ {
		switch s.src[i] {
		case '\\':
			unescaped = append(unescaped, s.src[from:i]...)
			i++
			from = i
		case '"':
			s.pos = i + 1
			if unescaped == nil {
				return token{quoted, start, s.src[from:i]}, nil
			}
			return token{quoted, start, string(append(unescaped, s.src[from:i]...))}, nil
		}
	}
	return token{}, s.errorAt(start, "the string has no end, expected \"")
}

// number reads an integer, a decimal fraction, or -inf and -nan.
func (s *scanner) number() (token, error) {
	start := s.pos
	if s.src[s.pos] == '-' {
		s.pos++
	}
	digits := s.pos
	if s.skip(isLetter); s.pos > digits {
		if word := s.src[digits:s.pos]; isFloatWord(word) {
			return token{float, start, s.src[start:s.pos]}, nil
		}
		return token{}, s.errorAt(start, "expected a number behind \"-\"")
	}
	if s.skip(isDigit); s.pos == digits {
		return token{}, s.errorAt(start, "expected a number behind \"-\"")
	}
	k := integer
	if s.at('.') {
		k = float
		s.pos++
		s.skip(isDigit)
	}
	if s.at('e') || s.at('E') {
		k = float
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if s.pos >= len(s.src) || !isDigit(s.src[s.pos]) {
			return token{}, s.errorAt(s.pos, "expected the digits of an exponent")
		}
		s.skip(isDigit)
	}
	return token{k, start, s.src[start:s.pos]}, nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.src) && s.src[s.pos] == c }

func isSpace(c byte) bool  { return c == ' ' || '\t' <= c && c <= '\r' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func isIdentByte(c byte) bool { return isLetter(c) || isDigit(c) }

// isIdent says whether s can be written without quotes.
func isIdent(s string) bool {
	for i := range len(s) {
		if !isIdentByte(s[i]) {
			return false
		}
	}
	return s != "" && !isDigit(s[0])
}

// isFloatWord says whether a name is a floating-point number.
func isFloatWord(s string) bool {
	return strings.EqualFold(s, "inf") || strings.EqualFold(s, "infinity") || strings.EqualFold(s, "nan")
}
