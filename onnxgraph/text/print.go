package text

import (
	"fmt"
	"io"
	"strings"

	"ninox/onnxgraph"
)

// Options say how a model is printed. The zero value prints all of it.
type Options struct {
	// Elide makes a text for reading only: tensors and lists of more elements
	// than this show that many and "...", and notes are left out. 0 elides nothing.
	Elide int
}

// Print writes a model as text. The error is that of w, or says what in the
// model has no form: a tensor without its data, an attribute without its value.
func Print(w io.Writer, m *onnxgraph.Model, o Options) error {
	p := &printer{w: w, elide: o.Elide}
	p.model(m)
	p.flush()
	return p.err
}

// String is the model as text; where Print fails, its error.
func String(m *onnxgraph.Model, o Options) string {
	var b strings.Builder
	if err := Print(&b, m, o); err != nil {
		return err.Error()
	}
	return b.String()
}

// Limits of Node: elements of a tensor, and bytes in all.
const (
	nodeElements = 4
	nodeLength   = 160
)

// Node is a node as one short line, for messages. Bodies of subgraphs and long
// lists are left out.
func Node(n *onnxgraph.Node) string {
	p := &printer{elide: nodeElements, line: true}
	bare := *n
	bare.Name = ""
	p.node(&bare)
	return clip(strings.Join(strings.Fields(string(p.buf)), " "), nodeLength)
}

// printer collects text in buf; with w, it goes there bit by bit.
type printer struct {
	w     io.Writer
	buf   []byte
	elide int
	line  bool   // everything on one line, without subgraphs
	depth int    // of indentation
	note  string // that ends the line
	err   error
}

func (p *printer) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("print: "+format, args...)
	}
}

func (p *printer) flush() {
	if p.w != nil && p.err == nil {
		_, p.err = p.w.Write(p.buf)
	}
	p.buf = p.buf[:0]
}

// str prints what stands behind a note on a new line; a comma goes in front of
// the note.
func (p *printer) str(s string) {
	if p.note != "" && s != "" {
		rest, comma := strings.CutPrefix(s, ",")
		if comma {
			p.buf = append(p.buf, ',')
			s = rest
		}
		if s == "" { // the line ends anyway
			return
		}
		p.newline()
		s = strings.TrimPrefix(s, " ")
	}
	p.buf = append(p.buf, s...)
}

func (p *printer) float(f float64, bits int) { p.buf = appendFloat(p.buf, f, bits) }

// newline begins a line, and brings what came before to the writer.
func (p *printer) newline() {
	p.buf = append(p.buf, p.note...)
	p.note = ""
	if p.w != nil {
		p.buf = append(p.buf, '\n')
		p.flush()
	} else {
		p.buf = append(p.buf, ' ')
	}
	for range p.depth {
		p.str("   ")
	}
}

// cut says whether element i is one too many, and marks the place.
func (p *printer) cut(i int) bool {
	if p.elide == 0 || i < p.elide {
		return false
	}
	p.str("...")
	return true
}

// quoted prints a string. All bytes stand for themselves, line breaks too;
// quotes and backslashes have a backslash in front.
func (p *printer) quoted(s string) {
	if p.line {
		s = clip(s, 40)
	}
	p.str(`"`)
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			p.buf = append(p.buf, '\\')
		}
		p.buf = append(p.buf, s[i])
	}
	p.buf = append(p.buf, '"')
}

// name prints a name, with quotes where it would be read as something else.
func (p *printer) name(s string) {
	if isIdent(s) && !isTypeName(s) {
		p.str(s)
	} else {
		p.quoted(s)
	}
}

func (p *printer) names(list []string) {
	for i, s := range list {
		p.str(separator(i, "", ", "))
		p.name(s)
	}
}

