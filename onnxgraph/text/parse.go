package text

import (
	"strconv"

	"ninox/onnxgraph"
)

// maxDepth caps graphs and types within each other.
const maxDepth = 100

// Parse reads a model. Errors in the text are a *SyntaxError. Data of external
// tensors is not loaded.
func Parse(b []byte) (*onnxgraph.Model, error) {
	p := &parser{scanner: scanner{src: string(b)}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.model()
}

// MustParse is Parse for texts that are part of the program, of tests above
// all; it panics where they are wrong.
func MustParse(s string) *onnxgraph.Model {
	m, err := Parse([]byte(s))
	if err != nil {
		panic("text: " + err.Error() + "\n" + s)
	}
	return m
}

// IsText guesses whether a file holds a text rather than a serialised model,
// from its beginning.
func IsText(b []byte) bool {
	for i, c := range b {
		switch {
		case i == 16:
			return true
		case isSpace(c):
		case c < ' ' || c == 0x7f: // serialised models begin with numbers of fields, types and lengths
			return false
		}
	}
	return len(b) > 0
}

// parser reads by recursive descent; tok is the next token.
type parser struct {
	scanner
	tok   token
	depth int
	item  noteTarget // what the last call of notes was about
}

func (p *parser) advance() error {
	t, err := p.next()
	p.tok = t
	return err
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.errorAt(p.tok.pos, "graphs or types are nested more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) unexpected(want string) error {
	return p.errorAt(p.tok.pos, "expected %s, found %s", want, p.tok)
}

// accept passes a character if it is next.
func (p *parser) accept(s string) (bool, error) {
	if !p.tok.is(s) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(s string) error {
	if !p.tok.is(s) {
		return p.unexpected(strconv.Quote(s))
	}
	return p.advance()
}

// want reads a token of one kind.
func (p *parser) want(k kind, what string) (string, error) {
	if p.tok.kind != k {
		return "", p.unexpected(what)
	}
	s := p.tok.text
	return s, p.advance()
}

// name reads a name, with or without quotes.
func (p *parser) name(what string) (string, error) {
	if p.tok.kind == quoted {
		return p.want(quoted, what)
	}
	return p.want(ident, what)
}

func (p *parser) int(what string) (int64, error) {
	at := p.tok
	s, err := p.want(integer, what+" (an integer)")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, p.errorAt(at.pos, "%s does not fit into 64 bits", clip(s, 40))
	}
	return n, nil
}

// list reads elements separated by commas up to the closing character. Behind
// a comma, at the end of a line, there may be notes on what the element ended
// with.
func (p *parser) list(closing string, elem func() error) error {
	for {
		p.item = noteTarget{}
		if err := elem(); err != nil {
			return err
		}
		if ok, err := p.accept(closing); ok || err != nil {
			return err
		}
		if !p.tok.is(",") {
			return p.unexpected(strconv.Quote(",") + " or " + strconv.Quote(closing))
		}
		if err := p.advance(); err != nil {
			return err
		}
		if err := p.notes(p.item); err != nil {
			return err
		}
	}
}

// listOrNone is list in its brackets, where there may be no element.
func (p *parser) listOrNone(opening, closing string, elem func() error) error {
	if err := p.expect(opening); err != nil {
		return err
	}
	if ok, err := p.accept(closing); ok || err != nil {
		return err
	}
	return p.list(closing, elem)
}

// header reads "<key: value, …>" where it stands here.
func (p *parser) header(fields map[string]func() error) error {
	if ok, err := p.accept("<"); !ok || err != nil {
		return err
	}
	return p.list(">", func() error {
		at := p.tok
		key, err := p.want(ident, "a property of the header")
		if err != nil {
			return err
		}
		read := fields[key]
		if read == nil {
			return p.errorAt(at.pos, "%q is not a property of this header", key)
		}
		if err := p.expect(":"); err != nil {
			return err
		}
		return read()
	})
}

// str and num read the value of a header's property into a field.
func (p *parser) str(to *string) func() error {
	return func() (err error) {
		*to, err = p.want(quoted, "a string")
		return err
	}
}

func (p *parser) num(to *int64) func() error {
	return func() (err error) {
		*to, err = p.int("a number")
		return err
	}
}

func (p *parser) opsets(to *[]onnxgraph.Opset) func() error {
	return func() error {
		return p.listOrNone("[", "]", func() error {
			var o onnxgraph.Opset
			if err := p.str(&o.Domain)(); err != nil {
				return err
			}
			if err := p.expect(":"); err != nil {
				return err
			}
			err := p.num(&o.Version)()
			o.Domain = defaultDomain(o.Domain)
			*to = append(*to, o)
			return err
		})
	}
}

// pairs reads ["key": "value", …].
func (p *parser) pairs(to *[]onnxgraph.KeyValue) func() error {
	return func() error {
		return p.listOrNone("[", "]", func() error {
			var kv onnxgraph.KeyValue
			if err := p.str(&kv.Key)(); err != nil {
				return err
			}
			if err := p.expect(":"); err != nil {
				return err
			}
			err := p.str(&kv.Value)()
			*to = append(*to, kv)
			return err
		})
	}
}

// defaultDomain maps the alias of the default operator domain to "".
func defaultDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

func (p *parser) model() (*onnxgraph.Model, error) {
	m := &onnxgraph.Model{}
	err := p.header(map[string]func() error{
		"ir_version":       p.num(&m.IRVersion),
		"opset_import":     p.opsets(&m.Opsets),
		"producer_name":    p.str(&m.ProducerName),
		"producer_version": p.str(&m.ProducerVersion),
		"domain":           p.str(&m.Domain),
		"model_version":    p.num(&m.ModelVersion),
		"doc_string":       p.str(&m.Doc),
		"metadata_props":   p.pairs(&m.Metadata),
	})
	if err != nil {
		return nil, err
	}
	if err := p.notes(noteTarget{unknown: &m.Unknown}); err != nil {
		return nil, err
	}
	if m.Graph, err = p.graph(); err != nil {
		return nil, err
	}
	for p.tok.kind != end {
		f, err := p.function()
		if err != nil {
			return nil, err
		}
		m.Functions = append(m.Functions, f)
	}
	return m, nil
}

func (p *parser) function() (*onnxgraph.Function, error) {
	f := &onnxgraph.Function{}
	err := p.header(map[string]func() error{
		"domain":       p.str(&f.Domain),
		"overload":     p.str(&f.Overload),
		"opset_import": p.opsets(&f.Opsets),
		"doc_string":   p.str(&f.Doc),
	})
	if err != nil {
		return nil, err
	}
	f.Domain = defaultDomain(f.Domain)
	if f.Name, err = p.name("the name of a function"); err != nil {
		return nil, err
	}
	if err := p.notes(noteTarget{meta: &f.Metadata, unknown: &f.Unknown}); err != nil {
		return nil, err
	}
	if p.tok.is("<") {
		if err := p.listOrNone("<", ">", func() error { return p.parameter(f) }); err != nil {
			return nil, err
		}
	}
	if err := p.signature(&f.Inputs, f); err != nil {
		return nil, err
	}
	if err := p.expect("=>"); err != nil {
		return nil, err
	}
	if err := p.signature(&f.Outputs, f); err != nil {
		return nil, err
	}
	if p.tok.is("<") {
		if err := p.values("<", ">", &f.ValueInfo, nil); err != nil {
			return nil, err
		}
	}
	f.Nodes, err = p.nodes()
	return f, err
}

// parameter reads an attribute of a function: its name, or with a default.
func (p *parser) parameter(f *onnxgraph.Function) error {
	name, err := p.name("the name of an attribute")
	if err != nil {
		return err
	}
	if !p.tok.is(":") && !p.tok.is("=") && p.tok.kind != note {
		f.Attrs = append(f.Attrs, name)
		return nil
	}
	a, err := p.attrValue(name)
	f.Defaults = append(f.Defaults, a)
	return err
}

// signature reads inputs or outputs of a function, which may have types.
func (p *parser) signature(to *[]string, f *onnxgraph.Function) error {
	return p.listOrNone("(", ")", func() error {
		v, err := p.value()
		if err != nil {
			return err
		}
		*to = append(*to, v.Name)
		if v.Type.Kind != onnxgraph.NoType {
			f.ValueInfo = append(f.ValueInfo, v)
		}
		return nil
	})
}

func (p *parser) graph() (*onnxgraph.Graph, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	g := &onnxgraph.Graph{}
	var err error
	if g.Name, err = p.name("the name of a graph"); err != nil {
		return nil, err
	}
	if err := p.notes(noteTarget{name: &g.Name, doc: &g.Doc, meta: &g.Metadata, unknown: &g.Unknown}); err != nil {
		return nil, err
	}
	if p.tok.is("(") { // the reference parser lets a graph without inputs leave them out
		if err := p.values("(", ")", &g.Inputs, g); err != nil {
			return nil, err
		}
	}
	if err := p.expect("=>"); err != nil {
		return nil, err
	}
	if err := p.values("(", ")", &g.Outputs, nil); err != nil {
		return nil, err
	}
	if p.tok.is("<") {
		if err := p.values("<", ">", nil, g); err != nil {
			return nil, err
		}
	}
	g.Nodes, err = p.nodes()
	p.item = noteTarget{}
	return g, err
}

// values reads a list of values into to. With a graph, a value may be followed
// by its data, which makes it an initializer: as well where to is given (an
// input with a default), instead where it is nil.
func (p *parser) values(opening, closing string, to *[]*onnxgraph.Value, g *onnxgraph.Graph) error {
	return p.listOrNone(opening, closing, func() error {
		v, err := p.value()
		if err != nil {
			return err
		}
		data := g != nil && p.tok.is("=")
		if to != nil {
			*to = append(*to, v)
		} else if !data {
			g.ValueInfo = append(g.ValueInfo, v)
		}
		if data {
			err = p.initializer(v, g)
		}
		return err
	})
}

func valueNotes(v *onnxgraph.Value) noteTarget {
	return noteTarget{doc: &v.Doc, meta: &v.Metadata, unknown: &v.Unknown}
}

// value reads a type, which may be missing, and a name.
func (p *parser) value() (*onnxgraph.Value, error) {
	v := &onnxgraph.Value{}
	if p.tok.kind == ident && isTypeName(p.tok.text) || p.tok.is("?") {
		if err := p.typ(&v.Type); err != nil {
			return nil, err
		}
	}
	var err error
	if v.Name, err = p.name("the name of a value"); err != nil {
		return nil, err
	}
	return v, p.notes(valueNotes(v))
}

func (p *parser) nodes() ([]*onnxgraph.Node, error) {
	if err := p.expect("{"); err != nil {
		return nil, err
	}
	nodes := []*onnxgraph.Node{}
	for {
		if ok, err := p.accept("}"); ok || err != nil {
			return nodes, err
		}
		n, err := p.node()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
}

func (p *parser) node() (*onnxgraph.Node, error) {
	n := &onnxgraph.Node{}
	ok, err := p.accept("[")
	if err != nil {
		return nil, err
	}
	if ok {
		if n.Name, err = p.name("the name of a node"); err != nil {
			return nil, err
		}
		if err := p.expect("]"); err != nil {
			return nil, err
		}
	}
	if n.Outputs, err = p.names("="); err != nil {
		return nil, err
	}
	if err := p.expect("="); err != nil {
		return nil, err
	}
	if err := p.operator(n); err != nil {
		return nil, err
	}
	if err := p.attrs(n); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	if n.Inputs, err = p.names(")"); err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if len(n.Attrs) == 0 { // attributes may stand before or behind the inputs
		if err := p.attrs(n); err != nil {
			return nil, err
		}
	}
	return n, p.notes(noteTarget{doc: &n.Doc, meta: &n.Metadata, unknown: &n.Unknown})
}

// names reads the inputs or outputs of a node up to the closing character.
// A name may be missing in front of a comma: (, x) has an absent first input.
func (p *parser) names(closing string) ([]string, error) {
	var out []string
	for !p.tok.is(closing) {
		name := ""
		if !p.tok.is(",") {
			var err error
			if name, err = p.name("a name, \",\" or " + strconv.Quote(closing)); err != nil {
				return nil, err
			}
		}
		out = append(out, name)
		if p.tok.is(closing) {
			break
		}
		if !p.tok.is(",") {
			return nil, p.unexpected("\",\" or " + strconv.Quote(closing))
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// operator reads [domain.]operator[:overload].
func (p *parser) operator(n *onnxgraph.Node) error {
	const what = "the name of an operator"
	var err error
	if n.OpType, err = p.name(what); err != nil {
		return err
	}
	for p.tok.is(".") {
		if n.Domain != "" {
			n.Domain += "."
		}
		n.Domain += n.OpType
		if err := p.advance(); err != nil {
			return err
		}
		if n.OpType, err = p.name(what); err != nil {
			return err
		}
	}
	n.Domain = defaultDomain(n.Domain)
	ok, err := p.accept(":")
	if !ok || err != nil {
		return err
	}
	n.Overload, err = p.name("the overload of a function")
	return err
}
