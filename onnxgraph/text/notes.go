package text

import (
	"strconv"
	"strings"

	"ninox/onnxgraph"
)

// noteTarget says which keys the notes at one place may have, and where they
// go; keys with a nil target are refused.
type noteTarget struct {
	doc, denotation, name *string
	meta                  *[]onnxgraph.KeyValue
	unknown               *[]byte
}

// notes reads the notes that stand here.
func (p *parser) notes(to noteTarget) error {
	p.item = to
	for p.tok.kind == note {
		r := noteReader{p, p.tok.pos, p.tok.text, to}
		if err := r.read(); err != nil {
			return err
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

// noteReader reads one line "key: value, …".
type noteReader struct {
	p    *parser
	pos  int
	rest string
	to   noteTarget
}

func (r *noteReader) skip(n int) {
	r.pos += n
	trimmed := strings.TrimLeft(r.rest[n:], " \t\r")
	r.pos += len(r.rest) - n - len(trimmed)
	r.rest = trimmed
}

func (r *noteReader) accept(s string) bool {
	if !strings.HasPrefix(r.rest, s) {
		return false
	}
	r.skip(len(s))
	return true
}

func (r *noteReader) fail(format string, args ...any) error {
	return r.p.errorAt(r.pos, "note: "+format, args...)
}

func (r *noteReader) read() error {
	r.skip(0)
	for {
		if err := r.pair(); err != nil {
			return err
		}
		if r.rest == "" {
			return nil
		}
		if !r.accept(",") {
			return r.fail("expected \",\" or the end of the line, found %q", clip(r.rest, 20))
		}
	}
}

func (r *noteReader) pair() error {
	n := strings.IndexByte(r.rest, ':')
	if n < 0 {
		return r.fail("expected key: value, found %q", clip(r.rest, 20))
	}
	key := strings.TrimSpace(r.rest[:n])
	targets := map[string]*string{"doc_string": r.to.doc, "denotation": r.to.denotation, "name": r.to.name}
	switch t := targets[key]; {
	case t != nil:
		r.skip(n + 1)
		return r.str(t)
	case key == "metadata_props" && r.to.meta != nil:
		r.skip(n + 1)
		return r.pairs(r.to.meta)
	case key == "unknown" && r.to.unknown != nil:
		r.skip(n + 1)
		var s string
		err := r.str(&s)
		*r.to.unknown = []byte(s)
		return err
	}
	return r.fail("key %q means nothing here", clip(key, 20))
}

// str reads a string quoted as in Go.
func (r *noteReader) str(to *string) error {
	q, err := strconv.QuotedPrefix(r.rest)
	if err != nil || q[0] != '"' {
		return r.fail("expected a string in double quotes, found %q", clip(r.rest, 20))
	}
	if *to, err = strconv.Unquote(q); err != nil {
		return r.fail("string %s: %v", clip(q, 20), err)
	}
	r.skip(len(q))
	return nil
}

// pairs reads ["key": "value", …].
func (r *noteReader) pairs(to *[]onnxgraph.KeyValue) error {
	if !r.accept("[") {
		return r.fail("expected [\"key\": \"value\", …]")
	}
	for {
		var kv onnxgraph.KeyValue
		if err := r.str(&kv.Key); err != nil {
			return err
		}
		if !r.accept(":") {
			return r.fail("expected \":\" and a value behind the key %q", clip(kv.Key, 20))
		}
		if err := r.str(&kv.Value); err != nil {
			return err
		}
		*to = append(*to, kv)
		if r.accept("]") {
			return nil
		}
		if !r.accept(",") {
			return r.fail("expected \",\" or \"]\"")
		}
	}
}

// noteValues are what a note says; empty ones are left out.
type noteValues struct {
	doc, denotation string
	name            *string
	meta            []onnxgraph.KeyValue
	unknown         []byte
}

func (v noteValues) empty() bool {
	return v.doc == "" && v.denotation == "" && v.name == nil && len(v.meta) == 0 && len(v.unknown) == 0
}

// notes prints a note, which ends the line; nothing where there is nothing to
// say, or where the text is for reading only.
func (p *printer) notes(v noteValues) {
	if v.empty() || p.elide > 0 {
		return
	}
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+": "+strconv.Quote(value))
		}
	}
	if v.name != nil {
		parts = append(parts, "name: "+strconv.Quote(*v.name))
	}
	add("denotation", v.denotation)
	add("doc_string", v.doc)
	if len(v.meta) > 0 {
		pairs := make([]string, len(v.meta))
		for i, kv := range v.meta {
			pairs[i] = strconv.Quote(kv.Key) + ": " + strconv.Quote(kv.Value)
		}
		parts = append(parts, "metadata_props: ["+strings.Join(pairs, ", ")+"]")
	}
	add("unknown", string(v.unknown))
	if p.note != "" {
		p.newline()
	}
	p.note = " " + noteMark + " " + strings.Join(parts, ", ")
}