func (p *printer) model(m *onnxgraph.Model) {
	p.str("<")
	p.depth++
	p.newline()
	p.str("ir_version: ")
	p.int(m.IRVersion)
	p.property("opset_import", func() { p.opsets(m.Opsets) })
	p.stringProperty("producer_name", m.ProducerName)
	p.stringProperty("producer_version", m.ProducerVersion)
	p.stringProperty("domain", m.Domain)
	if m.ModelVersion != 0 {
		p.property("model_version", func() { p.int(m.ModelVersion) })
	}
	p.stringProperty("doc_string", m.Doc)
	if len(m.Metadata) > 0 {
		p.property("metadata_props", func() { p.pairs(m.Metadata) })
	}
	p.depth--
	p.newline()
	p.str(">")
	p.notes(noteValues{unknown: m.Unknown})
	p.newline()
	if m.Graph == nil {
		p.fail("the model has no graph")
		return
	}
	p.name(m.Graph.Name)
	p.notes(graphNotes(m.Graph))
	p.graph(m.Graph)
	for _, f := range m.Functions {
		p.newline()
		p.function(f)
	}
	p.newline()
}

func (p *printer) property(key string, value func()) {
	p.str(",")
	p.newline()
	p.str(key + ": ")
	value()
}

func (p *printer) stringProperty(key, value string) {
	if value != "" {
		p.property(key, func() { p.quoted(value) })
	}
}

func (p *printer) opsets(list []onnxgraph.Opset) {
	p.str("[")
	for i, o := range list {
		p.str(separator(i, "", ", "))
		p.quoted(o.Domain)
		p.str(" : ")
		p.int(o.Version)
	}
	p.str("]")
}

func (p *printer) pairs(list []onnxgraph.KeyValue) {
	p.str("[")
	for i, kv := range list {
		p.str(separator(i, "", ", "))
		p.quoted(kv.Key)
		p.str(": ")
		p.quoted(kv.Value)
	}
	p.str("]")
}

func (p *printer) function(f *onnxgraph.Function) {
	p.str("<")
	p.depth++
	p.newline()
	p.str("domain: ")
	p.quoted(f.Domain)
	p.stringProperty("overload", f.Overload)
	p.property("opset_import", func() { p.opsets(f.Opsets) })
	p.stringProperty("doc_string", f.Doc)
	p.depth--
	p.newline()
	p.str(">")
	p.newline()
	p.name(f.Name)
	p.notes(noteValues{meta: f.Metadata, unknown: f.Unknown})
	if len(f.Attrs)+len(f.Defaults) > 0 {
		p.str(" <")
		p.names(f.Attrs)
		for i, a := range f.Defaults {
			p.str(separator(i+len(f.Attrs), "", ", "))
			p.attr(a)
		}
		p.str(">")
	}
	p.str(" (")
	p.names(f.Inputs)
	p.str(") => (")
	p.names(f.Outputs)
	p.str(")")
	p.block("<", ">", len(f.ValueInfo), func(i int) { p.value(f.ValueInfo[i]) })
	p.nodes(f.Nodes)
}

func graphNotes(g *onnxgraph.Graph) noteValues {
	return noteValues{doc: g.Doc, meta: g.Metadata, unknown: g.Unknown}
}

// subgraph prints the graph of an attribute.
func (p *printer) subgraph(g *onnxgraph.Graph) {
	notes := graphNotes(g)
	notes.name = p.plainName(g.Name, "graph_")
	if p.line {
		p.str(" {...}")
		return
	}
	p.notes(notes)
	p.graph(g)
}

// plainName prints the name of a graph or tensor in an attribute. The official
// syntax wants an identifier there; where the name is none, an identifier made
// of it is printed, and the name is returned for a note.
func (p *printer) plainName(name, prefix string) *string {
	plain := func(s string) bool { return isIdent(s) && !isTypeName(s) && !isFloatWord(s) }
	switch {
	case plain(name):
		p.str(name)
		return nil
	case p.elide > 0: // for reading only
		p.quoted(name)
		return nil
	}
	b := []byte(name)
	for i := range b {
		if !isIdentByte(b[i]) {
			b[i] = '_'
		}
	}
	if !plain(string(b)) {
		p.str(prefix)
	}
	p.str(string(b))
	return &name
}

// graph prints what follows a graph's name.
func (p *printer) graph(g *onnxgraph.Graph) {
	p.str(" ")
	p.values(g.Inputs)
	p.str(" => ")
	p.values(g.Outputs)
	inits, sparse := len(g.Initializers), len(g.Sparse)
	p.block("<", ">", inits+sparse+len(g.ValueInfo), func(i int) {
		switch {
		case i < inits:
			p.initializer(g.Initializers[i])
		case i < inits+sparse:
			s := g.Sparse[i-inits]
			p.typ(onnxgraph.Type{Kind: onnxgraph.SparseTensorKind, DType: s.Values.DType, Shape: onnxgraph.StaticShape(s.Dims...)})
			p.str(" ")
			p.name(s.Values.Name)
			p.str(" = ")
			p.sparseData(s)
		default:
			p.value(g.ValueInfo[i-inits-sparse])
		}
	})
	p.nodes(g.Nodes)
}

// values prints a list in parentheses, on one line where that is short.
func (p *printer) values(list []*onnxgraph.Value) {
	const width = 100
	short := &printer{elide: p.elide}
	notes := false
	for i, v := range list {
		notes = notes || !valueNoteValues(v).empty() || !denotes(v.Type).empty()
		short.str(separator(i, "", ", "))
		if len(short.buf) < width {
			short.value(v)
		}
	}
	if !notes && len(short.buf) < width {
		p.str("(" + string(short.buf) + ")")
		return
	}
	p.str("(")
	p.lines(len(list), func(i int) { p.value(list[i]) })
	p.str(")")
}

// denotes finds a denotation anywhere in a type.
func denotes(t onnxgraph.Type) noteValues {
	for at := &t; at != nil; at = at.Elem {
		if at.Denotation != "" {
			return noteValues{denotation: at.Denotation}
		}
	}
	return noteValues{}
}

// block prints a list in brackets that stand at the beginning of lines;
// nothing where it is empty.
func (p *printer) block(opening, closing string, n int, item func(i int)) {
	if n == 0 {
		return
	}
	p.newline()
	p.str(opening)
	p.lines(n, item)
	p.str(closing)
}

// lines prints items on lines of their own.
func (p *printer) lines(n int, item func(i int)) {
	p.depth++
	for i := range n {
		p.newline()
		item(i)
		if i+1 < n {
			p.str(",")
		}
	}
	p.depth--
	p.newline()
}

func valueNoteValues(v *onnxgraph.Value) noteValues {
	return noteValues{doc: v.Doc, meta: v.Metadata, unknown: v.Unknown}
}

func (p *printer) value(v *onnxgraph.Value) {
	before := len(p.buf)
	if p.typ(v.Type); len(p.buf) > before {
		p.str(" ")
	}
	p.name(v.Name)
	p.notes(valueNoteValues(v))
}

func (p *printer) nodes(list []*onnxgraph.Node) {
	p.str(" {")
	p.depth++
	for _, n := range list {
		p.newline()
		p.node(n)
	}
	p.depth--
	p.newline()
	p.str("}")
}

func (p *printer) node(n *onnxgraph.Node) {
	if n.Name != "" {
		p.str("[")
		p.name(n.Name)
		p.str("] ")
	}
	p.names(n.Outputs)
	p.str(" = ")
	p.operator(n)
	// The reference puts subgraphs behind the inputs, which reads better.
	behind := len(n.Subgraphs()) > 0
	if !behind {
		p.attrs(n.Attrs)
	}
	p.str(" (")
	p.names(n.Inputs)
	p.str(")")
	if behind {
		p.attrLines(n.Attrs)
	}
	p.notes(noteValues{doc: n.Doc, meta: n.Metadata, unknown: n.Unknown})
}

// operator prints [domain.]operator[:overload]; what has no plain form is
// quoted, a domain as a whole.
func (p *printer) operator(n *onnxgraph.Node) {
	word := func(s string) {
		if isIdent(s) {
			p.str(s)
		} else {
			p.quoted(s)
		}
	}
	if n.Domain != "" {
		plain := true
		for _, part := range strings.Split(n.Domain, ".") {
			plain = plain && isIdent(part)
		}
		if plain {
			p.str(n.Domain)
		} else {
			p.quoted(n.Domain)
		}
		p.str(".")
	}
	word(n.OpType)
	if n.Overload != "" {
		p.str(":")
		word(n.Overload)
	}
}
